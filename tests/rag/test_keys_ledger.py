"""Keys in the ledger: what is kept, and what is not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from rag.access import Caller
from rag.errors import InvalidInputError, NotFoundError
from rag.ledger.connection import connect
from rag.ledger.keys import Keys, digest


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(tmp_path)
    yield engine
    engine.dispose()


@pytest.fixture
def keys(engine: Engine) -> Keys:
    return Keys(engine)


def test_a_key_is_256_random_bits_and_only_its_hash_is_kept(keys: Keys, engine: Engine, tmp_path: Path) -> None:
    made = [keys.create(f"key {number}")[1] for number in range(20)]
    assert len(set(made)) == 20
    for secret in made:
        assert secret.startswith("qk_")
        assert len(secret) == 46
    engine.dispose()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert digest(made[0]).encode() in kept
    assert not any(secret.removeprefix("qk_").encode() in kept for secret in made)


def test_a_key_is_found_by_its_hash_until_it_is_revoked(keys: Keys) -> None:
    key, secret = keys.create("mine", scope="write", tenant="t", store_ids=["b", "a"], groups=["g"])
    found = keys.find(digest(secret))
    assert found == key
    assert found.caller == Caller(key.id, "t", "write", frozenset({"a", "b"}), frozenset({"g"}))
    assert keys.find(digest(secret + "x")) is None
    assert keys.revoke(key.id[:8]).id == key.id
    assert keys.find(digest(secret)) is None
    assert keys.all()[0].revoked_at is not None
    with pytest.raises(NotFoundError, match="No key to revoke"):
        keys.revoke(key.id)


def test_a_beginning_that_several_ids_have_revokes_none(keys: Keys) -> None:
    secrets = [keys.create(name)[1] for name in ("a", "b")]
    with pytest.raises(NotFoundError, match="More than one"):
        keys.revoke("key_")
    with pytest.raises(NotFoundError):
        keys.revoke("%")
    assert all(keys.find(digest(secret)) for secret in secrets)


def test_a_revoked_key_is_still_a_key_that_was_made(keys: Keys) -> None:
    assert (keys.exist(), keys.are_usable()) == (False, False)
    key, _ = keys.create("first")
    assert (keys.exist(), keys.are_usable()) == (True, True)
    keys.revoke(key.id)
    assert (keys.exist(), keys.are_usable()) == (True, False)


def test_binding_adds_to_what_is_bound_and_leaves_free_what_is_free(keys: Keys) -> None:
    bound, free = (keys.create(name, store_ids=stores)[0] for name, stores in (("bound", []), ("free", None)))
    before = keys.changes
    for key in (bound, free):
        for store in ("one", "two", "one"):
            keys.bind(key.id, store)
    found = {key.name: key.store_ids for key in keys.all()}
    assert found == {"bound": frozenset({"one", "two"}), "free": None}
    assert keys.changes > before, "who remembers keys must look again"


def test_the_use_of_a_key_is_written_once_a_minute(keys: Keys) -> None:
    key, _ = keys.create("mine")
    for moment, kept in ((1000.0, 1000.0), (1030.0, 1000.0), (1061.0, 1061.0)):
        keys.note_use(key.id, moment)
        assert keys.all()[0].used_at == kept


@pytest.mark.parametrize(
    "given",
    [{"name": ""}, {"name": "x" * 201}, {"name": "a\nb"}, {"scope": "root"}, {"tenant": ""}, {"tenant": "a:b"},
     {"tenant": "x" * 65}, {"groups": ["a b"]}, {"groups": [""]}],
)  # fmt: skip
def test_malformed_keys_are_refused(keys: Keys, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        keys.create(**{"name": "key", **given})
    assert keys.all() == []
