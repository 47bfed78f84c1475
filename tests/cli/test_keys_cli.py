"""`quoth keys`, and what `quoth serve` asks for before it listens beyond this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rag.ledger.connection import connect
from rag.ledger.keys import Keys, digest
from rag.ledger.stores import Stores
from rag.protocols import Fingerprint

ROOT = Path(__file__).parents[2]
FINGERPRINT = Fingerprint("model", "1", "abc", "", "", "cls", True, 4)


def quoth(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("QUOTH_")}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=data.parent,
        env={**environment, "PYTHONPATH": str(ROOT), "QUOTH_DATA_DIR": str(data)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_key_is_made_shown_once_listed_and_revoked(tmp_path: Path) -> None:
    data = tmp_path / "data"
    stores = Stores(connect(data))
    stores.get_or_create("handbook", "c", FINGERPRINT)
    identity = stores.identity("handbook")
    made = quoth(
        data, "keys", "create", "intranet", "--scope", "write", "--tenant", "hr", "--store", "handbook", "--group", "g",
        "--json",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    shown = json.loads(made.stdout)
    assert (shown["scope"], shown["tenant"], shown["stores"], shown["groups"]) == ("write", "hr", ["handbook"], ["g"])
    key = Keys(connect(data)).find(digest(shown["key"]))
    assert key is not None
    assert key.store_ids == frozenset({identity})
    plain = quoth(data, "keys", "create", "plain")
    assert plain.stdout.strip().startswith("qk_"), "nothing but the key is on standard output"
    listed = quoth(data, "keys", "list")
    assert "intranet" in listed.stdout
    assert shown["key"] not in listed.stdout
    assert quoth(data, "keys", "revoke", shown["id"]).returncode == 0
    assert Keys(connect(data)).find(digest(shown["key"])) is None
    states = json.loads(quoth(data, "keys", "list", "--json").stdout)["keys"]
    assert [state["revoked_at"] is None for state in states] == [False, True]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("create", "x", "--scope", "root"), 2), (("create", "x", "--store", "nope"), 3), (("revoke", "key_0"), 3),
     (("create", "x", "--tenant", "a b"), 2)],
)  # fmt: skip
def test_what_cannot_be_is_refused(tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    done = quoth(tmp_path / "data", "keys", *arguments)
    assert done.returncode == code, done.stderr
    assert Keys(connect(tmp_path / "data")).all() == []


def test_listening_beyond_this_machine_asks_for_a_key(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = quoth(data, "serve", "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 2
    assert "quoth keys create" in done.stderr
    keys = Keys(connect(data))
    keys.revoke(keys.create("gone")[0].id)
    assert quoth(data, "serve", "--host", "0.0.0.0", "--port", "0").returncode == 2, "a revoked key opens nothing"
