"""Words in images and scans, with the real tesseract where there is one, and with programs that act like it."""

import os
import struct
import sys
from pathlib import Path

import pytest

from ingest.parsers.images import parse as parse_image
from ingest.parsers.limits import ParserLimits
from ingest.parsers.registry import format_of, parse, recipe_of
from ingest.parsers.tesseract import ENVIRONMENT, command, is_command
from rag.documents import Document, Locator
from rag.errors import ParseError
from rag.settings import IngestSettings
from tests.ingest.pictures import bmp, drawn, png, png_of, scan, tiff, turned, written

LIMITS = ParserLimits.of(IngestSettings(max_pages=3))
ABSENT = ParserLimits.of(IngestSettings(max_pages=3), program_folders="")
needs_tesseract = pytest.mark.skipif(not LIMITS.ocr_program, reason="tesseract is not installed")

WORDS = "The harbour opens at seven\nand closes at nine"
OTHERS = "Keys are kept in the blue box"


def reason(data: bytes, name: str, limits: ParserLimits = LIMITS) -> str:
    with pytest.raises(ParseError) as caught:
        parse(data, name, limits)
    assert str(caught.value).endswith(".")
    return caught.value.reason


def shown(document: Document) -> list[tuple[str, str, Locator]]:
    return [(block.kind, document.text[block.start : block.end], block.locator) for block in document.blocks]


def like_tesseract(folder: Path, script: str) -> ParserLimits:
    """Limits whose tesseract is a shell script."""
    program = folder / "tesseract"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return ParserLimits.of(IngestSettings(), program_folders=str(folder))


def saying(folder: Path, *words: tuple[int, int, int, int, float, str]) -> ParserLimits:
    """Limits whose tesseract reads these words: page, block, paragraph, line, confidence, text."""
    rows = [f"5\t{p}\t{b}\t{g}\t{row}\t1\t0\t0\t9\t9\t{sure}\t{text}" for p, b, g, row, sure, text in words]
    table = "\n".join(
        ["level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext", *rows]
    )
    (folder / "table").write_text(table + "\n")
    return like_tesseract(folder, f"/bin/cat >/dev/null; /bin/cat {folder / 'table'}")


@needs_tesseract
@pytest.mark.parametrize(("name", "make"), [("a.png", png), ("a.bmp", bmp), ("a.tif", lambda picture: tiff([picture]))])
def test_words_of_an_image(name: str, make: object) -> None:
    document = parse(make(written(WORDS)), name, LIMITS)  # type: ignore[operator]
    assert shown(document) == [("paragraph", WORDS, Locator())]
    assert document.title == "a"
    assert document.attributes["ocr"] is True
    assert int(document.attributes["ocr_confidence"]) > 80


@needs_tesseract
def test_pages_of_a_tiff() -> None:
    document = parse(tiff([written(WORDS), written(OTHERS)]), "a.tiff", LIMITS)
    assert shown(document) == [("paragraph", WORDS, Locator(page=1)), ("paragraph", OTHERS, Locator(page=2))]


@needs_tesseract
def test_an_image_named_after_another_kind_is_read() -> None:
    assert parse(png(written(OTHERS)), "a.jpg", LIMITS).media_type == "image/png"


@needs_tesseract
def test_an_image_without_words_is_no_document() -> None:
    assert reason(png(drawn()), "a.png") == "image_without_text"
    assert reason(scan([drawn()]), "a.pdf") == "image_without_text"


@needs_tesseract
def test_damaged_images() -> None:
    assert reason(png(written(WORDS))[:200], "a.png") == "corrupt"
    assert reason(png_of(100, 100, b"nonsense"), "a.png") == "corrupt"


@needs_tesseract
@pytest.mark.parametrize("languages", ["xyz", "eng+xyz"])
def test_a_language_that_is_missing(languages: str) -> None:
    limits = ParserLimits.of(IngestSettings(ocr_languages=languages))
    with pytest.raises(ParseError, match="QUOTH_INGEST__OCR_LANGUAGES") as caught:
        parse(png(written(WORDS)), "a.png", limits)
    assert caught.value.reason == "needs_ocr"


@needs_tesseract
def test_a_scan() -> None:
    document = parse(scan([written(WORDS), written(OTHERS)]), "a.pdf", LIMITS)
    assert shown(document) == [("paragraph", WORDS, Locator(page=1)), ("paragraph", OTHERS, Locator(page=2))]
    assert document.attributes["ocr_pages"] == 2
    assert "pages_without_text" not in document.attributes


