"""The gate: its sentence, its refusals, and how often it is wrong."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evals.compare import Entrant, entrants
from evals.datasets import read_dataset
from evals.gate import GateResult, gate, gate_as_json
from evals.records import EvalResult, SystemResult
from evals.retrieval import Options, evaluate_retrieval
from evals.systems import System
from rag.errors import InvalidInputError
from rag.models import list_models
from rag.settings import RetrievalSettings, load_settings

MARGIN = 0.01
RUNS = 20
EMBEDDER = "BAAI/bge-small-en-v1.5"


def made(name: str, values: Sequence[float], metric: str = "ndcg@10") -> Entrant:
    by_query = {f"q{number}": float(value) for number, value in enumerate(values)}
    system = SystemResult(name, {}, {}, {metric: float(np.mean(values))}, {}, {metric: by_query})
    return Entrant(name, EvalResult("retrieval", "made", "a", len(by_query), (system,)), system)


def judged(
    before: Sequence[float], after: Sequence[float], metric: str = "ndcg@10", margin: float = MARGIN
) -> GateResult:
    return gate(made("before", before, metric), made("after", after, metric), margin=margin)


def test_a_large_fall_fails_and_is_said() -> None:
    found = judged([0.6] * 100, [0.5, 0.6] * 50)
    assert not found.has_passed
    assert found.sentence().startswith(
        "FAIL: nDCG@10 fell from .600 to .550 on 100 questions; that is worse by more than the margin of .010"
    )
    assert gate_as_json(found)["has_passed"] is False


def test_what_is_better_or_the_same_passes() -> None:
    assert "rose from .500 to .600" in judged([0.5] * 50, [0.6] * 50).sentence()
    same = judged([0.5] * 50, [0.5] * 50)
    assert same.has_passed
    assert "stayed at .500 on 50 questions; chance explains" in same.sentence()


def test_a_sure_fall_within_the_margin_passes() -> None:
    found = judged([0.5] * 60, [0.49] * 60, margin=0.02)
    assert found.has_passed
    assert "worse, but not surely by more than the margin of .020" in found.sentence()


def test_more_risk_is_a_loss() -> None:
    assert not judged([0.1] * 50, [0.3] * 50, "risk").has_passed
    assert judged([0.3] * 50, [0.1] * 50, "risk").has_passed


def test_few_questions_are_warned_of() -> None:
    assert "have 30 or more" in judged([0.5] * 29, [0.5] * 29).sentence()
    assert "have 30 or more" not in judged([0.5] * 30, [0.5] * 30).sentence()


def test_questions_left_out_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="no nDCG@10 for 1 question of the baseline"):
        judged([0.5, 0.5, 0.5], [0.5, 0.5])
    assert len(judged([0.5, 0.5], [0.5, 0.5, 0.0]).pair.changes) == 2


@pytest.mark.parametrize("margin", [-0.1, 1.0, float("nan")])
def test_a_margin_that_makes_no_sense_is_refused(margin: float) -> None:
    with pytest.raises(InvalidInputError, match="margin must lie"):
        judged([0.5], [0.5], margin=margin)


def failures(true_loss: float, trials: int, queries: int = 150) -> int:
    """How often it fails where a third of the questions change, as with retrieval, and the mean loss is known."""
    draw = np.random.default_rng(7)
    count = 0
    for trial in range(trials):
        before = draw.choice([0.0, 0.3, 0.5, 0.63, 1.0], queries)
        moved = draw.random(queries) < 1 / 3
        after = before + np.where(moved, draw.normal(0, 0.2, queries), 0) - true_loss
        count += not gate(made("a", before), made("b", after), seed=trial).has_passed
    return count


@pytest.mark.slow
def test_both_error_rates_by_simulation() -> None:
    trials = 400
    # Where the loss is the margin itself, 2.5 % of builds may fail. 400 trials tell that from 5.5 %.
    assert failures(MARGIN, trials) <= 0.055 * trials
    assert failures(0.0, trials) <= 0.01 * trials
    assert failures(0.05, trials) >= 0.95 * trials


def test_noise_passes_and_a_landslide_does_not() -> None:
    assert failures(0.0, 40) == 0
    assert failures(0.08, 40) == 40


def weighted(name: str, weight: float) -> System:
    settings = load_settings()
    return System(name, settings.model_copy(update={"retrieval": RetrievalSettings(dense_weight=weight)}))


def on(result: EvalResult, name: str, queries: Sequence[str]) -> EvalResult:
    """One system of a result, on some of its questions."""
    system = next(system for system in result.systems if system.name == name)
    values = {query: system.per_query["ndcg@10"][query] for query in queries}
    return replace(result, systems=(replace(system, per_query={"ndcg@10": values}),))


@pytest.mark.long
def test_a_weight_set_badly_fails_and_noise_does_not(collections: Path, tmp_path: Path) -> None:
    """Real runs of a real collection: 20 builds each, each on two thirds of the questions, drawn anew."""
    if EMBEDDER not in {model.name for model in list_models(load_settings().models_dir) if model.present}:
        pytest.skip(f"{EMBEDDER} is not in the models folder: make setup")
    dataset = read_dataset(collections / "retrieval" / "cranfield")
    weights = {"default": 0.5, "words": 0.0, "vectors": 1.0, "lower": 0.45, "higher": 0.55}
    systems = [weighted(name, weight) for name, weight in weights.items()]
    options = Options(metrics=("ndcg@10",), cache=tmp_path, timed=0)
    result = asyncio.run(evaluate_retrieval(dataset, systems, options))

    def failed(candidates: Sequence[str]) -> int:
        count = 0
        for build in range(RUNS):
            queries = random.Random(build).sample(sorted(result.questions), 150)
            name = candidates[build % len(candidates)]
            before, after = entrants([("a", on(result, "default", queries)), ("b", on(result, name, queries))])
            count += not gate(before, after, seed=build).has_passed
        return count

    assert failed(["words", "vectors"]) == RUNS
    assert failed(["lower", "higher"]) == 0
