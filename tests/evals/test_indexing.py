"""A dataset's documents are indexed once, by the product's own parts, and an interrupted index is finished."""

import asyncio
from pathlib import Path

import pytest

from evals.datasets import read_dataset
from evals.indexing import build_index, own_settings, uri_of
from evals.records import CorpusDocument, Dataset
from rag.documents import document_id
from rag.errors import UpstreamError
from rag.settings import load_settings
from tests.fakes import BagOfWordsEmbedder, fake_engine


class FailingEmbedder(BagOfWordsEmbedder):
    """Embeds so many texts, and then fails as a server that went away."""

    def __init__(self, texts: int) -> None:
        super().__init__()
        self.left = texts

    async def embed_passages(self, texts):  # type: ignore[no-untyped-def]
        if len(texts) > self.left:
            raise UpstreamError("The embedder is gone.")
        self.left -= len(texts)
        return await super().embed_passages(texts)


def dataset_of(folder: Path, *documents: CorpusDocument) -> Dataset:
    (folder / "corpus.jsonl").touch()
    known = {document.id: document for document in documents}
    first = documents[0].id
    return Dataset("tiny/one", folder, "ab" * 32, known, {"q": "trains"}, {"q": {first: 1}})


def many(folder: Path, count: int) -> Dataset:
    return dataset_of(folder, *(CorpusDocument(f"d{n}", "", f"passage number {n} of trains") for n in range(count)))


def test_documents_are_chunks_with_title_and_uri(tmp_path: Path) -> None:
    dataset = dataset_of(
        tmp_path,
        CorpusDocument("a", "Travel", "Trains are booked early.\n\nFlights are not."),
        CorpusDocument("b", "", ""),
    )
    with fake_engine(tmp_path / "data") as engine:
        index = asyncio.run(build_index(engine, dataset))
        found = asyncio.run(engine.retriever.search(index.store, "trains", k=5)).hits
    assert index.chunks == len(found) == 1
    assert (found[0].uri, found[0].title) == ("dataset:tiny/one/a", "Travel")
    assert found[0].chunk.text == dataset.documents["a"].text
    assert found[0].chunk.embedded_text.startswith("Travel\n")
    assert index.documents[found[0].chunk.document_id] == "a"


def test_a_title_alone_can_be_found_and_counts_once(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, CorpusDocument("a", "Preliminary report on trains", ""))
    with fake_engine(tmp_path / "data") as engine:
        index = asyncio.run(build_index(engine, dataset))
        (hit,) = asyncio.run(engine.retriever.search(index.store, "trains")).hits
    assert hit.chunk.embedded_text == "Preliminary report on trains"
    assert hit.title == ""


def test_what_is_indexed_is_not_embedded_again(tmp_path: Path) -> None:
    dataset, embedder = many(tmp_path, 70), BagOfWordsEmbedder()
    with fake_engine(tmp_path / "data", embedder) as engine:
        first = asyncio.run(build_index(engine, dataset))
        embedded = embedder.embedded
        second = asyncio.run(build_index(engine, dataset))
    assert embedded == first.chunks == second.chunks == 70
    assert embedder.embedded == embedded
    assert first.seconds > 0
    assert second.seconds == 0
    assert second.size_bytes > 0


def test_an_interrupted_index_is_finished(tmp_path: Path) -> None:
    dataset, embedder = many(tmp_path, 600), FailingEmbedder(texts=320)
    with fake_engine(tmp_path / "data", embedder) as engine:
        with pytest.raises(UpstreamError):
            asyncio.run(build_index(engine, dataset))
        written = embedder.embedded
        embedder.left = 1000
        index = asyncio.run(build_index(engine, dataset))
        store = engine.stores.get(index.store)
        there = {record.uri for record in engine.documents.all(store.id)}
        points = asyncio.run(engine.vectors.count(store.id))
    assert 0 < written < 600
    assert embedder.embedded == 600
    assert there == {uri_of(dataset, identity) for identity in dataset.documents}
    assert index.chunks == points == 600


def test_progress_ends_with_all_documents(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with fake_engine(tmp_path / "data") as engine:
        asyncio.run(build_index(engine, many(tmp_path, 300), lambda done, total: seen.append((done, total))))
    assert seen[-1] == (300, 300)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_text_that_the_ledger_cannot_hold_keeps_its_length(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, CorpusDocument("a", "x\0y", "broken \ud800 and\0nul words"))
    with fake_engine(tmp_path / "data") as engine:
        index = asyncio.run(build_index(engine, dataset))
        (hit,) = asyncio.run(engine.retriever.search(index.store, "broken words")).hits
    assert len(hit.chunk.text) == len(dataset.documents["a"].text)


def test_an_index_belongs_to_its_documents_embedder_and_chunking(tmp_path: Path) -> None:
    dataset, settings = many(tmp_path, 3), load_settings()
    place = own_settings(settings, dataset, tmp_path).data_dir
    others = [
        own_settings(load_settings({"chunking": {"max_tokens": 64}}), dataset, tmp_path),
        own_settings(load_settings({"embedder": {"model": "other"}}), dataset, tmp_path),
        own_settings(settings, many(tmp_path, 4), tmp_path),
    ]
    same = own_settings(load_settings({"retrieval": {"k": 9, "fusion": "dense"}}), dataset, tmp_path)
    assert same.data_dir == place
    assert len({place, *(other.data_dir for other in others)}) == 4
    assert place.is_relative_to(tmp_path)


def test_the_users_own_server_and_ledger_are_not_touched(tmp_path: Path) -> None:
    settings = load_settings({"qdrant": {"url": "http://localhost:1"}, "ledger_url": "postgresql://nowhere/x"})
    own = own_settings(settings, many(tmp_path, 1), tmp_path)
    assert own.qdrant.url is None
    assert own.ledger_url is None


def test_a_folder_of_ones_own_is_ingested(tmp_path: Path) -> None:
    documents = tmp_path / "own" / "documents"
    (documents / "deep er").mkdir(parents=True)
    (documents / "deep er" / "travel.md").write_text("# Travel\n\nTrains are booked in second class.\n")
    (documents / "leave.txt").write_text("Annual leave is 28 days.\n")
    line = '{"id": "q", "question": "Which class for trains?", "files": ["deep er/travel.md"]}\n'
    (tmp_path / "own" / "questions.jsonl").write_text(line)
    dataset = read_dataset(tmp_path / "own")
    with fake_engine(tmp_path / "data") as engine:
        index = asyncio.run(build_index(engine, dataset))
        hit = asyncio.run(engine.retriever.search(index.store, "Which class for trains?")).hits[0]
        again = asyncio.run(build_index(engine, dataset))
        known = document_id(engine.stores.get(index.store).id, hit.uri)
    assert sorted(index.documents.values()) == ["deep er/travel.md", "leave.txt"]
    assert index.documents[known] == "deep er/travel.md"
    assert again.seconds == 0
