"""Where a model writes faster than its words can be looked at one by one, they are looked at together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from rag.protocols import ChatModel, ModelDelta, Prompt, Sampling

# Deltas that come within this time of the last are one: words that come 25 times a second look like a flow.
WINDOW_SECONDS: Final = 0.04
# Where the event loop is behind with its work, the time grows with that, so that all answers get on.
LONGEST_WINDOW_SECONDS: Final = 0.1
WINDOW_FOR_LATENESS: Final = 4
MOST_CHARACTERS: Final = 8_192  # that wait for a reader who is slower than the model


class GatheringChatModel:
    """A ChatModel that passes on what another one writes, the first delta at once, the others at most so often."""

    def __init__(self, model: ChatModel) -> None:
        self._model = model

    @property
    def name(self) -> str:
        """Of the other."""
        return self._model.name

    @property
    def context_tokens(self) -> int:
        """Of the other."""
        return self._model.context_tokens

    def count_tokens(self, text: str) -> int:
        """As the other counts."""
        return self._model.count_tokens(text)

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[ModelDelta]:
        """Yield what the other writes. Raises as it does, behind what it wrote before."""
        basket = _Basket()
        filling = asyncio.create_task(basket.fill(self._model.stream(prompt, sampling)))
        try:
            while True:
                await basket.due()
                if (delta := basket.empty()) is not None:
                    yield delta
                elif basket.is_over:
                    break
            await filling
        finally:
            basket.close()
            filling.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(filling, return_exceptions=True)

    async def close(self) -> None:
        """Release the other."""
        await self._model.close()


class _Basket:
    """What was written and not yet passed on. A delta costs an append here; the rest is done once in a window."""

    def __init__(self) -> None:
        self.is_over = False
        self._loop = asyncio.get_running_loop()
        self._deltas: list[ModelDelta] = []
        self._characters = 0
        self._passed_at = -LONGEST_WINDOW_SECONDS
        self._window = WINDOW_SECONDS
        self._timer: asyncio.TimerHandle | None = None
        self._due = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def fill(self, deltas: AsyncIterator[ModelDelta]) -> None:
        """Take all that comes; waits while there is no room."""
        try:
            async for delta in deltas:
                self._deltas.append(delta)
                self._characters += len(delta.text)
                if len(self._deltas) == 1:
                    self._plan()
                if self._characters >= MOST_CHARACTERS:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self.is_over = True
            self._due.set()
            close = getattr(deltas, "aclose", None)
            if close is not None:
                await close()

    async def due(self) -> None:
        """Wait until what is there is to be passed on, or no more will come."""
        await self._due.wait()

    def close(self) -> None:
        """Let go of the timer."""
        if self._timer:
            self._timer.cancel()

    def _plan(self) -> None:
        """See to it that the first delta of a basket is not late."""
        due = self._passed_at + self._window
        if self._loop.time() >= due:
            self._due.set()
        else:
            self._timer = self._loop.call_at(due, self._on_due, due)

    def _on_due(self, due: float) -> None:
        lateness = self._loop.time() - due
        self._window = min(WINDOW_SECONDS + WINDOW_FOR_LATENESS * lateness, LONGEST_WINDOW_SECONDS)
        self._due.set()

    def empty(self) -> ModelDelta | None:
        """All that is there as one."""
        deltas, self._deltas, self._characters = self._deltas, [], 0
        self._passed_at = self._loop.time()
        self._room.set()
        if not self.is_over:
            self._due.clear()
        if len(deltas) <= 1:
            return deltas[0] if deltas else None
        return ModelDelta(
            text="".join(delta.text for delta in deltas),
            finish_reason=next((delta.finish_reason for delta in reversed(deltas) if delta.finish_reason), None),
            usage=next((delta.usage for delta in reversed(deltas) if delta.usage), None),
        )
