"""Characters that nobody sees: controls, terminal sequences, zero-width and bidirectional marks, tag characters.

They hide words from a reader, or a scheme from a filter; what is taken out here was not visible to begin with.
"""

from __future__ import annotations

from typing import Final

import regex

# What Unicode calls default-ignorable, and the marks between annotations. Of these, a joiner within a script or an
# emoji, a variation selector behind its base and a soft hyphen within a word do their work and stay.
INVISIBLE: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
LONGEST_SEQUENCE: Final = 2000
_JOINERS: Final = "\u200c\u200d"
_SELECTORS: Final = "\ufe0e\ufe0f"
_SOFT_HYPHEN: Final = "\u00ad"
_LINE_ENDS: Final = "\r\x0b\x0c\x85\u2028\u2029"
_KEYCAPS: Final = "0123456789#*"

_INVISIBLE = regex.compile(f"[{INVISIBLE}]")
_UNSEEN = regex.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029{INVISIBLE}]")
# Colours and cursor movements; strings such as the link of OSC 8, up to their end; the other two-character commands.
_TERMINAL = regex.compile(
    r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]"
    rf"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]{{0,{LONGEST_SEQUENCE}}}(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]{0,8}[0-OQ-WYZ\\`-~]"
)


class VisibleText:
    """Takes out what is not seen, as the text arrives: any way of cutting it gives the same.

    `is_changed` tells whether an invisible character was taken out; line ends and controls do not count.
    """

    def __init__(self) -> None:
        self.is_changed = False
        self._held = ""
        self._last = ""  # the last character that was passed on

    def feed(self, text: str) -> str:
        """Take the next characters; returns those that can be passed on."""
        text = self._held + text
        passed: list[str] = []
        at = 0
        while found := _UNSEEN.search(text, at):
            start = found.start()
            self._pass(passed, text[at:start])
            decided = self._decide(text, start)
            if decided is None:
                self._held = text[start:]
                return "".join(passed)
            at, shown = decided
            self._pass(passed, shown)
        self._pass(passed, text[at:])
        self._held = ""
        return "".join(passed)

    def finish(self) -> str:
        """End the text; returns what was held back."""
        return self.feed("\x00")  # decides whatever was open, and is not seen itself

    def _pass(self, passed: list[str], text: str) -> None:
        if text:
            passed.append(text)
            self._last = text[-1]

    def _decide(self, text: str, at: int) -> tuple[int, str] | None:
        """Where to go on, and what is passed on instead; None when the next characters have to tell."""
        character = text[at]
        if _INVISIBLE.match(character):
            return self._decide_invisible(text, at)
        if character in _LINE_ENDS:
            if character == "\r" and at + 1 == len(text):
                return None
            return at + (2 if text.startswith("\r\n", at) else 1), "\n"
        if "\ud800" <= character <= "\udfff":
            return at + 1, "\ufffd"
        sequence = _TERMINAL.match(text, at, partial=True)
        if sequence is None:
            return at + 1, ""
        return None if sequence.partial else (sequence.end(), "")

    def _decide_invisible(self, text: str, at: int) -> tuple[int, str] | None:
        character, last = text[at], self._last
        if character in _SELECTORS:
            is_kept = bool(last) and (not last.isascii() or last in _KEYCAPS) and not _INVISIBLE.match(last)
        elif character == _SOFT_HYPHEN:
            is_kept = last.isalpha()
        elif character in _JOINERS:
            if at + 1 == len(text):
                return None
            is_kept = _joins(last, text[at + 1])
        else:
            is_kept = False
        self.is_changed = self.is_changed or not is_kept
        return at + 1, character if is_kept else ""


def without_hidden(text: str) -> tuple[str, bool]:
    """The text that can be seen, and whether an invisible character was taken out."""
    visible = VisibleText()
    seen = visible.feed(text) + visible.finish()
    return seen, visible.is_changed


def _joins(last: str, following: str) -> bool:
    """Whether a joiner stands where a script or an emoji needs it."""
    is_base = bool(last) and not last.isascii() and (last in _SELECTORS or not _INVISIBLE.match(last))
    return is_base and not following.isascii() and not _UNSEEN.match(following)
