"""Office files whose content is not what the name says, or that are encrypted, damaged or hostile."""

import io
import re
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from ingest.parsers.limits import ParserLimits
from ingest.parsers.packages import check_package, read_entry
from ingest.parsers.registry import parse
from rag.errors import ParseError
from tests.ingest.made_office import (
    ODT,
    OFFICE_SAMPLES,
    XLSX,
    bomb,
    contents,
    forged,
    package,
)

LIMITS = ParserLimits(max_characters=1_000_000, max_pages=5, max_entries=50, max_expanded_bytes=30_000_000)
OLE = bytes.fromhex("d0cf11e0a1b11ae1")


def reason(data: bytes, name: str) -> str:
    with pytest.raises(ParseError) as caught:
        parse(data, name, LIMITS)
    assert str(caught.value).endswith(".")
    return caught.value.reason


# What the content is


@pytest.mark.parametrize("suffix", ["docx", "doc", "rtf", "odt", "epub", "pptx", "ppt", "odp", "xlsx", "xls", "ods"])
@pytest.mark.parametrize(
    ("data", "seems"),
    [
        (b"MZ\x90\0" + bytes(100), "a program"),
        (b"<!doctype html><html><table><tr><td>1</td></tr></table></html>", "an HTML page"),
        (b"a,b\n1,2\n", "text"),
        (b"%PDF-1.7", "a PDF"),
        (package({"a.txt": "x"}), "a ZIP archive"),
    ],
)
def test_content_that_belies_the_name(suffix: str, data: bytes, seems: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse(data, f"g.{suffix}", LIMITS)
    assert caught.value.reason == "wrong_type"
    assert seems in str(caught.value)


@pytest.mark.parametrize(("name", "suffix"), [("guide.docx", "xlsx"), ("guide.xlsx", "pptx"), ("guide.pptx", "docx")])
def test_another_office_format_than_the_name_says(name: str, suffix: str) -> None:
    assert reason(OFFICE_SAMPLES[name], f"g.{suffix}") == "wrong_type"


def ole(*streams: str) -> bytes:
    """The directory entries of an OLE container, which say what it holds."""
    entries = (name.encode("utf-16-le") for name in streams)
    return OLE + bytes(504) + b"".join(name.ljust(64, b"\0") + struct.pack("<H", len(name) + 2) + bytes(62)
                                       for name in entries) + bytes(512)  # fmt: skip


@pytest.mark.parametrize("suffix", ["docx", "doc", "pptx", "ppt", "xlsx", "xls"])
def test_what_office_encrypted(suffix: str) -> None:
    assert reason(ole("EncryptionInfo", "EncryptedPackage"), f"g.{suffix}") == "encrypted"


def test_word_97_with_a_password() -> None:
    directory = bytearray(ole("WordDocument"))
    directory[512 + 10 : 512 + 12] = struct.pack("<H", 0x0100)  # both lie in the first sector here
    assert reason(bytes(directory), "g.doc") == "encrypted"


def test_parts_with_a_password() -> None:
    data = bytearray(XLSX)
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    assert reason(bytes(data), "g.xlsx") == "encrypted"


def test_opendocument_with_a_password() -> None:
    parts = contents(ODT)
    parts["META-INF/manifest.xml"] = b'<m:manifest xmlns:m="m"><m:encryption-data/></m:manifest>'
    assert reason(package(parts), "g.odt") == "encrypted"


# The guard


@pytest.mark.parametrize("name", OFFICE_SAMPLES)
def test_a_file_that_breaks_off_is_corrupt(name: str) -> None:
    data = OFFICE_SAMPLES[name]
    if not data.startswith(b"PK"):
        pytest.skip("text that breaks off is text")
    assert reason(data[: len(data) // 2], name) == "corrupt"
    assert reason(data[:-30], name) == "corrupt"


def test_a_part_that_is_damaged() -> None:
    data = bytearray(ODT)
    with zipfile.ZipFile(io.BytesIO(ODT)) as archive:
        start = archive.getinfo("content.xml").header_offset + 30 + len("content.xml")
    data[start : start + 40] = bytes(40)
    assert reason(bytes(data), "g.odt") == "corrupt"


def test_too_many_parts() -> None:
    assert reason(package({f"{n}": "" for n in range(51)}), "g.docx") == "too_long"


def test_parts_of_one_name() -> None:
    out = io.BytesIO(ODT)
    with zipfile.ZipFile(out, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("content.xml", "<x/>")
    assert reason(out.getvalue(), "g.odt") == "corrupt"


def test_parts_that_share_bytes() -> None:
    data = bytearray(package({"a": "x" * 100, "b": "y" * 100}))
    second = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, second + 42, 0)
    assert reason(bytes(data), "g.docx") == "corrupt"


def test_a_size_that_is_not_the_parts() -> None:
    assert reason(forged(ODT, "content.xml", 100), "g.odt") == "corrupt"


def test_a_rare_method_is_not_tried() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", "x")
    assert reason(out.getvalue(), "g.docx") == "unsupported"


def test_reading_a_part_stops_at_the_budget() -> None:
    archive = check_package(package({"a": "x" * 1000}), LIMITS)
    assert read_entry(archive, archive.getinfo("a"), 1000) == b"x" * 1000
    with pytest.raises(ParseError, match="expands to more than 999 bytes"):
        read_entry(archive, archive.getinfo("a"), 999)


@pytest.mark.parametrize("suffix", ["docx", "xlsx", "pptx", "odt", "ods", "epub"])
def test_a_bomb_with_a_forged_size_takes_no_memory(suffix: str) -> None:
    data = bomb("xl/worksheets/sheet1.xml", expands_to=500_000_000, says=1000)
    assert len(data) < 1_000_000
    tracemalloc.start()
    try:
        assert reason(data, f"g.{suffix}") == "too_long"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


ENTITIES = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "haha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;">
<!ENTITY f SYSTEM "file:///etc/passwd">]>"""


@pytest.mark.parametrize("entity", ["&d;", "&f;"])
@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("guide.docx", "word/document.xml"),
        ("guide.pptx", "ppt/slides/slide1.xml"),
        ("guide.xlsx", "xl/worksheets/sheet1.xml"),
        ("guide.odt", "content.xml"),
        ("guide.odp", "content.xml"),
        ("guide.ods", "content.xml"),
        ("guide.epub", "OEBPS/book.opf"),
        ("guide.epub", "OEBPS/b.xhtml"),
    ],
)
def test_entities_are_never_expanded(name: str, part: str, entity: str) -> None:
    parts = contents(OFFICE_SAMPLES[name])
    markup = re.sub(r"^<\?xml[^>]*>", "", parts[part].decode())
    for word in ("Opening words.", "second ", "Opening", "<spine>"):
        markup = markup.replace(word, word + entity, 1)
    assert entity in markup
    parts[part] = (ENTITIES + markup).encode()
    try:
        text = parse(package(parts), name, LIMITS).text
    except ParseError as error:
        assert error.reason in ("corrupt", "too_long")
    else:
        assert "haha" not in text and "root:" not in text


def test_hostile_office_files(collections: Path) -> None:
    for path in sorted((collections / "hostile" / "oxml_xxe_base").iterdir()):
        if path.suffix in (".docx", ".pptx", ".xlsx", ".odt"):
            text = parse(path.read_bytes(), path.name, LIMITS).text
            assert text and "root:" not in text


def test_a_word_bomb_of_200_megabytes(collections: Path) -> None:
    data = (collections / "hostile" / "generated" / "docx_200MB_text_bomb.docx").read_bytes()
    assert reason(data, "g.docx") == "too_long"
