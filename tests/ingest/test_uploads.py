"""Uploads on disk: safe when acknowledged, gone when not, and never a path."""

import asyncio
import hashlib
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ingest.uploads import (
    MAX_NAME_CHARACTERS,
    Upload,
    display_name,
    path_of_upload,
    receiving,
    store_upload,
    sweep_leftovers,
)
from rag.access import Caller
from rag.assembly import Engine
from rag.errors import InvalidInputError, NotFoundError, StorageUnavailableError
from rag.ledger.files import draw_file_id
from tests.fakes import fake_engine

CONTENT = b"Trains are booked in second class.\n" * 5000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with fake_engine(tmp_path / "data") as engine:
        yield engine


async def pieces(*contents: bytes | Exception) -> AsyncIterator[bytes]:
    for content in contents:
        if isinstance(content, Exception):
            raise content
        yield content


def on_disk(engine: Engine) -> set[str]:
    folder = engine.settings.data_dir / "files"
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_a_file_lies_whole_under_its_id_and_only_its_owner_reads_it(engine: Engine) -> None:
    caller = Caller("key_1", "acme")
    coming = pieces(CONTENT[:7], CONTENT[7:100_000], b"", CONTENT[100_000:])
    file = asyncio.run(store_upload(engine, coming, filename="../guide.txt", caller=caller, expires_seconds=3600))
    assert on_disk(engine) == {file.id}
    path = path_of_upload(engine.settings.data_dir, file.id)
    assert path.read_bytes() == CONTENT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert (file.filename, file.tenant, file.key_id) == ("guide.txt", "acme", "key_1")
    assert (file.size_bytes, file.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert file.expires_at == int(file.created_at) + 3600
    assert engine.files.find(file.id) == file


@pytest.mark.parametrize("failure", [RuntimeError("the client left"), InvalidInputError("refused")])
def test_what_is_not_acknowledged_leaves_nothing(engine: Engine, failure: Exception) -> None:
    with pytest.raises(type(failure)):
        asyncio.run(store_upload(engine, pieces(CONTENT, failure), filename="a.txt"))
    with pytest.raises(InvalidInputError):
        asyncio.run(store_upload(engine, pieces(CONTENT), filename=".."))
    assert on_disk(engine) == set()
    assert engine.files.page(Caller(), limit=1) == ([], False)


def test_an_upload_that_is_cancelled_leaves_nothing(engine: Engine) -> None:
    async def cancelled() -> None:
        waiting = asyncio.Event()

        async def stalling() -> AsyncIterator[bytes]:
            yield CONTENT
            waiting.set()
            await asyncio.Event().wait()

        uploading = asyncio.create_task(store_upload(engine, stalling(), filename="a.txt"))
        await waiting.wait()
        assert len(on_disk(engine)) == 1
        uploading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await uploading

    asyncio.run(cancelled())
    assert on_disk(engine) == set()


def test_leftovers_are_swept_and_nothing_else(engine: Engine) -> None:
    data = engine.settings.data_dir
    assert sweep_leftovers(data, engine.files) == 0
    kept = asyncio.run(store_upload(engine, pieces(CONTENT), filename="a.txt"))
    unacknowledged, torn = draw_file_id(), f"{draw_file_id()}.part"
    for name in (unacknowledged, torn, "notes.txt", "file-short"):
        (data / "files" / name).write_bytes(b"x")
    running = Upload(data)
    assert sweep_leftovers(data, engine.files) == 2
    assert on_disk(engine) == {kept.id, f"{running.id}.part", "notes.txt", "file-short"}
    running.close()
    assert on_disk(engine) == {kept.id, "notes.txt", "file-short"}


def test_bytes_that_the_ledger_refuses_are_swept_later(engine: Engine) -> None:
    """Whether a failed commit came through is not known; the sweep looks."""

    async def twice() -> None:
        async with receiving(engine.settings.data_dir) as upload:
            await upload.write(CONTENT)
            await upload.sync()
            engine.stores._engine.dispose()
            (engine.settings.data_dir / "ledger.sqlite").rename(engine.settings.data_dir / "away")
            (engine.settings.data_dir / "ledger.sqlite").mkdir()
            file = await upload.keep(engine.files, first)
            assert file

    first = asyncio.run(store_upload(engine, pieces(b"first"), filename="a.txt"))
    with pytest.raises(StorageUnavailableError):
        asyncio.run(twice())
    (engine.settings.data_dir / "ledger.sqlite").rmdir()
    (engine.settings.data_dir / "away").rename(engine.settings.data_dir / "ledger.sqlite")
    assert len(on_disk(engine)) == 2
    assert sweep_leftovers(engine.settings.data_dir, engine.files) == 1
    assert on_disk(engine) == {first.id}


def test_a_disk_that_takes_nothing_is_told_without_its_paths(engine: Engine) -> None:
    (engine.settings.data_dir / "files").write_text("in the way")
    with pytest.raises(StorageUnavailableError, match="QUOTH_DATA_DIR") as caught:
        asyncio.run(store_upload(engine, pieces(CONTENT), filename="a.txt"))
    assert str(engine.settings.data_dir) not in str(caught.value)


@pytest.mark.parametrize("name", ["", "../ledger.sqlite", "file-" + "g" * 24, "file-" + "0" * 24 + "\n", "/etc/passwd"])
def test_only_ids_lead_to_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFoundError):
        path_of_upload(tmp_path, name)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("a b.txt", "a b.txt"),
        ("../../etc/x", "x"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\x", "x"),
        ("C:\\Users\\me\\x.pdf", "x.pdf"),
        ("%2e%2e%2fx", "%2e%2e%2fx"),
        ("CON", "CON"),
        ("x. ", "x. "),
        ("e\u0301.txt", "e\u0301.txt"),
        ("\u00e9.txt", "\u00e9.txt"),
        ("a\n\x1b[31mERROR.txt", "a\\x0a\\x1b[31mERROR.txt"),
        ("invoice\u202efdp.exe", "invoice\\u202efdp.exe"),
        ("a\u2028b", "a\\u2028b"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("\U0001f469\u200d\U0001f4bb.txt", "\U0001f469\u200d\U0001f4bb.txt"),
        ("x" * MAX_NAME_CHARACTERS, "x" * MAX_NAME_CHARACTERS),
    ],
)
def test_names_are_for_show(sent: str, shown: str) -> None:
    assert display_name(sent) == shown


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/", "a/..", "a\\", "a\0.txt", "\0", "x" * 256])
def test_names_that_name_nothing_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError):
        display_name(name)
