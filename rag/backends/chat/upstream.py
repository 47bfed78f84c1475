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
from rag.hidden_text import without_hidden

LONGEST_DETAIL: Final = 300
LONGEST_READ: Final = 3000  # a key that is cut in two is not known as one
HIDDEN: Final = "***"

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
# Keys as providers draw them, tokens of headers, what stands behind a name such as `api_key`, passwords in addresses,
# and the ids of accounts that providers put into their messages.
_SECRET = re.compile(
    r"\b(?:sk|key|pk|xox|gsk|AIza|hf_|ghp_|glpat|AKIA|xai|nvapi|pplx|eyJ|org-|proj_)[-_.A-Za-z0-9]{8,}"
    r"|(?<=bearer )[^\s\"',;]{8,}"
    r"|(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"
    r"|\b((?:api[-_ ]?key|access[-_ ]?token|token|secret|password)[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&]{6,}",
    re.IGNORECASE,
)


def translate(error: Exception, model: str, secret: str | None) -> QuothError:
    """Say in our terms what a provider's exception means.

    Args:
        secret: the key, which no message may hold.

    Returns:
        InvalidInputError: the prompt is longer than the model takes.
        UpstreamRejectedError: refused: key, permission, quota, model name, request.
        UpstreamUnavailableError: anything else: unreachable, overloaded, broken off, unreadable.
    """
    ours = next((cause for cause in _causes(error) if isinstance(cause, QuothError)), None)
    if ours is not None:
        return ours
    status = status_of(error)
    said = said_of(str(error), secret)
    if status is None and any(
        isinstance(cause, OSError | httpx.TransportError) or _is_network(cause) for cause in _causes(error)
    ):
        *_, root = _causes(error)
        return UpstreamUnavailableError(
            f"The model {model} cannot be reached, or broke off ({type(root).__name__}). Check that it runs and that "
            f"QUOTH_CHAT__BASE_URL is right, then try again.{said}"
        )
    if status is None and isinstance(error, ValueError):
        said = ""  # the words of a decoder, about bytes of the answer
    return upstream_error(status, str(error), said, model, type(error).__name__)


def upstream_error(status: int | None, text: str, said: str, model: str, kind: str = "") -> QuothError:
    """What a provider's own error stands for.

    Args:
        status: the HTTP status, if there was one.
        text: all that the provider said; what kind of error it is stands in it at times.
        said: what of it is passed on, see `said_of`.
        kind: name of the exception.
    """
    if (_QUOTA.search(text) and status in (None, 429)) or status == 402:
        how = f" (HTTP {status})" if status else ""
        return UpstreamRejectedError(f"The quota of the model {model} is used up{how}.{said}")
    if _TOO_LONG.search(text) and (status is None or status < 500):
        return InvalidInputError(
            f"The prompt is too long for the model {model}. Ask with fewer passages, or lower "
            f"QUOTH_CHAT__CONTEXT_TOKENS.{said}"
        )
    if status is None:
        named = f" ({kind})" if kind else ""
        return UpstreamUnavailableError(
            f"The model {model} broke off, or sent what cannot be read as an answer{named}. Check that "
            f"QUOTH_CHAT__BASE_URL leads to a chat API, then try again.{said}"
        )
    if status in _TRANSIENT or status >= 500:
        why = "is asked too often" if status == 429 else "failed"
        return UpstreamUnavailableError(f"The model {model} {why} (HTTP {status}). Try again later.{said}")
    what = _REFUSALS.get(status, "The model {model} refused the request (HTTP {status}).")
    return UpstreamRejectedError(what.format(model=model, status=status) + said)


def retry_after_seconds(error: Exception) -> float | None:
    """How long the provider asks to wait, where it says so in seconds or milliseconds."""
    for cause in _causes(error):
        headers = getattr(getattr(cause, "response", None), "headers", None)
        if headers is None:
            continue
        for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
            try:
                seconds = float(headers.get(name, "nan")) / unit
            except ValueError:  # an HTTP date, which also depends on the two clocks
                continue
            if math.isfinite(seconds):
                return max(0.0, seconds)
    return None


def status_of(error: Exception) -> int | None:
    """The HTTP status that a provider's exception stands for, if any, also as the code of an event."""
    for cause in _causes(error):
        for holder, name in (
            (cause, "status_code"),
            (getattr(cause, "response", None), "status_code"),
            (cause, "code"),
        ):
            status: Any = getattr(holder, name, None)
            if isinstance(status, int) and 400 <= status <= 599:
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


def said_of(text: str, secret: str | None) -> str:
    """The provider's own words as a sentence to append: on one line, shortened, with every key taken out."""
    text = " ".join(text[:LONGEST_READ].split())
    if secret:
        text = text.replace(secret, HIDDEN)
    text = _SECRET.sub(lambda found: f"{found[1] or ''}{HIDDEN}", text)
    text = without_hidden(text)[0]
    short = text if len(text) <= LONGEST_DETAIL else f"{text[:LONGEST_DETAIL]}…"
    return f" It said: {short}" if short else ""
