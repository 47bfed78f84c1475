"""What checking an answer costs: `python -m benchmarks.grounding [FOLDER]`.

Sentences of the passages, as they are and with words changed, are looked for in the six passages of a question, as an
answer's would be. Reported are the milliseconds of a sentence, the first of an answer apart, since the passages are
prepared by it; and those from a model's first word to the first words of the answer.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from ingest.pipeline import Ingestor
from rag.answering import Answerer
from rag.assembly import open_engine
from rag.documents import SearchHit
from rag.events import TextDelta
from rag.grounding import Grounder
from rag.protocols import ModelDelta, Prompt, Sampling
from rag.sentences import split_sentences
from rag.settings import load_settings

QUESTIONS = 60
SENTENCES = 5


class FirstWords:
    """A model that says one sentence, word by word, and notes when it began."""

    name = "first words"
    context_tokens = 8192

    def __init__(self) -> None:
        self.begun = 0.0

    def count_tokens(self, text: str) -> int:
        """Words."""
        return len(text.split())

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[ModelDelta]:  # noqa: ARG002
        """See ChatModel."""
        self.begun = time.perf_counter()
        for word in "Every word of this comes by itself.".split(" "):
            yield ModelDelta(f"{word} ")
        yield ModelDelta(finish_reason="stop")

    async def close(self) -> None:
        """See ChatModel."""


def changed(sentence: str, draw: random.Random) -> str:
    """The sentence, or one whose words are in another order, or of which some are others."""
    words = sentence.split()
    kind = draw.randrange(3)
    if kind == 1:
        draw.shuffle(words)
    elif kind == 2:
        words = [word if draw.random() < 0.7 else "otherwise" for word in words]
    return " ".join(words)


def check(hits: Sequence[SearchHit], draw: random.Random) -> tuple[float, list[float]]:
    """Milliseconds of an answer's first sentence, and of its others."""
    spans = [(hit.chunk.text, span) for hit in hits for span in split_sentences(hit.chunk.text)]
    grounder, took = Grounder(hits), []
    for text, (start, end) in draw.sample(spans, min(SENTENCES, len(spans))):
        sentence = changed(text[start:end], draw)
        begun = time.perf_counter()
        grounder.support(sentence)
        took.append((time.perf_counter() - begun) * 1000)
    return took[0], took[1:]


async def measure(folder: Path) -> None:
    """Ingest the folder, and print the figures."""
    draw = random.Random(0)  # noqa: S311
    firsts: list[float] = []
    others: list[float] = []
    delays: list[float] = []
    with tempfile.TemporaryDirectory() as data:
        async with open_engine(load_settings({"data_dir": data})) as engine:
            await Ingestor(engine).run([folder], "default")
            texts = [row[4] for row in engine.documents.dump(engine.stores.identity("default"))]
            model = FirstWords()
            answerer = Answerer(engine.retriever, model, engine.settings.chat)
            for text in draw.sample(texts, min(QUESTIONS, len(texts))):
                question = " ".join(text.split()[:12])
                found = await engine.retriever.search("default", question)
                first, rest = check(found.hits, draw)
                firsts.append(first)
                others += rest
                prepared = await answerer.prepare("default", question)
                async for event in answerer.stream(prepared):
                    if isinstance(event, TextDelta):
                        delays.append((time.perf_counter() - model.begun) * 1000)
                        break
    for label, took in (("first sentence", firsts), ("other sentences", others), ("first words", delays)):
        ninety_five = statistics.quantiles(took, n=20)[-1]
        middle = statistics.median(took)
        print(f"{label:<16} p50 {middle:6.2f} ms   p95 {ninety_five:6.2f} ms   most {max(took):6.2f} ms")


if __name__ == "__main__":
    asyncio.run(measure(Path(sys.argv[1] if len(sys.argv) > 1 else "examples")))
