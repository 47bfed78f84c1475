"""Diversity: what is kept, in which order, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.diversify import cap_per_document, mmr, shared_words
from rag.documents import Chunk, Scores, SearchHit
from rag.errors import InvalidInputError


def hit(id_: str, document: str, score: float, text: str = "") -> SearchHit:
    chunk = Chunk(id_, document, "g", 0, text, 0, len(text))
    return SearchHit(store_id="s", chunk=chunk, title="", uri="", score=score, scores=Scores(fused=score))


def ids(hits: list[SearchHit]) -> list[str]:
    return [one.chunk.id for one in hits]


HITS = st.lists(
    st.builds(hit, st.uuids().map(str), st.sampled_from("xyz"), st.floats(0, 1), st.sampled_from(["a b", "b c", ""])),
    max_size=12,
)


def test_a_document_keeps_its_best_hits() -> None:
    hits = [hit("1", "x", 0.9), hit("2", "x", 0.8), hit("3", "y", 0.7), hit("4", "x", 0.6), hit("5", "y", 0.5)]
    assert ids(cap_per_document(hits, 1)) == ["1", "3"]
    assert ids(cap_per_document(hits, 2)) == ["1", "2", "3", "5"]


def test_mmr_by_hand_puts_the_repetition_last() -> None:
    hits = [hit("1", "x", 0.9, "pay in euro"), hit("2", "y", 0.8, "Pay in EURO"), hit("3", "z", 0.5, "oil filter")]
    # second place: 0.5 * 0.8 - 0.5 * 1 = -0.1 for the repetition, 0.5 * 0.5 - 0 = 0.25 for the other
    assert ids(mmr(hits, shared_words, 3, relevance=0.5)) == ["1", "3", "2"]
    assert ids(mmr(hits, shared_words, 2, relevance=1)) == ["1", "2"]


def test_shared_words_by_hand() -> None:
    assert shared_words(hit("1", "x", 1, "a b c"), hit("2", "y", 1, "b c d")) == pytest.approx(2 / 4)
    assert shared_words(hit("1", "x", 1), hit("2", "y", 1)) == 0


@given(hits=HITS, limit=st.integers(1, 4))
def test_a_cap_keeps_the_order_and_the_limit(hits: list[SearchHit], limit: int) -> None:
    kept = cap_per_document(hits, limit)
    assert [one for one in hits if one in kept] == kept
    for document in "xyz":
        of_all = [one for one in hits if one.chunk.document_id == document]
        assert [one for one in kept if one.chunk.document_id == document] == of_all[:limit]


@given(hits=HITS, limit=st.integers(0, 15), relevance=st.floats(0, 1))
def test_mmr_picks_each_once_and_begins_with_the_best(hits: list[SearchHit], limit: int, relevance: float) -> None:
    hits = sorted(hits, key=lambda one: -one.score)
    picked = mmr(hits, shared_words, limit, relevance)
    assert len(picked) == min(limit, len(hits))
    assert len(set(ids(picked))) == len(picked)
    assert set(ids(picked)) <= set(ids(hits))
    if picked:
        assert picked[0] is hits[0]


def test_limits_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="not 0"):
        cap_per_document([], 0)
    with pytest.raises(InvalidInputError, match="not -1"):
        mmr([], shared_words, -1)
    with pytest.raises(InvalidInputError, match=r"1\.5"):
        mmr([], shared_words, 1, relevance=1.5)
