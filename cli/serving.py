"""A server that ends in order: it admits nothing more, lets answers end, cuts those that do not, and leaves with 0.

uvicorn alone waits without bound, or cuts its connections so that nobody can tell what was whole.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from api.drain import Drain
from api.pacing import STALL_SECONDS
from rag.settings import ServerSettings

# What has been cut may take this long to end; then its task is cancelled.
CUT_ENDS_SECONDS: Final = 3


class GracefulServer(uvicorn.Server):
    """Ends at the first SIGTERM or SIGINT; at the second, at once."""

    def __init__(self, app: FastAPI, settings: ServerSettings) -> None:
        limit = math.ceil(settings.shutdown_seconds) + CUT_ENDS_SECONDS
        super().__init__(
            uvicorn.Config(app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=limit)
        )
        self._drain: Drain = app.state.drain
        self._seconds = settings.shutdown_seconds
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Take a signal. It is not handed on, as uvicorn would: a server that was asked to end has not failed."""
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True
        self._drain.is_draining = True
        if self._loop:
            # A signal comes between any two steps of the loop, so the loop itself sets its timer.
            self._loop.call_soon_threadsafe(self._drain.begin, self._seconds)


def bound_stalls(listener: socket.socket) -> None:
    """Have the kernel drop connections of `listener` whose peer takes nothing for as long as a stream may stall."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None:  # Linux
        listener.setsockopt(socket.IPPROTO_TCP, option, int(STALL_SECONDS * 1000))
