"""The search over settings: halving finds what is best, within its budget, and on the dev half alone."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from evals.datasets import split_queries
from evals.halving import FINALISTS, Measured, Round, halve
from evals.indexing import Index, build_index
from evals.pareto import front
from evals.records import Case, CorpusDocument, Dataset, Span
from evals.space import as_toml, combinations, read_space, usual_space
from evals.systems import read_systems
from evals.tuning import Tuning, tune, tuning_as_json
from rag.assembly import make_engine
from rag.backends.vectors.memory import MemoryChunkStore
from rag.errors import InvalidInputError
from rag.ledger.connection import connect
from rag.settings import Settings, load_settings
from tests.fakes import DIMENSION, BagOfWordsEmbedder


class Objective:
    """Better the nearer `x` is to 7, and slower the larger it is; each question adds its own noise to every choice."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str]] = []

    async def __call__(self, changes: Mapping[str, Any], queries: Sequence[str]) -> Measured:
        x = changes.get("x", 0)
        self.asked += [(x, query) for query in queries]
        quality = {query: 1 - abs(x - 7) / 20 + random.Random(f"{x} {query}").gauss(0, 0.1) for query in queries}
        return Measured(quality, dict.fromkeys(queries, 5.0 + x))


CANDIDATES: list[dict[str, Any]] = [{}, *({"x": x} for x in range(1, 16))]
QUERIES = [f"q{number}" for number in range(400)]


def test_halving_finds_the_best_and_asks_it_everything() -> None:
    objective, rounds = Objective(), list[Round]()
    trials = asyncio.run(halve(CANDIDATES, QUERIES, objective, on_round=rounds.append))
    assert trials[0].changes == {"x": 7}
    assert len(trials[0].values) == len(QUERIES)
    assert len(objective.asked) == len(set(objective.asked)), "no search is done twice"
    assert len(objective.asked) < len(CANDIDATES) * len(QUERIES) / 2
    assert [done.queries for done in rounds] == [50, 100, 400]
    assert rounds[-1].trials <= FINALISTS + 2


def test_the_current_and_the_fastest_come_to_the_end() -> None:
    candidates = [{"x": 15}, *({"x": x} for x in range(1, 15))]
    trials = asyncio.run(halve(candidates, QUERIES, Objective()))
    finalists = {trial.changes["x"] for trial in trials if trial.rounds == trials[0].rounds}
    assert {15, 1, 7} <= finalists


@pytest.mark.parametrize("budget", [400, 700, 3000])
def test_the_budget_holds(budget: int) -> None:
    objective = Objective()
    trials = asyncio.run(halve(CANDIDATES, QUERIES, objective, budget=budget))
    assert len(objective.asked) <= budget
    assert all(trial.values for trial in trials)


def test_a_budget_that_decides_nothing_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="allow 320 or more"):
        asyncio.run(halve(CANDIDATES, QUERIES, Objective(), budget=100))


def test_of_equals_the_faster_wins() -> None:
    async def equal(changes: Mapping[str, Any], queries: Sequence[str]) -> Measured:
        return Measured(dict.fromkeys(queries, 0.5), dict.fromkeys(queries, 10.0 - changes.get("x", 0)))

    assert asyncio.run(halve(CANDIDATES, QUERIES, equal))[0].changes == {"x": 15}


def test_the_front_is_what_nothing_beats() -> None:
    points = [(0.5, 10.0), (0.6, 20.0), (0.55, 25.0), (0.6, 30.0), (0.4, 10.0), (0.7, 40.0), (0.5, 10.0)]
    assert front(points, lambda p: p[0], lambda p: p[1]) == ((0.7, 40.0), (0.6, 20.0), (0.5, 10.0))
    assert front([], lambda p: p[0], lambda p: p[1]) == ()


class Looked(Mapping[str, int]):
    """Grades of a question that tell when they are looked at."""

    def __init__(self, query: str, grades: Mapping[str, int], seen: set[str]) -> None:
        self._query, self._grades, self._seen = query, grades, seen

    def __getitem__(self, key: str) -> int:
        self._seen.add(self._query)
        return self._grades[key]

    def __iter__(self) -> Iterator[str]:
        self._seen.add(self._query)
        return iter(self._grades)

    def __len__(self) -> int:
        self._seen.add(self._query)
        return len(self._grades)


class ListeningEmbedder(BagOfWordsEmbedder):
    """Notes the questions that it is asked."""

    def __init__(self, heard: list[str]) -> None:
        super().__init__()
        self._heard = heard

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        self._heard.append(text)
        return await super().embed_query(text)


