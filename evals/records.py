"""What passes between the rooms of the evals: datasets in, results out. Plain records; nothing here computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Run = Mapping[str, Mapping[str, float]]
"""Query id -> document id -> score, the higher the better. A query that found nothing has an empty mapping."""

Qrels = Mapping[str, Mapping[str, int]]
"""Query id -> document id -> grade; only documents that were judged are in it, and 0 is judged not relevant."""


@dataclass(frozen=True, slots=True)
class CorpusDocument:
    """One document of a dataset; `title` may be empty."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """A passage that answers a question: `text[start:end]` of a document, in characters."""

    document: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Case:
    """A question whose answer is known.

    Attributes:
        answers: accepted ones; none where the documents do not answer the question.
        documents: ids of those that answer it.
        spans: the passages that answer it, where they are known.
    """

    id: str
    question: str
    answers: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    is_answerable: bool = True


@dataclass(frozen=True)
class Dataset:
    """Documents, questions, and which documents answer which question.

    Attributes:
        sha256: over all that a score depends on; names caches.
        queries: by id, judged or not.
        qrels: of the split that was read.
        cases: of the questions whose answers are known; empty where a dataset has judgements alone.
    """

    name: str
    folder: Path
    sha256: str
    documents: Mapping[str, CorpusDocument]
    queries: Mapping[str, str]
    qrels: Qrels
    cases: tuple[Case, ...] = ()


@dataclass(frozen=True)
class SystemResult:
    """How one system did on one dataset.

    Attributes:
        name: of the settings file, or `default`.
        settings: those that differ from the defaults, as a tree.
        fingerprint: of the embedder.
        metrics: mean over all judged queries, such as `ndcg@10`; a query without a result counts 0.
        intervals: 95 % bootstrap interval of each mean.
        per_query: metric -> query id -> value.
        latency_ms: `p50`, `p95`, `p99` of one search, embedding of the query included, and `queries` measured.
        run: what was found; empty when the result was read from a file that leaves it out.
        index: `chunks`, `bytes` on disk, `seconds` that the ingest took (0 when it was there already).
    """

    name: str
    settings: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    per_query: Mapping[str, Mapping[str, float]]
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    run: Run = field(default_factory=dict)
    index: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same queries.

    Attributes:
        difference: mean of `b` minus mean of `a`.
        interval: 95 % bootstrap interval of it.
        p: of Fisher's paired randomisation test, two-sided; `p_adjusted` after Holm's correction over all comparisons.
        queries_needed: about so many would decide a difference of this size with a power of 0.8; None where it is
            decided, or where there is no difference.
    """

    metric: str
    a: str
    b: str
    difference: float
    interval: tuple[float, float]
    p: float
    p_adjusted: float
    queries_needed: int | None


@dataclass(frozen=True)
class EvalResult:
    """One dataset, one or several systems, and where the figures come from.

    Attributes:
        kind: `retrieval` or `answers`.
        dataset: its name; `dataset_sha256` what it held.
        queries: how many were judged.
        provenance: commit, versions, machine, seed, command, time.
        questions: query id -> text, for people who read the report.
    """

    kind: str
    dataset: str
    dataset_sha256: str
    queries: int
    systems: tuple[SystemResult, ...]
    comparisons: tuple[Comparison, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    questions: Mapping[str, str] = field(default_factory=dict)