@needs_tesseract
def test_scans_that_lie_on_their_side_or_head() -> None:
    lines = "\n".join([WORDS, OTHERS] * 3)
    for times in (1, 2, 3):
        picture = written(lines)
        for _ in range(times):
            picture = turned(picture)
        assert parse(scan([picture]), "a.pdf", LIMITS).text.split() == lines.split()


@needs_tesseract
def test_only_the_pages_without_text_are_recognised() -> None:
    document = parse(scan(["Typed words.", written(OTHERS), drawn()]), "a.pdf", LIMITS)
    assert document.text == f"Typed words.\n\n{OTHERS}"
    assert [block.locator.page for block in document.blocks] == [1, 2]
    assert (document.attributes["ocr_pages"], document.attributes["pages_without_text"]) == (1, 1)


@pytest.mark.parametrize("limits", [ABSENT, ParserLimits.of(IngestSettings(ocr="off"))])
def test_without_tesseract(limits: ParserLimits) -> None:
    assert reason(png(drawn()), "a.png", limits) == "needs_ocr"
    assert reason(scan([drawn(), drawn()]), "a.pdf", limits) == "needs_ocr"
    document = parse(scan(["Typed words.", drawn(), ""]), "a.pdf", limits)
    assert (document.text, document.attributes) == ("Typed words.", {"pages_without_text": 1})


def test_what_to_do_without_tesseract_is_said() -> None:
    with pytest.raises(ParseError, match="Install tesseract-ocr and its language data"):
        parse(png(drawn()), "a.png", ABSENT)
    with pytest.raises(ParseError, match="QUOTH_INGEST__OCR=auto"):
        parse(png(drawn()), "a.png", ParserLimits.of(IngestSettings(ocr="off")))


def test_what_is_no_image_never_reaches_tesseract() -> None:
    """It would take it for a list of files to open."""
    for data in (b"/etc/hostname\n", b"%PDF-1.4", b"RIFF\x10\0\0\0WAVEfmt ", b"II+\0\x08\0\0\0", b"P5 1 1 255\nx"):
        assert reason(data, "a.png", ABSENT) == "wrong_type"


_WEBP = b"RIFF\xff\0\0\0WEBP"
_JPEG = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc4\0\x03c"


@pytest.mark.parametrize(
    "data",
    [
        png_of(20_000, 20_000, b""),
        b"GIF89a" + struct.pack("<HH", 65_535, 65_535),
        b"BM" + bytes(12) + struct.pack("<Iii", 40, 20_000, -20_000),
        b"BM" + bytes(12) + struct.pack("<IHH", 12, 20_000, 20_000),
        _JPEG + b"\xff\xc2\0\x11\x08" + struct.pack(">HH", 20_000, 20_000),
        _WEBP + b"VP8X" + bytes(8) + b"\xff\xff\0\xff\xff\0",
        _WEBP + b"VP8L" + bytes(4) + b"\x2f\xff\xff\xff\x0f",
        _WEBP + b"VP8 " + bytes(7) + b"\x9d\x01\x2a" + struct.pack("<HH", 16_383, 16_383),
        b"MM\0*" + struct.pack(">IHHHIHHHHIHHI", 8, 2, 256, 4, 1, 0, 40_000, 257, 3, 1, 40_000, 0, 0),
    ],
)  # fmt: skip
def test_huge_images_are_refused_by_their_header(data: bytes) -> None:
    assert reason(data, "a.png", ABSENT) == "too_long"


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n", png_of(0, 5, b""), _JPEG, _WEBP + b"ABCD", b"BM", b"II*\0\x08\0\0\0"]
)
def test_headers_that_break_off(data: bytes) -> None:
    assert reason(data, "a.png", ABSENT) == "corrupt"


def test_pages_of_a_tiff_are_counted_before_they_are_read() -> None:
    assert reason(tiff([drawn()] * 4), "a.tif", ABSENT) == "too_long"


def test_a_tiff_whose_pages_go_in_circles_ends() -> None:
    circle = bytearray(tiff([drawn()]))
    circle[8 + 2 + 12 * 9 : 8 + 2 + 12 * 9 + 4] = struct.pack("<I", 8)
    assert reason(bytes(circle), "a.tif", ABSENT) == "needs_ocr"


