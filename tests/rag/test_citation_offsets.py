"""Whatever is quoted, of whatever format, in whatever pieces it streams: a citation slices back to its quote."""

import random
from functools import cache
from itertools import pairwise

import pytest

from ingest.chunking import chunk_document
from ingest.parsers.limits import ParserLimits
from ingest.parsers.registry import parse
from rag.citations import Citation
from rag.containment import Containment
from rag.documents import Document, Scores, SearchHit
from rag.draft import Draft
from rag.events import CitationAdded, TextDelta
from rag.grounding import Grounder
from rag.protocols import ModelDelta
from rag.sentences import split_sentences
from tests.fakes import WordTokenizer
from tests.ingest.samples import SAMPLES

NONSENSE = (
    "The moon is made of 7 cheeses.",
    "Nobody knows [3].",
    "<b>Not</b> [a](http://evil.example/x)?",
    "- ",
    "```",
)
CASES = 600
LIMITS = ParserLimits(max_characters=1_000_000, max_pages=100)


@cache
def read(name: str) -> Document:
    return parse(SAMPLES[name], name, LIMITS)


def hits_of(document: Document, limit: int) -> list[SearchHit]:
    chunks = chunk_document(document, "d", "g", WordTokenizer(), limit)
    return [SearchHit("s", chunk, document.title, "file:///d", 1.0, Scores()) for chunk in chunks]


def composed(hits: list[SearchHit], draw: random.Random) -> str:
    """Sentences of the passages, changed or not, between nonsense."""
    said = []
    for _ in range(draw.randrange(1, 6)):
        text = draw.choice(hits).chunk.text
        start, end = draw.choice(split_sentences(text) or [(0, len(text))])
        words = text[start:end]
        if draw.random() < 0.3:
            words = " ".join(draw.sample(words.split(), len(words.split())))
        said += [words, draw.choice((" ", "\n", "\n\n", " [1] "))]
        if draw.random() < 0.5:
            said += [draw.choice(NONSENSE), draw.choice((" ", "\n\n"))]
    return "".join(said)


def check(name: str, seed: int) -> int:
    draw = random.Random(seed)
    document = read(name)
    hits = hits_of(document, draw.choice((8, 20, 200)))
    written = composed(hits, draw)
    policy = draw.choice(("strict", "mark", "off"))
    draft = Draft(Grounder(hits), Containment(lambda _: True), policy)
    edges = [0, *sorted(draw.randrange(len(written) + 1) for _ in range(draw.randrange(8))), len(written)]
    events = [event for a, b in pairwise(edges) for event in draft.write(ModelDelta(written[a:b]))] + draft.finish()
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == draft.text
    cited = [event.citation for event in events if isinstance(event, CitationAdded)]
    for citation in cited:
        check_citation(citation, document, draft)
    for sentence in draft.sentences:
        assert draft.text[sentence.start : sentence.end] == sentence.text
        assert set(sentence.citations) <= {citation.id for citation in cited}
    return len(cited)


def check_citation(citation: Citation, document: Document, draft: Draft) -> None:
    assert citation.quote
    assert document.text[citation.char_start : citation.char_end] == citation.quote
    said = draft.text[citation.answer_start : citation.answer_end]
    assert said in {sentence.text for sentence in draft.sentences}


def names() -> list[str]:
    return [name for name in SAMPLES if not name.endswith((".png", ".jpg"))]


@pytest.mark.parametrize("name", names())
def test_citations_of_every_format_slice_back(name: str) -> None:
    assert sum(check(name, seed) for seed in range(CASES // len(names()) + 1)), "nothing was cited at all"


@pytest.mark.long
def test_ten_thousand_of_them_do() -> None:
    assert sum(check(name, seed) for seed in range(10_000 // len(names()) + 1) for name in names()) > 10_000
