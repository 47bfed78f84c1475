"""Asks the product every question of a test set, and measures what it says: one system after the other."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from evals.answers import AnswerRecord, Quote, curves, is_right, ranked, score_all
from evals.judge import Agreement, Judge, agreement
from evals.records import Case, SystemResult
from evals.risk_coverage import RiskCoverage, area_interval
from evals.significance import bootstrap_interval
from rag.answering import Answerer
from rag.citations import Citation
from rag.documents import SearchHit
from rag.errors import InvalidInputError, QuothError
from rag.events import AnswerCompleted, AnswerFailed, Event, SourcesFound, TextDelta

MOST_FAILURES: Final = 5
MILLION: Final = 1_000_000

DocumentOf = Callable[[Citation], str]


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost."""

    tokens_in: float = 0.0
    tokens_out: float = 0.0


@dataclass(frozen=True)
class Answered:
    """How one system answered all cases.

    Attributes:
        curves: risk-coverage by signal, the preferred one first.
        agreement: of the judge with the labels; None without a judge.
    """

    result: SystemResult
    curves: Mapping[str, RiskCoverage]
    agreement: Agreement | None


def draw_cases(cases: Sequence[Case], limit: int | None, seed: int) -> list[Case]:
    """At most `limit` cases in their order, with the same share of unanswerable ones as all have."""
    if limit is None or limit >= len(cases):
        return list(cases)
    draw = random.Random(seed)
    known = [case.id for case in cases if case.is_answerable]
    unknown = [case.id for case in cases if not case.is_answerable]
    answerable = round(limit * len(known) / len(cases))
    chosen = {*draw.sample(known, answerable), *draw.sample(unknown, limit - answerable)}
    return [case for case in cases if case.id in chosen]


async def answer_case(
    answerer: Answerer, store: str, case: Case, document_of: DocumentOf, price: Price | None = None
) -> AnswerRecord:
    """Ask one question and keep what comes.

    Args:
        document_of: the id, as the case has it, of the document that a citation is of.

    Returns:
        The record; with `error` where the model failed.
    """
    begun = time.perf_counter()
    first: float | None = None
    hits: Sequence[SearchHit] = ()
    last: Event | None = None
    try:
        prepared = await answerer.prepare(store, case.question)
        async for last in answerer.stream(prepared):
            if isinstance(last, TextDelta) and first is None:
                first = time.perf_counter()
            if isinstance(last, SourcesFound):
                hits = last.hits
    except QuothError as error:
        if not error.retryable:
            raise
        return _record(case, begun, first, error=str(error))
    if isinstance(last, AnswerFailed):
        return _record(case, begun, first, answer=last.text, error=str(last.error))
    assert isinstance(last, AnswerCompleted), "every stream ends in a terminal event"  # noqa: S101
    cost = price or Price()
    used = last.usage
    return replace(
        _record(case, begun, first, answer=last.text), is_refusal=last.is_refusal, quotes=_quotes(last, document_of),
        verdicts=tuple(sentence.verdict for sentence in last.sentences),
        signals=signals_of(hits, last), tokens_in=used.prompt_tokens, tokens_out=used.completion_tokens,
        price=(cost.tokens_in * used.prompt_tokens + cost.tokens_out * used.completion_tokens) / MILLION,
    )  # fmt: skip


def _record(case: Case, begun: float, first: float | None, *, answer: str = "", error: str = "") -> AnswerRecord:
    now = time.perf_counter()
    return AnswerRecord(
        case=case.id, answer=answer, is_refusal=False, error=error,
        first_token_ms=((first or now) - begun) * 1000, total_ms=(now - begun) * 1000,
    )  # fmt: skip


def signals_of(hits: Sequence[SearchHit], done: AnswerCompleted) -> dict[str, float]:
    """What the product gives that may say how sure it is.

    `dense`, `sparse`, `fused` and `rerank` are the best score of any passage; `support` is the mean over the citations,
    0 without one; `answerable` is the probability that it was judged by.
    """
    found: dict[str, float] = {}
    for name in ("dense", "sparse", "fused", "rerank"):
        values = [value for hit in hits if (value := getattr(hit.scores, name)) is not None]
        if values:
            found[name] = float(max(values))
    supports = [citation.support for citation in done.citations]
    found["support"] = sum(supports) / len(supports) if supports else 0.0
    if done.answerable is not None:
        found["answerable"] = done.answerable.probability
    return found


