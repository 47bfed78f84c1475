"""Every candidate's fate, and that of an expected document."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ingest.pipeline import Ingestor
from rag.access import Caller
from rag.assembly import Engine, make_engine
from rag.backends.vectors.memory import MemoryChunkStore
from rag.errors import InvalidInputError
from rag.expecting import Expectation, explain_expected
from rag.explaining import Asked, SearchExplanation, explain_search
from rag.filters import Eq, Filter
from rag.ledger.connection import connect
from rag.settings import load_settings
from tests.fakes import DIMENSION, BagOfWordsEmbedder
from tests.ingest.uploads import attach, upload, work

TEXTS = {
    "trains.txt": "Trains are booked in second class.\n",
    "planes.txt": "Planes need the consent of a manager.\n",
    "rooms.txt": "Rooms are cleaned every day.\n",
    "meals.txt": "Meals are paid up to thirty euros.\n",
}


@contextmanager
def made(folder: Path, candidates: int = 3) -> Iterator[Engine]:
    """Four files of a folder; two uploads, one for the board; so many candidates are taken from each list."""
    docs = folder / "docs"
    docs.mkdir()
    for name, text in TEXTS.items():
        (docs / name).write_text(text)
    (docs / "broken.pdf").write_bytes(b"%PDF-1.4 and then nothing")
    settings = load_settings({"data_dir": folder / "data", "retrieval": {"candidates": candidates, "k": 2}})
    ledger = connect(settings.data_dir)
    engine = make_engine(settings, ledger, MemoryChunkStore(DIMENSION), BagOfWordsEmbedder(), "fake")
    asyncio.run(Ingestor(engine).run([docs], "default"))
    store = engine.stores.get("default")
    attach(engine, store, upload(engine, "board.txt", "Trains of the board are first class.\n"), groups=["board"])
    attach(engine, store, upload(engine, "new.txt", "Trains of 2024.\n"), attributes={"year": 2024})
    work(engine)
    yield engine
    ledger.dispose()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with made(tmp_path_factory.mktemp("explaining")) as engine:
        yield engine


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Engine]:
    """For a test that changes something."""
    with made(tmp_path) as engine:
        yield engine


@pytest.fixture
def wide(tmp_path: Path) -> Iterator[Engine]:
    """Every passage is a candidate."""
    with made(tmp_path, 100) as engine:
        yield engine


QUESTION = "Which class are trains booked in?"


def explained(
    engine: Engine, question: str = QUESTION, caller: Caller = Caller(), k: int | None = None,  # noqa: B008
    where: Filter | None = None, groups: frozenset[str] | None = None,
) -> SearchExplanation:  # fmt: skip
    asked = Asked([engine.stores.get("default")], question, k, where, groups)
    return asyncio.run(explain_search(engine, asked, caller))


def expected(
    engine: Engine, name: str, question: str = QUESTION, caller: Caller = Caller(), k: int | None = None,  # noqa: B008
    where: Filter | None = None, groups: frozenset[str] | None = None,
) -> Expectation:  # fmt: skip
    asked = Asked([engine.stores.get("default")], question, k, where, groups)

    async def go() -> Expectation:
        return await explain_expected(engine, asked, await explain_search(engine, asked, caller), name, caller)

    return asyncio.run(go())


def why(engine: Engine, name: str, **how: Any) -> tuple[SearchExplanation, Expectation]:
    asked = Asked([engine.stores.get("default")], QUESTION, **how)

    async def go() -> tuple[SearchExplanation, Expectation]:
        found = await explain_search(engine, asked, Caller())
        return found, await explain_expected(engine, asked, found, name, Caller())

    return asyncio.run(go())


def document(engine: Engine, name: str) -> str:
    (found,) = (each.id for each in engine.documents.all(engine.stores.get("default").id) if each.uri.endswith(name))
    return found


def test_candidates_are_those_of_the_search_with_its_scores(engine: Engine) -> None:
    found = explained(engine)
    searched = asyncio.run(engine.retriever.search("default", QUESTION))
    assert [each.chunk_id for each in found.candidacies[:2]] == [hit.chunk.id for hit in searched.hits]
    assert [each.outcome for each in found.candidacies] == ["returned"] * 2 + ["below_k"] * (len(found.candidacies) - 2)
    assert [each.rank for each in found.candidacies] == list(range(1, len(found.candidacies) + 1))
    best, hit = found.candidacies[0], searched.hits[0]
    assert (best.dense, best.sparse, best.fused) == (hit.scores.dense, hit.scores.sparse, hit.scores.fused)
    assert (best.dense_rank, best.sparse_rank, best.fused_rank) == (1, 1, 1)
    assert found.kth_score == searched.hits[1].score
    assert set(found.found.milliseconds) >= {"embed", "vectors", "fuse", "join"}


def test_words_that_match_are_those_of_the_word_index(engine: Engine) -> None:
    found = explained(engine, "Which class are the Trains, booking in?")
    assert found.terms == ("class", "Trains", "booking")
    terms = {each.title: each.terms for each in found.candidacies}
    assert terms["trains"] == ("class", "Trains", "booking")
    assert terms["new"] == ("Trains",)


def test_what_the_filter_and_the_groups_drop_is_told(engine: Engine) -> None:
    outcomes = {each.title: each.outcome for each in explained(engine, where=Eq("year", 2024)).candidacies}
    assert (outcomes["new"], outcomes["trains"]) == ("returned", "filtered")
    outcomes = {each.title: each.outcome for each in explained(engine, groups=frozenset({"staff"})).candidacies}
    assert outcomes["board"] == "hidden"
    assert "hidden" not in {each.outcome for each in explained(engine, groups=frozenset({"board"})).candidacies}


def test_readers_are_told_nothing_of_what_their_groups_hide(engine: Engine) -> None:
    staff = Caller(scope="read", groups=frozenset({"staff"}))
    assert "board" not in {each.title for each in explained(engine, caller=staff, where=Eq("year", 1)).candidacies}
    for name in (document(engine, "board.txt"), "board.txt", "broken.pdf"):
        assert expected(engine, name, caller=staff).verdict == "unknown"
    with pytest.raises(InvalidInputError, match="your own groups"):
        explained(engine, caller=staff, groups=frozenset({"board"}))


def test_a_generation_that_is_being_replaced_drops_out(own: Engine) -> None:
    trains = document(own, "trains.txt")
    own.documents.retire(own.stores.get("default").id, [trains])
    (lost,) = (each for each in explained(own).candidacies if each.document_id == trains)
    assert (lost.outcome, lost.rank, lost.dense_rank) == ("replaced", None, 1)


@pytest.mark.parametrize("name", ["trains.txt", "docs/trains.txt", "id", "uri"])
def test_an_expected_document_is_known_by_any_name(engine: Engine, name: str) -> None:
    named = {
        "id": document(engine, "trains.txt"),
        "uri": f"file://{engine.settings.data_dir.parent}/docs/trains.txt",
    }.get(name, name)
    found = expected(engine, named)
    assert (found.verdict, found.document_id) == ("returned", document(engine, "trains.txt"))
    assert found.passages[0].rank == 1


def test_what_stopped_an_expected_document_is_told(engine: Engine) -> None:
    below = expected(engine, "new.txt", k=1)
    assert (below.verdict, below.passages[0].outcome) == ("below_k", "below_k")
    far = expected(engine, "meals.txt")
    assert far.verdict == "below_candidates"
    assert far.passages[0].dense_rank is not None
    assert far.passages[0].dense_rank > 3
    assert f"number {far.passages[0].dense_rank} by meaning" in far.sentence
    assert expected(engine, "trains.txt", where=Eq("year", 2024)).verdict == "filtered"
    assert expected(engine, "board.txt", groups=frozenset({"staff"})).verdict == "hidden"
    assert expected(engine, "nothing.txt").verdict == "unknown"
    refused = expected(engine, "broken.pdf")
    assert refused.verdict == "refused"
    assert "malformed" in refused.sentence or "failed" in refused.sentence


def test_a_document_without_points_is_told(own: Engine) -> None:
    trains = document(own, "trains.txt")
    asyncio.run(own.vectors.delete(own.stores.get("default").id, Eq("document_id", trains)))
    assert expected(own, "trains.txt").verdict == "not_embedded"


def test_an_upload_is_known_by_its_id_also_before_it_is_read(own: Engine) -> None:
    store = own.stores.get("default")
    file = upload(own, "later.txt", "Trains of tomorrow.\n")
    assert expected(own, file.id).verdict == "unknown"
    attach(own, store, file)
    assert expected(own, file.id).verdict == "waiting"
    work(own)
    assert expected(own, file.id).document_id == document(own, "later.txt")


def test_a_name_of_several_documents_is_refused(own: Engine, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "trains.txt").write_text("Trains, again.\n")
    asyncio.run(Ingestor(own).run([more], "default"))
    with pytest.raises(InvalidInputError, match="2 documents end like"):
        expected(own, "trains.txt")
    assert expected(own, "more/trains.txt").document_id == document(own, "more/trains.txt")


def long(engine: Engine, folder: Path, *names: str) -> None:
    """Documents of many chunks about trains, all the same."""
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        parts = (
            f"## Part {n}\n\nTrains are booked in class {n}. {'Which class are trains booked in? ' * 20}\n"
            for n in range(6)
        )
        (folder / name).write_text("# Trains\n\n" + "\n".join(parts))
        asyncio.run(Ingestor(engine).run([folder / name], "default"))


def test_a_repeated_passage_takes_no_second_place(own: Engine, tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / "zug.txt").write_text(TEXTS["trains.txt"])
    asyncio.run(Ingestor(own).run([tmp_path / "copies"], "default"))
    found, copy = why(own, "zug.txt")
    original = expected(own, "docs/trains.txt")
    # Which of the two comes first depends on the rest of their words; the other one is told of.
    first, second = (original, copy) if original.verdict == "returned" else (copy, original)
    assert (first.verdict, second.verdict) == ("returned", "duplicate")
    assert first.uri is not None
    assert first.uri in second.sentence
    assert "was returned" in second.sentence
    (told,) = (each for each in found.candidacies if each.outcome == "duplicate")
    assert (told.document_id, told.duplicate_of, told.rank) == (second.document_id, found.candidacies[0].chunk_id, None)
    assert [each.outcome for each in found.candidacies].count("returned") == 2


def test_what_a_cap_keeps_out_is_told(wide: Engine, tmp_path: Path) -> None:
    long(wide, tmp_path, "more/rail.md")
    rail = document(wide, "rail.md")
    free, _ = why(wide, "rail.md", k=3)
    assert sum(each.document_id == rail for each in free.candidacies[:3]) > 1
    found, told = why(wide, "rail.md", k=3, per_document=1)
    outcomes = [each.outcome for each in found.candidacies]
    assert outcomes[:3] == ["returned"] * 3
    assert [each.outcome for each in found.candidacies if each.document_id == rail].count("returned") == 1
    capped = [each for each in found.candidacies if each.outcome == "capped"]
    assert {each.document_id for each in capped} == {rail}
    assert {each.rank for each in capped} == {None}
    assert told.verdict == "returned"
    assert f"keeps out {len(capped)} more" in told.sentence
    assert [each.outcome for each in told.passages] == ["returned", "capped", "capped"]
    assert "diversify" in found.found.milliseconds


def test_what_likeness_keeps_out_is_told(wide: Engine, tmp_path: Path) -> None:
    long(wide, tmp_path, "more/rail.md")
    rail = document(wide, "rail.md")
    found, _ = why(wide, "rail.md", k=3, diversity=0.9)
    lost = [each for each in found.candidacies if each.outcome == "diversified"]
    assert lost
    assert rail in {each.document_id for each in lost}
    worst = min(each.score or 0.0 for each in found.candidacies if each.outcome == "returned")
    assert all((each.score or 0.0) >= worst for each in lost)
    assert [each.rank for each in found.candidacies if each.rank] == list(
        range(1, 1 + sum(each.rank is not None for each in found.candidacies))
    )


def test_what_is_given_to_the_model_besides_is_told(wide: Engine, tmp_path: Path) -> None:
    long(wide, tmp_path, "more/rail.md")
    found, _ = why(wide, "rail.md", k=1, expand_tokens=1000)
    beside = [each for each in found.candidacies if each.outcome == "expanded"]
    assert beside
    assert {each.expands for each in beside} == {found.candidacies[0].chunk_id}
    assert {each.chunk_id for each in beside} == {each.chunk.id for each in found.found.expansion}
    assert len({each.chunk_id for each in found.candidacies}) == len(found.candidacies)
    plain, _ = why(wide, "rail.md", k=1)
    assert "expanded" not in {each.outcome for each in plain.candidacies}
