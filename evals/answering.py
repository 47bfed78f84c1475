"""An evaluation of answers from its cases to its result: over a dataset, or over a user's own store and cases."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from evals.answer_journal import Journal
from evals.answering_run import Answered, DocumentOf, Price, answer_cases, draw_cases, measure
from evals.answers import AnswerRecord
from evals.cases import judged_cases, read_own_cases
from evals.indexing import CACHE, open_index
from evals.judge import Judge, open_judge
from evals.provenance import provenance
from evals.records import Case, Dataset, EvalResult
from evals.significance import compare
from evals.stored import read_documents
from evals.systems import System, differing
from rag.assembly import Engine, open_answerer, open_engine
from rag.errors import InvalidInputError

COMPARED = ("right", "f1", "citation_recall")

OnRecord = Callable[[str, AnswerRecord, int, int], None]
"""Called with the system's name, the record, how many are done, and how many there are."""
OnIndex = Callable[[int, int], None]


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        limit: cases at most; None takes all.
        seed: of the drawing and the resampling.
        save: of the result; what was answered so far is kept beside it.
        judge: a model's name, or None.
        price: of a million tokens.
    """

    limit: int | None = None
    seed: int = 0
    save: Path | None = None
    judge: str | None = None
    price: Price = field(default_factory=Price)
    cache: Path = CACHE


async def evaluate_dataset(
    dataset: Dataset,
    systems: Sequence[System],
    options: Options,
    on_record: OnRecord = lambda *_: None,
    on_index: OnIndex = lambda *_: None,
) -> EvalResult:
    """Let each system answer the questions of a dataset, over an index of its documents that the evals keep.

    Raises:
        InvalidInputError: the dataset has no cases, or the journal beside `save` is of another run.
        QuothError: an index or an answerer cannot be opened, or answering cannot go on.
    """
    if not dataset.cases:
        raise InvalidInputError(
            f"{dataset.name} judges passages alone: for answers it needs an answers.jsonl, or a questions.jsonl."
        )
    known = dataset.documents.keys()
    cases = [
        # Spans of uncut documents cannot be compared with citations of the passages that were cut from them.
        replace(case, spans=tuple(span for span in case.spans if span.document in known))
        for case in draw_cases(dataset.cases, options.limit, options.seed)
    ]
    run = _Run(dataset.name, dataset.sha256, cases, systems, options, on_record)
    for system in systems:
        async with open_index(system.settings, dataset, options.cache, on_index) as index:
            documents = index.documents
            await run.measure(system, index.engine, index.store, lambda cited: documents[cited.document_id])  # noqa: B023
    return run.result()


async def evaluate_own(
    store: str, path: Path, systems: Sequence[System], options: Options, on_record: OnRecord = lambda *_: None
) -> EvalResult:
    """Let each system answer a user's own cases over the user's own store. Raises as `evaluate_dataset`.

    Args:
        store: the store's name.
        path: of the cases, see `evals.cases`.
    """
    own = read_own_cases(path)
    run: _Run | None = None
    for system in systems:
        async with open_engine(system.settings) as engine:
            documents = {document.uri: document for document in await read_documents(engine, store)}
            cases = draw_cases(judged_cases(path, own, documents), options.limit, options.seed)
            versions = sorted((uri, document.generation) for uri, document in documents.items())
            sha256 = _digest([[case.as_dict() for case in own], versions])
            run = run or _Run(store, sha256, cases, systems, options, on_record)
            await run.measure(system, engine, store, lambda cited: cited.uri)
    if run is None:
        raise InvalidInputError("There is no system to measure.")
    return run.result()


class _Run:
    """One evaluation: what was answered so far, and what has been measured of it."""

    def __init__(
        self,
        dataset: str,
        sha256: str,
        cases: Sequence[Case],
        systems: Sequence[System],
        options: Options,
        on_record: OnRecord,
    ) -> None:
        self._dataset, self._sha256, self._cases = dataset, sha256, cases
        self._options, self._on_record = options, on_record
        self._provenance = provenance(options.seed)
        self._answered: dict[str, Answered] = {}
        self._journal: Journal | None = None
        self._known: Mapping[str, dict[str, AnswerRecord]] = {}
        if options.save:
            self._journal = Journal(options.save, self._depends_on(systems))
            self._known = self._journal.read()

    def _depends_on(self, systems: Sequence[System]) -> dict[str, Any]:
        return {
            "dataset": self._sha256, "cases": _digest([case.id for case in self._cases]),
            "settings": {system.name: differing(system.settings) for system in systems},
            "judge": self._options.judge, "price": asdict(self._options.price), "code": self._provenance["commit"],
        }  # fmt: skip

    async def measure(self, system: System, engine: Engine, store: str, document_of: DocumentOf) -> None:
        """Answer and score all cases with one system."""
        async with AsyncExitStack() as stack:
            answerer = await stack.enter_async_context(open_answerer(engine))
            name = self._options.judge
            judge: Judge | None = await stack.enter_async_context(open_judge(engine, name)) if name else None
            known = self._known.get(system.name, {})
            done = len(known)

            def keep(record: AnswerRecord) -> None:
                nonlocal done
                done += 1
                if self._journal:
                    self._journal.write(system.name, record)
                self._on_record(system.name, record, done, len(self._cases))

            records = await answer_cases(
                answerer, store, self._cases, document_of,
                known=known, price=self._options.price, judge=judge, on_record=keep,
            )  # fmt: skip
        self._answered[system.name] = measure(
            system.name, self._cases, records, settings=differing(system.settings),
            fingerprint=asdict(engine.embedder.fingerprint), seed=self._options.seed,
        )  # fmt: skip

    def result(self) -> EvalResult:
        """What was measured; the journal is closed."""
        if self._journal:
            self._journal.finish()
        systems = tuple(answered.result for answered in self._answered.values())
        common = [name for name in COMPARED if all(name in system.per_query for system in systems)]
        comparisons = [
            each
            for name in (common if len(systems) > 1 else ())
            for each in compare(name, {one.name: one.per_query[name] for one in systems}, seed=self._options.seed)
        ]
        return EvalResult(
            kind="answers", dataset=self._dataset, dataset_sha256=self._sha256, queries=len(self._cases),
            systems=systems, comparisons=tuple(comparisons), provenance=self._provenance | self._findings(),
            questions={case.id: case.question for case in self._cases},
        )  # fmt: skip

    def _findings(self) -> dict[str, Any]:
        """What an EvalResult has no field for: curves, the areas by each signal, and the judge's agreement."""
        curves = {name: answered.curves for name, answered in self._answered.items()}
        found: dict[str, Any] = {
            "answerable": sum(case.is_answerable for case in self._cases),
            "curve": {
                name: {"signal": next(iter(one)), **next(iter(one.values())).as_dict()} for name, one in curves.items()
            },
            "areas": {name: {signal: each.area for signal, each in one.items()} for name, one in curves.items()},
        }
        if self._options.judge:
            agreed = {name: one.agreement and asdict(one.agreement) for name, one in self._answered.items()}
            found["judge"] = {"model": self._options.judge, "agreement": agreed}
        return found


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
