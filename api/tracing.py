"""OpenTelemetry traces, where an endpoint is set and the extra `tracing` is installed: the only file that knows it.

A request is a span, its stages are spans below it. They are made when the request has ended, from what was observed, so
that nothing is carried along while it runs. No content is ever told.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from api.observation import Observation, Stage
from rag.concurrency import in_thread

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger(__name__)

# The variables that OpenTelemetry itself defines, so they are read where it reads them.
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
CLOSE_MILLISECONDS: Final = 2_000
EXPORT_SECONDS: Final = 5
_PROPAGATED: Final = frozenset({"traceparent", "tracestate"})


def open_tracing() -> Tracing | None:
    """Traces to the endpoint of the environment; None where none is set, or the packages are missing."""
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logger.warning(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but there are no traces without: pip install quoth[tracing]"
        )
        return None
    service = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "quoth"}
    provider = TracerProvider(resource=Resource.create(service), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=EXPORT_SECONDS)))
    return Tracing(provider)


class Tracing:
    """Exports requests as spans."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("quoth")
        self._propagator = TraceContextTextMapPropagator()

    def export(self, seen: Observation, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Hand over a request that has ended; who called it may have begun the trace."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        carrier = {name: value for name, value in carrier.items() if name in _PROPAGATED}
        whole = Stage(f"{seen.method} {seen.route}", seen.began_at, seen.seconds)
        root = self._tracer.start_span(
            whole.name, context=self._propagator.extract(carrier), kind=SpanKind.SERVER, start_time=_begin(whole),
            attributes=_attributes(seen),
        )  # fmt: skip
        if seen.status >= 500 or seen.is_cut:
            root.set_status(Status(StatusCode.ERROR))
        inside = set_span_in_context(root)
        for stage in seen.stages:
            span = self._tracer.start_span(stage.name, context=inside, start_time=_begin(stage))
            span.end(_end(stage))
        root.end(_end(whole))

    async def close(self) -> None:
        """Export what is left, within a few seconds."""
        await in_thread(self._provider.force_flush, CLOSE_MILLISECONDS)
        await in_thread(self._provider.shutdown)


def _attributes(seen: Observation) -> dict[str, str | int | tuple[str, ...]]:
    known: dict[str, str | int | tuple[str, ...]] = {
        "http.request.method": seen.method, "http.route": seen.route, "http.response.status_code": seen.status,
        "quoth.request_id": seen.request_id, "quoth.key_id": seen.key_id, "quoth.store_ids": seen.store_ids,
        "gen_ai.usage.input_tokens": seen.prompt_tokens, "gen_ai.usage.output_tokens": seen.completion_tokens,
    }  # fmt: skip
    return {name: value for name, value in known.items() if value not in ("", 0, ())}


def _begin(stage: Stage) -> int:
    return int(stage.began_at * 1_000_000_000)


def _end(stage: Stage) -> int:
    return _begin(stage) + int(stage.seconds * 1_000_000_000)
