"""Who asks, and what they may see. What is another's looks exactly as if it were not there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Scope = Literal["read", "write", "admin"]

DEFAULT_TENANT: Final = "default"

# Each includes those before it.
SCOPES: Final[tuple[Scope, ...]] = ("read", "write", "admin")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever holds a key.

    Attributes:
        key_id: of the key; empty for the key of the settings, and where there are no keys and only programs of this
            machine may call.
        tenant: what the caller makes belongs to it.
        scope: the most that it may do.
        store_ids: the stores that it may see, of whatever tenant; None for all of its tenant.
        groups: documents that name groups are seen when one of these is among them; None sees all.
    """

    key_id: str = ""
    tenant: str = DEFAULT_TENANT
    scope: Scope = "admin"
    store_ids: frozenset[str] | None = None
    groups: frozenset[str] | None = None

    def may(self, scope: Scope) -> bool:
        """Whether it may do what asks for this scope."""
        return SCOPES.index(scope) <= SCOPES.index(self.scope)

    def sees_store(self, store_id: str, tenant: str) -> bool:
        """Whether a store, which belongs to `tenant`, is there for it."""
        return tenant == self.tenant if self.store_ids is None else store_id in self.store_ids

    def owns(self, tenant: str, key_id: str) -> bool:
        """Whether what a key of a tenant has made is there for it: its own, or, for an admin, all of its tenant.

        An admin that is bound to stores or groups sees its own alone: another's conversation may quote what it may
        not read.
        """
        if tenant != self.tenant:
            return False
        is_free = self.scope == "admin" and self.store_ids is None and self.groups is None
        return key_id == self.key_id or is_free
