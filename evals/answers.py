"""How good an answer is: its words, its citations, its sentences, and whether it should have been given at all.

Every measure is a mean over the cases that it applies to; docs/evals.md defines each for people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from evals import squad
from evals.records import Case
from evals.risk_coverage import RiskCoverage, risk_coverage
from rag.citations import Verdict

ENOUGH_F1: Final = 0.5
VERDICTS: Final[tuple[Verdict, ...]] = ("quoted", "supported", "weak", "unsupported")
# What an answer's confidence is read from: the first that the product gives.
CONFIDENCE: Final = ("answerable", "rerank", "dense", "fused")


@dataclass(frozen=True, slots=True)
class Quote:
    """A citation, with its document's id as the dataset has it.

    `answer_start:answer_end` are characters of the answer, `start:end` of the document.
    """

    document: str
    start: int
    end: int
    text: str
    answer_start: int
    answer_end: int
    verdict: Verdict


@dataclass(frozen=True)
class AnswerRecord:
    """What the product did with one case.

    Attributes:
        verdicts: of the answer's sentences, in their order.
        signals: scores that say how sure the product is, such as `dense`, the cosine of the best passage.
        first_token_ms: from the question to the first characters; `total_ms` to the end.
        price: of the tokens, in the currency that they were priced in.
        error: why there is no whole answer; empty where there is one.
        judged_right: by the judge; None where there is none, or it said neither yes nor no.
    """

    case: str
    answer: str
    is_refusal: bool
    quotes: tuple[Quote, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    signals: Mapping[str, float] | None = None
    first_token_ms: float = 0.0
    total_ms: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    price: float = 0.0
    error: str = ""
    judged_right: bool | None = None

    @property
    def is_answered(self) -> bool:
        """Whether there is an answer that could be right or wrong."""
        return not (self.is_refusal or self.error)

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> AnswerRecord:
        """The inverse of `as_dict`."""
        return cls(
            **{
                **fields,
                "quotes": tuple(Quote(**quote) for quote in fields["quotes"]),
                "verdicts": tuple(fields["verdicts"]),
            }
        )


def is_right_citation(case: Case, quote: Quote) -> bool:
    """Whether a quote shows the answer.

    It does when it holds an accepted answer as whole words, normalised as SQuAD does; or shares a character with a gold
    passage; or, where a case names documents and no passages, stands in one of them.
    """
    if case.answers and squad.contains(quote.text, case.answers):
        return True
    if case.spans:
        return any(
            span.document == quote.document and span.start < quote.end and span.end > quote.start for span in case.spans
        )
    return quote.document in case.documents


def is_right(case: Case, record: AnswerRecord) -> bool:
    """Whether the product did right by a case.

    A question that cannot be answered wants a refusal. Any other wants an answer that holds an accepted one or has an
    F1 of at least 0.5 with it; where no answer is known, one with a right citation.
    """
    if not case.is_answerable:
        return record.is_refusal
    if not record.is_answered:
        return False
    if not case.answers:
        return any(is_right_citation(case, quote) for quote in record.quotes)
    return bool(squad.contains(record.answer, case.answers)) or squad.f1(record.answer, case.answers) >= ENOUGH_F1


def score(case: Case, record: AnswerRecord) -> dict[str, float]:
    """Metric -> value, for those that apply to the case and what was done with it."""
    found = {"right": float(is_right(case, record)), "error": float(bool(record.error))}
    found["coverage"] = float(record.is_answered)
    answer = record.answer if record.is_answered else ""
    if case.answers or not case.is_answerable:
        measures = {"exact_match": squad.exact_match, "f1": squad.f1, "contains": squad.contains}
        # A failure is no refusal: it scores nothing where an empty answer would be the right one.
        found |= {name: 0.0 if record.error else measure(answer, case.answers) for name, measure in measures.items()}
        if case.is_answerable:
            found |= {f"{name}_answerable": found[name] for name in measures}
    if record.is_refusal:
        found["refusal_precision"] = float(not case.is_answerable)
    if case.is_answerable:
        right = [is_right_citation(case, quote) for quote in record.quotes if record.is_answered]
        found["citation_recall"] = float(any(right))
        if right:
            found["citation_precision"] = sum(right) / len(right)
    else:
        found["refusal_recall"] = float(record.is_refusal)
    if record.is_answered:
        found |= {"risk": 1 - found["right"], **sentence_shares(record)}
    if record.judged_right is not None:
        found["judged_right"] = float(record.judged_right)
    spent = {"tokens_in": record.tokens_in, "tokens_out": record.tokens_out, "price": record.price}
    return found | {name: float(value) for name, value in spent.items()}


def sentence_shares(record: AnswerRecord) -> dict[str, float]:
    """The share of an answer's sentences with each verdict."""
    counts = Counter(record.verdicts)
    return {verdict: counts[verdict] / counts.total() for verdict in VERDICTS} if counts else {}


def score_all(cases: Sequence[Case], records: Mapping[str, AnswerRecord]) -> dict[str, dict[str, float]]:
    """Metric -> case id -> value."""
    found: dict[str, dict[str, float]] = {}
    for case in cases:
        for metric, value in score(case, records[case.id]).items():
            found.setdefault(metric, {})[case.id] = value
    return found


def curves(cases: Sequence[Case], records: Mapping[str, AnswerRecord]) -> dict[str, RiskCoverage]:
    """The risk-coverage curve by each signal that every answer has, the one that is preferred first."""
    answered = [records[case.id] for case in cases if records[case.id].is_answered]
    if not answered:
        return {"none": risk_coverage([None] * len(cases), [1.0] * len(cases))}
    names = set.intersection(*(set(record.signals or {}) for record in answered))
    ordered = [name for name in CONFIDENCE if name in names] + sorted(names - set(CONFIDENCE))
    return {name: risk_coverage(*ranked(cases, records, name)) for name in ordered}


def ranked(
    cases: Sequence[Case], records: Mapping[str, AnswerRecord], signal: str
) -> tuple[list[float | None], list[float]]:
    """Confidence (None: not answered) and loss of each case."""
    found = [records[case.id] for case in cases]
    sure = [(record.signals or {}).get(signal) if record.is_answered else None for record in found]
    return sure, [float(not is_right(case, record)) for case, record in zip(cases, found, strict=True)]
