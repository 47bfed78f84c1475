"""Addresses as renderers find them in plain text: where one begins, where it ends, and whether a passage holds it.

Covered is what GitHub's Markdown links (http, https, ftp, www, mailto, xmpp, mail addresses) and what linkify-it links
besides (`//host`, hosts of a known top-level domain), also when a backslash or a look-alike stands in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import regex

LONGEST_URL: Final = 2000
LONGEST_HOST: Final = 253

# Ideographs and their punctuation follow an address without a space.
_WIDE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
_RUN = regex.compile(rf"(?:[^\s<\]{_WIDE}]|\](?![(:\[])){{0,{LONGEST_URL}}}+")
URL_END: Final = regex.compile(rf"[\s<{_WIDE}]")
STARTER: Final = regex.compile(
    r"(?:https?|ftps?)\\{0,9}:\S|(?:mailto|xmpp|javascript|vbscript)\\{0,9}:\S|www\\{0,9}\.\w"
    r"|data\\{0,9}:(?:[\w.+\-]{1,99}/|[;,])|file\\{0,9}:[/\\]",
    regex.IGNORECASE,
)
_TRAILING: Final = frozenset("?!.,:;*_~'\"]}>`|")
_BEHIND = regex.compile(rf"[.,;:!?*_~]*(?:[\s\"'<>`|)\]}}{_WIDE}]|$)")
_BEFORE: Final = frozenset("@.:/%+-_")

# As linkify-it has them: all of two letters, and these.
_COUNTRIES: Final = frozenset(
    "ac ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bm bn bo br bs bt bv bw by bz "
    "ca cc cd cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg er es et eu fi fj fk fm "
    "fo fr ga gb gd ge gf gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is "
    "it je jm jo jp ke kg kh ki km kn kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mg mh mk ml mm "
    "mn mo mp mq mr ms mt mu mv mw mx my mz na nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr "
    "ps pt pw py qa re ro rs ru rw sa sb sc sd se sg sh si sj sk sl sm sn so sr st su sv sx sy sz tc td tf tg th "
    "tj tk tl tm tn to tr tt tv tw tz ua ug uk us uy uz va vc ve vg vi vn vu wf ws ye yt za zm zw".split()
)
# Words that are hardly anything but a host's end; `user.name`, `logger.info` and `main.py` are more often code.
_PLAIN: Final = frozenset("com net org edu gov biz рф".split())
_WITH_PATH: Final = (
    _COUNTRIES
    | _PLAIN
    | frozenset("aero app asia click cloud coop dev info link museum name online pro shop site top web xxx xyz".split())
)

# Look-alikes of what schemes are written with; every character maps to one, so that positions stay.
_LIKE = str.maketrans("：∶꞉／⁄∕⧸．․＠＼һтрѕԝаосехуіј", ":::////..@\\htpswaocexyij")
_LIKE |= {0xFF01 + n: 0x21 + n for n in range(94) if chr(0x21 + n).isalnum()}


def plain(text: str) -> str:
    """The text with look-alikes as the ASCII characters that they look like; no character moves."""
    return text if text.isascii() else text.translate(_LIKE)


def run_end(text: str, at: int) -> int:
    """Where the unbroken run ends that an address at `at` can reach to, at most LONGEST_URL characters on."""
    found = _RUN.match(text, at)
    return found.end() if found else at


def trimmed_end(text: str, start: int, end: int) -> int:
    """Where the address ends that fills the run `text[start:end]`: without the punctuation that closes a sentence."""
    opened = text.count("(", start, end) - text.count(")", start, end)
    while end > start:
        last = text[end - 1]
        if last == ")" and opened < 0:
            opened += 1
        elif last not in _TRAILING:
            break
        end -= 1
    return end


def is_linked_host(last_label: str, following: str) -> bool:
    """Whether a host that ends in this label is linked without a scheme, given the two characters behind it."""
    label = last_label.lower()
    if label in _PLAIN:
        return True
    has_path = following[:1] in ("/", "?", "#") or (following[:1] == ":" and following[1:].isdigit())
    return has_path and label in _WITH_PATH


def standing_in(texts: Sequence[str]) -> Callable[[str], bool]:
    """Tells whether an address stands verbatim in one of the texts, as a whole and not as a part of another."""

    def stands(address: str) -> bool:
        return any(_stands(address, text) for text in texts)

    return stands


def _stands(address: str, text: str) -> bool:
    at = text.find(address)
    while at >= 0:
        before = text[at - 1 : at]
        if not (before.isalnum() or before in _BEFORE) and _BEHIND.match(text, at + len(address)):
            return True
        at = text.find(address, at + 1)
    return False
