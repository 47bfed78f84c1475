"""Where a model writes faster than its words can be looked at one by one, they are looked at together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from rag.protocols import ChatModel, ModelDelta, Prompt, Sampling

# Deltas that come within this time of the last are one. A model at 50 tokens a second writes more slowly than that.
WINDOW_SECONDS: Final = 0.015
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
        loop = asyncio.get_running_loop()
        passed_at = 0.0
        try:
            while True:
                await basket.changed()
                lateness = loop.time() - basket.changed_at
                window = min(WINDOW_SECONDS + WINDOW_FOR_LATENESS * lateness, LONGEST_WINDOW_SECONDS)
                if not basket.is_over and loop.time() < passed_at + window:
                    await basket.over_by(passed_at + window)
                if (delta := basket.empty()) is not None:
                    passed_at = loop.time()
                    yield delta
                elif basket.is_over:
                    break
            await filling
        finally:
            filling.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(filling, return_exceptions=True)

    async def close(self) -> None:
        """Release the other."""
        await self._model.close()


class _Basket:
    """What was written and not yet passed on."""

    def __init__(self) -> None:
        self.is_over = False
        self.changed_at = 0.0  # when the first of them came
        self._deltas: list[ModelDelta] = []
        self._characters = 0
        self._changed = asyncio.Event()
        self._over = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def fill(self, deltas: AsyncIterator[ModelDelta]) -> None:
        """Take all that comes; waits while there is no room."""
        loop = asyncio.get_running_loop()
        try:
            async for delta in deltas:
                if not self._deltas:
                    self.changed_at = loop.time()
                self._deltas.append(delta)
                self._characters += len(delta.text)
                self._changed.set()
                if self._characters >= MOST_CHARACTERS:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self.is_over, self.changed_at = True, loop.time()
            self._over.set()
            self._changed.set()
            close = getattr(deltas, "aclose", None)
            if close is not None:
                await close()

    async def changed(self) -> None:
        """Wait until there is something, or no more will come."""
        await self._changed.wait()

    async def over_by(self, due: float) -> None:
        """Wait until a time of the loop, or until no more will come."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await self._over.wait()

    def empty(self) -> ModelDelta | None:
        """All that is there as one."""
        deltas, self._deltas, self._characters = self._deltas, [], 0
        self._room.set()
        if not self.is_over:
            self._changed.clear()
        if len(deltas) <= 1:
            return deltas[0] if deltas else None
        return ModelDelta(
            text="".join(delta.text for delta in deltas),
            finish_reason=next((delta.finish_reason for delta in reversed(deltas) if delta.finish_reason), None),
            usage=next((delta.usage for delta in reversed(deltas) if delta.usage), None),
        )
