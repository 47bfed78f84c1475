"""Every error that Quoth raises on purpose.

    QuothError
    ├── ConfigurationError          a setting is unknown, malformed or contradictory
    │   ├── MissingPackageError     an optional package is not installed
    │   └── FingerprintMismatchError   the store was embedded by another model
    ├── NotFoundError               a store, document or model that does not exist
    │   ├── StoreNotFoundError
    │   │   └── UnknownModelError
    │   └── ModelNotFoundError
    ├── InvalidInputError           the caller's request cannot be served as it stands
    │   └── StoreExpiredError       the store was not used for as long as it was to be kept
    ├── ConversationBusyError       an answer is being written in that conversation
    ├── IdempotencyMismatchError    the Idempotency-Key came with another request before
    ├── IdempotencyBusyError        the request of that Idempotency-Key is still at work
    ├── ParseError                  one file could not be turned into text
    ├── IngestStoppedError          an ingest was asked to end; it goes on when it is run again
    ├── LeaseLostError              another process has taken over what this one was doing
    ├── StorageError                the vector store or the ledger refused or failed
    │   └── StorageUnavailableError     it cannot be reached at present
    └── UpstreamError               a model behind a network failed
        ├── UpstreamUnavailableError    unreachable, overloaded, timed out
        └── UpstreamRejectedError       it refused: key, quota, model name, content

A message says what happened, to what, and what to do next. `retryable` says whether the same call can succeed later
without anybody changing anything.
"""

from __future__ import annotations


class QuothError(Exception):
    """Base of all errors raised on purpose; its message is fit to be shown to a user."""

    retryable = False


class ConfigurationError(QuothError):
    """A setting is unknown, malformed or contradictory; happens before any work begins."""


class MissingPackageError(ConfigurationError):
    """An optional package is needed by a setting but not installed."""

    def __init__(self, package: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package}, which is not installed. Run: pip install {package}")


class FingerprintMismatchError(ConfigurationError):
    """The store's vectors were made by another embedder than the configured one."""


class NotFoundError(QuothError):
    """Something named by the caller does not exist."""


class StoreNotFoundError(NotFoundError):
    """No store of that name; raised by everything that reads one."""

    def __init__(self, name: str, known: list[str]) -> None:
        have = f"Stores here: {', '.join(known)}." if known else "There is none yet."
        made = (
            "POST /v1/vector_stores makes one"
            if name.startswith("vs_")
            else f"`quoth ingest PATH --store {name}` makes it"
        )
        super().__init__(f"There is no store named {name!r}. {have} {made}.")


class UnknownModelError(StoreNotFoundError):
    """A request's `model` names no store, but a language model, the embedder, or nothing."""

    def __init__(self, model: str) -> None:
        NotFoundError.__init__(
            self,
            f"There is no model {model!r} to ask here. Ask quoth, or quoth/STORE with the name of a store; "
            "GET /v1/models lists them.",
        )


class ModelNotFoundError(NotFoundError):
    """A model's files are neither at a local path, nor in the models folder, nor on the hub."""


class InvalidInputError(QuothError):
    """The request cannot be served as it stands: an empty question, a limit exceeded, a missing path."""


class StoreExpiredError(InvalidInputError):
    """A store whose time is over is searched, before it is deleted."""

    def __init__(self, public_id: str, days: int) -> None:
        super().__init__(
            f"The vector store {public_id!r} has expired: nobody used it for {days} days, and it is about to be "
            "deleted. To keep it, send a new expires_after to POST /v1/vector_stores/ID."
        )


class ConversationBusyError(QuothError):
    """An answer is being written in the conversation; another one has to wait for its end."""

    retryable = True


class IdempotencyMismatchError(QuothError):
    """An Idempotency-Key came with another path or body before."""


class IdempotencyBusyError(QuothError):
    """The first request with this Idempotency-Key is still at work; its answer can be had later."""

    retryable = True


class ParseError(QuothError):
    """One file could not be turned into text. `reason` is a stable word that summaries count by."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class IngestStoppedError(QuothError):
    """An ingest was asked to end in the middle; it goes on when it is run again."""

    retryable = True


class LeaseLostError(QuothError):
    """Another process has taken over what this one was doing; nothing that it did later was kept."""


class StorageError(QuothError):
    """The vector store or the ledger refused an operation."""


class StorageUnavailableError(StorageError):
    """The vector store or the ledger cannot be reached at present."""

    retryable = True


class UpstreamError(QuothError):
    """A model behind a network or a native runtime failed."""


class UpstreamUnavailableError(UpstreamError):
    """The upstream is unreachable, overloaded or too slow."""

    retryable = True


class UpstreamRejectedError(UpstreamError):
    """The upstream refused: wrong key, exhausted quota, unknown model, refused content."""
