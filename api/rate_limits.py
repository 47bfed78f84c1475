"""How much a key may ask in a minute, and how often an address may be wrong about one.

Everything is counted in the memory of this process: several replicas allow each key as many times as much.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rag.conversation import Message
from rag.errors import QuothError
from rag.events import AnswerCompleted, Event, TextDelta
from rag.settings import ServerSettings

MOST_COUNTED: Final = 10_000
# Of an answer that broke off nobody has told the tokens.
CHARACTERS_A_TOKEN: Final = 4


class RateLimitedError(QuothError):
    """A key has asked for more than it may in a minute."""

    retryable = True

    def __init__(self, what: str, per_minute: int, wait_seconds: float) -> None:
        """Args: `what` is `requests` or `tokens`."""
        self.what = what
        self.wait_seconds = max(1, math.ceil(wait_seconds))
        super().__init__(
            f"This key has used up its {per_minute} {what} a minute. Try again in {self.wait_seconds} seconds."
        )


class Quota:
    """So many units a minute for each name: a bucket that holds a minute's worth, and refills evenly."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: `per_minute` is 0 where nothing is limited."""
        self.per_minute = per_minute
        self._clock = clock
        self._levels: dict[str, tuple[float, float]] = {}

    def left(self, name: str) -> float:
        """What may be spent now; below 0 after somebody has spent more than was left."""
        level, moment = self._levels.get(name, (float(self.per_minute), 0.0))
        return min(self.per_minute, level + (self._clock() - moment) * self.per_minute / 60)

    def spend(self, name: str, units: float) -> None:
        """Take units away, whether they are there or not."""
        if not self.per_minute:
            return
        left = self.left(name) - units
        # Anew, so that the first of the dictionary is the one that has been left alone for longest.
        self._levels.pop(name, None)
        if len(self._levels) >= MOST_COUNTED:
            self._forget()
        self._levels[name] = (left, self._clock())

    def seconds_until(self, name: str, units: float) -> float:
        """How long until so many are left."""
        return max(0.0, (units - self.left(name)) * 60 / self.per_minute)

    def _forget(self) -> None:
        """Make room: a full bucket says nothing, and otherwise the oldest goes."""
        for name in [name for name in self._levels if self.left(name) >= self.per_minute]:
            del self._levels[name]
        if len(self._levels) >= MOST_COUNTED:
            del self._levels[next(iter(self._levels))]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of every key."""

    requests: Quota
    tokens: Quota
    reserved: dict[str, int]

    @classmethod
    def of(cls, settings: ServerSettings, clock: Callable[[], float] = time.monotonic) -> Limits:
        """As they are configured."""
        return cls(Quota(settings.requests_per_minute, clock), Quota(settings.tokens_per_minute, clock), {})


class Budget:
    """What one key has left. Its requests share it."""

    def __init__(self, limits: Limits, name: str) -> None:
        self._limits = limits
        self._name = name

    def admit(self) -> None:
        """Count a request.

        Raises:
            RateLimitedError: too many came in a minute, or all tokens are spent.
        """
        requests = self._limits.requests
        if requests.per_minute and requests.left(self._name) < 1:
            raise RateLimitedError("requests", requests.per_minute, requests.seconds_until(self._name, 1))
        requests.spend(self._name, 1)
        self._require_tokens()

    @contextmanager
    def reserved(self, tokens: int) -> Iterator[None]:
        """Set aside what a request will spend at most, until it has spent it: so the overshoot is one request's.

        Raises:
            RateLimitedError: nothing is left besides what other requests have set aside.
        """
        if not self._limits.tokens.per_minute:
            yield
            return
        self._require_tokens()
        aside = self._limits.reserved
        aside[self._name] = aside.get(self._name, 0) + tokens
        try:
            yield
        finally:
            aside[self._name] -= tokens
            if not aside[self._name]:
                del aside[self._name]

    def charge(self, tokens: int) -> None:
        """Take what a request has spent."""
        self._limits.tokens.spend(self._name, tokens)

    def headers(self) -> list[tuple[str, str]]:
        """What is left, as OpenAI's headers say it; of what is not limited nothing is said."""
        found: list[tuple[str, str]] = []
        for what, quota in (("requests", self._limits.requests), ("tokens", self._limits.tokens)):
            if quota.per_minute:
                left = max(0, math.floor(quota.left(self._name)))
                reset = quota.seconds_until(self._name, quota.per_minute)
                found += [
                    (f"x-ratelimit-limit-{what}", str(quota.per_minute)),
                    (f"x-ratelimit-remaining-{what}", str(left)),
                    (f"x-ratelimit-reset-{what}", duration(reset)),
                ]
        return found

    def _require_tokens(self) -> None:
        tokens, aside = self._limits.tokens, self._limits.reserved.get(self._name, 0)
        if tokens.per_minute and tokens.left(self._name) - aside <= 0:
            wait = tokens.seconds_until(self._name, min(aside + 1, tokens.per_minute))
            raise RateLimitedError("tokens", tokens.per_minute, wait)


async def metered(events: AsyncIterator[Event], prompt: tuple[Message, ...], budget: Budget) -> AsyncIterator[Event]:
    """Pass the events of an answer on, and charge for it however it ends; closing it closes `events`."""
    characters = sum(len(message.content) for message in prompt)
    spent: int | None = None
    try:
        async for event in events:
            if isinstance(event, TextDelta):
                characters += len(event.text)
            elif isinstance(event, AnswerCompleted):
                spent = event.usage.prompt_tokens + event.usage.completion_tokens
                budget.charge(spent)
            yield event
    finally:
        if spent is None:
            budget.charge(characters // CHARACTERS_A_TOKEN)
        await events.aclose()  # type: ignore[attr-defined]


def duration(seconds: float) -> str:
    """A time as OpenAI's headers have it: `120ms`, `1.5s`, `6m0s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + "s"
    whole = math.ceil(seconds)
    return f"{whole // 60}m{whole % 60}s"
