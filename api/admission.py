"""How much is worked on at once. What comes beyond is told so at once, before any work is done for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from starlette.exceptions import HTTPException

PATIENCE_SECONDS: Final = 10.0
RETRY_AFTER: Final = {"Retry-After": "1"}
# One slot in so many is kept from each single key, so that whoever asks a lot does not shut out the others.
KEPT_FROM_EACH: Final = 8


class Admission:
    """So many slots, and a short queue for them. For one event loop."""

    def __init__(self, slots: int, waiting: int) -> None:
        """Args: `waiting` is how many may wait for a slot; 0 refuses at once."""
        self._free = slots
        self._most_waiting = waiting
        self._share = slots - (max(1, slots // KEPT_FROM_EACH) if slots > 1 else 0)
        self._waiting_share = max(1, waiting // 2)
        self._held: Counter[str] = Counter()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    @property
    def held(self) -> int:
        """How many slots are taken."""
        return self._held.total()

    @property
    def queued(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def slot(self, key_id: str) -> AsyncIterator[None]:
        """Hold a slot.

        Args:
            key_id: whose share it counts to; the empty one, which the operator holds, has no share.

        Raises:
            HTTPException: of status 503, where all is taken, or the key has its share.
        """
        await self._enter(key_id)
        try:
            yield
        finally:
            self._leave(key_id)

    def require_room(self, key_id: str) -> None:
        """Refuse at once what `slot` would refuse at once; takes nothing. Raises as `slot`."""
        if self._may_enter(key_id):
            return
        if len(self._waiting) >= self._most_waiting or not self._may_wait(key_id):
            raise _overloaded()

    async def _enter(self, key_id: str) -> None:
        if self._may_enter(key_id):
            self._take(key_id)
            return
        self.require_room(key_id)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((key_id, turn))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await turn
        except BaseException as error:
            # The turn may have come at the same moment: then the slot is ours already.
            if turn.done() and not turn.cancelled():
                self._leave(key_id)
            if isinstance(error, TimeoutError):
                raise _overloaded() from None
            raise
        finally:
            with suppress(ValueError):
                self._waiting.remove((key_id, turn))

    def _may_enter(self, key_id: str) -> bool:
        return self._free > 0 and (not key_id or self._held[key_id] < self._share)

    def _may_wait(self, key_id: str) -> bool:
        return not key_id or sum(key_id == other for other, _ in self._waiting) < self._waiting_share

    def _take(self, key_id: str) -> None:
        self._free -= 1
        self._held[key_id] += 1

    def _leave(self, key_id: str) -> None:
        self._free += 1
        self._held[key_id] -= 1
        if not self._held[key_id]:
            del self._held[key_id]
        self._hand_over()

    def _hand_over(self) -> None:
        """Whose key holds the fewest slots is next; of several, who has waited longest."""
        ready = [each for each in self._waiting if not each[1].done() and self._may_enter(each[0])]
        if ready:
            key_id, turn = min(ready, key=lambda each: self._held[each[0]])
            self._take(key_id)
            turn.set_result(None)


def _overloaded() -> HTTPException:
    return HTTPException(503, "Too much is being worked on; try again shortly.", RETRY_AFTER)
