"""A parser's process may fail in any way: it costs one file, and says why."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ingest.parsers.child import MAX_FILES
from ingest.parsers.limits import ParserLimits
from ingest.parsers.registry import format_of, parse
from ingest.parsers.wire import decode_reply, encode_document
from ingest.sandbox import ParserPool
from rag.documents import Document
from rag.errors import ParseError
from rag.settings import IngestSettings
from tests.ingest.made import SAMPLES

SETTINGS = IngestSettings(parser_processes=2, parser_wall_seconds=30)
LIMITS = ParserLimits.of(SETTINGS)


def with_pool(work: Callable[[ParserPool], Awaitable[None]], **changes: object) -> None:
    async def run() -> None:
        async with ParserPool(SETTINGS.model_copy(update=changes)) as pool:
            await work(pool)

    asyncio.run(run())


async def reason(pool: ParserPool, data: bytes, name: str) -> str:
    with pytest.raises(ParseError) as caught:
        await pool.parse(data, name)
    return caught.value.reason


def children() -> set[int]:
    with subprocess.Popen(["ps", "-o", "pid=", "--ppid", str(os.getpid())], stdout=subprocess.PIPE, text=True) as ps:
        assert ps.stdout is not None
        return {int(line) for line in ps.stdout} - {ps.pid}


def test_documents_are_what_the_parser_makes_in_this_process() -> None:
    made = {}

    async def work(pool: ParserPool) -> None:
        made.update({name: await pool.parse(data, name) for name, data in SAMPLES.items()})

    with_pool(work)
    assert made == {name: parse(data, name, LIMITS) for name, data in SAMPLES.items()}


def test_files_beyond_what_one_process_may_parse_each_get_their_own_document() -> None:
    async def work(pool: ParserPool) -> None:
        names = [f"file {number}.txt" for number in range(MAX_FILES + 50)]
        documents = await asyncio.gather(*(pool.parse(f"text of {name}".encode(), name) for name in names))
        assert [document.text for document in documents] == [f"text of {name}" for name in names]

    with_pool(work, parser_processes=1)


def test_parse_errors_come_through() -> None:
    async def work(pool: ParserPool) -> None:
        assert await reason(pool, b"\x89PNG", "a.pdf") == "wrong_type"
        assert await reason(pool, b"   ", "a.txt") == "no_text"
        assert await reason(pool, b"x", "a.exe") == "unsupported"
        assert (await pool.parse(b"fine", "a.txt")).text == "fine"

    with_pool(work)


def test_names_that_are_no_text() -> None:
    async def work(pool: ParserPool) -> None:
        assert (await pool.parse(b"words", os.fsdecode(b"\xff\n.txt"))).title == "\ufffd"

    with_pool(work)


def test_cpu_time_is_limited_and_the_next_file_gets_a_new_process() -> None:
    async def work(pool: ParserPool) -> None:
        assert await reason(pool, b"# one\n" * 3_000_000, "slow.md") == "parser_timeout"
        assert (await pool.parse(b"fine", "a.txt")).text == "fine"

    with_pool(work, parser_cpu_seconds=1, parser_processes=1)


def test_wall_time_is_limited() -> None:
    async def work(pool: ParserPool) -> None:
        assert await reason(pool, b"# one\n" * 2_000_000, "slow.md") == "parser_timeout"
        assert (await pool.parse(b"fine", "a.txt")).text == "fine"

    with_pool(work, parser_wall_seconds=0.2, parser_processes=1)


def test_memory_is_limited() -> None:
    async def work(pool: ParserPool) -> None:
        assert await reason(pool, b"# one\n" * 2_500_000, "large.md") == "parser_killed"
        assert (await pool.parse(b"fine", "a.txt")).text == "fine"

    with_pool(work, parser_memory_bytes=200 << 20, parser_processes=1)


def test_a_killed_process_costs_one_file() -> None:
    async def work(pool: ParserPool) -> None:
        before = children()
        await pool.parse(b"fine", "a.txt")
        (child,) = children() - before
        os.kill(child, 9)
        assert await reason(pool, b"fine", "a.txt") == "parser_killed"
        assert (await pool.parse(b"fine", "a.txt")).text == "fine"

    with_pool(work, parser_processes=1)


def test_a_cancelled_file_takes_its_process_along() -> None:
    async def work(pool: ParserPool) -> None:
        before = children()
        task = asyncio.create_task(pool.parse(b"# one\n" * 2_000_000, "slow.md"))
        await asyncio.sleep(0.5)
        assert children() - before
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not children() - before
        assert (await pool.parse(b"fine", "a.txt")).text == "fine"

    with_pool(work, parser_processes=1)


@pytest.mark.parametrize("steps", range(8))
def test_a_file_is_cancelled_while_its_process_starts(steps: int) -> None:
    before = children()

    async def work(pool: ParserPool) -> None:
        task = asyncio.create_task(pool.parse(b"words", "a.txt"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)

    with_pool(work)
    assert not children() - before


def test_a_loop_that_ends_with_files_in_every_state_ends() -> None:
    before = children()

    async def work(pool: ParserPool) -> None:
        tasks = [asyncio.create_task(pool.parse(b"# one\n" * 10_000, f"{number}.md")) for number in range(20)]
        await tasks[0]
        raise KeyError

    with pytest.raises(KeyError):
        with_pool(work)
    assert not children() - before


def test_no_process_outlives_the_pool() -> None:
    before = children()

    async def work(pool: ParserPool) -> None:
        await asyncio.gather(*(pool.parse(b"fine", "a.txt") for _ in range(6)))
        assert len(children() - before) == 2

    with_pool(work)
    assert not children() - before


CONFINED = """
import socket, subprocess, sys
from ingest.parsers.child import confine
confine(1 << 30)
def refused(call):
    try:
        call()
    except OSError as error:
        return True
    except MemoryError:
        return True
    return False
