"""The bundled cross-encoder: what it says of pairs, and how it keeps to its time."""

import asyncio
from pathlib import Path

import pytest

from rag.backends.rerankers.cross_encoder import CrossEncoder, create
from rag.errors import ModelNotFoundError
from rag.settings import RetrievalSettings, load_settings

QUESTION = "How many people live in Berlin?"
BERLIN = "Berlin had a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers."
NEW_YORK = "New York City is famous for the Metropolitan Museum of Art."


@pytest.fixture(scope="module")
def model() -> CrossEncoder:
    settings = load_settings()
    try:
        return asyncio.run(create(settings.retrieval, settings.models_dir))
    except ModelNotFoundError as error:
        pytest.skip(str(error))


def score(model: CrossEncoder, *passages: str, budget_ms: float | None = None) -> list[float]:
    return asyncio.run(model.score(QUESTION, passages, budget_ms))


def test_it_tells_what_answers_from_what_does_not(model: CrossEncoder) -> None:
    right, wrong = score(model, BERLIN, NEW_YORK)
    assert right > 0.99
    assert wrong < 0.01


def test_a_score_does_not_depend_on_the_other_pairs(model: CrossEncoder) -> None:
    assert score(model, BERLIN, NEW_YORK, BERLIN * 3)[:2] == [*score(model, BERLIN), *score(model, NEW_YORK)]


def test_scores_stand_in_the_order_of_the_passages(model: CrossEncoder) -> None:
    """Long and short in turns, so that those which run at once end in another order."""
    passages = [BERLIN * 8, NEW_YORK, "", BERLIN, NEW_YORK * 9, BERLIN * 2, "Berlin"]
    assert score(model, *passages) == [score(model, passage)[0] for passage in passages]


def test_no_time_judges_nothing_and_all_the_time_everything(model: CrossEncoder) -> None:
    assert score(model, BERLIN, NEW_YORK, budget_ms=0) == []
    assert len(score(model, *[NEW_YORK] * 7)) == 7
    assert score(model) == []
    assert 1 <= len(score(model, *[BERLIN * 8] * 1000, budget_ms=50)) < 1000


def test_any_text_has_a_score(model: CrossEncoder) -> None:
    scores = score(model, "", "\ud800", "word " * 5000, "\0", "日本語")
    assert all(0 <= each <= 1 for each in scores)
    assert len(asyncio.run(model.score("why " * 5000, [BERLIN]))) == 1


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no/such-model"):
        asyncio.run(create(RetrievalSettings(reranker=str(tmp_path / "no/such-model")), tmp_path))
