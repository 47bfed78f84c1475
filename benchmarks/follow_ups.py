"""Whether follow-up questions find what they are about: `python -m benchmarks.follow_ups FOLDER [--model MODEL]`.

FOLDER holds the documentation of FastAPI that tests/rag/follow_ups.json asks about: 30 first questions, each with an
answer, a follow-up, the same written by hand so that it stands alone, and the file that answers it. Prints recall@5
and recall@1, the share of questions with a passage of that file among the first five and in the first place, of the
follow-up as it is, led by the question before it, condensed as Quoth does it, and written by hand. The folder is
ingested once, into a data directory that is kept; with --model, that chat model condenses, too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from ingest.pipeline import Ingestor
from rag.assembly import Engine, open_chat_model, open_engine
from rag.backends.vectors.edge_process import stop_worker
from rag.condensing import Condenser
from rag.conversation import Message
from rag.settings import load_settings

CASES = Path(__file__).parents[1] / "tests" / "rag" / "follow_ups.json"
CACHE = Path("~/.cache/quoth/benchmarks/follow_ups").expanduser()
K = 5
STORE = "default"

Case = Mapping[str, str]


async def questions(case: Case, condensers: Mapping[str, Condenser]) -> dict[str, str]:
    """What is searched for, by the way in which it was made."""
    history = [Message("user", case["question"]), Message("assistant", case["answer"])]
    asked = case["follow_up"]
    condensed = {name: await condenser.stand_alone(asked, history) for name, condenser in condensers.items()}
    return {
        "as it is": asked, "led by the last question": f"{case['question']}\n{asked}", **condensed,
        "by hand": case["stand_alone"],
    }  # fmt: skip


async def rank_of(engine: Engine, question: str, file: str) -> int | None:
    """The place of the first passage of a file, from 1; None when it is not among the first K."""
    found = await engine.retriever.search(STORE, question, k=K)
    places = (place for place, hit in enumerate(found.hits, 1) if hit.uri.endswith(f"/{file}"))
    return next(places, None)


async def measure(engine: Engine, cases: Sequence[Case], condensers: Mapping[str, Condenser], verbose: bool) -> None:
    """Search for all cases in all ways, and print the tables."""
    ranks: dict[str, list[int | None]] = defaultdict(list)
    for case in cases:
        for way, question in (await questions(case, condensers)).items():
            rank = await rank_of(engine, question, case["file"])
            ranks[way].append(rank)
            if verbose and rank != 1:
                print(f"{rank or 'missed':<7} {case['id']:<20} {way:<24} {' / '.join(question.splitlines())}")
    kinds = [*dict.fromkeys(case["kind"] for case in cases), "all"]
    for k in (K, 1):
        print(f"{f'recall@{k}':<26}" + "".join(f"{kind:>10}" for kind in kinds))
        for way, places in ranks.items():
            shares = (_share(cases, places, kind, k) for kind in kinds)
            print(f"{way:<26}" + "".join(f"{share:>10.2f}" for share in shares))


def _share(cases: Sequence[Case], places: Sequence[int | None], kind: str, k: int) -> float:
    own = [place for case, place in zip(cases, places, strict=True) if kind in ("all", case["kind"])]
    return sum(place is not None and place <= k for place in own) / len(own)


async def run(folder: Path, data: Path, model: str | None, verbose: bool) -> None:
    """Ingest what is new, and measure."""
    overrides = {"data_dir": data, "ingest": {"ocr": "off"}, "chat": {"model": model or "extractive"}}
    async with open_engine(load_settings(overrides)) as engine:
        await Ingestor(engine).run([folder], STORE)
        condensers = {"condensed": Condenser()}
        chat = await open_chat_model(engine) if model else None
        if chat is not None:
            condensers[f"by {chat.name}"] = Condenser(chat, seconds=engine.settings.chat.timeout_seconds)
        await measure(engine, json.loads(CASES.read_text(encoding="utf-8")), condensers, verbose)
        if chat is not None:
            await chat.close()


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=CACHE, help="data directory, kept for the next run")
    parser.add_argument("--model", help="a chat model that condenses, too, as QUOTH_CHAT__MODEL names it")
    parser.add_argument("--verbose", action="store_true", help="name what was not found")
    options = parser.parse_args()
    try:
        asyncio.run(run(options.folder, options.data, options.model, options.verbose))
    finally:
        stop_worker(options.data)


if __name__ == "__main__":
    main()
