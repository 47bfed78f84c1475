"""Uploads and repeatable requests in the ledger: who sees what, pages, claims."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, update

from rag.access import Caller
from rag.errors import IdempotencyBusyError, IdempotencyMismatchError, LeaseLostError, NotFoundError
from rag.ledger.connection import connect
from rag.ledger.files import Files, StoredFile, draw_file_id
from rag.ledger.idempotency import KEPT_SECONDS, STALE_SECONDS, Claim, IdempotentRequests, KeptResponse
from rag.ledger.served_tables import store_files
from rag.ledger.stores import Store, Stores
from rag.ledger.tables import stores
from rag.protocols import Fingerprint

FINGERPRINT = Fingerprint("model", "1", "abc", "", "", "cls", True, 4)
ANSWER = KeptResponse(201, {"content-type": "application/json"}, b'{"id": 1}')


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(tmp_path)
    yield engine
    engine.dispose()


def stored(files: Files, **fields: Any) -> StoredFile:
    given = {"tenant": "default", "key_id": "", "filename": "a.txt", "purpose": "assistants", "created_at": 1.0}
    file = StoredFile(**{"id": draw_file_id(), "size_bytes": 1, "sha256": "0" * 64, **given, **fields})
    files.add(file)
    return file


def made(engine: Engine, name: str, tenant: str = "default") -> Store:
    store = Stores(engine).get_or_create(name, "collection", FINGERPRINT)
    with engine.begin() as connection:
        connection.execute(update(stores).where(stores.c.id == store.id).values(tenant=tenant))
    return store


def attach(engine: Engine, store: Store, file: StoredFile, *groups: str) -> None:
    values = {"error_message": "", "attributes": {}, "chunking": {}, "usage_bytes": 0, "created_at": 1.0}
    row = {"store_id": store.id, "file_id": file.id, "status": "completed", "groups": list(groups)}
    with engine.begin() as connection:
        connection.execute(insert(store_files).values(**row, **values))


def test_everybody_sees_what_is_theirs_and_nothing_else(engine: Engine) -> None:
    files = Files(engine)
    ours, theirs = made(engine, "ours"), made(engine, "theirs", "other")
    kept = {
        "mine": stored(files, key_id="key_me"), "loose": stored(files, key_id="key_you"),
        "open": stored(files, key_id="key_you"), "staff": stored(files, key_id="key_you"),
        "foreign": stored(files, tenant="other", key_id="key_me"), "in theirs": stored(files, key_id="key_you"),
        "gone": stored(files, key_id="key_me", expires_at=time.time() - 1),
        "soon": stored(files, key_id="key_me", expires_at=time.time() + 3600),
    }  # fmt: skip
    attach(engine, ours, kept["open"])
    attach(engine, ours, kept["staff"], "staff", "board")
    attach(engine, theirs, kept["in theirs"])
    every = {"mine", "loose", "open", "staff", "in theirs", "soon"}
    seen = {
        Caller("key_me"): every,
        Caller("key_me", store_ids=frozenset({ours.id})): {"mine", "open", "staff", "soon"},
        Caller("key_x", store_ids=frozenset({theirs.id})): {"in theirs"},
        Caller("key_me", store_ids=frozenset()): {"mine", "soon"},
        Caller("key_me", groups=frozenset({"staff"})): {"mine", "open", "staff", "soon"},
        Caller("key_me", groups=frozenset({"guests"})): {"mine", "open", "soon"},
        Caller("key_me", groups=frozenset()): {"mine", "open", "soon"},
        Caller("key_x", store_ids=frozenset({ours.id}), groups=frozenset({"board"})): {"open", "staff"},
        Caller("key_x", store_ids=frozenset({theirs.id}), groups=frozenset({"board"})): {"in theirs"},
        Caller("key_me", "other"): {"foreign"},
        Caller("key_me", "nobody"): set(),
    }
    for caller, expected in seen.items():
        listed, has_more = files.page(caller, limit=100)
        assert {name for name, file in kept.items() if file in listed} == expected, caller
        assert not has_more
        for name, file in kept.items():
            if name in expected:
                assert files.get(file.id, caller) == file
            else:
                with pytest.raises(NotFoundError) as refused:
                    files.get(file.id, caller)
                with pytest.raises(NotFoundError) as absent:
                    files.get(unknown := draw_file_id(), caller)
                assert str(refused.value).replace(file.id, unknown) == str(absent.value)
    assert [file.id for file in files.expired(time.time())] == [kept["gone"].id]
    assert files.find(kept["gone"].id) == kept["gone"]


@pytest.mark.parametrize("caller", [Caller(), Caller(groups=frozenset({"staff"}))], ids=["all", "by groups"])
def test_pages_hold_every_file_once(engine: Engine, caller: Caller) -> None:
    files, store = Files(engine), made(engine, "default")
    expected = []
    for number in range(40):
        file = stored(
            files, key_id="key_you", created_at=float(number // 4), purpose=["assistants", "user_data"][number % 2]
        )
        attach(engine, store, file, *(["board"] if number % 3 == 0 and caller.groups else []))
        if not (number % 3 == 0 and caller.groups):
            expected.append(file)
    expected.sort(key=lambda file: (file.created_at, file.id))
    for order, wanted in (("asc", expected), ("desc", expected[::-1])):
        for limit in (1, 7, 40):
            found: list[StoredFile] = []
            more = True
            while more:
                last = found[-1].id if found else None
                page, more = files.page(caller, limit=limit, after=last, order=order)  # type: ignore[arg-type]
                assert len(page) == limit or not more
                found += page
            assert found == wanted
    listed, _ = files.page(caller, limit=100, purpose="user_data", order="asc")
    assert listed == [file for file in expected if file.purpose == "user_data"]
    with pytest.raises(NotFoundError):
        files.page(caller, limit=1, after="file-unknown")


def test_a_file_that_a_store_holds_is_not_forgotten(engine: Engine) -> None:
    files, store = Files(engine), made(engine, "default")
    file = stored(files)
    attach(engine, store, file)
    assert files.stores_of(file.id) == ["default"]
    assert not files.delete(file.id)
    assert files.find(file.id) == file
    with engine.begin() as connection:
        connection.execute(store_files.delete())
    assert files.delete(file.id)
    assert files.find(file.id) is None
    assert files.known([file.id, "x"]) == set()


def test_a_request_is_carried_out_once(engine: Engine) -> None:
    requests = IdempotentRequests(engine)
    claim = requests.begin("me", "k", "digest")
    assert isinstance(claim, Claim)
    with pytest.raises(IdempotencyBusyError):
        requests.begin("me", "k", "digest")
    with pytest.raises(IdempotencyMismatchError):
        requests.begin("me", "k", "another")
    assert isinstance(requests.begin("you", "k", "another"), Claim)
    requests.finish(claim, ANSWER)
    requests.drop(claim)
    assert requests.begin("me", "k", "digest") == ANSWER
    with pytest.raises(IdempotencyMismatchError):
        requests.begin("me", "k", "another")


def test_a_request_that_was_given_up_can_be_tried_again(engine: Engine) -> None:
    requests = IdempotentRequests(engine)
    claim = requests.begin("me", "k", "digest")
    assert isinstance(claim, Claim)
    requests.drop(claim)
    assert isinstance(requests.begin("me", "k", "another"), Claim)


def test_what_a_killed_process_left_is_taken_over_and_it_cannot_come_back(engine: Engine) -> None:
    requests, files = IdempotentRequests(engine), Files(engine)
    began = time.time()
    lost = requests.begin("me", "k", "digest", began)
    assert isinstance(lost, Claim)
    requests.renew(lost, began + 20)
    with pytest.raises(IdempotencyBusyError):
        requests.begin("me", "k", "digest", began + 20 + STALE_SECONDS - 1)
    second = requests.begin("me", "k", "digest", began + 20 + STALE_SECONDS + 1)
    assert isinstance(second, Claim)
    file = StoredFile(draw_file_id(), "default", "", "a.txt", "assistants", 1, "0" * 64, 1.0)
    for finish in (lambda: requests.finish(lost, ANSWER), lambda: files.add(file, (lost, ANSWER))):
        with pytest.raises(LeaseLostError):
            finish()
    assert files.find(file.id) is None
    requests.drop(lost)
    files.add(file, (second, ANSWER))
    assert files.find(file.id) == file
    assert requests.begin("me", "k", "digest") == ANSWER


def test_answers_are_kept_for_a_day(engine: Engine) -> None:
    requests = IdempotentRequests(engine)
    for key in ("old", "swept"):
        claim = requests.begin("me", key, "digest")
        assert isinstance(claim, Claim)
        requests.finish(claim, ANSWER)
    soon, late = time.time() + KEPT_SECONDS - 60, time.time() + KEPT_SECONDS + 60
    assert requests.begin("me", "old", "digest", soon) == ANSWER
    assert isinstance(requests.begin("me", "old", "another", late), Claim)
    assert requests.sweep(soon) == 0
    assert requests.sweep(late) == 1
    assert isinstance(requests.begin("me", "swept", "digest"), Claim)
