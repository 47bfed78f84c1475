"""What stands around the hits: whole sections of the example documents, never more tokens than allowed, never stale."""

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ingest.pipeline import Ingestor
from rag.answering import Answerer
from rag.assembly import Engine, make_engine
from rag.backends.vectors.memory import MemoryChunkStore
from rag.documents import Candidate, Chunk, Scores, SearchHit
from rag.events import AnswerCompleted, CitationAdded, SourcesFound
from rag.expansion import expand, in_reading_order, reach_of
from rag.ledger.connection import connect
from rag.ledger.outlines import Outline
from rag.searching import SearchResult
from rag.settings import load_settings
from tests.fakes import DIMENSION, BagOfWordsEmbedder, ScriptedChatModel, WordTokenizer
from tests.ingest.uploads import attach, upload, work

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTIONS = ("How many days of leave are there?", "What does the warranty cover?", "How is a filter replaced?")
count = WordTokenizer().count


@contextmanager
def made(folder: Path, docs: Path) -> Iterator[Engine]:
    retrieval = {"k": 3, "expand_tokens": 200}
    settings = load_settings({"data_dir": folder, "retrieval": retrieval, "chunking": {"max_tokens": 48}})
    ledger = connect(settings.data_dir)
    engine = make_engine(settings, ledger, MemoryChunkStore(DIMENSION), BagOfWordsEmbedder(), "fake")
    asyncio.run(Ingestor(engine).run([docs], "default"))
    yield engine
    ledger.dispose()


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with made(tmp_path_factory.mktemp("expansion"), EXAMPLES / "handbook") as engine:
        yield engine


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Engine, Path]]:
    docs = tmp_path / "docs"
    docs.mkdir()
    shutil.copy(EXAMPLES / "handbook" / "leave.md", docs)
    with made(tmp_path / "data", docs) as engine:
        yield engine, docs


def searched(
    engine: Engine, question: str, budget: int | None = None, groups: frozenset[str] | None = None
) -> SearchResult:
    return asyncio.run(
        engine.retriever.search("default", question, expanded=True, expand_tokens=budget, groups=groups)
    )  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("budget", [1, 40, 200, 1000])
def test_the_budget_is_never_exceeded_and_each_stands_near_its_hit(
    examples: Engine, question: str, budget: int
) -> None:
    found = searched(examples, question, budget)
    plain = asyncio.run(examples.retriever.search("default", question))
    assert (found.hits, plain.expansion) == (plain.hits, ())
    assert sum(count(each.chunk.text) for each in found.expansion) <= budget
    assert len({each.chunk.id for each in found.passages}) == len(found.hits) + len(found.expansion)
    by_id = {each.chunk.id: each.chunk for each in found.hits}
    for each in found.expansion:
        hit = by_id[each.expands or ""]
        assert (each.chunk.document_id, each.chunk.generation) == (hit.document_id, hit.generation)
        assert abs(each.chunk.ordinal - hit.ordinal) == 1 or each.chunk.headings == hit.headings


@pytest.mark.parametrize("question", QUESTIONS)
def test_with_room_enough_all_of_the_section_and_both_neighbours_are_there(examples: Engine, question: str) -> None:
    found = searched(examples, question, 100_000)
    shown = {each.chunk.id for each in found.passages}
    assert found.expansion
    assert "expand" in found.milliseconds
    for hit in found.hits:
        record = next(each for each in examples.documents.all(hit.store_id) if each.id == hit.chunk.document_id)
        content = examples.documents.content(record)
        assert content is not None
        chunks, at = content.chunks, hit.chunk.ordinal
        wanted = {at - 1, at + 1}
        for step in (-1, 1):
            place = at + step
            while 0 <= place < len(chunks) and chunks[place].headings == hit.chunk.headings:
                wanted.add(place)
                place += step
        assert {chunks[place].id for place in wanted if 0 <= place < len(chunks)} <= shown


def test_passages_stand_in_the_order_of_the_document_beside_their_hit(examples: Engine) -> None:
    found = searched(examples, QUESTIONS[0], 400)
    of_hit = [each.expands or each.chunk.id for each in found.passages]
    assert list(dict.fromkeys(of_hit)) == [hit.chunk.id for hit in found.hits]
    for hit in found.hits:
        own = [each.chunk.ordinal for each in found.passages if hit.chunk.id in (each.chunk.id, each.expands)]
        assert own == sorted(own)


def test_an_answer_may_cite_what_stands_around_its_passages(examples: Engine) -> None:
    found = searched(examples, QUESTIONS[0])
    around = max(found.expansion, key=lambda each: len(each.chunk.text))
    sentence = max(around.chunk.text.replace("\n", " ").split(". "), key=len).strip().rstrip(".") + "."
    model = ScriptedChatModel(sentence)

    async def answered() -> list[object]:
        answerer = Answerer(examples.retriever, model, examples.settings.chat)
        return [event async for event in answerer.stream(await answerer.prepare("default", QUESTIONS[0]))]

    events = asyncio.run(answered())
    assert isinstance(events[0], SourcesFound)
    assert (events[0].hits, events[0].expansion) == (found.hits, found.expansion)
    assert [each.chunk.id for each in model.prompts[0].hits] == [each.chunk.id for each in found.passages]
    cited = {event.citation.chunk_id for event in events if isinstance(event, CitationAdded)}
    assert around.chunk.id in cited
    assert isinstance(events[-1], AnswerCompleted)


