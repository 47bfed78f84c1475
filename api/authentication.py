"""Who a request comes from: its key, looked up in the ledger."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from api.rate_limits import Quota, RateLimitedError
from rag.access import Caller
from rag.concurrency import in_thread
from rag.errors import QuothError, StorageError
from rag.ledger.keys import USED_SECONDS, ApiKey, Keys, digest
from rag.settings import ServerSettings

logger = logging.getLogger(__name__)

# A key that is made or revoked elsewhere is heard of after this long.
REMEMBERED_SECONDS: Final = 2.0
MOST_REMEMBERED: Final = 1000
FAILURES_A_MINUTE: Final = 10
LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "[::1]", "testserver"})


class WrongKeyError(QuothError):
    """There is no key, or none that opens anything; which of the two is not said."""

    def __init__(self) -> None:
        super().__init__("Send one API key that is valid, as: Authorization: Bearer KEY.")


class ForbiddenHostError(QuothError):
    """Without keys only programs of this machine may call."""

    def __init__(self) -> None:
        super().__init__("Without an API key Quoth answers to localhost only: quoth keys create NAME makes one.")


class Authenticator:
    """Knows the keys of the settings and of the ledger. For one event loop."""

    def __init__(self, settings: ServerSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._configured = digest(settings.api_key.get_secret_value()) if settings.api_key else None
        self._clock = clock
        self._failures = Quota(FAILURES_A_MINUTE, clock)
        self._known: dict[str, tuple[float, ApiKey]] = {}
        self._exist: tuple[float, bool] = (0.0, False)
        self._changes = 0
        self._noted: dict[str, float] = {}
        self._noting: set[asyncio.Task[None]] = set()

    async def caller(self, scope: Scope, keys: Keys) -> Caller:
        """Whoever asks.

        Raises:
            WrongKeyError: a key is asked for, and this is none.
            RateLimitedError: the address has been wrong too often.
            ForbiddenHostError: there are no keys, and the request does not come from this machine.
            StorageError: the ledger cannot be read.
        """
        if keys.changes != self._changes:
            self._changes, self._exist = keys.changes, (0.0, False)
            self._known.clear()
        headers = Headers(scope=scope)
        if self._configured is None and not await self._any_key(keys):
            _require_loopback(scope, headers)
            return Caller()
        address = _address(scope)
        if self._failures.left(address) < 1:
            raise RateLimitedError("wrong keys", FAILURES_A_MINUTE, self._failures.seconds_until(address, 1))
        given = headers.getlist("authorization")
        found = await self._holder(given, keys)
        if found is None:
            if given:
                self._failures.spend(address, 1)
            raise WrongKeyError
        return found

    async def _holder(self, given: list[str], keys: Keys) -> Caller | None:
        """The work is the same whatever is wrong: a hash, a comparison, a look into the ledger."""
        scheme, _, secret = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        sha256 = digest(secret.strip())
        is_configured = hmac.compare_digest(sha256, self._configured or "")
        found = await self._look_up(sha256, keys)
        if scheme.lower() != "bearer" or not secret.strip():
            return None
        if is_configured:
            return Caller()
        if found is None:
            return None
        self._note_use(found.id, keys)
        return found.caller

    async def _look_up(self, sha256: str, keys: Keys) -> ApiKey | None:
        now = self._clock()
        until, found = self._known.get(sha256, (0.0, None))
        if found is not None and now < until:
            return found
        self._known.pop(sha256, None)
        found = await in_thread(keys.find, sha256)
        if found is not None:
            if len(self._known) >= MOST_REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[sha256] = (now + REMEMBERED_SECONDS, found)
        return found

    async def _any_key(self, keys: Keys) -> bool:
        now = self._clock()
        until, found = self._exist
        if found or now < until:
            return found
        found = await in_thread(keys.exist)
        self._exist = (now + REMEMBERED_SECONDS, found)
        return found

    def _note_use(self, key_id: str, keys: Keys) -> None:
        """In the background: the ledger may be busy with something else, and nobody is to wait for this."""
        now = time.time()
        if now - self._noted.get(key_id, 0.0) < USED_SECONDS:
            return
        self._noted[key_id] = now
        task = asyncio.ensure_future(_noted(keys, key_id, now))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)


async def _noted(keys: Keys, key_id: str, now: float) -> None:
    try:
        await in_thread(keys.note_use, key_id, now)
    except StorageError as error:
        logger.warning("the use of a key could not be kept: %s", error, extra={"key": key_id})


def _require_loopback(scope: Scope, headers: Headers) -> None:
    # A web page that has its name resolve to this machine still sends its own name; a proxy on this machine says
    # whom it forwards.
    given = headers.get("host", "")
    host = given if given.endswith("]") else given.rsplit(":", 1)[0]
    client = scope.get("client")
    if host not in LOOPBACK_NAMES or (client is not None and not is_loopback(client[0])):
        raise ForbiddenHostError


def is_loopback(host: str) -> bool:
    """Whether an address, or a name, is this machine's own."""
    with suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return host == "localhost"


def _address(scope: Scope) -> str:
    """What failures are counted by: whoever has one IPv6 address has a whole network of them."""
    client = scope.get("client")
    if client is None:
        return ""
    with suppress(ValueError):
        address = ipaddress.ip_address(client[0])
        if address.version == 6:
            return str(ipaddress.ip_network((address, 64), strict=False))
    return str(client[0])
