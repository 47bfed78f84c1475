"""Responses in the ledger: whose they are, chains, ends, and what goes with a store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine as Ledger
from sqlalchemy import update

from rag.access import Caller
from rag.conversation import Message
from rag.errors import InvalidInputError, LeaseLostError, NotFoundError
from rag.ledger.connection import connect
from rag.ledger.conversations import CLAIM_SECONDS, MOST_EXCHANGES
from rag.ledger.responses import Asked, Responses, StoredResponse
from rag.ledger.served_tables import responses as table
from rag.ledger.stores import Store, Stores
from rag.protocols import Fingerprint

FINGERPRINT = Fingerprint("model", "1", "abc", "", "", "cls", True, 4)
ME = Caller()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = connect(tmp_path)
    yield ledger
    ledger.dispose()


@pytest.fixture
def store(ledger: Ledger) -> Store:
    return Stores(ledger).get_or_create("default", "collection", FINGERPRINT)


@pytest.fixture
def known(ledger: Ledger) -> Responses:
    return Responses(ledger)


def row(store: Store, number: int, **change: Any) -> StoredResponse:
    fields: dict[str, Any] = {
        "id": f"resp_{number:048x}", "tenant": "default", "key_id": "", "previous_id": None, "status": "in_progress",
        "body": {"id": number}, "asked": (Asked(f"msg_{number}", "user", f"Question {number}?"),), "answered": "",
        "store_ids": (store.id,),
    }  # fmt: skip
    return StoredResponse(**{**fields, **change})


def keep(known: Responses, response: StoredResponse, answer: str = "Answer.", status: Any = "completed") -> str:
    known.begin(response)
    known.finish(response, status, {"said": answer}, answer)
    return response.id


def test_a_response_is_there_before_its_first_word_and_as_it_ended(known: Responses, store: Store) -> None:
    begun = row(store, 1)
    known.begin(begun)
    assert known.get(begun.id, ME) == begun
    known.save(begun, {"so": "far"}, "Tra")
    found = known.get(begun.id, ME)
    assert (found.status, found.body, found.answered) == ("in_progress", {"so": "far"}, "Tra")
    assert found.updated_at > begun.updated_at
    known.finish(begun, "failed", {"at": "last"}, "Trains")
    known.finish(begun, "completed", {"at": "all"}, "Trains!")
    found = known.get(begun.id, ME)
    assert (found.status, found.body, found.answered) == ("failed", {"at": "last"}, "Trains")


def test_a_chain_is_a_conversation(known: Responses, store: Store) -> None:
    first = keep(known, row(store, 1), "One.")
    failed = keep(known, row(store, 2, previous_id=first), "", "failed")
    asked = (Asked("a", "system", "Be short."), Asked("b", "user", "And then?"))
    last = keep(known, row(store, 3, previous_id=failed, asked=asked), "Three", "incomplete")
    said = known.history(last, ME)
    assert said.messages == (
        Message("user", "Question 1?"), Message("assistant", "One."), Message("system", "Be short."),
        Message("user", "And then?"), Message("assistant", "Three"),
    )  # fmt: skip
    assert not said.is_cut
    known.delete(first, ME)
    assert known.history(last, ME).messages == said.messages[2:]


def test_a_long_chain_is_read_from_its_end(known: Responses, store: Store) -> None:
    previous = None
    for number in range(MOST_EXCHANGES + 1):
        previous = keep(known, row(store, number, previous_id=previous), f"Answer {number}.")
    assert previous is not None
    said = known.history(previous, ME)
    assert (len(said.messages), said.is_cut) == (2 * MOST_EXCHANGES, True)
    assert said.messages[-1].content == f"Answer {MOST_EXCHANGES}."
    assert said.messages[0].content == "Question 1?"


def test_what_is_being_written_cannot_be_gone_on_from_until_its_writer_is_given_up(
    ledger: Ledger, known: Responses, store: Store
) -> None:
    begun = row(store, 1)
    known.begin(begun)
    known.save(begun, {}, "Half")
    with pytest.raises(InvalidInputError, match="is being written"):
        known.history(begun.id, ME)
    assert not known.get(begun.id, ME).is_abandoned
    with ledger.begin() as connection:
        connection.execute(update(table).values(updated_at=begun.updated_at - CLAIM_SECONDS - 1))
    assert known.get(begun.id, ME).is_abandoned
    assert known.history(begun.id, ME).messages[-1] == Message("assistant", "Half")


@pytest.mark.parametrize(
    ("other", "sees"),
    [
        (Caller(key_id="key_b", tenant="acme", scope="read"), False),
        (Caller(key_id="key_b", tenant="other"), False),
        (Caller(key_id="key_b", tenant="acme", scope="admin", store_ids=frozenset()), False),
        (Caller(key_id="key_a", tenant="acme", scope="read"), True),
        (Caller(key_id="key_b", tenant="acme", scope="admin"), True),
    ],
)
def test_anothers_response_is_as_one_that_is_not_there(
    known: Responses, store: Store, other: Caller, sees: bool
) -> None:
    made = keep(known, row(store, 1, tenant="acme", key_id="key_a"))
    if sees:
        assert known.get(made, other).id == made
        assert known.history(made, other).messages
        known.delete(made, other)
        return
    for do in (known.get, known.history, known.delete):
        with pytest.raises(NotFoundError) as anothers:
            do(made, other)
        with pytest.raises(NotFoundError) as missing:
            do(f"resp_{2:048x}", other)
        assert str(anothers.value).replace(made, "ID") == str(missing.value).replace(f"resp_{2:048x}", "ID")
    assert known.get(made, Caller("key_a", "acme")).id == made


@pytest.mark.parametrize("name", ["", "resp_", "x" * 10_000, "resp_\ud800", f"resp_{1:048x}\0", "resp_%"])
def test_no_id_is_too_strange(known: Responses, store: Store, name: str) -> None:
    keep(known, row(store, 1))
    with pytest.raises(NotFoundError) as caught:
        known.get(name, ME)
    assert len(str(caught.value)) < 1000


def test_responses_go_with_each_store_that_they_quote(ledger: Ledger, known: Responses, store: Store) -> None:
    other = Stores(ledger).get_or_create("other", "collection", FINGERPRINT)
    both = keep(known, row(store, 1, store_ids=(other.id, store.id)))
    alone = keep(known, row(other, 2))
    Stores(ledger).delete(store)
    with pytest.raises(NotFoundError):
        known.get(both, ME)
    assert known.get(alone, ME).id == alone
    with pytest.raises(LeaseLostError, match="deleted"):
        known.begin(row(store, 3))
    with pytest.raises(NotFoundError):
        known.get(f"resp_{3:048x}", ME)


def test_what_was_deleted_is_gone_from_the_files(
    ledger: Ledger, known: Responses, store: Store, tmp_path: Path
) -> None:
    made = keep(known, row(store, 1), "A canary of forty-two feathers.")
    assert any(b"forty-two feathers" in path.read_bytes() for path in tmp_path.iterdir())
    known.delete(made, ME)
    assert not any(b"forty-two feathers" in path.read_bytes() for path in tmp_path.iterdir())


def test_what_a_database_cannot_hold_is_replaced(known: Responses, store: Store) -> None:
    made = keep(known, row(store, 1, asked=(Asked("a", "user", "\ud800\0?"),)), "\udfff.\0")
    assert known.history(made, ME).messages == (Message("user", "\ufffd\ufffd?"), Message("assistant", "\ufffd.\ufffd"))
