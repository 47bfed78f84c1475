"""Who uses the tools, with what, and how much of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from api.admission import Admission
from api.dependencies import Live
from api.rate_limits import Budget
from rag.access import Caller


@dataclass(frozen=True)
class Session:
    """One caller's use of the tools; the limits are those of the other ways to ask."""

    live: Live
    caller: Caller
    answers: Admission
    searches: Admission
    budget: Budget

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Hold one of the slots of those who write answers. Raises as `Admission.slot` and `Budget.reserved`."""
        with self.budget.reserved(self.live.engine.settings.chat.context_tokens):
            async with self.answers.slot(self.caller.key_id):
                yield

    @asynccontextmanager
    async def searching(self) -> AsyncIterator[None]:
        """Hold one of the slots of those who search. Raises as `Admission.slot`."""
        async with self.searches.slot(self.caller.key_id):
            yield
