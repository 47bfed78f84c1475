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
from tests.ingest.pictures import drawn, png, scan, written

SETTINGS = IngestSettings(parser_processes=2, parser_wall_seconds=30)
LIMITS = ParserLimits.of(SETTINGS)
IMAGE = png(drawn())


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
import os, socket, subprocess, sys
from ingest.parsers.child import confine
from ingest.parsers.tesseract import ENVIRONMENT, command
confine(1 << 30, sys.argv[3])
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
print(refused(lambda: subprocess.run(["/bin/sh", "-c", "exit"], executable=sys.argv[3])))
print(refused(lambda: subprocess.run(command(sys.argv[3], "eng"))))
print(refused(lambda: subprocess.run(command("/bin/sh", "eng"), env=ENVIRONMENT)))
print(refused(lambda: os.posix_spawn(sys.argv[3], command(sys.argv[3], "eng"), ENVIRONMENT)))
print(refused(lambda: os.execve(sys.argv[3], command(sys.argv[3], "eng"), ENVIRONMENT)))
print(subprocess.run(command(sys.argv[3], "eng"), env=ENVIRONMENT, stderr=subprocess.PIPE).stderr.decode())
def write():
    with open(sys.argv[2], "w") as file:
        file.write("x")
print(refused(write))
print(refused(lambda: bytearray(2 << 30)) or sys.platform == "darwin")
import asyncio
print(asyncio.run(asyncio.sleep(0, True)))
"""


def test_the_process_is_confined(tmp_path: Path) -> None:
    # What passes for tesseract, under all limits, can write no file and run, but do no more than the process may.
    program = like_tesseract(
        tmp_path, f"exec 3>&2 2>/dev/null; (echo x >{tmp_path}/written); (ulimit -n; ulimit -v) >&3"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        output = subprocess.run(
            [sys.executable, "-c", CONFINED, str(port), str(tmp_path / "file"), program],
            capture_output=True, text=True, check=False, env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
    limits = ["64", str((1 << 30) >> 10)] if sys.platform != "darwin" else ["64", "unlimited"]
    assert output.stdout.split() == ["True"] * 8 + limits + ["True"] * 3, output.stderr
    written = tmp_path / "written"
    assert not written.exists() or not written.read_bytes()


def like_tesseract(folder: Path, script: str) -> str:
    program = folder / "tesseract"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


def with_slow_tesseract(folder: Path, work: Callable[[ParserPool], Awaitable[None]], **changes: object) -> None:
    """A pool with one process, whose tesseract never ends by itself."""
    like_tesseract(folder, "exec /bin/sleep 300")
    settings = SETTINGS.model_copy(update={"parser_processes": 1, **changes})

    async def run() -> None:
        async with ParserPool(settings, ParserLimits.of(settings, program_folders=str(folder))) as pool:
            await work(pool)

    asyncio.run(run())


def processes_below(parent: int) -> set[int]:
    """Living processes that `parent` started."""
    with subprocess.Popen(["ps", "-o", "pid=,stat=", "--ppid", str(parent)], stdout=subprocess.PIPE, text=True) as ps:
        assert ps.stdout is not None
        found = [line.split() for line in ps.stdout]
    return {int(pid) for pid, state in found if not state.startswith("Z")} - {ps.pid}


def lives(pid: int) -> bool:
    with subprocess.Popen(["ps", "-o", "stat=", "-p", str(pid)], stdout=subprocess.PIPE, text=True) as ps:
        assert ps.stdout is not None
        return any(not line.startswith("Z") for line in ps.stdout)


async def until(condition: Callable[[], object]) -> None:
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to that")


async def tesseract_below(pids: Callable[[], set[int]]) -> int:
    """Wait for the process that a parsing process starts."""
    found: set[int] = set()

    def look() -> bool:
        found.update(*(processes_below(pid) for pid in pids()))
        return bool(found)

    await until(look)
    (pid,) = found
    return pid


def test_recognition_has_a_wall_limit_of_its_own(tmp_path: Path) -> None:
    async def work(pool: ParserPool) -> None:
        before = children()
        task = asyncio.create_task(pool.parse(IMAGE, "a.png"))
        tesseract = await tesseract_below(lambda: children() - before)
        with pytest.raises(ParseError, match=r"than 2 seconds\. Raise QUOTH_INGEST__OCR_WALL_SECONDS") as caught:
            await task
        assert caught.value.reason == "parser_timeout"
        await until(lambda: not lives(tesseract))
        assert (await pool.parse(b"fine", "a.txt")).text == "fine"

    with_slow_tesseract(tmp_path, work, ocr_wall_seconds=2, parser_wall_seconds=0.5)


def test_a_cancelled_image_takes_tesseract_along(tmp_path: Path) -> None:
    async def work(pool: ParserPool) -> None:
        before = children()
        task = asyncio.create_task(pool.parse(IMAGE, "a.png"))
        tesseract = await tesseract_below(lambda: children() - before)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not lives(tesseract))

    with_slow_tesseract(tmp_path, work)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_killed_process_takes_tesseract_along(tmp_path: Path) -> None:
    async def work(pool: ParserPool) -> None:
        before = children()
        task = asyncio.create_task(pool.parse(IMAGE, "a.png"))
        tesseract = await tesseract_below(lambda: children() - before)
        (child,) = children() - before
        os.kill(child, 9)
        with pytest.raises(ParseError):
            await task
        await until(lambda: not lives(tesseract))

    with_slow_tesseract(tmp_path, work)


OWNER = """
import asyncio, sys
from ingest.parsers.limits import ParserLimits
from ingest.sandbox import ParserPool
from rag.settings import IngestSettings
from tests.ingest.pictures import drawn, png
async def main():
    settings = IngestSettings()
    async with ParserPool(settings, ParserLimits.of(settings, program_folders=sys.argv[1])) as pool:
        await pool.parse(png(drawn()), "a.png")
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_killed_ingest_takes_tesseract_along(tmp_path: Path) -> None:
    like_tesseract(tmp_path, "exec /bin/sleep 300")
    search = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], env={"PYTHONPATH": search}) as owner:

        async def work() -> None:
            tesseract = await tesseract_below(lambda: processes_below(owner.pid))
            owner.kill()
            await until(lambda: not lives(tesseract))

        try:
            asyncio.run(work())
        finally:
            owner.kill()


@pytest.mark.skipif(not LIMITS.ocr_program, reason="tesseract is not installed")
def test_tesseract_works_under_the_limits() -> None:
    files = {"a.png": png(written("Keys are kept here")), "a.pdf": scan([written("Keys are kept there")])}

    async def work(pool: ParserPool) -> None:
        for name, data in files.items():
            document = await pool.parse(data, name)
            assert document == parse(data, name, LIMITS)
            assert document.text.startswith("Keys are kept")

    with_pool(work)


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


@pytest.mark.long
def test_every_hostile_and_every_real_file_has_an_outcome(collections: Path) -> None:
    """No crash of ours, no hang, and no memory kept: a parser may fail, but with one of the known reasons."""
    files = sorted(
        path
        for folder in ("hostile", "folders")
        for path in (collections / folder).rglob("*")
        if path.is_file() and format_of(path.name)
    )
    known = {
        "wrong_type", "corrupt", "encrypted", "binary", "no_text", "needs_ocr", "image_without_text", "too_long",
        "too_deep",
    }  # fmt: skip
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
