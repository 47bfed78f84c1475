"""The examples, asked what a new user would ask: real parsers, real embeddings, the real engine, real citations."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from ingest.pipeline import Ingestor
from rag.assembly import open_answerer, open_engine
from rag.backends.vectors.edge_process import stop_worker
from rag.errors import ModelNotFoundError
from rag.events import AnswerCompleted
from rag.settings import load_settings

ROOT = Path(__file__).parents[1]
CASES: list[dict[str, Any]] = json.loads((ROOT / "tests" / "example_questions.json").read_text())
LEAST_RIGHT = 13


def test_the_examples_answer_most_questions_and_every_citation_holds(tmp_path: Path) -> None:
    async def answers() -> list[AnswerCompleted]:
        found = []
        async with open_engine(load_settings({"data_dir": tmp_path})) as engine, open_answerer(engine) as answerer:
            summary = await Ingestor(engine).run([ROOT / "examples"], "default")
            assert (summary.failed, summary.skipped) == ({}, {})
            for case in CASES:
                prepared = await answerer.prepare("default", case["question"])
                events = [event async for event in answerer.stream(prepared)]
                assert isinstance(events[-1], AnswerCompleted)
                found.append(events[-1])
        return found

    try:
        done = asyncio.run(answers())
    except ModelNotFoundError as error:
        pytest.skip(str(error))
    finally:
        stop_worker(tmp_path)
    right = sum(
        bool(case["answer"]) and case["answer"].lower() in d.text.lower() for case, d in zip(CASES, done, strict=True)
    )
    assert right >= LEAST_RIGHT
    for answer in done:
        for citation in answer.citations:
            assert answer.text[citation.answer_start : citation.answer_end].split() == citation.quote.split()
            assert citation.verdict == "quoted"
