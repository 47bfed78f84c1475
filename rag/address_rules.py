"""What becomes of an address in the text of a model: it stays, is taken out, or gets a space that breaks it.

Each rule looks at one character that may belong to an address. `text` holds what was passed on and what was not yet,
`like` the same with look-alikes as ASCII, `at` is the place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import regex

from rag.bare_urls import LONGEST_HOST, LONGEST_URL, STARTER, is_linked_host, run_end, trimmed_end

REMOVED: Final = "‹link removed›"
LONGEST_LABEL: Final = 63

Step = tuple[int, str]  # where to go on, and what is passed on instead of the characters before that

_SLASHES = regex.compile(r"[\\/]{1,16}+")
_SCHEME = regex.compile(r"[A-Za-z][\w+.\-]{0,31}\\{0,9}$")
_PROTOCOL_RELATIVE = regex.compile(r"//(?:[^\s/<>?#]{0,253}[^\s/<>?#.][.@:][^\s/<>?#.]|localhost\W)")
_HOST_CHARACTERS = regex.compile(r"[\w\-.\\]{0,254}+")
_HOST_BEFORE = regex.compile(r"[\w\-.\\]+$")
_LABEL = regex.compile(rf"[\w\-]{{1,{LONGEST_LABEL}}}+")
_MAILBOX = regex.compile(r"[\w.+\-]{1,64}$")
_DECIDING: Final = frozenset(map(chr, range(33, 127))) - frozenset(".\\:") | frozenset(" \n\t")


class AddressRules:
    """The rules; the only state is that an address without an end is being swallowed.

    Args:
        allowed: whether an address may stay.
    """

    def __init__(self, allowed: Callable[[str], bool]) -> None:
        self.is_overlong = False
        self._allowed = allowed
        self._rules: dict[str, Callable[[str, str, int], Step | None]] = {
            ":": self._meet_colon, "/": self._meet_slash, "@": self._meet_at, ".": self._meet_dot
        }  # fmt: skip

    def meet(self, text: str, like: str, at: int) -> Step | None:
        """Decide the character at `at`; None when the next characters have to tell."""
        return self._rules.get(like[at], self._meet_word)(text, like, at)

    def _meet_word(self, text: str, like: str, at: int) -> Step | None:
        """A word that may be the beginning of an address."""
        found = STARTER.match(like, at, partial=True)
        if found is None:
            return at + 1, text[at]
        return None if found.partial else self._address(text, like, at, at)

    def _meet_colon(self, text: str, like: str, at: int) -> Step | None:
        """`scheme://`, of any scheme."""
        slashes = _SLASHES.match(like, at + 1)
        end = slashes.end() if slashes else at + 1
        if end == len(text) and end - at < 16:
            return None
        scheme = _SCHEME.search(like[max(0, at - 41) : at])
        if end - at < 3 or "/" not in like[at:end] or scheme is None:
            return at + 1, text[at]
        return self._address(text, like, at - len(scheme.group()), at)

    def _meet_slash(self, text: str, like: str, at: int) -> Step | None:
        """`//host`, which takes the scheme of the page around it."""
        if like[at - 1] in ":/\\" or like[at - 1].isalnum():
            return at + 1, text[at]
        found = _PROTOCOL_RELATIVE.match(like, at, partial=True)
        if found is None:
            return at + 1, text[at]
        if found.partial:
            return None
        kept = self._kept_address(text, like, at, at)
        return kept if kept != (at, "") else (at + 2, text[at : at + 2] + " ")

    def _address(self, text: str, like: str, start: int, at: int) -> Step | None:
        """An address that begins at `start`, of which everything before `at` was passed on."""
        kept = self._kept_address(text, like, start, at)
        if kept != (at, ""):
            return kept
        reach = run_end(like, start)
        if reach - start >= LONGEST_URL:
            self.is_overlong = True
            return reach, _removed(text[at:reach])
        end = trimmed_end(like, start, reach)
        scheme, _, rest = like[start:end].partition(":")
        if end <= at or not any(character.isalnum() for character in rest or scheme.partition(".")[2]):
            return at + 1, text[at]  # `http://` alone leads nowhere
        return end, _removed(text[at:end])

    def _kept_address(self, text: str, like: str, start: int, at: int) -> Step | None:
        """The step over an address that may stay; `(at, "")` when it may not, None when its end is not there yet."""
        reach = run_end(like, start)
        if reach - start >= LONGEST_URL:
            return at, ""
        if reach == len(text) or (like[reach] == "]" and reach + 1 == len(text)):
            return None
        end = trimmed_end(like, start, reach)
        if end <= at or not self._allowed(text[start:end]):
            return at, ""
        # A renderer's address may go on where ours has ended, and must not take in what the model wrote behind it.
        is_cut = like[reach] != "<" and not (like[reach].isspace() and like[reach].isascii())
        is_cut = is_cut and like[reach : reach + 2] != "]("  # which gets a space between
        return end, text[at:end] + (" " if is_cut else "")

    def _meet_at(self, text: str, like: str, at: int) -> Step | None:
        mailbox = _MAILBOX.search(like[max(0, at - 64) : at].rstrip("\\"))
        if mailbox is None:
            return at + 1, text[at]
        found = _HOST_CHARACTERS.match(like, at + 1)
        end = found.end() if found else at + 1
        if end == len(text) and end - at <= LONGEST_HOST:
            return None
        domain = like[at + 1 : end].rstrip(".-_\\")
        if "." not in domain or domain[0] in ".\\":
            return at + 1, text[at]
        if self._allowed(mailbox.group() + text[at : at + 1 + len(domain)]):
            return at + 1 + len(domain), text[at : at + 1 + len(domain)]
        return at + 1, " " + text[at]

    def _meet_dot(self, text: str, like: str, at: int) -> Step | None:
        """The last dot of a host that stands without a scheme."""
        host = _HOST_BEFORE.search(like[max(0, at - LONGEST_HOST) : at])
        if host is None or not like[max(0, at - 10) : at].rstrip("\\")[-1:].isalnum():
            return at + 1, text[at]
        label = _LABEL.match(like, at + 1)
        end = label.end() if label else at + 1
        following = like[end : end + 2]
        if len(following) < 2 and following not in _DECIDING:
            return None
        start = at - len(host.group())
        goes_on = self._host_goes_on(text, like, end)
        if goes_on is None:
            return None
        if label is None or goes_on or like[start - 1] in ":/@" or not is_linked_host(label.group(), following):
            return at + 1, text[at]
        kept = self._kept_address(text, like, start, at)
        return kept if kept != (at, "") else (at + 1, " " + text[at])

    def _host_goes_on(self, text: str, like: str, at: int) -> bool | None:
        """Whether the label that ends at `at` is not the last of a host, or belongs to a mail address that stays."""
        if like[at] == "@":
            step = self._meet_at(text, like, at)
            return None if step is None else step[0] > at + 1
        if like[at : at + 2] == "\\.":
            return True
        if like[at] != "." or not like[at + 1 : at + 2].isalnum():
            return False
        address = STARTER.match(like, at + 1, partial=True)  # which will not be there any more
        if address is None:
            return True
        return None if address.partial else False


def _removed(address: str) -> str:
    """What stands for an address: with its backtick, as the line may have been taken for code because of that one."""
    return REMOVED + "`" if "`" in address else REMOVED
