"""Question, history and hits become messages within a budget of tokens; retrieved text is fenced as data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files

from rag.conversation import Message, recent
from rag.documents import SearchHit
from rag.errors import InvalidInputError
from rag.fencing import draw_mark, fenced, plain_words
from rag.protocols import Prompt

HISTORY_SHARE = 0.25
MARGIN_TOKENS = 64


def build_prompt(
    question: str,
    history: Sequence[Message],
    hits: Sequence[SearchHit],
    *,
    budget_tokens: int,
    count: Callable[[str], int],
) -> Prompt:
    """Fit instructions, history, as many passages as there is room for, and the question into a budget.

    Args:
        hits: best first; those that do not fit are left out whole, and the prompt's `hits` are those that stayed.
        budget_tokens: what the model takes, its answer taken off.
        count: tokens of a text.

    Raises:
        InvalidInputError: the question alone does not fit.
    """
    instructions = files("rag").joinpath("prompts/answer.md").read_text(encoding="utf-8")
    asked = plain_words(question)
    left = budget_tokens - count(instructions) - count(asked) - MARGIN_TOKENS
    if left < 0:
        raise InvalidInputError(
            f"The question does not fit: the model takes {budget_tokens} tokens. Shorten it, or raise "
            "QUOTH_CHAT__CONTEXT_TOKENS if the model allows it."
        )
    said = [Message(message.role, plain_words(message.content)) for message in history]
    kept_history = recent(said, int(left * HISTORY_SHARE), count)
    left -= sum(count(message.content) for message in kept_history)

    mark = draw_mark(text for hit in hits for text in (hit.chunk.text, hit.title, *hit.chunk.headings))
    passages: list[str] = []
    kept: list[SearchHit] = []
    for hit in hits:
        passage = fenced(len(kept) + 1, hit, mark)
        cost = count(passage)
        if cost <= left:
            passages.append(passage)
            kept.append(hit)
            left -= cost
    evidence = "\n".join(passages) or "(no passage was found)"
    system = f"{instructions}\nPassages, each between lines that hold {mark}:\n\n{evidence}"
    messages = (Message("system", system), *kept_history, Message("user", asked))
    return Prompt(messages=messages, question=question, hits=tuple(kept))
