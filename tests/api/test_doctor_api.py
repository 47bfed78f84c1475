"""GET /v1/doctor: the report of `quoth doctor`, for admins, one at a time."""

import asyncio
from pathlib import Path

import httpx

from rag.access import Caller
from rag.documents import store_id
from rag.filters import Eq
from rag.leasing import hold, store_lease
from tests.api.library_server import LibraryServer, serving_library


def test_a_healthy_store_and_a_faulty_one(tmp_path: Path) -> None:
    with serving_library(tmp_path) as library:
        well = library.get("/v1/doctor", store="default").json()
        assert (well["healthy"], [each["store"] for each in well["stores"]]) == (True, ["default"])
        lost = library.document("leave.txt", "people")
        asyncio.run(library.engine.vectors.delete(store_id("people"), Eq("document_id", lost)))
        ill = library.get("/v1/doctor").json()
        assert (ill["healthy"], [each["healthy"] for each in ill["stores"]]) == (False, [True, False])
        assert ill["stores"][1]["counts"] == {"missing": 1}
        # Nothing was repaired.
        assert library.get("/v1/doctor", store="people").json()["healthy"] is False


def test_who_may_ask_and_of_what(tmp_path: Path) -> None:
    with serving_library(tmp_path) as library:
        library.callers["admin"] = Caller("key_a", store_ids=frozenset({store_id("people")}))
        library.callers["grouped"] = Caller("key_g", groups=frozenset({"board"}))
        assert [each["store"] for each in library.get("/v1/doctor", "admin").json()["stores"]] == ["people"]
        foreign = library.get("/v1/doctor", "admin", store="default")
        missing = library.get("/v1/doctor", "admin", store="defaulx")
        assert foreign.status_code == missing.status_code == 404
        assert foreign.text.replace("default", "defaulx") == missing.text
        assert library.get("/v1/doctor", "grouped").status_code == 403
        assert library.get("/v1/doctor", store="x" * 257).status_code == 400


def test_one_examination_at_a_time(tmp_path: Path) -> None:
    with serving_library(tmp_path) as library:
        assert asyncio.run(_both(library)) == (503, "overloaded", 200)


async def _both(library: LibraryServer) -> tuple[int, str, int]:
    """A second request while the first waits for an ingest to end."""
    engine = library.engine
    async with httpx.AsyncClient(base_url=library.url, timeout=30) as http:
        async with hold(engine.leases, engine.settings.data_dir, store_lease(store_id("default"))):
            first = asyncio.ensure_future(http.get("/v1/doctor", params={"store": "default"}))
            async with asyncio.timeout(20):
                while not library.live.examination.locked():  # noqa: ASYNC110 - another thread's state
                    await asyncio.sleep(0.01)
            second = await http.get("/v1/doctor", params={"store": "people"})
            assert not first.done()
        return second.status_code, second.json()["error"]["code"], (await first).status_code
