"""Figures of one serving process, in a registry of its own, as Prometheus reads them.

Labels are bounded: routes by their template, methods and statuses by class, stages and states by name. Nothing that a
caller may choose becomes a label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.observation import Observation

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_REQUEST_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_STAGE_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

Reading = tuple[str, str, Mapping[str, float] | float]  # name, what it is, a value or one for each state


class Metrics:
    """Counts requests; asks for the rest when it is read."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = self._counter(
            "requests", "Requests, by route and class of status.", "method", "route", "status"
        )
        self._seconds = self._histogram(
            "request_seconds",
            "From a request's first byte to its response's last.",
            _REQUEST_SECONDS,
            "method",
            "route",
        )
        self._stages = self._histogram("stage_seconds", "Stages of a question.", _STAGE_SECONDS, "stage")
        self._answers = self._counter("answers", "Answers, by how they ended.", "outcome")
        self._tokens = self._counter("tokens", "Tokens into and out of the chat model.", "direction")
        self._cost = self._counter("cost", "What those tokens cost, in the currency of the price settings.")

    def add(self, seen: Observation) -> None:
        """Count a request that has ended."""
        method = seen.method if seen.method in METHODS else "other"
        self._requests.labels(method, seen.route, f"{seen.status // 100}xx").inc()
        self._seconds.labels(method, seen.route).observe(seen.seconds)
        for stage in seen.stages:
            self._stages.labels(stage.name).observe(stage.seconds)
        for outcome in seen.outcomes:
            self._answers.labels(outcome).inc()
        self._tokens.labels("prompt").inc(seen.prompt_tokens)
        self._tokens.labels("completion").inc(seen.completion_tokens)
        self._cost.inc(seen.cost)

    def text(self, readings: Iterable[Reading] = ()) -> bytes:
        """Everything, in Prometheus' text format, with `readings` that were taken for it."""
        return generate_latest(self._registry) + generate_latest(_read(readings))

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"quoth_{name}", what, labels, registry=self._registry)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"quoth_{name}", what, labels, buckets=buckets, registry=self._registry)


def _read(readings: Iterable[Reading]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Readings(lambda: [_family(*reading) for reading in readings]))
    return registry


class _Readings(Collector):
    def __init__(self, families: Callable[[], list[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()

    def describe(self) -> Iterable[Metric]:
        return ()


def _family(name: str, what: str, value: Mapping[str, float] | float) -> Metric:
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    if isinstance(value, Mapping):
        family = kind(f"quoth_{name}", what, labels=("state",))
        for state, each in value.items():
            family.add_metric((state,), each)
        return family
    return kind(f"quoth_{name}", what, value=value)
