"""An answer while it is written: passed on as far as its policy lets it, each sentence checked when its end is seen."""

from __future__ import annotations

import re
import time
from typing import Final, Literal

from rag.citations import Citation
from rag.claimed_numbers import ClaimedNumbers
from rag.containment import Containment
from rag.events import CheckedSentence, CitationAdded, Event, FinishReason, SentenceChecked, TextDelta, Usage
from rag.grounding import Grounder
from rag.protocols import ModelDelta
from rag.refusal import is_refusal
from rag.sentences import SentenceSplitter

Policy = Literal["strict", "mark", "off"]

MARK: Final = " ‹unsupported›"  # brackets would join with what follows to a link
LONGEST_OPEN_END: Final = 200

# Headings, and lines that lead over to what follows. In code, a mark would change the code.
_ANNOUNCES = re.compile(r"^#{1,6}\s|:\W*$")
_FENCE = re.compile(r"[ \t]*(?:```|~~~)")
_BARE_FENCE = re.compile(r"[ \t]*(?:`{3,}|~{3,})[ \t]*[\w+#-]{0,20}[ \t]*")


class Draft:
    """What the model has written, and what of it was said.

    Attributes:
        text: what was said. Under `mark` it holds marks that the model did not write, under `strict` it lacks what no
            passage supports.
        is_refusal: it begins by saying that the documents do not answer.
    """

    def __init__(self, grounder: Grounder, containment: Containment, policy: Policy = "mark") -> None:
        self.text = ""
        self.citations: list[Citation] = []
        self.sentences: list[CheckedSentence] = []
        self.is_refusal = False
        self.finish_reason: FinishReason | None = None
        self.usage: Usage | None = None
        self.grounding_seconds = 0.0
        self._policy = policy
        self._claimed = ClaimedNumbers()
        self._containment = containment
        self._grounder = grounder
        self._splitter = SentenceSplitter()
        self._written = ""
        self._passed = 0  # characters of `_written` that were said or left out
        self._is_fenced = False

    def write(self, delta: ModelDelta) -> list[Event]:
        """Take the model's next characters."""
        self.finish_reason = delta.finish_reason or self.finish_reason
        self.usage = delta.usage or self.usage
        return self._add(self._containment.feed(self._claimed.feed(delta.text)))

    def finish(self) -> list[Event]:
        """End the text; no `write` may follow."""
        events = self._add(self._containment.feed(self._claimed.finish()))
        events += self._add(self._containment.finish())
        for span in self._splitter.finish():
            events += self._check(span)
        return events if self._policy == "strict" else events + self._say(len(self._written))

    def take_over(self, other: Draft) -> None:
        """Be what another one has said, in place of nothing."""
        self.text, self.citations, self.sentences = other.text, other.citations, other.sentences
        self.is_refusal = other.is_refusal

    def _add(self, contained: str) -> list[Event]:
        self._written += contained
        events: list[Event] = []
        for span in self._splitter.feed(contained):
            events += self._check(span)
        return events if self._policy == "strict" else events + self._say(self._settled())

    def _settled(self) -> int:
        """The end of what may be passed on: where a sentence may have ended, its citation goes before the next word."""
        end = max(self._splitter.settled, len(self._written) - LONGEST_OPEN_END)
        return len(self._written[:end].rstrip())

    def _check(self, span: tuple[int, int]) -> list[Event]:
        """Look a finished sentence up in the passages, and say it, mark it, or leave it out."""
        written = self._written[span[0] : span[1]]
        self._is_fenced ^= bool(_FENCE.match(written))
        if _BARE_FENCE.fullmatch(written) or not self._grounder.says_something(written):
            return self._say(span[1])
        if is_refusal(written):
            self.is_refusal = self.is_refusal or not self.sentences
            return self._say(span[1])
        if self._policy == "strict" and not self.text:
            self._passed = span[0]  # the white space before the first sentence that is said goes
        shift = len(self.text) - self._passed  # the same for all of a sentence: marks stand between sentences
        place = span[0] + shift, span[1] + shift
        started = time.perf_counter()
        citation = self._grounder.cite(written, place, len(self.citations) + 1, self._claimed.met[::-1])
        self.grounding_seconds += time.perf_counter() - started
        if self._policy == "strict" and (citation is None or citation.verdict == "weak"):
            self._passed = span[1]
            return []
        return self._keep(written, span, place, citation)

    def _keep(
        self, written: str, span: tuple[int, int], place: tuple[int, int], citation: Citation | None
    ) -> list[Event]:
        events = self._say(span[1])
        if citation is None:
            sentence = CheckedSentence(written, *place, verdict="unsupported", support=0.0)
            is_marked = self._policy == "mark" and not self._is_fenced and not _ANNOUNCES.search(written)
            is_marked = is_marked and self._passed == span[1]  # its end was long in doubt, and more was said meanwhile
            marks = self._append(MARK) if is_marked else []
        else:
            self.citations.append(citation)
            events.append(CitationAdded(citation))
            sentence = CheckedSentence(written, *place, citation.verdict, citation.support, (citation.id,))
            marks = []
        self.sentences.append(sentence)
        return [*events, SentenceChecked(sentence), *marks]

    def _say(self, end: int) -> list[Event]:
        if end <= self._passed:
            return []
        piece = self._written[self._passed : end]
        self._passed = end
        return self._append(piece)

    def _append(self, piece: str) -> list[Event]:
        self.text += piece
        return [TextDelta(piece)]
