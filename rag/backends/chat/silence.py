"""A model that says nothing for too long is given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

from rag.errors import UpstreamUnavailableError

T = TypeVar("T")


async def heard_within(items: AsyncGenerator[T], seconds: float, model: str) -> AsyncGenerator[T]:
    """Pass the items on; closing this closes them.

    Raises:
        UpstreamUnavailableError: no item came for `seconds`.
    """
    async with aclosing(items):
        while True:
            try:
                async with asyncio.timeout(seconds):
                    item = await anext(items)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise UpstreamUnavailableError(
                    f"The model {model} said nothing for {seconds:g} seconds, so it was given up. Try again; a slow "
                    "model needs a larger QUOTH_CHAT__TIMEOUT_SECONDS."
                ) from None
            yield item
