"""Frames of a stream: in order, none lost, few writes, bounded, kept alive, and dropped for a reader that stalls."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from api.drain import Drain
from api.pacing import KEEP_ALIVE, MAX_PIECE_BYTES, PacedWriter
from api.streaming import DONE, EventStream, Terminal
from rag.errors import QuothError
from tests.api.server_process import until


class Reader:
    """Takes what is sent to it, when it is open."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.left = asyncio.Event()

    async def send(self, message: Any) -> None:
        await self.open.wait()
        self.messages.append(message)

    async def receive(self) -> dict[str, str]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def is_ended(self) -> bool:
        return bool(self.messages) and self.messages[-1].get("more_body") is False


async def send(frames: AsyncIterator[bytes], reader: Reader, drain: Drain | None = None, **seconds: float) -> None:
    app = SimpleNamespace(state=SimpleNamespace(drain=drain or Drain()))
    stream = EventStream(frames, lambda error: Terminal(b"error " + type(error).__name__.encode()), **seconds)
    await stream({"type": "http", "app": app}, reader.receive, reader.send)


async def counted(number: int, gap: float | None = None) -> AsyncIterator[bytes]:
    for each in range(number):
        yield b"%d;" % each
        if gap is not None:
            await asyncio.sleep(gap)
    yield DONE


def test_frames_that_follow_each_other_go_out_together() -> None:
    async def drive() -> Reader:
        reader = Reader()
        await send(counted(2000), reader)
        return reader

    reader = asyncio.run(drive())
    assert reader.body == b"".join(b"%d;" % each for each in range(2000)) + DONE
    assert reader.is_ended
    assert len(reader.messages) < 200


def test_a_frame_that_nothing_follows_goes_out_by_itself() -> None:
    async def drive() -> None:
        reader, more = Reader(), asyncio.Event()

        async def frames() -> AsyncIterator[bytes]:
            yield b"first;"
            yield b"second;"
            await more.wait()
            yield DONE

        sending = asyncio.create_task(send(frames(), reader))
        await until(lambda: reader.body == b"first;second;")
        more.set()
        await sending
        assert reader.body == b"first;second;" + DONE

    asyncio.run(drive())


def test_silence_is_filled_with_comments() -> None:
    async def drive() -> bytes:
        reader = Reader()

        async def frames() -> AsyncIterator[bytes]:
            yield b"first;"
            await until(lambda: reader.body.count(KEEP_ALIVE) >= 2)
            yield DONE

        await send(frames(), reader, keep_alive_seconds=0.03)
        return reader.body

    body = asyncio.run(drive())
    assert body.startswith(b"first;" + KEEP_ALIVE)
    assert body.endswith(DONE)


def test_a_reader_that_stalls_is_dropped_and_little_is_kept_for_it() -> None:
    async def drive() -> int:
        reader, made = Reader(), 0
        closed = asyncio.Event()

        async def frames() -> AsyncIterator[bytes]:
            nonlocal made
            try:
                while True:
                    yield b"x" * 100
                    made += 100
                    if made == 1000:
                        reader.open.clear()
                    await asyncio.sleep(0)
            finally:
                closed.set()

        await send(frames(), reader, stall_seconds=0.2)
        assert closed.is_set()
        assert not reader.is_ended
        return made - len(reader.body)

    assert asyncio.run(drive()) <= 2 * MAX_PIECE_BYTES


def test_a_reader_that_leaves_ends_the_work() -> None:
    async def drive() -> None:
        reader, closed = Reader(), asyncio.Event()

        async def frames() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x"
                    await asyncio.sleep(0.001)
            finally:
                closed.set()

        sending = asyncio.create_task(send(frames(), reader))
        await until(lambda: bool(reader.body))
        reader.left.set()
        await sending
        assert closed.is_set()
        assert not reader.is_ended

    asyncio.run(drive())


def test_time_that_is_up_ends_it_with_one_terminal_frame_wherever_it_is() -> None:
    async def drive(after: int) -> bytes:
        reader, drain = Reader(), Drain()

        async def frames() -> AsyncIterator[bytes]:
            for each in range(6):
                if each == after:
                    asyncio.get_running_loop().call_soon(drain.cut)
                yield b"%d;" % each
                await asyncio.sleep(0)
            yield DONE
            await asyncio.sleep(1)  # nobody waits for what stands behind the end

        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(send(frames(), reader, drain), 5)
        assert reader.is_ended
        return reader.body

    for after in range(7):
        body = asyncio.run(drive(after))
        assert body.endswith(DONE) != body.endswith(b"error ShuttingDownError"), body
        assert body.count(DONE) + body.count(b"error") == 1


def test_an_end_that_a_slow_reader_did_not_take_in_time_is_another_one() -> None:
    async def drive(is_alone: bool) -> bytes:
        """Alone, the end waits in a write of its own; else behind a write of frames before it."""
        reader, drain = Reader(), Drain()

        async def frames() -> AsyncIterator[bytes]:
            yield b"first;"
            if not is_alone:
                yield b"second;"
            reader.open.clear()
            await asyncio.sleep(0.05)
            asyncio.get_running_loop().call_later(0.05, drain.cut)
            asyncio.get_running_loop().call_later(0.1, reader.open.set)
            yield DONE

        await send(frames(), reader, drain)
        assert reader.is_ended
        return reader.body

    assert asyncio.run(drive(True)) == b"first;error ShuttingDownError"
    assert asyncio.run(drive(False)) == b"first;second;" + DONE


def test_a_stream_that_fails_or_ends_without_a_terminal_says_so() -> None:
    async def failing(how: Exception | None) -> AsyncIterator[bytes]:
        yield b"first;"
        if how:
            raise how

    async def drive(how: Exception | None) -> bytes:
        reader = Reader()
        await send(failing(how), reader)
        assert reader.is_ended
        return reader.body

    for how in (None, ValueError("x"), QuothError("x")):
        assert asyncio.run(drive(how)) == b"first;error QuothError"


def test_a_writer_lets_go_of_its_timers() -> None:
    async def drive() -> int:
        reader = Reader()
        writer = PacedWriter(reader.send, lambda: None, 60, 0.01)
        writer.close()
        await asyncio.sleep(0.05)
        return len(reader.messages)

    assert asyncio.run(drive()) == 0
