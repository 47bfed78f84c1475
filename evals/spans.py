"""How much of the passages that answer a question was retrieved, and how much else: chunkings are compared by this.

Source: Smith and Troynikov, "Evaluating Chunking Strategies for Retrieval", Chroma technical report, 2024. It speaks of
tokens and its published code counts characters; here characters are counted too, unless tokens are given.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from evals.records import Span
from rag.errors import InvalidInputError

Range = tuple[int, int]


class Overlap(NamedTuple):
    """Shares, each 0 to 1.

    Attributes:
        recall: of the gold text, what was retrieved.
        precision: of the retrieved text, what is gold.
        iou: what is both, of what is either (intersection over union).
    """

    recall: float
    precision: float
    iou: float


def overlap(
    retrieved: Mapping[str, Sequence[Range]],
    gold: Sequence[Span],
    tokens: Mapping[str, Sequence[Range]] | None = None,
    *,
    count_repeats: bool = False,
) -> Overlap:
    """Compare retrieved passages with those that answer a question.

    Args:
        retrieved: document -> [start, end) of each passage, in characters. Nothing retrieved is 0 throughout.
        gold: the passages that answer; where they overlap, their text counts once.
        tokens: document -> [start, end) of each of its tokens in order, as a tokenizer's `offsets` gives them. Tokens
            are counted instead of characters then; one belongs to a passage when it shares a character with it.
        count_repeats: text that lies in several retrieved passages counts as often as it was retrieved, in the
            denominators of precision and IoU: so Chroma charges chunks for overlapping. Else it counts once.

    Raises:
        InvalidInputError: there is no gold passage, a range runs backwards, or a document has no tokens.
    """
    wanted: dict[str, list[Range]] = {}
    for span in gold:
        wanted.setdefault(span.document, []).append((span.start, span.end))
    found: Mapping[str, Sequence[Range]] = retrieved
    for ranges in (*found.values(), *wanted.values()):
        _check(ranges)
    if tokens is not None:
        found, wanted = _in_tokens(found, tokens), _in_tokens(wanted, tokens)
    merged = {document: _merged(ranges) for document, ranges in wanted.items()}
    total = sum(_size(ranges) for ranges in merged.values())
    if not total:
        raise InvalidInputError("The question has no passage that answers it, so there is nothing to compare with.")
    both = sum(_common(_merged(found.get(document, ())), ranges) for document, ranges in merged.items())
    got = sum(_size(ranges if count_repeats else _merged(ranges)) for ranges in found.values())
    return Overlap(both / total, both / got if got else 0.0, both / (got + total - both))


def _in_tokens(
    passages: Mapping[str, Sequence[Range]], tokens: Mapping[str, Sequence[Range]]
) -> dict[str, list[Range]]:
    """Ranges of characters as ranges of token numbers."""
    found = {}
    for document, ranges in passages.items():
        if document not in tokens:
            raise InvalidInputError(f"The tokens of document {document!r} are not given.")
        found[document] = [_token_range(start, end, tokens[document]) for start, end in ranges if start < end]
    return found


def _token_range(start: int, end: int, tokens: Sequence[Range]) -> Range:
    first = bisect_right(tokens, start, key=lambda token: token[1])
    return first, max(first, bisect_left(tokens, end, key=lambda token: token[0]))


def _check(ranges: Iterable[Range]) -> None:
    for start, end in ranges:
        if not 0 <= start <= end:
            raise InvalidInputError(f"[{start}, {end}] is no passage: 0 <= start <= end must hold.")


def _merged(ranges: Iterable[Range]) -> list[Range]:
    """The same text as ranges in order that do not touch."""
    merged: list[Range] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


def _common(first: Sequence[Range], second: Sequence[Range]) -> int:
    """Size of what lies in both; each in order and without overlaps."""
    size = here = there = 0
    while here < len(first) and there < len(second):
        size += max(0, min(first[here][1], second[there][1]) - max(first[here][0], second[there][0]))
        if first[here][1] <= second[there][1]:
            here += 1
        else:
            there += 1
    return size


def _size(ranges: Iterable[Range]) -> int:
    return sum(end - start for start, end in ranges)
