"""Stores as the API makes, changes, lists, touches and expires them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from rag.access import Caller
from rag.errors import NotFoundError
from rag.ledger.connection import connect
from rag.ledger.stores import DAY_SECONDS, Store, Stores
from rag.protocols import Fingerprint

PRINT = Fingerprint("model", "1", "none", "", "", "mean", True, 8)
US, THEM = Caller(tenant="us"), Caller(tenant="them")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(tmp_path)
    yield engine
    engine.dispose()


def make(stores: Stores, title: str = "", days: int | None = None, tenant: str = "us") -> Store:
    return stores.create(title=title, labels={}, expires_days=days, tenant=tenant, collection="c", fingerprint=PRINT)


def test_a_store_keeps_what_it_was_made_with(ledger: Engine) -> None:
    stores = Stores(ledger)
    made = stores.create(
        title="Handbooks", labels={"team": "hr"}, expires_days=3, tenant="us", collection="c", fingerprint=PRINT,
        description="what to read",
    )  # fmt: skip
    assert stores.get(made.name) == made
    assert made.public_id == made.name
    assert (made.title, made.description, made.labels, made.tenant) == (
        "Handbooks", "what to read", {"team": "hr"}, "us",
    )  # fmt: skip
    assert made.expires_at == made.created_at + 3 * DAY_SECONDS


def test_stores_are_found_by_id_and_name_and_foreign_ones_look_missing(ledger: Engine) -> None:
    stores = Stores(ledger)
    served, by_folder = make(stores), stores.get_or_create("notes", "c", PRINT)
    assert stores.find(served.public_id, US) == served
    own = Caller(tenant="default")
    assert stores.find("notes", own) == stores.find(by_folder.public_id, own) == by_folder
    bound = Caller(tenant="them", store_ids=frozenset({served.id}))
    assert stores.find(served.public_id, bound) == served
    missing = f"vs_{'0' * 32}"
    for caller, wanted in ((THEM, served.public_id), (bound, by_folder.public_id), (US, "notes")):
        with pytest.raises(NotFoundError) as foreign:
            stores.find(wanted, caller)
        with pytest.raises(NotFoundError) as nobody:
            stores.find(missing, caller)
        assert str(foreign.value).replace(wanted, missing) == str(nobody.value)
    for odd in ("", "a\0b", "vs_" + "g" * 32, "x" * 65, "../etc"):
        with pytest.raises(NotFoundError):
            stores.find(odd, US)


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_pages_go_through_all_stores_once_in_both_directions(ledger: Engine, order: str, limit: int) -> None:
    stores = Stores(ledger)
    made = [make(stores, str(number)) for number in range(5)]
    make(stores, tenant="them")
    wanted = [store.title for store in (made if order == "asc" else made[::-1])]
    seen: list[str] = []
    after: str | None = None
    while True:
        found, has_more = stores.page(US, limit=limit, after=after, order=order)  # type: ignore[arg-type]
        seen += [store.title for store in found]
        assert has_more is (len(seen) < 5)
        if not has_more:
            break
        after = found[-1].public_id
    assert seen == wanted
    before, seen = found[-1].public_id, [found[-1].title]
    while True:
        found, has_more = stores.page(US, limit=limit, before=before, order=order)  # type: ignore[arg-type]
        seen = [*(store.title for store in found), *seen]
        if not has_more:
            break
        before = found[0].public_id
    assert seen == wanted


def test_a_page_behind_a_foreign_store_is_missing(ledger: Engine) -> None:
    stores = Stores(ledger)
    foreign = make(stores, tenant="them")
    with pytest.raises(NotFoundError):
        stores.page(US, limit=5, after=foreign.public_id)


def test_only_what_is_named_changes(ledger: Engine) -> None:
    stores = Stores(ledger)
    made = make(stores, "Old", days=7)
    changed = stores.update(made, {"labels": {"a": "b"}})
    assert changed == replace(made, labels={"a": "b"})
    assert stores.update(made, {"title": "New", "expires_days": None}) == replace(
        changed, title="New", expires_days=None
    )
    assert stores.update(made, {}).title == "New"
    stores.delete(made)
    with pytest.raises(NotFoundError, match="deleted meanwhile"):
        stores.update(made, {"title": "Late"})


def test_a_use_is_noted_once_a_minute_and_moves_the_end(ledger: Engine) -> None:
    stores = Stores(ledger)
    made = make(stores, days=1)
    at = made.created_at

    def touched(seconds: float) -> float:
        stores.touch(stores.get(made.name), at + seconds)
        return stores.get(made.name).active_at - at

    assert [touched(seconds) for seconds in (1, 59, 61, 100, 121.5)] == [0, 0, 61, 61, 121.5]
    later = stores.get(made.name)
    assert later.expires_at == at + 121.5 + DAY_SECONDS
    assert not later.has_expired(at + DAY_SECONDS + 121)
    assert later.has_expired(at + DAY_SECONDS + 122)


def test_expired_are_those_whose_days_are_over(ledger: Engine) -> None:
    stores = Stores(ledger)
    short, _long, _forever = make(stores, "short", 1), make(stores, "long", 3), make(stores, "forever")
    assert stores.expired(short.created_at + DAY_SECONDS - 1) == []
    assert [store.title for store in stores.expired(short.created_at + 2 * DAY_SECONDS)] == ["short"]