def _quotes(done: AnswerCompleted, document_of: DocumentOf) -> tuple[Quote, ...]:
    return tuple(
        Quote(document_of(c), c.char_start, c.char_end, c.quote, c.answer_start, c.answer_end, c.verdict)
        for c in done.citations
    )


async def answer_cases(
    answerer: Answerer,
    store: str,
    cases: Sequence[Case],
    document_of: DocumentOf,
    *,
    known: Mapping[str, AnswerRecord] | None = None,
    price: Price | None = None,
    judge: Judge | None = None,
    on_record: Callable[[AnswerRecord], None] = lambda _: None,
) -> dict[str, AnswerRecord]:
    """Ask all questions, one at a time, so that the times are those of one user.

    Args:
        known: records of an interrupted run, which are not asked again.
        judge: asked about every answer that is no refusal.
        on_record: called for each new record.

    Raises:
        QuothError: a retry cannot help, or five questions in a row have failed.
    """
    records = dict(known or {})
    failures = 0
    for case in cases:
        if case.id in records:
            continue
        record = await answer_case(answerer, store, case, document_of, price)
        failures = failures + 1 if record.error else 0
        if failures == MOST_FAILURES:
            raise QuothError(f"{failures} questions in a row failed, the last with: {record.error}")
        if judge and record.is_answered:
            quotes = [quote.text for quote in record.quotes]
            record = replace(record, judged_right=await judge.is_right(case.question, record.answer, quotes))
        records[case.id] = record
        on_record(record)
    return {case.id: records[case.id] for case in cases}


def measure(
    name: str,
    cases: Sequence[Case],
    records: Mapping[str, AnswerRecord],
    *,
    settings: Mapping[str, Any] | None = None,
    fingerprint: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Answered:
    """Score the records of one system.

    Raises:
        InvalidInputError: there is no case.
    """
    if not cases:
        raise InvalidInputError("There is no case to measure. Check the dataset's answers, or the file of cases.")
    per_case = score_all(cases, records)
    values = {metric: np.array(list(found.values())) for metric, found in per_case.items()}
    metrics = {metric: float(found.mean()) for metric, found in values.items()}
    intervals = {metric: bootstrap_interval(found, seed=seed) for metric, found in values.items()}
    found = curves(cases, records)
    signal = next(iter(found))
    metrics["aurc"] = found[signal].area
    intervals["aurc"] = area_interval(*ranked(cases, records, signal), seed=seed)
    result = SystemResult(
        name=name, settings=settings or {}, fingerprint=fingerprint or {}, metrics=metrics, intervals=intervals,
        per_query=per_case, latency_ms=_latency([records[case.id] for case in cases]),
    )  # fmt: skip
    return Answered(result, found, _agreement(cases, records))


def _latency(records: Sequence[AnswerRecord]) -> dict[str, float]:
    """`p50`, `p95` and `p99` of whole answers, and the same of the first token."""
    whole = [record for record in records if not record.error]
    if not whole:
        return {}
    total = np.array([record.total_ms for record in whole])
    first = np.array([record.first_token_ms for record in whole])
    found = {f"p{p}": float(np.percentile(total, p)) for p in (50, 95, 99)}
    found |= {f"first_token_p{p}": float(np.percentile(first, p)) for p in (50, 95, 99)}
    return found | {"queries": float(len(whole))}


def _agreement(cases: Sequence[Case], records: Mapping[str, AnswerRecord]) -> Agreement | None:
    """Of the judge with the labels, over the cases whose label needs no judge."""
    judged = [
        (record.judged_right, is_right(case, record))
        for case in cases
        if (record := records[case.id]).judged_right is not None and (case.answers or not case.is_answerable)
    ]
    if not any(record.judged_right is not None for record in records.values()):
        return None
    return agreement([bool(verdict) for verdict, _ in judged], [label for _, label in judged])
