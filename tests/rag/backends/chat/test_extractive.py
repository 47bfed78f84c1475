"""Extractive answers: which words are quoted, and that they are the passage's own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.backends.chat.extractive import ExtractiveChatModel
from rag.documents import Chunk, Scores, SearchHit
from rag.protocols import ModelDelta, Prompt, Sampling
from rag.refusal import NO_ANSWER
from rag.sentences import split_sentences

REFUNDS = """# Refunds

Every plan has a refund policy. You can get your money back within 30 days. Ask Maria Lopez for it.

## Exceptions

- Gift cards are never refunded.
- Yearly plans are refunded in part.

To ask for a refund:

```
send --to billing
```
"""
PLANS = """| Plan | Price |
| --- | --- |
| Basic | 12 euros |
| Team | 99 euros |

Who may join a team? Everybody with an invitation."""


def hit(text: str, number: int = 0, score: float = 1.0, headings: tuple[str, ...] = ()) -> SearchHit:
    chunk = Chunk(f"c{number}", f"d{number}", "g", 0, text, 100, 100 + len(text), headings)
    return SearchHit("s", chunk, f"Title {number}", f"file{number}.md", score, Scores())


async def _stream(model: ExtractiveChatModel, prompt: Prompt, sampling: Sampling) -> list[ModelDelta]:
    return [delta async for delta in model.stream(prompt, sampling)]


def deltas(
    question: str, *texts: str, sampling: Sampling | None = None, model: ExtractiveChatModel | None = None
) -> list[ModelDelta]:
    hits = tuple(hit(text, number, 1.0 - number / 10) for number, text in enumerate(texts))
    return asyncio.run(_stream(model or ExtractiveChatModel(), Prompt((), question, hits), sampling or Sampling()))


def answer(question: str, *texts: str, sampling: Sampling | None = None) -> str:
    return "".join(delta.text for delta in deltas(question, *texts, sampling=sampling))


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Within how many days do I get my money back?", "You can get your money back within 30 days."),
        ("Are gift cards refunded?", "- Gift cards are never refunded."),
        ("What is the price of the Team plan?", "| Team | 99 euros |"),
        ("Who may join a team?", "Everybody with an invitation."),
        ("How do I ask for a refund?", "To ask for a refund:\n\n```\nsend --to billing\n```"),
    ],
)
def test_the_sentence_that_answers_is_quoted(question: str, expected: str) -> None:
    assert expected in answer(question, REFUNDS, PLANS)


def test_a_date_beats_a_sentence_of_the_same_words() -> None:
    text = "The bridge opened with music. The bridge opened in May 1901. The bridge opened for all."
    assert answer("When was the bridge opened?", text) == "The bridge opened in May 1901."


def test_nothing_in_common_is_refused() -> None:
    assert answer("What does a zebra eat?", REFUNDS, PLANS) == NO_ANSWER
    assert answer("What?", REFUNDS) == NO_ANSWER
    assert answer("What does a zebra eat?") == NO_ANSWER


def test_sentences_come_one_by_one_in_the_order_of_the_document() -> None:
    text = "Copper conducts heat. Nobody knows. Zinc resists rust."
    found = deltas("Does copper conduct heat, and does zinc resist rust?", text)
    assert [delta.text for delta in found] == ["Copper conducts heat.", " Zinc resists rust.", ""]
    assert [delta.finish_reason for delta in found] == [None, None, "stop"]


def test_a_long_answer_is_cut_at_a_word() -> None:
    found = deltas("When is money back?", REFUNDS, sampling=Sampling(max_tokens=4))
    assert "".join(delta.text for delta in found) == "You can get your"
    assert found[-1].finish_reason == "length"
    assert found[-1].usage is not None
    assert found[-1].usage.completion_tokens == 4


def test_a_stop_string_ends_the_answer_before_it() -> None:
    assert (
        answer("When is money back?", REFUNDS, sampling=Sampling(stop=("within", "30")))
        == "You can get your money back "
    )


class LikesZinc:
    """An embedder that finds whatever names zinc near every question."""

    async def embed_passages(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([[1.0, 0.0] if "Zinc" in text else [0.0, 1.0] for text in texts], dtype=np.float32)

    async def embed_query(self, text: str) -> np.ndarray:
        return np.array([1.0, 0.0], dtype=np.float32)


def test_an_embedder_decides_between_sentences_of_like_words() -> None:
    text = "Copper is a metal. Zinc is a metal."
    model = ExtractiveChatModel(LikesZinc())  # type: ignore[arg-type]
    assert deltas("Which metal?", text)[0].text == "Copper is a metal."
    assert deltas("Which metal?", text, model=model)[0].text == "Zinc is a metal."


words = st.sampled_from(["tin", "Zinc", "heat", "rust", "Dr", "U.S", "12", ".", ". ", "\n", "\n\n", "- ", "| ", " | ",
                         "# ", "```\n", " ", ": ", ":\n", "?", "…"])  # fmt: skip
passages = st.lists(st.lists(words, max_size=25).map("".join), max_size=3)


@given(passages, st.lists(words, min_size=1, max_size=6).map(" ".join))
def test_every_piece_stands_in_a_passage_and_ends_where_a_sentence_ends(texts: list[str], question: str) -> None:
    pieces = [delta.text for delta in deltas(question, *texts)[:-1]]
    if pieces == [NO_ANSWER]:
        return
    assert 1 <= len(pieces) <= 3
    whole = "".join(pieces)
    ends = {end for _, end in split_sentences(whole)}
    at = 0
    for piece in pieces:
        assert any(piece.strip() in text for text in texts)
        at += len(piece)
        assert at in ends


def test_front_matter_is_not_quoted() -> None:
    text = "---\ntitle: How long refunds take\n---\n\nRefunds take five days."
    opening = replace(hit(text), chunk=replace(hit(text).chunk, char_start=0, char_end=len(text)))
    prompt = Prompt(messages=(), question="How long do refunds take?", hits=(opening,))
    pieces = asyncio.run(_stream(ExtractiveChatModel(), prompt, Sampling()))
    assert "".join(piece.text for piece in pieces) == "Refunds take five days."
