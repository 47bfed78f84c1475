"""What filters may ask of a document: users' attributes, and Quoth's own beside them."""

from rag.attributes import file_id_of, merged, of_parser, of_user, to_ask, upload_uri


def test_users_and_parsers_attributes_do_not_collide() -> None:
    both = merged({"from": "me", "year": 2024}, {"from": "a@example.com", "ocr": True})
    assert (of_user(both), of_parser(both)) == ({"from": "me", "year": 2024}, {"from": "a@example.com", "ocr": True})


def test_what_can_be_asked_can_be_stored() -> None:
    own = {"from": "a\ud800", 'odd"': 1, "huge": 2**63, "nan": float("nan"), "list": [1], "pages": 3}
    asked = to_ask("file:///docs/a%20b/c%FF.md", "text/markdown", merged({"year": 1}, own))  # type: ignore[arg-type]
    assert asked == {
        "year": 1, "quoth.pages": 3, "quoth.filename": "c\ufffd.md", "quoth.type": "text/markdown",
        "quoth.path": "/docs/a b/c\ufffd.md",
    }  # fmt: skip


def test_an_uploads_uri_holds_its_id_and_any_name() -> None:
    for name in ("a.md", "a/b?#%.md", "ü \ud800.md", "."):
        uri = upload_uri("file-1", name)
        assert file_id_of(uri) == "file-1"
        assert uri.isascii()
        assert uri.count("/") == 4
    assert file_id_of("file:///upload/file-1/a.md") is None
