"""What filters may ask of a document: users' attributes, and Quoth's own beside them."""

from rag.attributes import MAX_FOLDERS, date_of, file_id_of, merged, of_parser, of_user, to_ask, upload_uri


def test_users_and_parsers_attributes_do_not_collide() -> None:
    both = merged({"from": "me", "year": 2024}, {"from": "a@example.com", "ocr": True})
    assert (of_user(both), of_parser(both)) == ({"from": "me", "year": 2024}, {"from": "a@example.com", "ocr": True})


def test_what_can_be_asked_can_be_stored() -> None:
    own = {"from": "a\ud800", 'odd"': 1, "huge": 2**63, "nan": float("nan"), "list": [1], "pages": 3}
    asked = to_ask("file:///docs/a%20b/c%FF.md", "text/markdown", merged({"year": 1}, own))  # type: ignore[arg-type]
    assert asked == {
        "year": 1, "quoth.pages": 3, "quoth.filename": "c\ufffd.md", "quoth.type": "text/markdown",
        "quoth.path": "/docs/a b/c\ufffd.md", "quoth.suffix": ".md", "quoth.folder": ("/docs", "/docs/a b"),
    }  # fmt: skip


def test_an_uploads_uri_holds_its_id_and_any_name() -> None:
    for name in ("a.md", "a/b?#%.md", "ü \ud800.md", "."):
        uri = upload_uri("file-1", name)
        assert file_id_of(uri) == "file-1"
        assert uri.isascii()
        assert uri.count("/") == 4
    assert file_id_of("file:///upload/file-1/a.md") is None


def test_a_documents_date_is_the_users_else_quoths_own() -> None:
    own = {"quoth.date": 86_400.0}
    assert date_of(own) == 86_400
    assert date_of(own | {"date": "1970-01-03"}) == 172_800
    assert date_of(own | {"date": "1970-01-01T02:00:00+02:00"}) == 0
    assert date_of(own | {"date": 7}) == 7
    for said in ("last week", True, "1970-02-30", ""):
        assert date_of(own | {"date": said}) == 86_400
    assert date_of({"date": "last week"}) is None
    asked = to_ask("upload:///file-1/a.PDF", "application/pdf", own | {"date": "1970-01-03"})
    assert (asked["quoth.date"], asked["date"], asked["quoth.suffix"]) == (172_800, "1970-01-03", ".pdf")
    assert "quoth.folder" not in asked
    assert "quoth.date" not in to_ask("upload:///file-1/a.pdf", "application/pdf", {})


def test_the_folders_above_a_path_are_told_up_to_a_limit() -> None:
    assert "quoth.folder" not in to_ask("file:///a.md", "text/markdown", {})
    deep = to_ask("file://" + "/d" * (MAX_FOLDERS + 10) + "/a.md", "text/markdown", {})["quoth.folder"]
    assert deep == tuple("/d" * level for level in range(1, MAX_FOLDERS + 1))