class World:
    """A dataset that tells which of its questions are looked at, and engines that tell what they are asked."""

    def __init__(self, folder: Path, topics: int = 30) -> None:
        self._folder = folder
        self.seen: set[str] = set()
        self.heard: list[str] = []
        self.opened = 0
        trees, parts = ("alder", "birch", "cedar", "elm", "fir", "oak"), ("wood", "leaf", "bark", "root", "seed")
        words = [f"{tree}{part}" for tree in trees for part in parts]
        documents = {
            f"d{n}": CorpusDocument(f"d{n}", "", f"The {words[n]} grows here. It is tall. " * 3 + "Nothing else grows.")
            for n in range(topics)
        }
        queries = {f"q{n}": f"Where does the {words[n]} grow, asked {n}?" for n in range(topics)}
        self.dataset = Dataset(
            name="made", folder=folder, sha256="f" * 64, documents=documents, queries=queries,
            qrels={f"q{n}": Looked(f"q{n}", {f"d{n}": 1}, self.seen) for n in range(topics)},
            cases=tuple(
                Case(f"q{n}", queries[f"q{n}"], ("x",), (f"d{n}",), (Span(f"d{n}", 0, 30),)) for n in range(topics)
            ),
        )  # fmt: skip

    @asynccontextmanager
    async def open(self, settings: Settings, dataset: Dataset, cache: Path, on_progress: Any) -> AsyncIterator[Index]:
        self.opened += 1
        folder = self._folder / f"data{self.opened}"
        folder.mkdir()
        ledger = connect(folder, None)
        settings = settings.model_copy(update={"data_dir": folder})
        engine = make_engine(settings, ledger, MemoryChunkStore(DIMENSION), ListeningEmbedder(self.heard), "fake")
        yield await build_index(engine, dataset)
        ledger.dispose()

    def tune(self, space: Mapping[str, Sequence[Any]], **more: Any) -> Tuning:
        return asyncio.run(tune(self.dataset, load_settings(), space, cache=self._folder, opened=self.open, **more))


SPACE = {"retrieval.dense_weight": (0.0, 0.5, 1.0), "retrieval.candidates": (1, 100)}


def test_only_the_dev_half_is_looked_at(tmp_path: Path) -> None:
    world = World(tmp_path)
    dev, test = split_queries(world.dataset)
    assert dev.queries
    assert test.queries
    found = world.tune(SPACE)
    assert world.seen == set(dev.queries)
    asked = {text for text in world.heard if text.startswith("Where")}
    assert asked == set(dev.queries.values())
    assert found.queries == len(dev.queries)
    assert {query for trial in found.trials for query in trial.values} == set(dev.queries)


def test_stores_are_shared_by_choices_that_cut_alike(tmp_path: Path) -> None:
    world = World(tmp_path)
    found = world.tune({**SPACE, "chunking.max_tokens": (32, 256)})
    assert world.opened == 2
    assert len(found.trials) == 3 * 2 * 2


def test_the_winner_is_a_settings_file(tmp_path: Path) -> None:
    world = World(tmp_path)
    found = world.tune({"retrieval.k": (1, 6)}, metric="span_precision")
    assert found.winner.changes == {"retrieval.k": 1}, "one passage holds less that was not asked for"
    (tmp_path / "winner.toml").write_text(found.toml)
    (system,) = read_systems([tmp_path / "winner.toml"])
    assert system.settings.retrieval.k == 1
    assert system.settings.retrieval.candidates == load_settings().retrieval.candidates
    shown = tuning_as_json(found)
    assert shown["winner"]["settings"] == {"retrieval.k": 1}
    assert shown["difference"] == pytest.approx(found.winner.quality - found.current.quality)


def test_the_settings_in_force_may_win(tmp_path: Path) -> None:
    found = World(tmp_path).tune({"retrieval.k": (6, 50)}, metric="span_precision")
    assert found.against is None
    assert found.verdict().startswith("The settings in force are the best")


def test_what_cannot_be_tried_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(InvalidInputError, match=r"retrieval\.k"):
        world.tune({"retrieval.k": (0, 6)})
    with pytest.raises(InvalidInputError, match="only the settings that are in force"):
        world.tune({"retrieval.k": (load_settings().retrieval.k,)})
    world.dataset = replace(world.dataset, cases=())
    with pytest.raises(InvalidInputError, match="can be scored by span_iou"):
        world.tune(SPACE, metric="span_iou")


def test_a_space_is_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text('[retrieval]\ndense_weight = [0.1, 0.9]\n[embedder]\nmodel = ["a/b"]\n')
    space = read_space(path)
    assert space == {"retrieval.dense_weight": (0.1, 0.9), "embedder.model": ("a/b",)}
    assert len(list(combinations(space))) == 2
    assert as_toml({"retrieval.dense_weight": 0.1, "embedder.model": 'a"b'}) == (
        '[retrieval]\ndense_weight = 0.1\n\n[embedder]\nmodel = "a\\"b"\n'
    )
    assert usual_space()["retrieval.dense_weight"]
    assert usual_space(["m"])["embedder.model"] == ("m",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[retrieval]\nweight = [1]\n", "no setting retrieval.weight"),
        ("[retrieval]\nk = 3\n", "retrieval.k needs a list"),
        ("k = [3]\n", "no setting k"),
        ("", "names no setting"),
        ("[retrieval", "cannot be read as TOML"),
    ],
)
def test_a_malformed_space_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "space.toml").write_text(text)
    with pytest.raises(InvalidInputError, match=said):
        read_space(tmp_path / "space.toml")
