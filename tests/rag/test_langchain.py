"""Quoth as a LangChain retriever: the same hits, synchronously and asynchronously."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.runnables import RunnableLambda

from ingest.pipeline import Ingestor
from rag.assembly import open_engine
from rag.backends.vectors.edge_process import stop_worker
from rag.documents import store_id
from rag.errors import ModelNotFoundError, StoreNotFoundError
from rag.filters import Eq
from rag.langchain import QuothRetriever
from rag.settings import load_settings


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("langchain")
    (root / "travel.md").write_text("# Travel\n\nTrains are booked in second class.\n\n# Food\n\nLunch is paid.\n")

    async def ingest() -> None:
        async with open_engine(load_settings({"data_dir": root / "data"})) as engine:
            await Ingestor(engine).run([root / "travel.md"], "default")

    try:
        asyncio.run(ingest())
    except ModelNotFoundError as error:
        pytest.skip(str(error))
    yield root / "data"
    stop_worker(root / "data")


def test_the_retriever_finds_cited_documents(data: Path) -> None:
    with QuothRetriever.open("default", k=1, settings={"data_dir": data}) as retriever:
        (found,) = retriever.invoke("Which class are trains?")
        assert "second class" in found.page_content
        assert found.metadata["title"] == "Travel"
        text = (data.parent / "travel.md").read_text()
        assert text[found.metadata["char_start"] : found.metadata["char_end"]] == found.page_content

        async def concurrently() -> list[list[str | None]]:
            chain = retriever | RunnableLambda(lambda documents: [document.id for document in documents])
            return await asyncio.gather(*(chain.ainvoke("Which class are trains?") for _ in range(5)))

        assert asyncio.run(concurrently()) == [[found.id]] * 5


def test_a_store_may_be_named_by_its_id_and_its_documents_be_chosen(data: Path) -> None:
    public = f"vs_{store_id('default').replace('-', '')}"
    for wanted, expected in (("travel.md", ["Travel"]), ("food.md", [])):
        where = Eq("quoth.filename", wanted)
        with QuothRetriever.open(public, k=1, where=where, settings={"data_dir": data}) as retriever:
            assert [each.metadata["title"] for each in retriever.invoke("Which class are trains?")] == expected


def test_an_unknown_store_is_said_when_opening(data: Path) -> None:
    with pytest.raises(StoreNotFoundError):
        QuothRetriever.open("nope", settings={"data_dir": data})
