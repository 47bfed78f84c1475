"""Stop strings for a model that does not know them itself."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Passes text on up to the first stop string; holds back what could be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.is_met = False

    def pass_on(self, text: str) -> str:
        """What of the text so far is certain to come before any stop string."""
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.is_met = True
            return self._take(min(found))
        return self._take(len(self._held) - self._doubtful())

    def rest(self) -> str:
        """What was held back, when the text has ended."""
        return self._take(len(self._held))

    def _take(self, end: int) -> str:
        passed, self._held = self._held[:end], self._held[end:]
        return passed

    def _doubtful(self) -> int:
        """Characters at the end that begin a stop string."""
        lengths = (n for stop in self._stops for n in range(1, len(stop)) if self._held.endswith(stop[:n]))
        return max(lengths, default=0)
