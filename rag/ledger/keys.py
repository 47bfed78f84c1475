"""API keys: whoever holds one may do what its scope says, in the stores and groups that it is for.

A key is 256 random bits. The ledger keeps their SHA-256 alone, so that a copy of it opens nothing; a slow hash would
add nothing, since nobody can try 2^256 keys.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine, insert, or_, select, update

from rag.access import DEFAULT_TENANT, SCOPES, Caller, Scope
from rag.errors import InvalidInputError, NotFoundError
from rag.ledger.served_tables import api_keys

PREFIX: Final = "qk_"
SECRET_BYTES: Final = 32
USED_SECONDS: Final = 60.0
MAX_NAME: Final = 200
_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key, which is not the key.

    Attributes:
        store_ids, groups: what it is bound to, see `Caller`; None is bound to nothing.
        used_at: about when it was last used, to the minute; None for never.
        revoked_at: from then on it opens nothing.
    """

    id: str
    name: str
    tenant: str
    scope: Scope
    store_ids: frozenset[str] | None
    groups: frozenset[str] | None
    created_at: float
    used_at: float | None
    revoked_at: float | None

    @property
    def caller(self) -> Caller:
        """Whoever comes with it."""
        return Caller(self.id, self.tenant, self.scope, self.store_ids, self.groups)


class Keys:
    """The keys of one ledger. `changes` grows whenever this object changes one: what was read before may be old."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.changes = 0

    def create(
        self,
        name: str,
        *,
        scope: Scope = "read",
        tenant: str = DEFAULT_TENANT,
        store_ids: Collection[str] | None = None,
        groups: Collection[str] | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key.

        Returns:
            What is known of it, and the key itself, which nobody can read again.

        Raises:
            InvalidInputError: the name is empty or too long, the scope is none, or the tenant or a group is malformed.
        """
        _check(name, scope, tenant, groups or ())
        secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        key = ApiKey(
            id=f"key_{secrets.token_hex(12)}", name=name, tenant=tenant, scope=scope,
            store_ids=None if store_ids is None else frozenset(store_ids),
            groups=None if groups is None else frozenset(groups), created_at=time.time(), used_at=None, revoked_at=None,
        )  # fmt: skip
        with self._engine.begin() as connection:
            connection.execute(insert(api_keys).values(**_row(key), sha256=digest(secret)))
        self.changes += 1
        return key, secret

    def all(self) -> list[ApiKey]:
        """Every key, the revoked ones too, oldest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)).mappings()
            return [_key(row) for row in rows]

    def exist(self) -> bool:
        """Whether a key has ever been made: from then on one is asked for, also when all are revoked."""
        with self._engine.connect() as connection:
            return connection.execute(select(api_keys.c.id).limit(1)).first() is not None

    def are_usable(self) -> bool:
        """Whether there is a key that opens anything."""
        with self._engine.connect() as connection:
            query = select(api_keys.c.id).where(api_keys.c.revoked_at.is_(None)).limit(1)
            return connection.execute(query).first() is not None

    def find(self, sha256: str) -> ApiKey | None:
        """The key of this hash, unless it is revoked."""
        query = select(api_keys).where(api_keys.c.sha256 == sha256, api_keys.c.revoked_at.is_(None))
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        return _key(row) if row else None

    def revoke(self, beginning: str) -> ApiKey:
        """Revoke the one key whose id begins like this, for good.

        Raises:
            NotFoundError: no key that is not revoked has such an id, or several have.
        """
        mine = api_keys.c.id.startswith(beginning, autoescape=True)
        with self._engine.begin() as connection:
            rows = connection.execute(select(api_keys).where(mine, api_keys.c.revoked_at.is_(None)).limit(2)).mappings()
            found = [_key(row) for row in rows]
            if len(found) != 1:
                which = "No key" if not found else "More than one key"
                raise NotFoundError(f"{which} to revoke has an id like {beginning[:64]!r}: quoth keys list shows them.")
            connection.execute(update(api_keys).where(api_keys.c.id == found[0].id).values(revoked_at=time.time()))
        self.changes += 1
        return found[0]

    def note_use(self, key_id: str, now: float) -> None:
        """Keep when a key was used, at most once a minute."""
        is_old = or_(api_keys.c.used_at.is_(None), api_keys.c.used_at < now - USED_SECONDS)
        with self._engine.begin() as connection:
            connection.execute(update(api_keys).where(api_keys.c.id == key_id, is_old).values(used_at=now))

    def bind(self, key_id: str, store_id: str) -> None:
        """Let a key that is bound to stores see one more: it has made it. A key that is not bound stays so."""
        mine = api_keys.c.id == key_id
        with self._engine.begin() as connection:
            # The first statement writes, so that a second one of these transactions waits for the end of this one.
            connection.execute(update(api_keys).where(mine).values(name=api_keys.c.name))
            bound = connection.execute(select(api_keys.c.store_ids).where(mine)).scalar()
            if bound is not None:
                connection.execute(update(api_keys).where(mine).values(store_ids=sorted({*bound, store_id})))
        self.changes += 1


def digest(secret: str) -> str:
    """What the ledger keeps of a key."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _check(name: str, scope: str, tenant: str, groups: Collection[str]) -> None:
    if not 0 < len(name.strip()) <= MAX_NAME or not name.isprintable():
        raise InvalidInputError(f"Give the key a name of 1 to {MAX_NAME} printable characters.")
    if scope not in SCOPES:
        raise InvalidInputError(f"{scope!r} is no scope: use {', '.join(SCOPES)}.")
    for what, label in (("tenant", tenant), *(("group", group) for group in groups)):
        if not _LABEL.fullmatch(label):
            raise InvalidInputError(
                f"{label[:64]!r} cannot name a {what}: use 1 to 64 letters, digits, '-', '_', '.' or '@'."
            )


def _row(key: ApiKey) -> dict[str, Any]:
    row = {name: getattr(key, name) for name in ApiKey.__slots__}
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in row.items()}


def _key(row: Mapping[Any, Any]) -> ApiKey:
    fields = {name: row[name] for name in ApiKey.__slots__}
    for name in ("store_ids", "groups"):
        fields[name] = None if fields[name] is None else frozenset(fields[name])
    return ApiKey(**fields)
