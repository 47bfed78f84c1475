"""ZIP archives, sound and hostile. Nothing is ever extracted."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ingest.parsers.archives import label_of
from ingest.parsers.limits import ParserLimits
from ingest.parsers.registry import parse, recipe_of
from ingest.source_files import Refused, SourceFile
from ingest.sources import walk
from rag.documents import Document, Locator
from rag.errors import ParseError
from rag.settings import IngestSettings
from tests.ingest.made import SAMPLES

LIMITS = ParserLimits(max_characters=1_000_000, max_pages=10, max_entries=50, max_expanded_bytes=3_000_000)


def packed(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def refusal(data: bytes, limits: ParserLimits = LIMITS) -> ParseError:
    with pytest.raises(ParseError) as caught:
        parse(data, "a.zip", limits)
    assert str(caught.value).endswith(".")
    return caught.value


def entries(document: Document) -> list[str | None]:
    return list(dict.fromkeys(block.locator.entry for block in document.blocks))


def test_files_come_in_the_order_of_their_names_behind_their_paths() -> None:
    document = parse(packed({"b/notes.txt": b"Second.", "a.md": b"# Head\n\nFirst.", "b/": b""}), "pack.zip", LIMITS)
    assert (document.title, document.text) == ("pack", "# Head\n\nFirst.\n\nSecond.")
    assert document.media_type == "application/zip"
    assert [(block.headings, block.locator.entry) for block in document.blocks] == [
        (("a.md", "Head"), "a.md"), (("a.md", "Head"), "a.md"), (("b/notes.txt",), "b/notes.txt"),
    ]  # fmt: skip
    assert document.attributes == {"entries_read": 2}
    assert all(document.text[block.start : block.end].strip() for block in document.blocks)


def test_every_format_is_read_as_outside_of_an_archive() -> None:
    document = parse(packed(SAMPLES, zipfile.ZIP_STORED), "a.zip", LIMITS)
    alone = {name: parse(data, name, LIMITS) for name, data in SAMPLES.items()}
    assert document.text == "\n\n".join(alone[name].text for name in sorted(alone))
    assert entries(document) == sorted(alone)


def test_what_is_not_read_is_named() -> None:
    files = {"a.exe": b"x", "b.txt": b"Words.", "c.pdf": b"no pdf", "d.txt": b"a\0b", ".hidden.txt": b"x",
             "__MACOSX/._b.txt": b"x", "node_modules/x.md": b"x", "e.txt~": b"x"}  # fmt: skip
    document = parse(packed(files), "a.zip", LIMITS)
    assert document.text == "Words."
    assert document.attributes == {
        "entries_read": 1,
        "entries_left_out": "a.exe: unsupported; c.pdf: wrong_type; d.txt: binary",
    }


def test_the_list_of_what_is_not_read_is_bounded_and_still_counts() -> None:
    files = {f"{number:02}{'x' * 200}.exe": b"x" for number in range(49)} | {"z.txt": b"Words."}
    listed = str(parse(packed(files), "a.zip", LIMITS).attributes["entries_left_out"])
    assert len(listed) <= 2_000
    assert listed.count(": unsupported") + int(listed.split("; and ")[1].removesuffix(" more")) == 49


def test_an_archive_of_which_nothing_is_read() -> None:
    error = refusal(packed({"a.exe": b"x", "b.txt": b" "}))
    assert error.reason == "no_text"
    assert "a.exe: unsupported; b.txt: no_text" in str(error)
    assert refusal(packed({})).reason == "no_text"
    assert refusal(packed({".hidden.txt": b"x"})).reason == "no_text"


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("../../etc/passwd.txt", "etc/passwd.txt"),
        ("/abs/olute.txt", "abs/olute.txt"),
        ("C:\\Users\\me\\..\\a.txt", "Users/me/a.txt"),
        ("a//./b.txt", "a/b.txt"),
        ("a\n\x1b[31m/b\u2028c.txt", "a [31m/b c.txt"),
        ("../..", "untitled"),
    ],
)
def test_names_are_labels_that_lead_nowhere(path: str, label: str) -> None:
    assert label_of(path) == label


def test_names_that_climb(tmp_path: Path) -> None:
    data = packed({"../" * 30 + str(tmp_path)[1:] + "/evil.txt": b"Words."})
    assert parse(data, "a.zip", LIMITS).text == "Words."
    assert not list(tmp_path.iterdir())


def test_links_are_not_followed() -> None:
    link = zipfile.ZipInfo("link.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a.txt", "Words.")
    document = parse(out.getvalue(), "a.zip", LIMITS)
    assert (document.text, document.attributes["entries_left_out"]) == ("Words.", "link.txt: not_regular")


def test_archives_inside_of_archives() -> None:
    innermost = packed({"deep.txt": b"Deep."})
    inner = packed({"more.zip": innermost, "inner.txt": b"Inner."})
    data = packed({"in.zip": inner, "outer.txt": b"Outer."})
    document = parse(data, "a.zip", LIMITS)
    assert entries(document) == ["in.zip/inner.txt", "outer.txt"]
    document = parse(packed({"in.zip": packed({"more.zip": innermost})}), "a.zip", replace(LIMITS, max_depth=3))
    assert document.blocks[0].headings == ("in.zip", "more.zip", "deep.txt")
    assert document.blocks[0].locator == Locator(lines=(1, 1), entry="in.zip/more.zip/deep.txt")
    assert refusal(data, replace(LIMITS, max_depth=0)).reason == "too_deep"
    assert "in.zip: no_text" in str(refusal(packed({"in.zip": packed({"more.zip": innermost})})))


def test_too_many_entries() -> None:
    data = packed({f"{number}.txt": b"x" for number in range(51)})
    assert refusal(data).reason == "too_long"
    liar = data[:-14] + struct.pack("<HH", 1, 1) + data[-10:]  # it says that there is one
    assert refusal(liar).reason == "too_long"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_expanded_bytes_of_all_entries_are_counted_together(method: int) -> None:
    sound = {f"{number}.txt": b"x" * 300_000 for number in range(10)}
    limits = replace(LIMITS, max_characters=10_000_000)
    assert parse(packed(sound, method), "a.zip", limits).attributes["entries_read"] == 10
    error = refusal(packed(sound | {"11.txt": b"x"}, method), limits)
    assert (error.reason, "QUOTH_INGEST__MAX_EXPANDED_BYTES" in str(error)) == ("too_long", True)


def test_an_archive_inside_gets_what_is_left() -> None:
    limits = replace(LIMITS, max_characters=10_000_000)
    inner = packed({"b.txt": b"x" * 2_500_000})
    assert parse(packed({"in.zip": inner}), "a.zip", limits).attributes == {"entries_read": 1}
    document = parse(packed({"a.txt": b"x" * 600_000, "in.zip": inner}), "a.zip", limits)
    assert document.attributes["entries_left_out"] == "in.zip: too_long"


def test_a_bomb_by_its_ratio() -> None:
    limits = ParserLimits(max_characters=100_000_000, max_pages=10)
    content = {"a.txt": b"x" * (17 << 20)}
    assert refusal(packed(content), limits).reason == "too_long"
    assert len(parse(packed(content, zipfile.ZIP_STORED), "a.zip", limits).text) == 17 << 20


def test_too_many_characters_in_all() -> None:
    limits = ParserLimits(max_characters=15, max_pages=10)
    assert refusal(packed({"a.txt": b"0123456789", "b.txt": b"0123456789"}), limits).reason == "too_long"


def forged(data: bytes, size: int) -> bytes:
    """The expanded size, in an entry's own header and in the directory, is a lie."""
    changed = bytearray(data)
    struct.pack_into("<I", changed, 22, size)
    struct.pack_into("<I", changed, data.index(b"PK\x01\x02") + 24, size)
    return bytes(changed)


