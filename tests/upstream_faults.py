"""What a chat server can do wrong, and what becomes of the answer: the rows of a table in docs/models.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

KEPT = Literal["complete", "incomplete", "failed"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail.

    Attributes:
        mode: of the stub server; `refused`, `plain` and `unknown-host` are of its address.
        code: of the error; None where the answer is whole nevertheless.
        is_retried: the request is sent again, as often as is configured.
        kept: the status of the answer in its conversation.
    """

    mode: str
    status: int
    code: str | None
    is_retried: bool
    kept: KEPT


def unavailable(mode: str) -> Fault:
    return Fault(mode, 503, "upstream_unavailable", True, "failed")


def rejected(mode: str) -> Fault:
    return Fault(mode, 502, "upstream_rejected", False, "failed")


def broken(mode: str) -> Fault:
    return Fault(mode, 503, "upstream_unavailable", False, "incomplete")


def whole(mode: str) -> Fault:
    return Fault(mode, 200, None, False, "complete")


FAULTS = {
    "The connection is refused": unavailable("refused"),
    "The host's name is unknown": unavailable("unknown-host"),
    "TLS fails": unavailable("plain"),
    "HTTP 401, a wrong key": rejected("401"),
    "HTTP 403, no permission": rejected("403"),
    "HTTP 404, an unknown model": rejected("404"),
    "HTTP 429, asked too often": unavailable("429"),
    "HTTP 429 with a `Retry-After` beyond the longest silence": Fault(
        "429-long", 503, "upstream_unavailable", False, "failed"
    ),
    "HTTP 429, the quota is used up": rejected("429-quota"),
    "HTTP 400, the prompt is too long": Fault("400-too-long", 400, "invalid_request", False, "failed"),
    "HTTP 400, anything else": rejected("400-image"),
    "HTTP 500": unavailable("500"),
    "HTTP 503": unavailable("503"),
    "A redirect": rejected("redirect"),
    "Reset before the first character": unavailable("cut-first"),
    "No response in time": unavailable("never"),
    "A response, and no event in time": unavailable("silent"),
    "Comments without end": unavailable("keep-alives"),
    "Blank lines without end": unavailable("blank-lines"),
    "Events without words, without end": unavailable("empty-events"),
    "A page of HTML that says 200": unavailable("html"),
    "A JSON error that says 200": unavailable("200-error"),
    "The same with a code of its own, here 401": rejected("200-401"),
    "A whole answer in JSON instead of a stream": unavailable("200-whole"),
    "A stream without an event": unavailable("empty"),
    "An error as the first event": unavailable("error-first"),
    "An ending without a word": unavailable("no-words"),
    "A call of a tool": rejected("tool-call"),
    "Silence in the middle": broken("stall"),
    "Reset in the middle": broken("cut"),
    "A clean end in the middle": broken("no-finish"),
    "An event that is no JSON": broken("garbage"),
    "An error event in the middle": broken("error-event"),
    "An event of 10 MB": broken("giant"),
    "Bytes that are no UTF-8": broken("not-utf-8"),
    "The ending `error`": broken("error-reason"),
    "Far more words than were asked for": broken("more"),
    "The content filter, in the middle": Fault("content-filter", 502, "upstream_rejected", False, "incomplete"),
    "The ending `length`": whole("length"),
    "Events cut at every byte": whole("split"),
    "CRLF, LF and CR in turns": whole("line-ends"),
    "A NUL character": whole("nul"),
    "Two endings": whole("two-ends"),
    "Words behind the ending": whole("behind-end"),
    "No `[DONE]` behind the ending": whole("no-done"),
    "Three `[DONE]`": whole("two-dones"),
    "No usage": whole("no-usage"),
    "Events that are called `text/plain`": whole("text-type"),
    "Events that are called `application/json`": whole("json-type"),
}
SILENT = {"never", "silent", "keep-alives", "blank-lines", "empty-events", "stall"}
UNKNOWN_HOST = "http://" + ".".join(["a" * 60] * 5)  # longer than names can be, so that nobody is asked for it
