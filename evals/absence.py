"""Questions that the documents do not answer, and the proof that they do not: no chunk holds their key term."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rag.assembly import Engine
from rag.concurrency import in_thread

LOOKED_AT: Final = 100
VARIANTS: Final = (1, 2, 3, 5, 7)
# Things that an organisation may well have a page about. Only those that no passage names are asked for.
TOPICS: Final = (
    *("sabbaticals", "patents", "trademarks", "dental insurance", "childcare vouchers", "relocation", "sponsorships"),
    *("internships", "drones", "helicopters", "asbestos", "earthquakes", "vineyards", "aquariums", "mortgages"),
    *("cryptocurrencies", "tattoos", "beehives", "lawnmowers", "scholarships", "elevators", "swimming lessons"),
    *("horses", "sailing boats", "hydrogen", "translations", "subtitles", "karaoke", "volunteering", "stock options"),
)
_IDENTIFIER = re.compile(r"\b(?=[A-Z-]*\d)[A-Z]{1,5}-?\d{1,4}\b")
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class AbsentDraft:
    """A question, and the term in it that is to be absent."""

    question: str
    term: str


def draft_absent(title: str, questions: Sequence[str], seed: str) -> Iterator[AbsentDraft]:
    """Candidates for a document: its own questions about another model, code or year, then topics that it may lack.

    Args:
        questions: that the document answers.
        seed: another one begins at another topic.
    """
    for question in questions:
        for pattern in (_IDENTIFIER, _YEAR):
            names = dict.fromkeys(pattern.findall(question))
            for name in names if len(names) == 1 else ():
                yield from (AbsentDraft(question.replace(name, other), other) for other in _others(name))
    begin = int(hashlib.sha256(seed.encode()).hexdigest(), 16) % len(TOPICS)
    for topic in (*TOPICS[begin:], *TOPICS[:begin]):
        yield AbsentDraft(f"What does the document '{title}' say about {topic}?", topic)


def _others(name: str) -> Iterator[str]:
    """The name with another number of as many digits."""
    found = _DIGITS.search(name)
    if found is None:
        return
    digits = found.group()
    for step in VARIANTS:
        scaled = step * 10 ** max(0, len(digits) - 2) if len(digits) != 4 else step
        number = str(int(digits) + scaled).zfill(len(digits))
        if len(number) == len(digits):
            yield name[: found.start()] + number + name[found.end() :]


async def is_absent(engine: Engine, store_id: str, term: str) -> bool:
    """Whether no chunk holds all words of a term, heading path included; searched by words, not by likeness.

    Raises:
        StorageError: the vector store or the ledger failed.
    """
    query = engine.sparse.encode_query(term)
    if not query.indices:
        return False
    lists = await engine.vectors.search(store_id, None, query, LOOKED_AT)
    hits = await in_thread(engine.documents.join, [store_id], lists.sparse)
    # A word asks for its stems in several languages; a passage holds it by any of them.
    words = [frozenset(engine.sparse.encode_query(word).indices) for word in term.split()]
    for hit in hits:
        held = engine.sparse.encode_passage(hit.chunk.embedded_text).indices
        if not any(word and word.isdisjoint(held) for word in words):
            return False
    return True
