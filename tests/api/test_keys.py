"""Keys over HTTP: made and revoked while it runs, bound to stores and groups, and what is asked for without any."""

import asyncio
import time
from pathlib import Path

import httpx
import pytest

from api.authentication import REMEMBERED_SECONDS, Authenticator, ForbiddenHostError, WrongKeyError
from rag.access import Caller
from rag.errors import StorageUnavailableError
from rag.ledger.connection import connect
from rag.ledger.keys import ApiKey, Keys
from rag.settings import ServerSettings
from tests.api.keyed_app import KeyedApp, keyed_app

V = "/v1/vector_stores"


class BrokenKeys(Keys):
    """A ledger that cannot be read."""

    def __init__(self) -> None:
        self.changes = 0

    def exist(self) -> bool:
        raise StorageUnavailableError("The ledger is gone.")


def scope_from(
    *headers: tuple[str, str], host: str = "localhost", client: tuple[str, int] | None = ("127.0.0.1", 1)
) -> dict[str, object]:
    sent = [("host", host), *headers]
    return {"type": "http", "headers": [(name.encode(), value.encode()) for name, value in sent], "client": client}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(connect(tmp_path))


def test_the_key_of_the_settings_is_an_admin_of_the_default_tenant(keys: Keys) -> None:
    authenticator = Authenticator(ServerSettings(api_key="from-settings"))
    found = asyncio.run(authenticator.caller(scope_from(("authorization", "bearer from-settings")), keys))
    assert found == Caller()
    _, secret = keys.create("other", scope="read", tenant="t")
    found = asyncio.run(authenticator.caller(scope_from(("authorization", f"Bearer {secret}")), keys))
    assert (found.tenant, found.scope) == ("t", "read")


@pytest.mark.parametrize(
    ("host", "client", "is_let_in"),
    [
        ("localhost", ("127.0.0.1", 1), True), ("127.0.0.1:8000", ("127.0.0.1", 1), True),
        ("[::1]:80", ("::1", 1), True), ("[::1]", None, True),
        ("evil.example", ("127.0.0.1", 1), False), ("localhost.evil.example", ("127.0.0.1", 1), False),
        # A proxy on this machine forwards somebody else's request, under whatever name.
        ("localhost", ("203.0.113.9", 1), False), ("", ("127.0.0.1", 1), False),
    ],
)  # fmt: skip
def test_without_keys_only_this_machine_is_answered(
    keys: Keys, host: str, client: tuple[str, int] | None, is_let_in: bool
) -> None:
    authenticator = Authenticator(ServerSettings())
    asked = authenticator.caller(scope_from(host=host, client=client), keys)
    if is_let_in:
        assert asyncio.run(asked) == Caller()
    else:
        with pytest.raises(ForbiddenHostError):
            asyncio.run(asked)


def test_once_there_is_a_key_one_is_asked_for_also_when_all_are_revoked(keys: Keys) -> None:
    authenticator = Authenticator(ServerSettings())
    assert asyncio.run(authenticator.caller(scope_from(), keys)) == Caller()
    key, _ = keys.create("first")
    with pytest.raises(WrongKeyError):
        asyncio.run(authenticator.caller(scope_from(), keys))
    keys.revoke(key.id)
    with pytest.raises(WrongKeyError):
        asyncio.run(authenticator.caller(scope_from(), keys))


def test_a_ledger_that_cannot_be_read_lets_nobody_in() -> None:
    with pytest.raises(StorageUnavailableError):
        asyncio.run(Authenticator(ServerSettings()).caller(scope_from(), BrokenKeys()))


def test_another_process_s_changes_are_heard_of_when_the_memory_is_over(tmp_path: Path) -> None:
    """The time of this process is the test's: a key is refused as soon as what is remembered of it is too old."""
    here, elsewhere, now = Keys(connect(tmp_path)), Keys(connect(tmp_path)), 1000.0
    authenticator = Authenticator(ServerSettings(), lambda: now)
    key, secret = elsewhere.create("made elsewhere")
    asked = scope_from(("authorization", f"Bearer {secret}"))
    assert asyncio.run(authenticator.caller(asked, here)).key_id == key.id
    elsewhere.revoke(key.id)
    now += REMEMBERED_SECONDS
    with pytest.raises(WrongKeyError):
        asyncio.run(authenticator.caller(asked, here))


def test_the_first_key_made_elsewhere_closes_the_door(tmp_path: Path) -> None:
    here, elsewhere, now = Keys(connect(tmp_path)), Keys(connect(tmp_path)), 1000.0
    authenticator = Authenticator(ServerSettings(), lambda: now)
    assert asyncio.run(authenticator.caller(scope_from(), here)) == Caller()
    elsewhere.create("made elsewhere")
    now += REMEMBERED_SECONDS
    with pytest.raises(WrongKeyError):
        asyncio.run(authenticator.caller(scope_from(), here))


def test_what_is_remembered_is_bounded_and_wrong_keys_are_not_remembered(keys: Keys) -> None:
    authenticator = Authenticator(ServerSettings())
    keys.create("one")
    for number in range(50):
        asked = scope_from(("authorization", f"Bearer wrong{number}"), client=(f"10.0.0.{number}", 1))
        with pytest.raises(WrongKeyError):
            asyncio.run(authenticator.caller(asked, keys))
    assert authenticator._known == {}


