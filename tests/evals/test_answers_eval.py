"""What answers are worth, on cases small enough to count by hand."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evals.answer_journal import Journal
from evals.answering_run import Price, answer_case, answer_cases, draw_cases, measure
from evals.answers import AnswerRecord, Quote, curves, is_right, is_right_citation, score, sentence_shares
from evals.indexing import build_index
from evals.judge import Judge
from evals.records import Case, CorpusDocument, Dataset, Span
from rag.answering import Answerer
from rag.citations import Citation
from rag.errors import InvalidInputError, QuothError, UpstreamRejectedError, UpstreamUnavailableError
from rag.protocols import ChatModel
from rag.refusal import NO_ANSWER
from tests.fakes import ScriptedChatModel, fake_engine

FRANCE = "Normandy is a region in France. Rollo led the Normans."
PUMP = "The pump weighs 6 kg. It is made of steel."


def quote(text: str = "The pump weighs 6 kg.", document: str = "pump", start: int = 0, **more: object) -> Quote:
    made = Quote(document, start, start + len(text), text, 0, len(text), "quoted")
    return replace(made, **more)  # type: ignore[arg-type]


def record(case: str, answer: str, *quotes: Quote, **more: object) -> AnswerRecord:
    made = AnswerRecord(case, answer, is_refusal=answer == NO_ANSWER, quotes=quotes, signals={"dense": 0.5})
    return replace(made, **more)  # type: ignore[arg-type]


WEIGHT = Case("w", "How heavy is it?", ("6 kg",), ("pump",), (Span("pump", 16, 20),))
NOTHING = Case("n", "Who made it?", is_answerable=False)


def test_a_citation_is_right_by_its_words_its_place_or_its_document() -> None:
    assert is_right_citation(WEIGHT, quote("It weighs 6 kg.", "elsewhere"))
    assert is_right_citation(WEIGHT, quote("weighs", start=12))
    assert not is_right_citation(WEIGHT, quote("The pump", start=0))
    assert not is_right_citation(WEIGHT, quote("weighs", "elsewhere", start=12))
    assert is_right_citation(replace(WEIGHT, spans=()), quote("The pump", start=0))
    assert not is_right_citation(replace(WEIGHT, spans=()), quote("weighs", "elsewhere", start=12))
    assert not is_right_citation(NOTHING, quote())


@pytest.mark.parametrize(
    ("case", "answer", "expected"),
    [
        (WEIGHT, "The pump weighs 6 kg.", True),
        (WEIGHT, "6 pounds", True),  # F1 is 0.5
        (WEIGHT, "Six stone", False),
        (WEIGHT, NO_ANSWER, False),
        (NOTHING, NO_ANSWER, True),
        (NOTHING, "Rollo.", False),
    ],
)
def test_what_is_right(case: Case, answer: str, expected: bool) -> None:
    assert is_right(case, record(case.id, answer)) is expected


def test_without_a_known_answer_the_citation_decides() -> None:
    case = replace(WEIGHT, answers=())
    assert is_right(case, record("w", "Heavy.", quote("weighs 6", start=12)))
    assert not is_right(case, record("w", "Heavy.", quote("The pump")))
    assert "f1" not in score(case, record("w", "Heavy."))


def test_scores_of_an_answer() -> None:
    found = score(
        WEIGHT,
        record(
            "w", "The pump weighs 6 kg. Truly.", quote(), quote("The pump", start=0), verdicts=("quoted", "unsupported")
        ),
    )
    assert found["contains"] == found["right"] == found["citation_recall"] == found["coverage"] == 1
    assert found["citation_precision"] == 0.5
    assert found["exact_match"] == found["risk"] == 0
    assert found["f1"] == pytest.approx(2 * 2 / (5 + 2))  # pump weighs 6 kg truly, against 6 kg
    assert (found["quoted"], found["unsupported"]) == (0.5, 0.5)
    assert not {"refusal_precision", "refusal_recall"} & found.keys()


def test_scores_of_refusals_are_those_of_squad() -> None:
    rightly, wrongly = score(NOTHING, record("n", NO_ANSWER)), score(WEIGHT, record("w", NO_ANSWER))
    assert rightly["f1"] == rightly["exact_match"] == rightly["refusal_precision"] == rightly["refusal_recall"] == 1
    assert wrongly["f1"] == wrongly["refusal_precision"] == wrongly["citation_recall"] == 0
    assert not {"risk", "quoted", "citation_precision"} & (rightly.keys() | wrongly.keys())
    assert score(NOTHING, record("n", "Rollo."))["f1"] == 0


def test_a_failure_is_no_refusal() -> None:
    found = score(NOTHING, record("n", "", error="it broke off"))
    assert found["error"] == 1
    assert found["right"] == found["f1"] == found["refusal_recall"] == found["coverage"] == 0


def test_sentences_by_verdict() -> None:
    shares = sentence_shares(record("w", "One. Two. Three.", verdicts=("quoted", "weak", "unsupported")))
    third = pytest.approx(1 / 3)
    assert shares == {"quoted": third, "supported": 0, "weak": third, "unsupported": third}
    assert sentence_shares(record("w", "")) == {}


def test_means_intervals_and_curve_of_a_system() -> None:
    cases = [WEIGHT, replace(WEIGHT, id="w2"), NOTHING, replace(NOTHING, id="n2")]
    records = {
        "w": record("w", "6 kg", quote(), signals={"dense": 0.9, "support": 1.0}, tokens_in=10, total_ms=100),
        "w2": record("w2", NO_ANSWER, total_ms=200),
        "n": record("n", NO_ANSWER, total_ms=300),
        "n2": record("n2", "Rollo.", signals={"dense": 0.2, "support": 0.0}, total_ms=400),
    }
    found = measure("mine", cases, records)
    metrics = found.result.metrics
    assert metrics["right"] == metrics["f1"] == metrics["refusal_precision"] == metrics["refusal_recall"] == 0.5
    assert metrics["f1_answerable"] == metrics["citation_recall"] == metrics["coverage"] == metrics["risk"] == 0.5
    assert metrics["citation_precision"] == 1
    assert metrics["tokens_in"] == 2.5
    assert metrics["aurc"] == pytest.approx((0 + 1 / 2 + 2 / 3 + 3 / 4) / 4)
    assert next(iter(found.curves)) == "dense"
    assert set(found.result.intervals) == set(metrics)
    assert found.result.per_query["refusal_recall"] == {"n": 1.0, "n2": 0.0}
    assert found.result.latency_ms["p50"] == 250
    assert found.agreement is None


def test_a_system_that_refuses_everything_has_a_curve() -> None:
    assert curves([NOTHING], {"n": record("n", NO_ANSWER)})["none"].area == 1


def test_no_case_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="no case"):
        measure("mine", [], {})


def test_drawing_keeps_the_share_of_unanswerable_questions() -> None:
    cases = [Case(f"c{n}", "?", is_answerable=n % 4 != 0) for n in range(100)]
    drawn = draw_cases(cases, 40, seed=1)
    assert (len(drawn), sum(not case.is_answerable for case in drawn)) == (40, 10)
    assert [case.id for case in drawn] == sorted((case.id for case in drawn), key=lambda name: int(name[1:]))
    assert drawn == draw_cases(cases, 40, seed=1)
    assert drawn != draw_cases(cases, 40, seed=2)
    assert draw_cases(cases, None, 1) == cases


def dataset(folder: Path) -> Dataset:
    documents = {"normans": CorpusDocument("normans", "Normans", FRANCE), "pump": CorpusDocument("pump", "Pump", PUMP)}
    return Dataset("small", folder, "0" * 64, documents, {}, {})


def ask(
    folder: Path,
    model: ChatModel,
    cases: Sequence[Case],
    *,
    judge: Judge | None = None,
    known: dict[str, AnswerRecord] | None = None,
) -> dict[str, AnswerRecord]:
    async def everything() -> dict[str, AnswerRecord]:
        with fake_engine(folder / "data") as engine:
            index = await build_index(engine, dataset(folder))

            def document_of(citation: Citation) -> str:
                return index.documents[citation.document_id]

            answerer = Answerer(engine.retriever, model, engine.settings.chat)
            return await answer_cases(
                answerer, index.store, cases, document_of, judge=judge, known=known, price=Price(2.0, 4.0)
            )

    return asyncio.run(everything())


def test_an_answer_is_recorded_with_what_it_cites(tmp_path: Path) -> None:
    case = Case("c", "How much does the pump weigh?", ("6 kg",), ("pump",), (Span("pump", 16, 20),))
    found = ask(tmp_path, ScriptedChatModel("The pump weighs", " 6 kg."), [case])["c"]
    assert found.answer == "The pump weighs 6 kg."
    cited = found.quotes[0]
    assert (cited.document, cited.text, cited.verdict) == ("pump", "The pump weighs 6 kg.", "quoted")
    assert PUMP[cited.start : cited.end] == cited.text
    assert found.signals is not None
    assert found.signals.keys() >= {"dense", "fused", "support"}
    assert 0 < found.first_token_ms <= found.total_ms
    assert found.tokens_out == 5
    assert found.price == pytest.approx((2 * found.tokens_in + 4 * 5) / 1e6)
    assert score(case, found)["citation_precision"] == 1


def test_the_fixed_sentence_is_a_refusal(tmp_path: Path) -> None:
    found = ask(tmp_path, ScriptedChatModel(NO_ANSWER), [NOTHING])["n"]
    assert found.is_refusal
    assert not found.is_answered


def test_a_judge_that_disagrees_shows_in_kappa(tmp_path: Path) -> None:
    cases = [Case("a", "How much does the pump weigh?", ("6 kg",)), Case("b", "What weighs the pump?", ("steel",))]
    model, judge = ScriptedChatModel("The pump weighs 6 kg."), Judge(ScriptedChatModel("no"))
    records = ask(tmp_path, model, cases, judge=judge)
    found = measure("mine", cases, records)
    assert found.result.metrics["judged_right"] == 0
    assert found.agreement is not None
    # The labels are right and wrong; the judge says wrong twice: no better than chance.
    assert (found.agreement.observed, found.agreement.kappa, found.agreement.cases) == (0.5, 0.0, 2)


def test_an_answer_that_breaks_off_is_a_failure(tmp_path: Path) -> None:
    model = ScriptedChatModel("The pump ", UpstreamUnavailableError("gone"))
    found = ask(tmp_path, model, [WEIGHT])["w"]
    assert (found.error, found.is_answered) == ("gone", False)


def test_an_error_that_no_retry_helps_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(UpstreamRejectedError, match="wrong key"):
        ask(tmp_path, ScriptedChatModel(UpstreamRejectedError("wrong key")), [WEIGHT])


def test_five_failures_in_a_row_end_the_run(tmp_path: Path) -> None:
    cases = [replace(WEIGHT, id=str(number)) for number in range(9)]
    model = ScriptedChatModel(UpstreamUnavailableError("down"))
    with pytest.raises(QuothError, match="5 questions in a row failed, the last with: down"):
        ask(tmp_path, model, cases)
    assert len(model.prompts) == 5


def test_what_is_known_is_not_asked_again(tmp_path: Path) -> None:
    model = ScriptedChatModel("The pump weighs 6 kg.")
    known = {"w": record("w", "6 kg")}
    found = ask(tmp_path, model, [WEIGHT, NOTHING], known=known)
    assert found["w"] is known["w"]
    assert len(model.prompts) == 1


def test_an_interrupted_run_goes_on_and_a_finished_one_does_not(tmp_path: Path) -> None:
    save, run = tmp_path / "r.json", {"dataset": "d", "code": "c"}
    first = Journal(save, run)
    assert first.read() == {}
    first.write("mine", record("w", "6 kg", quote()))
    first.write("mine", record("n", "", error="down"))
    part = tmp_path / "r.json.answers.part"
    part.write_text(part.read_text() + '{"system": "mine", "rec')  # the kill came here
    again = Journal(save, run)
    assert again.read() == {"mine": {"w": record("w", "6 kg", quote())}}
    again.write("mine", record("n", NO_ANSWER))
    again.finish()
    rows = [json.loads(line) for line in (tmp_path / "r.json.answers.jsonl").read_text().splitlines()]
    assert [row["record"]["case"] for row in rows[1:]] == ["w", "n", "n"]
    assert Journal(save, run).read() == {}


def test_a_journal_of_another_run_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path / "r.json", {"dataset": "d", "code": "c"}).read()
    with pytest.raises(InvalidInputError, match="with other code, dataset"):
        Journal(tmp_path / "r.json", {"dataset": "e", "code": "f"}).read()
    (tmp_path / "r.json.answers.part").write_text("nothing\n")
    with pytest.raises(InvalidInputError, match="malformed"):
        Journal(tmp_path / "r.json", {"dataset": "d"}).read()


def test_one_question_without_a_price_costs_nothing(tmp_path: Path) -> None:
    async def one() -> AnswerRecord:
        with fake_engine(tmp_path / "data") as engine:
            index = await build_index(engine, dataset(tmp_path))
            answerer = Answerer(engine.retriever, ScriptedChatModel("The pump weighs 6 kg."), engine.settings.chat)
            return await answer_case(answerer, index.store, WEIGHT, lambda citation: citation.uri)

    assert asyncio.run(one()).price == 0
