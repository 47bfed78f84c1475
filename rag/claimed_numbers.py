"""Takes the `[n]` that a model writes out of a stream, and remembers what they claim.

They claim that a sentence is from passage n. That is a hint for the grounding and nothing to show: what is cited comes
from the ledger, and a number that a reader cannot look up helps nobody. In code they are subscripts, and stay.
"""

from __future__ import annotations

from typing import Final

import regex

LONGEST: Final = 40

_NUMBERS = regex.compile(r"[ \t]?\[\d{1,3}(?:\s?[,;–-]\s?\d{1,3})*\]")
_BEGUN = regex.compile(r"\[[\d\s,;–-]*")
_FENCE = regex.compile(r"[ \t]*(?:```|~~~)")


class ClaimedNumbers:
    """A state machine over one stream of text: any way of cutting it gives the same.

    It stands before the containment: what becomes neighbours when a number goes must still be looked at.

    Attributes:
        met: the numbers so far, in their order.
    """

    def __init__(self) -> None:
        self.met: list[int] = []
        self._held = ""
        self._line = ""  # what was passed on of the line that is being written
        self._is_fenced = False

    def feed(self, text: str) -> str:
        """Take the next characters; returns those that can be passed on."""
        text = self._held + text
        end = _open_end(text)
        self._held = text[end:]
        return self._without(text[:end])

    def finish(self) -> str:
        """End the text; returns what was held back. No feed may follow."""
        text, self._held = self._held, ""
        return self._without(text)

    def _without(self, text: str) -> str:
        passed: list[str] = []
        at = 0
        for found in _NUMBERS.finditer(text):
            self._pass(passed, text[at : found.start()])
            if self._is_in_code():
                self._pass(passed, found.group())
            else:
                self.met += [int(number) for number in regex.findall(r"\d+", found.group())]
            at = found.end()
        self._pass(passed, text[at:])
        return "".join(passed)

    def _pass(self, passed: list[str], text: str) -> None:
        passed.append(text)
        *ended, last = (self._line + text).split("\n")
        for line in ended:
            self._is_fenced ^= bool(_FENCE.match(line))
        self._line = last

    def _is_in_code(self) -> bool:
        return self._is_fenced or bool(_FENCE.match(self._line)) or self._line.count("`") % 2 == 1


def _open_end(text: str) -> int:
    """Where the end of a text begins that may be the beginning of a number, with the space before it."""
    at = text.rfind("[", max(0, len(text) - LONGEST))
    if at < 0 or not _BEGUN.fullmatch(text, at):
        at = len(text)
    return at - 1 if text[at - 1 : at] in (" ", "\t") else at
