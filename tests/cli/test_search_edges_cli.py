"""`quoth search` and `quoth ask` at their edges: an exit code, and a message that says what to do."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.execution import guarded
from cli.main import app
from ingest.pipeline import Ingestor
from rag.assembly import open_engine
from rag.backends.vectors.edge_process import stop_worker
from rag.errors import ModelNotFoundError
from rag.settings import load_settings


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("edges")
    (folder / "travel.txt").write_text("Trains are booked in second class.\n")

    async def prepare() -> None:
        async with open_engine(load_settings({"data_dir": folder / "data"})) as engine:
            await Ingestor(engine).run([folder / "travel.txt"], "default")
            await engine.open_store("empty")

    try:
        asyncio.run(prepare())
    except ModelNotFoundError as error:
        pytest.skip(str(error))
    yield folder / "data"
    stop_worker(folder / "data")


def quoth(*arguments: str, data: Path) -> int:
    def command() -> None:
        try:
            app([*arguments, "--data", str(data)])
        except SystemExit as ended:
            assert not ended.code

    return guarded(command)


FOUND = {
    "one letter": ["x"],
    "stop words": ["the of and a"],
    "emoji": ["🚆 🎉"],
    "Japanese": ["列車の予約"],
    "ten thousand words": ["who books trains in which class " * 1666],
    "bytes that are no text": ["\udcff trains"],
    "more than there are": ["trains", "-k", "1000"],
}


@pytest.mark.parametrize("arguments", FOUND.values(), ids=FOUND)
def test_whatever_is_asked_is_searched_for(
    data: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert quoth("search", *arguments, "--json", data=data) == 0
    found = json.loads(capsys.readouterr().out)
    assert [hit["title"] for hit in found["hits"]] == ["travel"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["search", ""], 2, "ask something"),
        (["search", "x" * 100_001], 2, "the limit is 100000"),
        (["search", "trains", "-k", "0"], 2, "at least 1"),
        (["search", "trains", "-k", "10001"], 2, "10000"),
        (["ask", " "], 2, "ask something"),
        (["ask", "trains", "--store", "nope"], 3, "nope"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    data: Path, arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quoth(*arguments, data=data) == code
    assert said in capsys.readouterr().err


def test_an_empty_store_is_no_failure(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quoth("search", "trains", "--store", "empty", data=data) == 0
    assert "Nothing was found." in capsys.readouterr().out
    assert quoth("ask", "Which class are trains?", "--store", "empty", "--json", data=data) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["refused"]
    assert done["citations"] == []
