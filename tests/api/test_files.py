"""/v1/files, spoken by the official client."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from sqlalchemy import insert

from api.housekeeping import kept_house, sweep
from rag.assembly import Engine
from rag.ledger.idempotency import Claim, KeptResponse
from rag.ledger.served_tables import store_files
from tests.api.uploading import CONTENT, emptied, file_engine, live_over, on_disk, serving_files


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, str]]:
    with file_engine(tmp_path_factory.mktemp("served") / "data") as engine, serving_files(engine) as url:
        yield engine, url


@pytest.fixture
def engine(shared: tuple[Engine, str]) -> Iterator[Engine]:
    yield shared[0]
    emptied(shared[0])


@pytest.fixture
def url(shared: tuple[Engine, str], engine: Engine) -> str:
    return shared[1]


@pytest.fixture
def api(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as api:
        yield api


ASSISTANTS = {"purpose": "assistants"}


def attach(engine: Engine, name: str, file_id: str) -> None:
    store = asyncio.run(engine.open_store(name))
    row = {"store_id": store.id, "file_id": file_id, "status": "completed", "groups": [], "attributes": {}}
    with engine.files._engine.begin() as connection:
        connection.execute(
            insert(store_files).values(**row, error_message="", chunking={}, usage_bytes=0, created_at=1.0)
        )


def test_the_life_of_a_file(api: openai.OpenAI, engine: Engine) -> None:
    kept = api.files.create(
        file=("Leave naïve \"2026\" – 休暇.txt", CONTENT), purpose="assistants",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )  # fmt: skip
    assert (kept.object, kept.bytes, kept.status, kept.purpose) == ("file", len(CONTENT), "processed", "assistants")
    assert kept.filename == 'Leave naïve "2026" – 休暇.txt'
    assert kept.expires_at == kept.created_at + 3600
    assert on_disk(engine) == {kept.id}
    assert api.files.retrieve(kept.id) == kept
    assert [file.id for file in api.files.list()] == [kept.id]
    content = api.files.content(kept.id)
    assert content.read() == CONTENT
    headers = content.response.headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]
    assert headers["content-disposition"].startswith("attachment; filename*=UTF-8''Leave%20na%C3%AFve%20%222026%22")
    assert api.files.delete(kept.id).deleted
    for missing in (api.files.retrieve, api.files.content, api.files.delete):
        with pytest.raises(openai.NotFoundError, match="no file"):
            missing(kept.id)
    assert on_disk(engine) == set()
    assert api.files.list().data == []


def test_lists_come_in_pages(api: openai.OpenAI) -> None:
    made = [
        api.files.create(file=(f"{n}.txt", b"x"), purpose="user_data" if n % 2 else "assistants").id for n in range(7)
    ]
    assert [file.id for file in api.files.list(limit=2, order="asc")] == made
    assert [file.id for file in api.files.list(limit=3)] == made[::-1]
    assert [file.id for file in api.files.list(limit=2, purpose="user_data", order="asc")] == made[1::2]
    first = api.files.list(limit=2, order="asc")
    assert (first.has_more, [file.id for file in first.data]) == (True, made[:2])
    assert not api.files.list(limit=7).has_more


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "fine-tune"}, "purpose"),
        ({"purpose": "batch"}, "purpose"),
        ({}, "purpose"),
        ({"purpose": "assistants", "name": "x"}, "name"),
        ({"purpose": "assistants", "expires_after[anchor]": "created_at"}, None),
        ({"purpose": "assistants", "expires_after[seconds]": "3600"}, None),
        ({"purpose": "assistants", "expires_after[anchor]": "now", "expires_after[seconds]": "3600"}, "expires_after"),
        *(
            ({**ASSISTANTS, "expires_after[anchor]": "created_at", "expires_after[seconds]": n}, "expires_after")
            for n in ("3599", "2592001", "-1", "1e9", "NaN", "٣٦٠٠", "9" * 400, "")
        ),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_refused_and_not_stored(
    url: str, engine: Engine, fields: dict[str, str], param: str | None
) -> None:
    reply = httpx.post(f"{url}/v1/files", data=fields, files={"file": ("a.txt", CONTENT)})
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert (error["param"] or "").startswith(param or "")
    assert on_disk(engine) == set()


def test_a_file_goes_out_of_every_store_that_holds_it(api: openai.OpenAI, engine: Engine) -> None:
    kept = api.files.create(file=("a.txt", CONTENT), purpose="assistants")
    other = api.files.create(file=("b.txt", CONTENT), purpose="assistants")
    for store in ("one", "two"):
        attach(engine, store, kept.id)
        attach(engine, store, other.id)
    api.files.delete(kept.id)
    assert engine.files.stores_of(kept.id) == []
    assert sorted(engine.files.stores_of(other.id)) == ["one", "two"]
    assert on_disk(engine) == {other.id}


def test_a_file_that_is_being_read_may_be_deleted(tmp_path: Path) -> None:
    with file_engine(tmp_path / "data") as engine, serving_files(engine, is_working=True) as url:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as api:
            for pause in (0, 0.3, 1):
                kept = api.files.create(file=("a.txt", CONTENT * 20), purpose="assistants")
                store = api.vector_stores.create(name="x", file_ids=[kept.id])
                time.sleep(pause)
                assert len(api.vector_stores.files.list(store.id).data) == 1
                api.files.delete(kept.id)
                assert api.vector_stores.files.list(store.id).data == []
                assert api.vector_stores.search(store.id, query="trains").data == []
            stores = [engine.stores.get(name).id for name in engine.stores.names()]
            deadline = time.monotonic() + 20
            while any(left := [asyncio.run(engine.vectors.count(store)) for store in stores]):
                assert time.monotonic() < deadline, left
                time.sleep(0.05)
        assert on_disk(engine) == set()


def test_what_has_expired_goes_by_itself(api: openai.OpenAI, engine: Engine) -> None:
    lasting = api.files.create(file=("a.txt", CONTENT), purpose="assistants")
    passing = api.files.create(
        file=("b.txt", CONTENT), purpose="assistants", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    attach(engine, "one", passing.id)
    live = live_over(engine)
    asyncio.run(sweep(live, time.time() + 3500))
    assert on_disk(engine) == {lasting.id, passing.id}
    asyncio.run(sweep(live, time.time() + 3700))
    assert on_disk(engine) == {lasting.id}
    assert [file.id for file in api.files.list()] == [lasting.id]


def test_a_store_that_nobody_uses_goes_with_what_it_holds_and_its_files_stay(
    api: openai.OpenAI, engine: Engine
) -> None:
    embedded = {"collection": engine.collection, "fingerprint": engine.embedder.fingerprint}
    given: dict[str, Any] = {"labels": {}, "tenant": "default", **embedded}
    passing = engine.stores.create(title="passing", expires_days=1, **given)
    lasting = engine.stores.create(title="lasting", expires_days=None, **given)
    kept = api.files.create(file=("a.txt", CONTENT), purpose="assistants")
    attach(engine, passing.name, kept.id)
    live, day = live_over(engine), 24 * 3600
    asyncio.run(sweep(live, time.time() + day - 60))
    assert {passing.name, lasting.name} <= set(engine.stores.names())
    asyncio.run(sweep(live, time.time() + day + 60))
    assert passing.name not in engine.stores.names()
    assert lasting.name in engine.stores.names()
    assert on_disk(engine) == {kept.id}


def test_answers_to_repeat_are_swept_after_a_day(engine: Engine) -> None:
    claim = engine.idempotency.begin("me", "k", "digest")
    assert isinstance(claim, Claim)
    engine.idempotency.finish(claim, KeptResponse(200, {}, b"{}"))
    asyncio.run(sweep(live_over(engine), time.time() + 23 * 3600))
    assert engine.idempotency.begin("me", "k", "digest") == KeptResponse(200, {}, b"{}")
    asyncio.run(sweep(live_over(engine), time.time() + 25 * 3600))
    assert isinstance(engine.idempotency.begin("me", "k", "digest"), Claim)


def test_housekeeping_ends_with_its_context(engine: Engine) -> None:
    async def kept() -> int:
        async with kept_house(live_over(engine)):
            await asyncio.sleep(0)
        return len(asyncio.all_tasks())

    assert asyncio.run(kept()) == 1
