"""Traces, taken by a collector on the loopback."""

import queue
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.api.server_process import body, ended, post, server_process

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


class Collector:
    """Keeps what is exported to it."""

    def __init__(self, address: str) -> None:
        self.url = address
        self.received: queue.Queue[bytes] = queue.Queue()

    def spans(self) -> list[Span]:
        """All that has come."""
        taken = []
        while not self.received.empty():
            request = ExportTraceServiceRequest.FromString(self.received.get())
            taken += [span for each in request.resource_spans for scope in each.scope_spans for span in scope.spans]
        return taken


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.received.put(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def attributes(span: Span) -> dict[str, object]:
    return {each.key: each.value.string_value or each.value.int_value or each.value for each in span.attributes}


@pytest.mark.slow
def test_a_request_is_a_span_and_its_stages_are_spans_below_it(tmp_path: Path, collector: Collector) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    with server_process(tmp_path, environment=environment) as (process, port):
        asked = post(port, body("words=4 canary-question"), traceparent=f"00-{TRACE}-{PARENT}-01")
        failed = post(port, body("words=4 at=0 end=crash saying=canary-crash", stream=False))
        assert (asked.status_code, failed.status_code) == (200, 500)
        process.send_signal(signal.SIGTERM)
        assert ended(process, 15) == 0
    spans = collector.spans()
    roots = [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]
    root = next(span for span in roots if span.trace_id.hex() == TRACE)
    assert root.name == "POST /v1/chat/completions"
    assert root.parent_span_id.hex() == PARENT
    known = attributes(root)
    assert known["quoth.request_id"] == asked.headers["x-request-id"]
    assert known["http.response.status_code"] == 200
    assert known["http.route"] == "/v1/chat/completions"
    below = [span for span in spans if span.parent_span_id == root.span_id]
    assert {"embed", "vectors", "fuse", "join", "first_token", "answer"} <= {span.name for span in below}
    for span in below:
        assert root.start_time_unix_nano <= span.start_time_unix_nano
        assert span.start_time_unix_nano <= span.end_time_unix_nano
    other = next(span for span in roots if span.trace_id.hex() != TRACE)
    assert other.status.code == Status.STATUS_CODE_ERROR
    assert b"canary" not in b"".join(span.SerializeToString() for span in spans)