def test_paragraphs_lines_and_hyphens(tmp_path: Path) -> None:
    limits = saying(
        tmp_path,
        (1, 1, 1, 1, 90, "A"), (1, 1, 1, 1, 90, "conver-"), (1, 1, 1, 2, 90, "sion"), (1, 1, 1, 2, 90, "of"),
        (1, 1, 1, 3, 90, "Anglo-"), (1, 1, 1, 4, 90, "Saxon"),
        (1, 1, 2, 1, 12, "~~;"), (1, 2, 1, 1, 80, "Last\x01."),
    )  # fmt: skip
    document = parse_image(png(drawn()), "a", limits)
    assert document.text == "A conversion\nof\nAnglo-\nSaxon\n\nLast ."
    assert [document.text[block.start : block.end] for block in document.blocks] == document.text.split("\n\n")
    assert document.attributes["ocr_confidence"] == round((90 * 23 + 80 * 6) / 29)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 3", "corrupt"),
        ("kill -SEGV $$", "parser_killed"),
        ("kill -XCPU $$", "parser_timeout"),
        ("echo 'Error in pixCreateNoInit: pixdata_malloc fail for data' >&2", "too_long"),
        ("echo 'Failed loading language xyz' >&2", "needs_ocr"),
        ("echo 'no table at all'", "image_without_text"),
        ('test "$(ulimit -t)" = 60', "image_without_text"),
        ("test -z \"$HOME$PATH_INFO$LD_PRELOAD$PYTHONPATH\" && test \"$OMP_THREAD_LIMIT\" = 1 && exit 0; exit 1",
         "image_without_text"),
    ],
)  # fmt: skip
def test_how_tesseract_may_end(script: str, expected: str, tmp_path: Path) -> None:
    limits = like_tesseract(tmp_path, f"/bin/cat >/dev/null; {script}")
    assert reason(png(drawn()), "a.png", limits) == expected


def test_a_program_that_does_not_start(tmp_path: Path) -> None:
    limits = like_tesseract(tmp_path, "")
    (tmp_path / "tesseract").write_text("#!/does/not/exist\n")
    assert reason(png(drawn()), "a.png", limits) == "needs_ocr"


def test_a_blank_page_is_not_worth_a_process(tmp_path: Path) -> None:
    limits = like_tesseract(tmp_path, "exit 3")
    blank = drawn()
    white = type(blank)(blank.width, blank.height, b"\xff" * len(blank.pixels))
    assert reason(scan([white]), "a.pdf", limits) == "image_without_text"


GOOD = command("/usr/bin/tesseract", "eng+deu_frak", 200)


@pytest.mark.parametrize(
    "launch",
    [
        ("/bin/sh", GOOD, None, ENVIRONMENT),
        ("/usr/bin/tesseract", ["/bin/sh", *GOOD[1:]], None, ENVIRONMENT),
        ("/usr/bin/tesseract", GOOD, "/tmp", ENVIRONMENT),
        ("/usr/bin/tesseract", GOOD, None, None),
        ("/usr/bin/tesseract", GOOD, None, {**ENVIRONMENT, "LD_PRELOAD": "x.so"}),
        ("/usr/bin/tesseract", [*GOOD, "-c", "debug_file=x"], None, ENVIRONMENT),
        ("/usr/bin/tesseract", ["/usr/bin/tesseract", "/etc/passwd", *GOOD[2:]], None, ENVIRONMENT),
        ("/usr/bin/tesseract", command("/usr/bin/tesseract", "../../x"), None, ENVIRONMENT),
        ("/usr/bin/tesseract", tuple(GOOD), None, ENVIRONMENT),
        ("", ["", *GOOD[1:]], None, ENVIRONMENT),
    ],
)
def test_only_the_one_command_may_run(launch: tuple[object, ...]) -> None:
    assert is_command("/usr/bin/tesseract", ("/usr/bin/tesseract", GOOD, None, dict(ENVIRONMENT)))
    assert not is_command("/usr/bin/tesseract" if launch[0] else "", launch)


def test_recipes_tell_which_languages_are_read(tmp_path: Path) -> None:
    present = like_tesseract(tmp_path, "")
    for name in ("a.png", "a.pdf", "a.zip"):
        assert recipe_of(name, present) == f"{recipe_of(name)};ocr=eng"
        assert recipe_of(name, ABSENT) == recipe_of(name)
    assert recipe_of("a.md", present) == recipe_of("a.md")
    found = format_of("a.TIFF")
    assert found is not None
    assert found.recognises


def test_tesseract_is_looked_for_where_programs_are_and_not_on_the_path(tmp_path: Path) -> None:
    assert like_tesseract(tmp_path, "").ocr_program == str(tmp_path / "tesseract")
    found = LIMITS.ocr_program
    assert not found or (os.path.isabs(found) and not found.startswith(sys.prefix))  # noqa: PTH117
