"""Text of images, as the tesseract program reads it.

The image goes in through a pipe and the words come out of another one: nothing is written to disk. The program inherits
the confinement of the parser's process (`ingest.parsers.child`), gets a CPU limit of its own, and dies with it.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from ingest.parsers.decoding import clean
from ingest.parsers.limits import ParserLimits
from ingest.parsers.tesseract import ENVIRONMENT, command
from rag.errors import ParseError

_CPU_SECONDS = 60  # a page; a dense one takes some two
_WALL_SECONDS = 240  # a page, on a machine that does other things as well
_LEAST_CONFIDENCE = 30  # percent; below are the words that tesseract sees in photographs, lines and page borders
_HYPHENATED = re.compile(r"(?<=[^\W\d_])-\n(?=[a-z\u00df-\u00ff])(\S+)[ \n]?")
_WORD = "5"  # the level of a line of the table that is a word
_COLUMNS = 12
_PR_SET_PDEATHSIG = 1
_KERNEL = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class RecognisedPage:
    """What was read on one page.

    Attributes:
        paragraphs: in reading order, their lines apart by LF; none where the page has no text.
        confidence: of tesseract in the words that were kept, 0 to 100, each as weighty as it is long.
        weight: the number of characters it was measured over.
    """

    paragraphs: tuple[str, ...] = ()
    confidence: float = 0.0
    weight: int = 0


@dataclass(frozen=True, slots=True)
class _Word:
    place: tuple[int, int, int, int]  # page, block, paragraph, line
    confidence: float
    text: str


def require(limits: ParserLimits) -> None:
    """Raise ParseError `needs_ocr` where images are not read."""
    if not limits.ocr_languages:
        raise ParseError("needs_ocr", "It is an image, and reading those is switched off. Set QUOTH_INGEST__OCR=auto.")
    if not limits.ocr_program:
        raise ParseError(
            "needs_ocr",
            "It is an image, and tesseract, which reads those, is not here. Install tesseract-ocr and its language "
            f"data for {limits.ocr_languages}.",
        )


def recognise(image: bytes, limits: ParserLimits, *, pages: int = 1, dpi: int = 0) -> list[RecognisedPage]:
    """Read an image.

    Args:
        image: a PNG, JPEG, TIFF, BMP, WEBP, GIF or PNM file. Whoever calls has looked at its first bytes: tesseract
            takes all else for a list of files to open.
        limits: the languages and the program.
        pages: how many the image has.
        dpi: dots per inch where they are known, else 0.

    Returns:
        One for each page.

    Raises:
        ParseError: `needs_ocr` (no tesseract, or a language is missing), `corrupt`, `too_long` (the image is too large
            for the memory there is), `parser_timeout`, `parser_killed`.
    """
    require(limits)
    try:
        process = subprocess.Popen(  # noqa: S603 - the program that was found at start, and nothing from the file
            command(limits.ocr_program, limits.ocr_languages, dpi),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            preexec_fn=_Tether(_CPU_SECONDS * pages),  # noqa: PLW1509 - there are no threads that hold its locks
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ParseError("needs_ocr", f"Tesseract cannot be started: {error}. Check that it runs.") from error
    with process:
        try:
            table, said = process.communicate(image, timeout=_WALL_SECONDS * pages)
        except subprocess.TimeoutExpired:
            raise _too_slow() from None
        finally:
            process.kill()
    _check(process.returncode, said.decode("utf-8", "replace"), limits)
    return _pages(clean(table.decode("utf-8", "replace")), pages)


class _Tether:
    """Run in the new process before it becomes tesseract: its CPU limit, and that it dies with its parent."""

    def __init__(self, cpu_seconds: int) -> None:
        self._cpu_seconds = cpu_seconds
        self._parent = os.getpid()

    def __call__(self) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        most = self._cpu_seconds if hard == resource.RLIM_INFINITY else min(self._cpu_seconds, hard)
        resource.setrlimit(resource.RLIMIT_CPU, (most, hard))
        if _KERNEL is not None:
            _KERNEL.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != self._parent:  # it died before the line above
                os._exit(1)


def _check(code: int, said: str, limits: ParserLimits) -> None:
    """Raise for what tesseract reports; it ends well, too, when it lacks one of several languages, or memory."""
    lines = [line.strip().rstrip(".") for line in said.splitlines() if line.strip()]
    if any("language" in line and ("Failed" in line or "couldn't" in line) for line in lines):
        raise ParseError(
            "needs_ocr",
            f"Tesseract lacks language data for {limits.ocr_languages}. Install it, or change "
            "QUOTH_INGEST__OCR_LANGUAGES.",
        )
    if "alloc fail" in said or "bad_alloc" in said:
        raise ParseError(
            "too_long",
            "The image is too large for the memory there is. Make it smaller, or raise "
            "QUOTH_INGEST__PARSER_MEMORY_BYTES.",
        )
    if code == -signal.SIGXCPU:
        raise _too_slow()
    if code < 0:
        raise ParseError("parser_killed", f"Tesseract died ({signal.Signals(-code).name}). Please report the file.")
    if code:
        cause = next(
            (line for line in lines if line.startswith("Error in")), lines[0] if lines else f"exit code {code}"
        )
        raise ParseError("corrupt", f"Tesseract cannot read the image: {cause}. Save it anew.")


def _too_slow() -> ParseError:
    return ParseError("parser_timeout", "Reading the image took too long. Make it smaller, or cut it up.")


def _pages(table: str, count: int) -> list[RecognisedPage]:
    found = [_page([])] * count
    for number, words in groupby(_words(table), key=lambda word: word.place[0]):
        if 1 <= number <= count:
            found[number - 1] = _page(list(words))
    return found


def _words(table: str) -> Iterator[_Word]:
    """The words in tesseract's table: level, page, block, paragraph, line, word, box (4), confidence, text."""
    for line in table.split("\n"):
        cells = line.split("\t")
        if len(cells) == _COLUMNS and cells[0] == _WORD and cells[11].strip():
            page, block, paragraph, row = map(int, cells[1:5])
            yield _Word((page, block, paragraph, row), float(cells[10]), cells[11].strip())


def _page(words: Sequence[_Word]) -> RecognisedPage:
    paragraphs = []
    total, weight = 0.0, 0
    for _, group in groupby(words, key=lambda word: word.place[:3]):
        members = list(group)
        length = sum(len(word.text) for word in members)
        sure = sum(word.confidence * len(word.text) for word in members)
        if sure >= _LEAST_CONFIDENCE * length:
            lines = (" ".join(w.text for w in line) for _, line in groupby(members, key=lambda word: word.place[3]))
            paragraphs.append(_HYPHENATED.sub(r"\1\n", "\n".join(lines)).strip())
            total, weight = total + sure, weight + length
    return RecognisedPage(tuple(paragraphs), total / weight if weight else 0.0, weight)


def mean_confidence(pages: Sequence[RecognisedPage]) -> int:
    """Tesseract's confidence over several pages, in percent; 0 where they have no text."""
    weight = sum(page.weight for page in pages)
    return round(sum(page.confidence * page.weight for page in pages) / weight) if weight else 0