def test_neighbours_of_a_replaced_generation_are_never_shown(own: tuple[Engine, Path]) -> None:
    engine, docs = own
    before = searched(engine, QUESTIONS[0])
    old = [hit.chunk for hit in before.hits]
    assert before.expansion
    (docs / "leave.md").write_text((docs / "leave.md").read_text().replace("leave", "leave of absence"))
    asyncio.run(Ingestor(engine).run([docs], "default"))
    assert engine.documents.outlines(old, 5) == []
    after = searched(engine, QUESTIONS[0])
    assert after.expansion
    assert {each.chunk.generation for each in after.passages}.isdisjoint({chunk.generation for chunk in old})


def test_a_neighbour_that_is_replaced_between_two_reads_ends_its_direction() -> None:
    outlines = [Outline(f"c{n}", "d", "g", n, ()) for n in range(6)]

    def join(candidates: Sequence[Candidate]) -> list[SearchHit]:
        return [hit(int(each.chunk_id[1:])) for each in candidates if each.chunk_id != "c3"]

    found = expand([hit(2)], outlines, 1000, count=count, join=join)
    assert [each.chunk.ordinal for each in found] == [1, 0]


def test_readers_see_no_neighbours_that_their_groups_hide(own: tuple[Engine, Path]) -> None:
    engine, _ = own
    board = "# Leave of the board\n\n" + "\n\n".join(
        f"## Part {n}\n\nThe board leaves {'early ' * 40}." for n in range(9)
    )
    attach(engine, engine.stores.get("default"), upload(engine, "board.md", board), groups=["board"])
    work(engine)
    for group, is_shown in (("board", True), ("staff", False)):
        found = searched(engine, "leave of the board", 100_000, frozenset({group}))
        assert any("board" in each.uri for each in found.expansion) == is_shown
        assert any("board" in each.uri for each in found.passages) == is_shown


def hit(ordinal: int, text: str = "", headings: tuple[str, ...] = ()) -> SearchHit:
    words = text or f"one two {ordinal}"
    chunk = Chunk(f"c{ordinal}", "d", "g", ordinal, words, 0, len(words), headings=headings)
    return SearchHit("s", chunk, "", "", 0.0, Scores())


def expanded(hits: list[SearchHit], all_: list[SearchHit], budget: int) -> list[tuple[int, str | None]]:
    outlines = [Outline(each.chunk.id, "d", "g", each.chunk.ordinal, each.chunk.headings) for each in all_]
    known = {each.chunk.id: each for each in all_}
    found = expand(
        hits, outlines, budget, count=count, join=lambda some: [known[each.chunk_id] for each in some]
    )  # fmt: skip
    return [(each.chunk.ordinal, each.expands) for each in found]


def test_the_nearest_come_first_and_what_does_not_fit_ends_its_direction() -> None:
    all_ = [hit(n) for n in range(8)]
    assert expanded([all_[3]], all_, 3 * 3) == [(2, "c3"), (4, "c3"), (1, "c3")]
    all_[4] = hit(4, "long " * 9)
    assert expanded([all_[3]], all_, 9) == [(2, "c3"), (1, "c3"), (0, "c3")]
    assert expanded([all_[3], all_[5]], all_, 6) == [(2, "c3"), (6, "c5")]


def test_beyond_the_section_only_the_neighbour_is_added() -> None:
    all_ = [hit(n, headings=("A",) if n < 3 else ("B",)) for n in range(8)]
    assert expanded([all_[3]], all_, 99) == [(2, "c3"), (4, "c3"), (5, "c3"), (6, "c3"), (7, "c3")]
    assert expanded([all_[1]], all_, 99) == [(0, "c1"), (2, "c1")]


def test_the_same_words_are_not_added_again() -> None:
    all_ = [hit(n) for n in range(4)]
    all_[2] = hit(2, all_[1].chunk.text)
    assert expanded([all_[1]], all_, 99) == [(0, "c1"), (3, "c1")]


def test_reading_order_keeps_the_rank_of_hits() -> None:
    added = [replace(hit(n), expands=of) for n, of in ((4, "c5"), (1, "c2"), (6, "c5"))]
    assert [each.chunk.ordinal for each in in_reading_order([hit(5), hit(2)], added)] == [4, 5, 6, 1, 2]


def test_no_more_is_read_than_a_budget_can_hold() -> None:
    assert [reach_of(budget) for budget in (1, 160, 100_000)] == [1, 10, 64]
