"""Answers of chat models on SQuAD 2 questions, with the right passage among three.

    python -m benchmarks.answers_squad DATA --model extractive --model local:HuggingFaceTB/SmolLM2-135M-Instruct

DATA is a folder in BEIR layout with `answers.jsonl` beside it. Each question comes with its own passage and the two
other passages nearest by BM25, ordered by BM25. Half of the questions cannot be answered from any passage. Prints one
row for each model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import string
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import bm25s

from rag.backends.chat.extractive import ExtractiveChatModel
from rag.backends.chat.local import open_local
from rag.conversation import Message
from rag.documents import Chunk, Scores, SearchHit
from rag.protocols import ChatModel, Prompt, Sampling
from rag.refusal import NO_ANSWER
from rag.sentences import split_sentences
from rag.settings import ChatSettings, load_settings

DISTRACTORS = 2
MAX_TOKENS = 64
SMALL_PROMPT = (
    "Answer the question in one short sentence, with words of the passages.\n\n{passages}\n\nQuestion: {question}"
)


@dataclass(frozen=True, slots=True)
class Case:
    """A question, its accepted answers (none: it cannot be answered), and what the model gets."""

    question: str
    answers: tuple[str, ...]
    hits: tuple[SearchHit, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one answer is worth."""

    is_refused: bool
    contains: bool
    f1: float
    words: int
    seconds: float
    sentences: int
    verbatim: int


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="folder with corpus.jsonl, queries.jsonl and answers.jsonl")
    parser.add_argument("--model", action="append", help="as QUOTH_CHAT__MODEL, extractive or local:NAME; repeatable")
    parser.add_argument("--questions", type=int, default=200, help="half of them cannot be answered")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=0, help="print so many answers of each model")
    arguments = parser.parse_args()
    cases = read_cases(arguments.data, arguments.questions, arguments.seed)
    print(
        f"{len(cases)} questions, {sum(bool(case.answers) for case in cases)} of them answerable, seed {arguments.seed}"
    )
    print("| model | contains | F1 | refused, answerable | refused, unanswerable | words | verbatim | s/answer |")
    print("| --- | --: | --: | --: | --: | --: | --: | --: |")
    for name in arguments.model or ["extractive"]:
        print(asyncio.run(_row(name, cases, arguments.show)), flush=True)


def read_cases(data: Path, count: int, seed: int) -> list[Case]:
    """Draw half answerable and half unanswerable questions, the same for a seed."""
    corpus = [json.loads(line) for line in (data / "corpus.jsonl").read_text("utf-8").splitlines()]
    questions = {row["_id"]: row["text"] for row in _rows(data / "queries.jsonl")}
    answers = _rows(data / "answers.jsonl")
    draw = random.Random(seed)  # noqa: S311
    drawn: list[dict[str, object]] = []
    for is_impossible in (False, True):
        drawn += draw.sample([row for row in answers if row["is_impossible"] is is_impossible], count // 2)
    index = bm25s.BM25()
    index.index(bm25s.tokenize([row["text"] for row in corpus], show_progress=False), show_progress=False)
    place = {row["_id"]: number for number, row in enumerate(corpus)}
    cases = []
    for row in drawn:
        question = questions[row["query_id"]]
        scores = index.get_scores(bm25s.tokenize(question, return_ids=False, show_progress=False)[0])
        gold = place[row["doc_id"]]
        near = [int(at) for at in (-scores).argsort() if at != gold][:DISTRACTORS]
        chosen = sorted([gold, *near], key=lambda at: -scores[at])
        hits = tuple(_hit(corpus[at], float(scores[at])) for at in chosen)
        accepted = () if row["is_impossible"] else tuple(row["answers"])  # type: ignore[arg-type]
        cases.append(Case(question, accepted, hits))
    return cases


def _rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _hit(row: dict[str, str], score: float) -> SearchHit:
    chunk = Chunk(row["_id"], row["_id"], "g", 0, row["text"], 0, len(row["text"]))
    return SearchHit("s", chunk, row["title"], row["_id"], score, Scores(sparse=score))


async def _row(name: str, cases: Sequence[Case], show: int) -> str:
    async with AsyncExitStack() as stack:
        model = await _open(name)
        stack.push_async_callback(model.close)
        outcomes = [await _judge(model, case, number < show) for number, case in enumerate(cases)]
    answerable = [outcome for outcome, case in zip(outcomes, cases, strict=True) if case.answers]
    others = [outcome for outcome, case in zip(outcomes, cases, strict=True) if not case.answers]
    sentences = sum(outcome.sentences for outcome in outcomes)
    cells = [
        name,
        f"{_mean([outcome.contains for outcome in answerable]):.3f}",
        f"{_mean([outcome.f1 for outcome in answerable]):.3f}",
        f"{_mean([outcome.is_refused for outcome in answerable]):.3f}",
        f"{_mean([outcome.is_refused for outcome in others]):.3f}",
        f"{_mean([outcome.words for outcome in outcomes]):.1f}",
        f"{sum(outcome.verbatim for outcome in outcomes) / max(1, sentences):.3f}",
        f"{_mean([outcome.seconds for outcome in outcomes]):.3f}",
    ]
    return f"| {' | '.join(cells)} |"


async def _open(name: str) -> ChatModel:
    if name == "extractive":
        return ExtractiveChatModel()
    settings = ChatSettings(model=name, context_tokens=2048, temperature=0)
    return await open_local(settings, load_settings().models_dir)


async def _judge(model: ChatModel, case: Case, is_shown: bool) -> Outcome:
    passages = "\n\n".join(hit.chunk.text for hit in case.hits)
    message = Message("user", SMALL_PROMPT.format(passages=passages, question=case.question))
    begun = time.perf_counter()
    stream = model.stream(
        Prompt((message,), case.question, case.hits), Sampling(max_tokens=_most(model), temperature=0)
    )
    answer = "".join([delta.text async for delta in stream])
    seconds = time.perf_counter() - begun
    if is_shown:
        print(f"{case.question} {list(case.answers)}\n    {answer!r}", file=sys.stderr)
    is_refused = answer == NO_ANSWER
    spans = [] if is_refused else split_sentences(answer)
    words = normalised(answer)
    return Outcome(
        is_refused=is_refused,
        contains=any(f" {' '.join(normalised(accepted))} " in f" {' '.join(words)} " for accepted in case.answers),
        f1=max((token_f1(words, normalised(accepted)) for accepted in case.answers), default=0.0),
        words=len(answer.split()),
        seconds=seconds,
        sentences=len(spans),
        verbatim=sum(answer[start:end] in passages for start, end in spans),
    )


def _most(model: ChatModel) -> int | None:
    """Sentences of passages are whole; a small model may ramble and is cut."""
    return None if isinstance(model, ExtractiveChatModel) else MAX_TOKENS


def normalised(text: str) -> list[str]:
    """Words as the SQuAD evaluation compares them: lower case, without punctuation and articles."""
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    return re.sub(r"\b(?:a|an|the)\b", " ", kept).split()


def token_f1(found: Sequence[str], accepted: Sequence[str]) -> float:
    """Harmonic mean of the shares of words in common. Source: Rajpurkar et al., SQuAD, 2016."""
    common = sum((Counter(found) & Counter(accepted)).values())
    return 2 * common / (len(found) + len(accepted)) if common else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


if __name__ == "__main__":
    main()
