"""A provider's exception to one of ours, whoever the provider is.

Providers share no base class, but nearly all their exceptions carry an HTTP status, or are named after a connection or
a timeout, or have such an exception as their cause.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Final

import httpx

from rag.errors import InvalidInputError, QuothError, UpstreamRejectedError, UpstreamUnavailableError

LONGEST_DETAIL: Final = 300

_TRANSIENT: Final = frozenset({408, 409, 425, 429})
_KEY_REFUSED: Final = (
    "The model {model} refused the key (HTTP {status}). Set QUOTH_CHAT__API_KEY to a key that is valid for it."
)
_REFUSALS: Final = {
    401: _KEY_REFUSED,
    403: _KEY_REFUSED,
    404: "The provider does not know the model {model} (HTTP {status}). Correct QUOTH_CHAT__MODEL or "
    "QUOTH_CHAT__BASE_URL.",
}
_QUOTA = re.compile(r"insufficient_quota|billing|credit balance|exceeded your current quota", re.IGNORECASE)
_TOO_LONG = re.compile(
    r"context[_ ](?:length|size|window)|maximum context|prompt is too long|exceed_context_size|input tokens exceed",
    re.IGNORECASE,
)
_NETWORK = re.compile(r"Connect|Timeout|Network|Protocol|ReadError|WriteError|IncompleteRead|Stream")
_SECRET = re.compile(r"\b(?:sk|key|pk|xox|gsk|AIza)[-_A-Za-z0-9]{8,}")


def translate(error: Exception, model: str, secret: str | None) -> QuothError:
    """Say in our terms what a provider's exception means.

    Args:
        secret: the key, which no message may hold.

    Returns:
        InvalidInputError: the prompt is longer than the model takes.
        UpstreamRejectedError: refused: key, permission, quota, model name, request.
        UpstreamUnavailableError: anything else: unreachable, overloaded, broken off, unreadable.
    """
    status = status_of(error)
    detail = _detail(error, secret)
    said = f" It said: {detail}" if detail else ""
    if status is not None:
        return _of_status(status, str(error), model, said)
    if any(isinstance(cause, OSError | httpx.TransportError) or _is_network(cause) for cause in _causes(error)):
        return UpstreamUnavailableError(
            f"The model {model} cannot be reached, or broke off ({type(error).__name__}). Check that it runs and that "
            f"QUOTH_CHAT__BASE_URL is right, then try again.{said}"
        )
    return UpstreamUnavailableError(
        f"The model {model} broke off, or sent what cannot be read as an answer ({type(error).__name__}). Check that "
        f"QUOTH_CHAT__BASE_URL leads to a chat API, then try again.{said}"
    )


def _of_status(status: int, text: str, model: str, said: str) -> QuothError:
    """The first rule that holds."""
    is_quota = status == 402 or (status == 429 and _QUOTA.search(text))
    if status < 500 and _TOO_LONG.search(text):
        return InvalidInputError(
            f"The prompt is too long for the model {model}. Ask with fewer passages, or lower "
            f"QUOTH_CHAT__CONTEXT_TOKENS.{said}"
        )
    if is_quota:
        return UpstreamRejectedError(f"The quota of the model {model} is used up (HTTP {status}).{said}")
    if status in _TRANSIENT or status >= 500:
        why = "is asked too often" if status == 429 else "failed"
        return UpstreamUnavailableError(f"The model {model} {why} (HTTP {status}). Try again later.{said}")
    what = _REFUSALS.get(status, "The model {model} refused the request (HTTP {status}).")
    return UpstreamRejectedError(what.format(model=model, status=status) + said)


def retry_after_seconds(error: Exception) -> float | None:
    """How long the provider asks to wait, where it says so in seconds."""
    for cause in _causes(error):
        headers = getattr(getattr(cause, "response", None), "headers", None)
        value = headers.get("retry-after") if headers is not None else None
        try:
            seconds = float(value) if value is not None else math.nan
        except ValueError:  # an HTTP date, which also depends on the two clocks
            return None
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def status_of(error: Exception) -> int | None:
    """The HTTP status that a provider's exception stands for, if any."""
    for cause in _causes(error):
        for holder in (cause, getattr(cause, "response", None)):
            status: Any = getattr(holder, "status_code", None)
            if isinstance(status, int) and status >= 400:
                return status
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _is_network(error: BaseException) -> bool:
    return bool(_NETWORK.search(type(error).__name__))


def _detail(error: Exception, secret: str | None) -> str:
    """The provider's own words on one line, shortened, with every key taken out."""
    text = " ".join(str(error).split())
    if secret:
        text = text.replace(secret, "***")
    text = _SECRET.sub("***", text)
    return text if len(text) <= LONGEST_DETAIL else f"{text[:LONGEST_DETAIL]}…"
