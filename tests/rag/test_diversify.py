"""Which hits take the places: an independent MMR agrees, caps hold, and no wording takes two places."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rag.diversify import choose, distinct, places_taken
from rag.documents import Chunk, Scores, SearchHit
from rag.errors import InvalidInputError


def hit(id_: str, document: str = "d", score: float = 0.0, text: str = "", prefix: str = "") -> SearchHit:
    chunk = Chunk(id_, document, "g", 0, text or id_, 0, len(text or id_), prefix=prefix)
    return SearchHit(store_id="s", chunk=chunk, title="", uri="", score=score, scores=Scores(fused=score))


def ids(hits: Any) -> list[str]:
    return [each.chunk.id for each in hits]


def plain_mmr(scores: NDArray[Any], cosines: NDArray[Any], share: float, wanted: int, cap: int = 99) -> list[int]:
    """As the paper writes it, one candidate at a time; candidate i is of document i % 5."""
    chosen = [0]
    while len(chosen) < wanted:
        best, most = -1, -np.inf
        for i in range(len(scores)):
            if i not in chosen and sum(j % 5 == i % 5 for j in chosen) < cap:
                value = (1 - share) * scores[i] - share * max(cosines[i, j] for j in chosen)
                if value > most:
                    best, most = i, value
        if best < 0:
            break
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("seed", range(40))
def test_the_choice_is_that_of_a_plain_mmr(seed: int) -> None:
    random = np.random.default_rng(seed)
    number, share = int(random.integers(1, 40)), float(random.uniform(0.01, 1))
    vectors = random.normal(size=(number, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = np.sort(random.uniform(size=number))[::-1]
    hits = [hit(str(i), str(i % 5), float(score)) for i, score in enumerate(scores)]
    exact = vectors.astype(np.float64)
    wanted = int(random.integers(1, 12))
    known = {str(i): vector for i, vector in enumerate(vectors)}
    for cap in (0, 1, 2):
        found = choose(hits, wanted, per_document=cap, diversity=share, vectors=known)
        assert ids(found.hits) == [str(i) for i in plain_mmr(scores, exact @ exact.T, share, wanted, cap or 99)]


def test_the_repetition_gives_way_to_what_is_new() -> None:
    hits = [hit("1", "a", 0.9), hit("2", "b", 0.8), hit("3", "c", 0.5)]
    vectors = {"1": np.float32([1, 0]), "2": np.float32([1, 0]), "3": np.float32([0, 1])}
    # second place: 0.5 * 0.8 - 0.5 * 1 = -0.1 for the repetition, 0.5 * 0.5 - 0 = 0.25 for the other
    found = choose(hits, 2, diversity=0.5, vectors=vectors)
    assert (ids(found.hits), found.passed_over) == (["1", "3"], {"2": "diversified"})
    assert ids(choose(hits, 3, diversity=0.5, vectors=vectors).hits) == ["1", "3", "2"]
    assert ids(choose(hits, 2, diversity=0, vectors=vectors).hits) == ["1", "2"]
    assert ids(choose(hits, 2, diversity=0.5, vectors={}).hits) == ["1", "2"]


def test_a_document_keeps_its_best_hits_and_the_next_ones_move_up() -> None:
    hits = [hit("1", "x"), hit("2", "x"), hit("3", "y"), hit("4", "x"), hit("5", "y"), hit("6", "z")]
    assert ids(choose(hits, 3, per_document=1).hits) == ["1", "3", "6"]
    assert choose(hits, 3, per_document=1).passed_over == {"2": "capped", "4": "capped", "5": "capped"}
    found = choose(hits, 4, per_document=2)
    assert (ids(found.hits), found.passed_over) == (["1", "2", "3", "5"], {"4": "capped"})
    assert choose(hits, 2).passed_over == {}


HITS = st.lists(
    st.builds(lambda document, score: (document, score), st.sampled_from("xyz"), st.floats(0, 1)), max_size=14
)


@given(found=HITS, wanted=st.integers(1, 8), cap=st.integers(0, 3), share=st.sampled_from([0.0, 0.3, 1.0]))
def test_caps_hold_and_no_place_stays_empty(
    found: list[tuple[str, float]], wanted: int, cap: int, share: float
) -> None:
    found.sort(key=lambda each: -each[1])
    hits = [hit(str(at), document, score) for at, (document, score) in enumerate(found)]
    random = np.random.default_rng(len(hits))
    vectors = {str(at): vector.astype(np.float32) for at, vector in enumerate(random.normal(size=(len(hits), 4)))}
    choice = choose(hits, wanted, per_document=cap, diversity=share, vectors=vectors)
    kept = ids(choice.hits)
    assert len(set(kept)) == len(kept) == min(wanted, places_taken(hits, cap))
    for document in "xyz":
        assert not cap or sum(each.chunk.document_id == document for each in choice.hits) <= cap
    assert not set(kept) & set(choice.passed_over)
    if not share:
        assert kept == sorted(kept, key=int)
    if len(kept) < wanted:
        assert set(kept) | set(choice.passed_over) == set(ids(hits))


def test_each_wording_takes_one_place() -> None:
    hits = [hit("1", "a", text="Same."), hit("2", "b", text="Same."), hit("3", "b", text="Same.", prefix="Other head")]
    kept, copies = distinct([*hits, hit("4", "c", text="Same.")])
    assert ids(kept) == ["1", "3"]
    assert {id_: ids(found) for id_, found in copies.items()} == {"1": ["2", "4"]}
    assert places_taken(hits, 0) == 2
    assert places_taken(hits, 1) == 2
    assert places_taken([hit("1"), hit("2")], 1) == 1


@pytest.mark.parametrize(("cap", "share"), [(-1, 0.0), (0, -0.1), (0, 1.1), (0, float("nan"))])
def test_what_is_out_of_bounds_is_refused(cap: int, share: float) -> None:
    with pytest.raises(InvalidInputError, match="must"):
        choose([hit("1")], 1, per_document=cap, diversity=share)
