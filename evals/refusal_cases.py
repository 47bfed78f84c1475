"""Questions to fit refusals on: a dataset's own, and those of others, which its documents do not answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from evals.cases import read_own_cases
from evals.indexing import CACHE, open_index
from evals.records import Dataset
from evals.refusing import Judged
from rag.answerability import signals
from rag.assembly import Engine
from rag.retrieval import Retriever
from rag.settings import Settings

FOREIGN_POOL = 400  # of each other dataset
OnJudged = Callable[[str, int, int], None]


async def judge_datasets(
    datasets: Sequence[Dataset],
    settings: Settings,
    per_kind: int,
    *,
    seed: int = 0,
    cache: Path = CACHE,
    on_judged: OnJudged = lambda *_: None,
) -> list[Judged]:
    """The signs of questions about each dataset.

    Args:
        datasets: each needs others beside it, whose questions its documents do not answer.
        per_kind: questions with an answer, without one, and of other datasets, of each at most.

    Raises:
        QuothError: an index cannot be opened or made.
    """
    draw = random.Random(seed)
    found: list[Judged] = []
    for dataset in datasets:
        asked = _questions(dataset, datasets, per_kind, draw)
        async with open_index(settings, dataset, cache) as index:
            for done, (question, is_answerable, kind) in enumerate(asked, 1):
                signs = await _signs(index.engine.retriever, index.store, question)
                found.append(Judged(signs, is_answerable, (dataset.name, kind)))
                on_judged(dataset.name, done, len(asked))
    return found


async def judge_own(engine: Engine, store: str, path: Path, on_judged: OnJudged = lambda *_: None) -> list[Judged]:
    """The signs of a user's own cases in the user's own store.

    Raises:
        InvalidInputError: the file cannot be read as cases.
        QuothError: a search failed.
    """
    found: list[Judged] = []
    cases = read_own_cases(path)
    for done, case in enumerate(cases, 1):
        signs = await _signs(engine.retriever, store, case.question)
        found.append(Judged(signs, case.answerable, (store, "own")))
        on_judged(store, done, len(cases))
    return found


async def _signs(retriever: Retriever, store: str, question: str) -> dict[str, float]:
    result = await retriever.search(store, question)
    return signals(result.question, result.hits)


def _questions(
    dataset: Dataset, others: Sequence[Dataset], per_kind: int, draw: random.Random
) -> list[tuple[str, bool, str]]:
    if dataset.cases:
        own = [(case.question, case.is_answerable) for case in dataset.cases]
    else:
        own = [(dataset.queries[query], True) for query in dataset.qrels if query in dataset.queries]
    known, unknown = ([question for question, answered in own if answered is kind] for kind in (True, False))
    foreign = [
        question
        for other in others
        if _family(other) != _family(dataset)
        for question in sorted(other.queries.values())[:FOREIGN_POOL]
    ]
    kinds = ((known, True, "own"), (unknown, False, "unanswerable"), (foreign, False, "foreign"))
    return [
        (question, answered, kind)
        for questions, answered, kind in kinds
        for question in draw.sample(questions, min(per_kind, len(questions)))
    ]


def _family(dataset: Dataset) -> str:
    """Datasets over the same articles, whose questions another one of them may answer: those made of Wikipedia."""
    name = dataset.name.split("/")[0].split("_")[0]
    return "wikipedia" if name in ("squad2", "xquad", "hotpotqa", "musique") else name
