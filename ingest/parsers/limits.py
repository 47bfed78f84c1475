"""What a parser may at most produce; the one part of the ingest settings that travels into the child."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.errors import ParseError

if TYPE_CHECKING:  # settings bring pydantic along, which would double the child's start-up
    from rag.settings import IngestSettings


@dataclass(frozen=True, slots=True)
class ParserLimits:
    """Characters of canonical text, and pages of a paged format."""

    max_characters: int
    max_pages: int

    @classmethod
    def of(cls, settings: IngestSettings) -> ParserLimits:
        """The limits among the ingest settings."""
        return cls(settings.max_document_characters, settings.max_pages)

    def check_characters(self, count: int) -> None:
        """Raise ParseError `too_long` when a text of `count` characters is too long."""
        if count > self.max_characters:
            raise ParseError(
                "too_long",
                f"The text has more than {self.max_characters:,} characters. Split the file, or raise "
                "QUOTH_INGEST__MAX_DOCUMENT_CHARACTERS.",
            )

    def check_pages(self, count: int) -> None:
        """Raise ParseError `too_long` when there are too many pages."""
        if count > self.max_pages:
            raise ParseError(
                "too_long",
                f"There are {count:,} pages, more than {self.max_pages:,}. Split the file, or raise "
                "QUOTH_INGEST__MAX_PAGES.",
            )