print(refused(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[1])), 2)))
print(refused(lambda: socket.getaddrinfo("localhost", 80)))
print(refused(lambda: subprocess.run(["true"])))
def write():
    with open(sys.argv[2], "w") as file:
        file.write("x")
print(refused(write))
print(refused(lambda: bytearray(2 << 30)) or sys.platform == "darwin")
import asyncio
print(asyncio.run(asyncio.sleep(0, True)))
"""


def test_the_process_is_confined(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        output = subprocess.run(
            [sys.executable, "-c", CONFINED, str(port), str(tmp_path / "file")],
            capture_output=True, text=True, check=False, env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
    assert output.stdout.split() == ["True"] * 6, output.stderr


def test_the_process_loads_neither_models_nor_settings() -> None:
    code = "import sys, ingest.parsers.child; print(*sys.modules)"
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout
    heavy = {"torch", "onnxruntime", "numpy", "pydantic", "xberg", "pypdfium2", "selectolax", "charset_normalizer"}
    assert not heavy & set(output.split())


@pytest.mark.parametrize(
    "reply",
    [
        b"", b"[]", b"{}", b"\xff", b'{"document": {}}', b'{"reason": "x"}', b"null",
        b'{"document": {"title": "t", "text": "ab", "media_type": "m", "attributes": {}, "headings": [[]],'
        b' "locators": [[]], "blocks": [[0, 9, "paragraph", 0, 0]]}}',
    ],
)  # fmt: skip
def test_nonsense_from_a_process_is_a_parse_error(reply: bytes) -> None:
    with pytest.raises(ParseError):
        decode_reply(reply)


def test_wire_keeps_what_json_might_not() -> None:
    document = Document("t\u2028", "a\u2028\U0001f600 \x7f b", (), "m", {"flag": True, "count": 3, "share": 0.5})
    assert decode_reply(encode_document(document)) == document


@pytest.mark.slow
def test_every_hostile_and_every_real_file_has_an_outcome(collections: Path) -> None:
    """No crash of ours, no hang, and no memory kept: a parser may fail, but with one of the known reasons."""
    files = sorted(
        path
        for folder in ("hostile", "folders")
        for path in (collections / folder).rglob("*")
        if path.is_file() and format_of(path.name)
    )
    known = {"wrong_type", "corrupt", "encrypted", "binary", "no_text", "needs_ocr", "too_long", "too_deep"}
    outcomes: dict[str, str] = {}

    async def work(pool: ParserPool) -> None:
        async def one(path: Path) -> None:
            data = await asyncio.to_thread(path.read_bytes)
            try:
                document = await pool.parse(data, path.name)
            except ParseError as error:
                outcomes[str(path)] = error.reason
            else:
                outcomes[str(path)] = "parsed" if document.text.strip() else "empty"

        for start in range(0, len(files), 20):
            await asyncio.gather(*(one(path) for path in files[start : start + 20]))

    with_pool(work)
    assert len(outcomes) == len(files) > 100
    assert {outcome for outcome in outcomes.values() if outcome != "parsed"} <= known
    assert list(outcomes.values()).count("parsed") > 0.8 * len(files)
