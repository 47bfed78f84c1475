"""Parse files in processes that can be killed: limited memory, CPU and wall time, no network, nothing to write.

`ingest.parsers.child` says what confines the process itself; this side starts it, hands it files, waits no longer than
it may, and gives the next file a new process when one has died. Processes are started anew (`exec`), never forked: a
forked child would carry the engine's threads, locks and secrets.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

from ingest.parsers.limits import ParserLimits
from ingest.parsers.registry import format_of
from ingest.parsers.wire import LENGTH, decode_reply, encode_job, frame
from rag.concurrency import in_thread
from rag.documents import Document
from rag.errors import ParseError
from rag.settings import IngestSettings

_KEEP = b"\0"
_START_SECONDS = 60  # a busy machine may take this long to start a process
_EXIT_SECONDS = 10  # the kernel needs some to take a large process apart
_WRITE_BYTES = 1 << 20
# A block costs the reply some 40 bytes and a character at most four; no sound reply is longer.
_REPLY_BYTES_PER_CHARACTER = 24
_REPLY_BYTES_LEAST = 1 << 20


@dataclass(frozen=True, slots=True)
class _Child:
    """A parsing process and our end of the socket that is its standard input and output.

    Not asyncio's own subprocess: it waits for ever when a task is cancelled while a process is being started.
    """

    process: subprocess.Popen[bytes]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def start(cls, memory_bytes: int, tesseract: str) -> _Child:
        """Start a process and wait until it is confined; it may run the program `tesseract`, if that is not empty."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = _spawn(theirs, memory_bytes, tesseract)
        child = None
        try:
            async with asyncio.timeout(_START_SECONDS):
                child = cls(process, *await asyncio.open_connection(sock=ours))
                await child.reader.readexactly(1)
        except BaseException as error:  # a cancelled task, too, leaves nothing behind
            if child is None:
                ours.close()
                await _end(process)
            else:
                await child.end()
            if isinstance(error, TimeoutError | asyncio.IncompleteReadError | ConnectionError):
                raise ParseError(
                    "parser_killed",
                    "The parser's process does not start. Raise QUOTH_INGEST__PARSER_MEMORY_BYTES, and check that "
                    f"{sys.executable} runs.",
                ) from error
            raise
        return child

    async def end(self) -> None:
        """Kill the process, and wait until it is gone."""
        self.writer.transport.abort()
        await _end(self.process)


async def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and what it started, which is in its process group.

    Once it was waited for, the group's number may be another's; the kernel has then ended what it started, as asked to.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses where all of it is dead
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    await in_thread(process.wait)


def _spawn(theirs: socket.socket, memory_bytes: int, tesseract: str) -> subprocess.Popen[bytes]:
    search = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-B", "-P", "-s", "-m", "ingest.parsers.child", str(memory_bytes), tesseract],
        stdin=theirs.fileno(),
        stdout=theirs.fileno(),
        stderr=subprocess.DEVNULL,
        env={"PYTHONPATH": search, "PYTHONUTF8": "1"},
        start_new_session=True,
    )


class ParserPool:
    """A few parsing processes, started when they are first needed.

        async with ParserPool(settings.ingest) as pool:
            document = await pool.parse(data, "report.pdf")

    One event loop owns a pool. Files beyond the number of processes wait their turn.
    """

    def __init__(self, settings: IngestSettings, limits: ParserLimits | None = None) -> None:
        """`limits` are those of the settings, unless a caller knows of another tesseract, or that there is none."""
        self._settings = settings
        self._limits = limits or ParserLimits.of(settings)
        self._turns = asyncio.Semaphore(self.size)
        self._idle: list[_Child] = []
        self._closed = False

    @property
    def size(self) -> int:
        """How many files are parsed at the same time."""
        return self._settings.parser_processes or os.cpu_count() or 1

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the idle processes; a file that is being parsed loses its process when its task is cancelled."""
        self._closed = True
        while self._idle:
            await self._idle.pop().end()

    async def parse(self, data: bytes, name: str) -> Document:
        """Parse one file.

        Args:
            data: the whole file.
            name: its name or path; the suffix chooses the parser, the stem is a title for want of a better one.

        Returns:
            What `ingest.parsers.registry.parse` returns.

        Raises:
            ParseError: the parser's own reasons, and `parser_killed` (memory, or a crash), `parser_timeout` (CPU or
                wall time), `parser_error` (it raised what it should not), `too_long` (the reply is).
        """
        async with self._turns:
            child = self._idle.pop() if self._idle else await self._start()
            wall_seconds, setting = self._wall(name)
            fit = False
            try:
                async with asyncio.timeout(wall_seconds):
                    fit, reply = await self._converse(child, data, name)
            except TimeoutError:
                raise ParseError(
                    "parser_timeout", f"Parsing took longer than {wall_seconds:g} seconds. Raise {setting}."
                ) from None
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise await self._explain_death(child) from error
            finally:  # also when this task is cancelled: a process in the middle of a file is of no use to the next
                if fit and not self._closed:
                    self._idle.append(child)
                else:
                    await child.end()
        return await in_thread(decode_reply, reply)

    async def _start(self) -> _Child:
        return await _Child.start(self._settings.parser_memory_bytes, self._limits.ocr_program)

    def _wall(self, name: str) -> tuple[float, str]:
        """How many seconds a file of this name may take, and the setting that says so."""
        found = format_of(name)
        if found is not None and found.recognises and self._limits.can_recognise:
            return self._settings.ocr_wall_seconds, "QUOTH_INGEST__OCR_WALL_SECONDS"
        return self._settings.parser_wall_seconds, "QUOTH_INGEST__PARSER_WALL_SECONDS"

    async def _converse(self, child: _Child, data: bytes, name: str) -> tuple[bool, bytes]:
        """Send a file; return whether the process is fit for another, and its reply."""
        writer, reader = child.writer, child.reader
        writer.write(frame(encode_job(name, asdict(self._limits), self._settings.parser_cpu_seconds)))
        writer.write(LENGTH.pack(len(data)))
        for start in range(0, len(data), _WRITE_BYTES):  # in parts, or the loop would keep a second copy of the file
            writer.write(data[start : start + _WRITE_BYTES])
            await writer.drain()
        keep = await reader.readexactly(1)
        (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
        if length > _REPLY_BYTES_LEAST + _REPLY_BYTES_PER_CHARACTER * self._limits.max_characters:
            raise ParseError("too_long", f"The parsed document takes {length:,} bytes, more than it may.")
        return keep == _KEEP, await reader.readexactly(length)

    async def _explain_death(self, child: _Child) -> ParseError:
        try:
            code = await in_thread(child.process.wait, _EXIT_SECONDS)
        except subprocess.TimeoutExpired:  # its end is closed but it lives on: `parse` kills it
            return ParseError("parser_killed", "The parser's process broke off. Please report the file.")
        if code == -signal.SIGXCPU:
            seconds = self._settings.parser_cpu_seconds
            return ParseError("parser_timeout", f"Parsing took more than {seconds} seconds of CPU time.")
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        memory = self._settings.parser_memory_bytes >> 20
        return ParseError("parser_killed", f"The parser's process died ({cause}); it may use {memory} MiB of memory.")
