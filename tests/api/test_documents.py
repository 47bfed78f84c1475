"""/v1/documents: lists, text around a cited span, and original files; each only for those who may see it."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import pytest

from tests.api.library_server import BOARD, TRAVEL, LibraryServer, serving_library


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibraryServer]:
    """Served once; tests that change files make their own."""
    with serving_library(tmp_path_factory.mktemp("library")) as served:
        yield served


def names(found: httpx.Response) -> list[str]:
    assert found.status_code == 200, found.text
    return [unquote(urlsplit(each["uri"]).path.rsplit("/", 1)[-1]) for each in found.json()["data"]]


def test_a_list_has_folder_and_upload_and_pages(library: LibraryServer) -> None:
    assert names(library.get("/v1/documents")) == ["rooms.txt", "travel.md", "board.txt"]
    paged: list[str] = []
    page = library.get("/v1/documents", limit=2)
    while True:
        paged += names(page)
        if not page.json()["has_more"]:
            break
        page = library.get("/v1/documents", limit=2, after=page.json()["last_id"])
    assert paged == ["rooms.txt", "travel.md", "board.txt"]
    upload = library.get("/v1/documents").json()["data"][2]
    assert (upload["file_id"][:5], upload["attributes"]) == ("file-", {"year": 2024})


def test_a_list_is_filtered_by_how_titles_and_uris_begin(library: LibraryServer) -> None:
    assert names(library.get("/v1/documents", title="Tra")) == ["travel.md"]
    assert names(library.get("/v1/documents", title="tra")) == []
    assert names(library.get("/v1/documents", uri="upload:///")) == ["board.txt"]
    assert names(library.get("/v1/documents", uri="file:///%")) == []


def test_a_list_names_stores_by_name_and_public_id(library: LibraryServer) -> None:
    people = library.engine.stores.get("people")
    for name in ("people", people.public_id):
        assert names(library.get("/v1/documents", store=name)) == ["leave.txt"]


@pytest.mark.parametrize("after", ["no-such-document", "\x00", str(uuid.uuid4())])
def test_a_list_behind_an_unknown_document_is_refused(library: LibraryServer, after: str) -> None:
    refused = library.get("/v1/documents", after=after)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")


def test_a_span_comes_with_what_stands_around_it(library: LibraryServer) -> None:
    start = TRAVEL.index("Trains are")
    end = start + len("Trains are booked in second class.")
    document = library.document("travel.md")
    found = library.get(f"/v1/documents/{document}", start=start, end=end, around=5).json()
    assert found["span"]["quote"] == TRAVEL[start:end]
    assert found["text"] == TRAVEL[start - 5 : end + 5]
    assert (found["char_start"], found["char_end"], found["char_count"]) == (start - 5, end + 5, len(TRAVEL))
    assert found["span"]["headings"] == ["Travel", "Trains"]
    assert found["span"]["locator"]["lines"] == [5, 5]


def test_whole_texts_come_in_pages(library: LibraryServer) -> None:
    document, text, start = library.document("travel.md"), "", 0
    while start is not None:
        found = library.get(f"/v1/documents/{document}", start=start, limit=30).json()
        assert len(found["text"]) <= 30
        text, start = text + found["text"], found["next_start"]
    assert text == TRAVEL


@pytest.mark.parametrize(
    "span", [{"start": 5, "end": 5}, {"start": 9, "end": 3}, {"start": 0, "end": 99_999_999}, {"start": 0, "end": 5000}]
)
def test_spans_that_are_none_are_refused(library: LibraryServer, span: dict[str, int]) -> None:
    refused = library.get(f"/v1/documents/{library.document('travel.md')}", **span)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")


def test_text_behind_the_end_is_empty(library: LibraryServer) -> None:
    found = library.get(f"/v1/documents/{library.document('travel.md')}", start=10_000).json()
    assert (found["text"], found["next_start"], found["char_start"]) == ("", None, len(TRAVEL))


def test_offsets_of_another_version_are_not_shown(library: LibraryServer) -> None:
    document = library.document("travel.md")
    generation = library.get(f"/v1/documents/{document}").json()["generation"]
    assert library.get(f"/v1/documents/{document}", generation=generation).status_code == 200
    assert library.get(f"/v1/documents/{document}", generation="0" * 32).status_code == 404


@pytest.mark.parametrize("tail", ["", "/original"])
@pytest.mark.parametrize("caller", ["people", "staff"])
def test_anothers_document_looks_like_a_missing_one(library: LibraryServer, tail: str, caller: str) -> None:
    own, missing = library.document("board.txt"), str(uuid.uuid4())
    foreign = library.get(f"/v1/documents/{own}{tail}", caller)
    nowhere = library.get(f"/v1/documents/{missing}{tail}", caller)
    assert foreign.status_code == nowhere.status_code == 404
    assert foreign.text.replace(own, missing) == nowhere.text
    assert library.get(f"/v1/documents/{own}{tail}", "board").status_code == 200


def test_a_list_holds_what_the_groups_may_read(library: LibraryServer) -> None:
    assert names(library.get("/v1/documents", "staff")) == ["rooms.txt", "travel.md"]
    assert names(library.get("/v1/documents", "board")) == ["rooms.txt", "travel.md", "board.txt"]
    behind = library.get("/v1/documents", "staff", after=library.document("board.txt"))
    assert behind.status_code == 400


def test_anothers_store_looks_like_a_missing_one(library: LibraryServer) -> None:
    foreign = library.get("/v1/documents", "people", store="default")
    nowhere = library.get("/v1/documents", "people", store="defaulx")
    assert foreign.status_code == nowhere.status_code == 404
    assert foreign.text.replace("default", "defaulx") == nowhere.text


@pytest.mark.parametrize(("name", "text"), [("travel.md", TRAVEL), ("board.txt", BOARD)])
def test_originals_are_downloads_that_run_nowhere(library: LibraryServer, name: str, text: str) -> None:
    found = library.get(f"/v1/documents/{library.document(name)}/original")
    assert (found.status_code, found.text) == (200, text)
    assert found.headers["content-disposition"] == f"attachment; filename=\"{name}\"; filename*=UTF-8''{name}"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["content-security-policy"].startswith("sandbox")


def test_the_original_of_a_strange_name_cannot_break_out_of_its_header(tmp_path: Path) -> None:
    with serving_library(tmp_path) as served:
        from tests.ingest.uploads import attach, upload, work

        name = 'a";\u202e filename=x.html\u00e4.txt'
        attach(served.engine, served.engine.stores.get("default"), upload(served.engine, name, "Odd names happen.\n"))
        work(served.engine)
        (document,) = (
            each["id"] for each in served.get("/v1/documents").json()["data"] if each["uri"].endswith("%C3%A4.txt")
        )
        shown = served.get(f"/v1/documents/{document}/original").headers["content-disposition"]
    assert shown.count('"') == 2
    assert "%C3%A4.txt" in shown


@pytest.mark.parametrize("change", ["written", "gone", "linked", "linked above"])
def test_a_file_that_is_not_what_was_indexed_is_not_sent(tmp_path: Path, change: str) -> None:
    with serving_library(tmp_path) as served:
        document = served.document("leave.txt", "people")
        path = served.docs / "people" / "leave.txt"
        copy = tmp_path / "elsewhere"
        copy.mkdir()
        (copy / "leave.txt").write_bytes(path.read_bytes())
        assert served.get(f"/v1/documents/{document}/original").status_code == 200
        if change == "written":
            path.write_text("Something else entirely.\n")
        else:
            path.unlink()
        if change == "linked":
            path.symlink_to(copy / "leave.txt")
        if change == "linked above":
            path.parent.rmdir()
            path.parent.symlink_to(copy)
        lost = served.get(f"/v1/documents/{document}/original")
        assert (lost.status_code, lost.json()["error"]["code"]) == (404, "not_found")
        assert served.get(f"/v1/documents/{document}").status_code == 200


def test_an_upload_whose_bytes_were_changed_is_not_sent(tmp_path: Path) -> None:
    with serving_library(tmp_path) as served:
        document = served.document("board.txt")
        (file,) = (tmp_path / "data" / "files").glob("file-*")
        file.chmod(0o600)
        file.write_text("Forged.\n")
        assert served.get(f"/v1/documents/{document}/original").status_code == 404
        file.unlink()
        assert served.get(f"/v1/documents/{document}/original").status_code == 404
