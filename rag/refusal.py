"""What is said when the documents do not answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from rag.bare_urls import standing_in
from rag.containment import contain
from rag.documents import SearchHit

NO_ANSWER: Final = "I could not find an answer to this in the documents."
NEAREST: Final = 3
LONGEST_QUESTION: Final = 200
LONGEST_TITLE: Final = 80

# As the prompt asks a model to say it, and as models say it; nothing that could say more than that.
_THIS = (
    r"(?:this|that|it|(?:the|your|this) question|(?:an|the) answer(?: to (?:this|that|it|(?:the|your|this) question))?)"
)
_SOURCES = r"the (?:provided |given )?(?:documents?|passages?|context)"
_INFORMATION = (
    r"(?:any |enough |the |this )?information(?: (?:about|on) this| to answer (?:this|(?:the|your|this) question))?"
)
_REFUSAL = re.compile(
    rf"(?:i could not find an answer to this in the documents"
    rf"|{_SOURCES} (?:do|does) not (?:answer|contain|say|mention) (?:{_THIS}|{_INFORMATION})"
    rf"|there is no {_INFORMATION} in {_SOURCES})[.!]?",
    re.IGNORECASE,
)


def is_refusal(sentence: str) -> bool:
    """Whether a sentence says that the documents do not answer."""
    return bool(_REFUSAL.fullmatch(sentence.strip()))


def refusal(searched_for: str, hits: Sequence[SearchHit]) -> str:
    """The answer to a question that the documents do not answer: what was looked for, and what comes nearest.

    Args:
        searched_for: the question as it was searched for.
        hits: best first.
    """
    titles = list(dict.fromkeys(title for hit in hits if (title := _plain(hit.title, LONGEST_TITLE))))[:NEAREST]
    nearest = f" The nearest passages are in: {'; '.join(titles)}." if titles else ""
    return f"{NO_ANSWER} I looked for “{_plain(searched_for, LONGEST_QUESTION)}”.{nearest}"


def _plain(text: str, longest: int) -> str:
    """One line of it, with nothing that could be a link or markup."""
    line = " ".join(contain(text, standing_in([])).split())
    return line if len(line) <= longest else f"{line[: longest - 2]} …"
