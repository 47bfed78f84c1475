"""Question, history and hits become messages within a budget of tokens; retrieved text is fenced as data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rag.conversation import Message, recent
from rag.documents import SearchHit
from rag.errors import InvalidInputError
from rag.fencing import draw_mark, fenced, plain_words
from rag.protocols import Prompt, PromptBudget

HISTORY_SHARE = 0.25
MARGIN_TOKENS = 64


def build_prompt(
    question: str,
    history: Sequence[Message],
    hits: Sequence[SearchHit],
    *,
    instructions: str,
    budget_tokens: int,
    count: Callable[[str], int],
) -> Prompt:
    """Fit instructions, history, as many passages as there is room for, and the question into a budget.

    Args:
        hits: best first, each among what expands it; those that do not fit are left out whole, what only expands
            others before what was found, and the prompt's `hits` are those that stayed.
        instructions: what the model is told to do with them.
        budget_tokens: what the model takes, its answer taken off.
        count: tokens of a text.

    Raises:
        InvalidInputError: the question alone does not fit.
    """
    asked = plain_words(question)
    needed = count(instructions), count(asked)
    left = budget_tokens - sum(needed) - MARGIN_TOKENS
    if left < 0:
        raise InvalidInputError(
            f"The question does not fit: the model takes {budget_tokens} tokens. Shorten it, or raise "
            "QUOTH_CHAT__CONTEXT_TOKENS if the model allows it."
        )
    said = [Message(message.role, plain_words(message.content)) for message in history]
    kept_history = recent(said, int(left * HISTORY_SHARE), count)
    history_tokens = sum(count(message.content) for message in kept_history)
    mark, passages, kept, passage_tokens = _fitting(hits, left - history_tokens, count)
    evidence = "\n".join(passages) or "(no passage was found)"
    system = f"{instructions}\nPassages, each between lines that hold {mark}:\n\n{evidence}"
    messages = (Message("system", system), *kept_history, Message("user", asked))
    budget = PromptBudget(
        available=budget_tokens, instructions=needed[0], question=needed[1], history=history_tokens,
        passages=passage_tokens, left=left - history_tokens - passage_tokens,
    )  # fmt: skip
    return Prompt(messages=messages, question=question, hits=tuple(kept), budget=budget)


def _fitting(
    hits: Sequence[SearchHit], room: int, count: Callable[[str], int]
) -> tuple[str, list[str], list[SearchHit], int]:
    """The mark of the fences, the fenced passages that there is room for, their hits, and their tokens."""
    mark = draw_mark(text for hit in hits for text in (hit.chunk.text, hit.title, *hit.chunk.headings))
    passages: dict[str, str] = {}
    used = 0
    for hit in sorted(hits, key=lambda hit: hit.expands is not None):
        passage = fenced(len(passages) + 1, hit, mark)
        cost = count(passage)
        if used + cost <= room:
            passages[hit.chunk.id] = passage
            used += cost
    kept = [hit for hit in hits if hit.chunk.id in passages]
    if any(hit.expands for hit in kept):  # they stand among the others, so that all are numbered anew
        return mark, [fenced(number, hit, mark) for number, hit in enumerate(kept, 1)], kept, used
    return mark, list(passages.values()), kept, used