@pytest.mark.parametrize("size", [0, 1, 0x7FFFFFFF])
def test_sizes_that_are_forged(size: int) -> None:
    assert parse(forged(packed({"a.txt": b"Words. " * 100}), size), "a.zip", LIMITS).text.startswith("Words.")
    assert refusal(forged(packed({"a.txt": b"x" * 3_000_001}), size)).reason == "too_long"


def test_damage() -> None:
    data = packed({"a.txt": bytes(range(97, 123)) * 100, "b.txt": b"Words."})
    changed = bytearray(data)
    changed[40:44] = b"\xff\xff\xff\xff"
    assert parse(bytes(changed), "a.zip", LIMITS).attributes["entries_left_out"] == "a.txt: corrupt"
    checksum = bytearray(packed({"a.txt": b"Words."}, zipfile.ZIP_STORED))
    checksum[checksum.index(b"Words")] ^= 1
    assert "a.txt: corrupt" in str(refusal(bytes(checksum)))
    assert refusal(data[:-30]).reason == "corrupt"
    assert refusal(data[:4] + b"nonsense").reason == "corrupt"
    assert refusal(b"no archive").reason == "wrong_type"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_rare_methods_are_named_and_not_expanded(method: int) -> None:
    assert "a.txt: unsupported" in str(refusal(packed({"a.txt": b"\0" * 1_000_000}, method)))