def test_the_use_of_a_key_is_kept_once_a_minute(tmp_path: Path) -> None:
    async def go() -> tuple[float | None, float | None]:
        async with keyed_app(tmp_path) as served:
            served.make_key("reader")
            await served.call("reader", "GET", "/v1/models")
            first = await used(served)
            for _ in range(5):
                await served.call("reader", "GET", "/v1/models")
            return first, next(key for key in served.engine.keys.all()).used_at

    async def used(served: KeyedApp) -> float | None:
        for _ in range(1000):
            (key,) = served.engine.keys.all()
            if key.used_at is not None:
                return key.used_at
            await asyncio.sleep(0.01)
        return None

    first, later = asyncio.run(go())
    assert first is not None
    assert abs(first - time.time()) < 600
    assert later == first


def test_a_bound_key_that_makes_a_store_sees_it_at_once_and_no_other(tmp_path: Path) -> None:
    async def go() -> tuple[list[str], list[str], str, ApiKey]:
        async with keyed_app(tmp_path) as served:
            served.make_key("bound", "write", stores=())
            served.make_key("free", "write")
            other = (await served.made("free", "POST", V, json={"name": "other"}))["id"]
            own = (await served.made("bound", "POST", V, json={"name": "own"}))["id"]
            bound = [each["id"] for each in (await served.made("bound", "GET", V))["data"]]
            free = [each["id"] for each in (await served.made("free", "GET", V))["data"]]
            assert (await served.call("bound", "GET", f"{V}/{other}")).status_code == 404
            return bound, free, own, next(key for key in served.engine.keys.all() if key.name == "bound")

    bound, free, own, key = asyncio.run(go())
    assert bound == [own]
    assert len(free) == 2
    assert key.store_ids is not None
    assert len(key.store_ids) == 1


def test_a_store_is_shared_with_another_tenant_by_a_key_that_is_bound_to_it(tmp_path: Path) -> None:
    async def go() -> tuple[httpx.Response, httpx.Response]:
        async with keyed_app(tmp_path) as served:
            served.make_key("owner", "write", tenant="alpha")
            shared = (await served.made("owner", "POST", V, json={"name": "shared"}))["id"]
            await served.attach("owner", shared, await served.upload("owner", "Trains are booked in second class.\n"))
            served.make_key("guest", "read", tenant="beta", stores=[served.engine.stores.identity(shared)])
            served.make_key("stranger", "admin", tenant="beta")
            query = {"query": "Which class are trains booked in?"}
            return tuple([  # type: ignore[return-value]
                await served.call(name, "POST", f"{V}/{shared}/search", json=query) for name in ("guest", "stranger")
            ])  # fmt: skip

    guest, stranger = asyncio.run(go())
    assert "second class" in guest.text
    assert stranger.status_code == 404


def test_conversations_belong_to_the_key_that_began_them(tmp_path: Path) -> None:
    async def go() -> dict[str, tuple[int, int, int]]:
        async with keyed_app(tmp_path) as served:
            await served.engine.open_store("default")
            for name in ("one", "two"):
                served.make_key(name)
            served.make_key("admin", "admin")
            served.make_key("bound admin", "admin", stores=[served.engine.stores.identity("default")])
            served.make_key("grouped admin", "admin", groups=["staff"])
            body = {"model": "quoth", "messages": [{"role": "user", "content": "Which class?"}], "conversation": "new"}
            said = await served.made("one", "POST", "/v1/chat/completions", json=body)
            rated = {"answer_id": said["answer_id"], "rating": "up"}
            found = {}
            for name in ("one", "two", "admin", "bound admin", "grouped admin"):
                read = await served.call(name, "GET", f"/v1/conversations/{said['conversation']}")
                go_on = body | {"conversation": said["conversation"]}
                again = await served.call(name, "POST", "/v1/chat/completions", json=go_on)
                rate = await served.call(name, "POST", "/v1/feedback", json=rated)
                found[name] = (read.status_code, again.status_code, rate.status_code)
            exported = [(await served.call(name, "GET", "/v1/feedback")).text for name in ("admin", "bound admin")]
            assert said["answer_id"] in exported[0]
            assert exported[1] == ""
            return found

    assert asyncio.run(go()) == {
        "one": (200, 200, 200), "two": (404, 404, 404), "admin": (200, 200, 200), "bound admin": (404, 404, 404),
        "grouped admin": (404, 404, 404),
    }  # fmt: skip


def test_errors_of_the_ledger_are_not_told(tmp_path: Path) -> None:
    """A ledger that is pulled away under a running server: a status, and not a word about where it lies."""

    async def go() -> list[httpx.Response]:
        async with keyed_app(tmp_path) as served:
            await served.engine.open_store("default")
            with served.engine.stores._engine.begin() as connection:
                connection.exec_driver_sql("DROP TABLE feedback")
                connection.exec_driver_sql("DROP TABLE messages")
            body = {"model": "quoth", "messages": [{"role": "user", "content": "x"}], "conversation": "new"}
            return [
                await served.call(None, "POST", "/v1/chat/completions", json=body),
                await served.call(None, "POST", "/v1/feedback", json={"answer_id": "x", "rating": "up"}),
            ]

    for reply in asyncio.run(go()):
        assert reply.status_code == 503
        assert reply.json()["error"]["code"] == "storage_unavailable"
        for inside in ("sqlite", "no such table", "messages", str(tmp_path)):
            assert inside not in reply.text
