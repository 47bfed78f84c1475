"""Signs of an answer, their calibration, and who decides."""

import asyncio
import math

import pytest

from rag.answerability import SIGNALS, AnswerabilityJudge, Calibration, packaged, signals
from rag.documents import Chunk, Scores, SearchHit
from rag.searching import SearchResult

EMBEDDER = "BAAI/bge-small-en-v1.5"


def hit(text: str, dense: float, sparse: float) -> SearchHit:
    chunk = Chunk(text, "d", "g", 0, text, 0, len(text))
    return SearchHit("s", chunk, "t", "file:///t", 1.0, Scores(dense=dense, sparse=sparse))


HITS = (hit("Refunds are paid. The budget of travel is small.", 0.8, 12.0), hit("Travel needs a manager.", 0.6, 3.0))


def test_signs_are_what_they_are_called() -> None:
    found = signals("Which travel refunds are paid?", HITS)
    assert found == {
        "dense": 0.8, "lead": pytest.approx(0.2), "words": pytest.approx(12 / 3 / 10), "agreement": 1.0, "passage": 1.0,
        "sentence": pytest.approx(2 / 3), "rare": 1.0,
    }  # fmt: skip
    assert signals("What?", HITS) == signals("Why not refunds?", ()) == dict.fromkeys(SIGNALS, 0.0)


def test_a_calibration_is_a_logistic_model_that_survives_json() -> None:
    calibration = Calibration("m", {"dense": 2.0, "rare": 1.0}, -1.0, 0.4, "x", 3)
    assert calibration.probability({**dict.fromkeys(SIGNALS, 0.0), "dense": 0.5, "rare": 1.0}) == pytest.approx(
        1 / (1 + math.exp(-1))
    )
    assert Calibration.from_dict(calibration.as_dict()) == calibration


def test_the_packaged_one_knows_the_default_embedder_alone() -> None:
    found = packaged(EMBEDDER)
    assert found is not None
    assert set(found.weights) == set(SIGNALS)
    assert packaged("other/model") is None


def test_a_store_of_its_own_calibration_is_judged_by_it() -> None:
    own = Calibration(EMBEDDER, {}, 3.0, 0.99)

    async def judged(*, has_own: bool, threshold: float | None = None, embedder: str = EMBEDDER) -> object:
        async def find(store_id: str) -> Calibration | None:
            assert store_id == "s"
            return own if has_own else None

        found = SearchResult("Which travel refunds are paid?", HITS, {})
        return await AnswerabilityJudge(embedder, find, threshold).judge(found)

    by_own, packaged_one = asyncio.run(judged(has_own=True)), asyncio.run(judged(has_own=False))
    assert (by_own.probability, by_own.threshold, by_own.is_enough) == (0.9526, 0.99, False)
    assert packaged_one.threshold == packaged(EMBEDDER).threshold
    assert asyncio.run(judged(has_own=True, threshold=0)).is_enough
    assert asyncio.run(judged(has_own=False, embedder="other/model")) is None
