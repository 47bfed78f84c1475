"""What `quoth search --explain` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from cli.execution import print_json
from cli.filtering import filter_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rag.settings import Settings

SHOWN = 20  # candidates; `--json` has all
_OUTCOMES = {
    "returned": "returned", "expanded": "stands beside a returned one", "duplicate": "says the same as a better one",
    "capped": "its document has its places", "diversified": "too much like those returned", "below_k": "below k",
    "replaced": "being read anew", "filtered": "filtered", "hidden": "hidden by its groups",
    "below_candidates": "too far down",
}  # fmt: skip


async def explained(
    settings: Settings,
    question: str,
    store: str | None,
    expected: str | None,
    wanted: Mapping[str, Any],
    condition: str | None = None,
) -> dict[str, Any]:
    """Explain a search; of an expected file that the ledger knows nothing of, the disk is asked as well.

    Args:
        wanted: what `Asked` takes besides store and question, by its names.
        condition: a filter, as text.
    """
    from ingest.why import explain as why
    from rag.access import Caller
    from rag.assembly import open_engine
    from rag.concurrency import in_thread
    from rag.expecting import explain_expected
    from rag.explaining import Asked, explain_search
    from rag.filter_text import filter_text

    async with open_engine(settings) as engine:
        caller = Caller()
        owner = await in_thread(engine.stores.resolve, store or settings.store, caller)
        where = await filter_of(engine, owner.name, condition)
        asked = Asked([owner], question, where=where, **wanted)
        found = await explain_search(engine, asked, caller)
        told = {
            **found.as_dict(len(found.candidacies)), "filter": None if where is None else filter_text(where),
            "expected": None,
        }  # fmt: skip
        if expected is not None:
            outcome = await explain_expected(engine, asked, found, expected, caller)
            if outcome.verdict == "unknown":
                # Paths are spelt in many ways, and a terminal may ask for any file.
                fate = await in_thread(why, engine, owner, expected)
                if fate.verdict == "indexed":
                    outcome = await explain_expected(engine, asked, found, fate.facts["document_id"], caller)
                else:
                    told["expected"] = outcome.as_dict() | {"sentence": " ".join(fate.sentences), "uri": fate.uri}
            told["expected"] = told["expected"] or outcome.as_dict()
        return told


def print_explanation(told: dict[str, Any], *, as_json: bool) -> None:
    """Print it for people, or as one JSON object."""
    if as_json:
        print_json(told)
        return
    times = ", ".join(f"{stage} {milliseconds:.1f} ms" for stage, milliseconds in told["milliseconds"].items())
    typer.echo(f"Words that count: {' '.join(told['terms']) or 'none'}")
    typer.secho(f"{told['fusion']} of {told['candidates_per_list']} candidates a list; {times}", dim=True)
    if told["filter"]:
        typer.secho(f"Filter: {_printable(told['filter'])}", dim=True)
    for candidate in told["candidates"][:SHOWN]:
        _print_candidate(candidate)
    left = told["candidate_count"] - SHOWN
    if left > 0:
        typer.secho(f"... and {left} candidates more (--json)", dim=True)
    if told["expected"]:
        typer.secho(f"{_printable(told['expected']['expected'])}: {told['expected']['verdict']}", bold=True)
        typer.echo(f"  {_printable(told['expected']['sentence'])}")
        for passage in told["expected"]["passages"]:
            _print_candidate(passage)


def _print_candidate(candidate: dict[str, Any]) -> None:
    rank = f"{candidate['rank']}." if candidate["rank"] else "-"
    typer.secho(f"{rank:>4} {_printable(candidate['title'])}", bold=True, nl=False)
    typer.secho(f"  {_OUTCOMES[candidate['outcome']]}", dim=True)
    scores = ", ".join(
        f"{name} {candidate[name]:.3f}"
        + (f" (number {candidate[f'{name}_rank']})" if f"{name}_rank" in candidate else "")
        for name in ("dense", "sparse", "fused", "rerank", "recency")
        if candidate[name] is not None
    )
    words = f"words: {' '.join(candidate['terms'])}" if candidate["terms"] else "no word matches"
    typer.secho(f"     {scores}; {words}", dim=True)
    typer.secho(f"     {_printable(candidate['excerpt'])}", dim=True)


def _printable(text: str) -> str:
    """Text that cannot steer a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