def test_encrypted_archives() -> None:
    data = bytearray(packed({"a.txt": b"Words."}))
    locked = bytearray(data)
    locked[6] |= 1
    locked[data.index(b"PK\x01\x02") + 8] |= 1
    assert refusal(bytes(locked)).reason == "encrypted"
    mixed = bytearray(packed({"a.txt": b"Words.", "b.txt": b"Open."}))
    mixed[6] |= 1
    mixed[mixed.index(b"PK\x01\x02") + 8] |= 1
    document = parse(bytes(mixed), "a.zip", LIMITS)
    assert (document.text, document.attributes["entries_left_out"]) == ("Open.", "a.txt: encrypted")


def test_an_archive_that_holds_itself_ends() -> None:
    """As a quine would: the same archive at every depth."""
    data = packed({"a.txt": b"Words."})
    for _ in range(20):
        data = packed({"a.zip": data})
    assert "a.zip: no_text" in str(refusal(data))


def test_an_entry_whose_checksum_is_right_and_stream_goes_on() -> None:
    """What lies behind the end of a stream is not read."""
    body = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = body.compress(b"Words.") + body.flush() + b"rubbish"
    fields = (20, 0, 8, 0, 0, zlib.crc32(b"Words."), len(stream), 6, 5, 0)
    front = struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", *fields) + b"a.txt" + stream
    directory = struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 20, *fields, 0, 0, 0, 0, 0) + b"a.txt"
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), len(front), 0)
    assert parse(front + directory + end, "a.zip", LIMITS).text == "Words."


def test_the_walk_reads_archives_only_where_that_is_switched_on(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(packed({"a.txt": b"Words."}))
    (found,) = walk([tmp_path], IngestSettings())
    assert isinstance(found, Refused)
    assert (found.reason, found.outcome) == ("unsupported", "skipped")
    assert "QUOTH_INGEST__READ_ARCHIVES" in found.message
    (found,) = walk([tmp_path], IngestSettings(read_archives=True))
    assert isinstance(found, SourceFile)


def test_the_recipe_of_an_archive_depends_on_those_of_all_formats() -> None:
    assert recipe_of("a.zip").startswith("archives-1;files=")


def test_hostile_archives(collections: Path) -> None:
    found = {path.name: path.read_bytes() for path in (collections / "hostile").rglob("*.zip")}
    assert len(found) >= 2
    for name, data in found.items():
        document = parse(data, name, LIMITS)
        assert not any(".." in (entry or "") for entry in entries(document))
