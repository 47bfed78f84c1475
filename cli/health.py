"""`quoth doctor` and `quoth why`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.execution import FAULTS_REMAIN, DataOption, JsonOption, StoreOption, print_json, run

if TYPE_CHECKING:
    from rag.settings import Settings

SHOWN = 20  # findings of a kind; `--json` has more


def doctor(
    store: StoreOption = None,
    repair: Annotated[bool, typer.Option("--repair", help="Set right what is found.")] = False,
    digest: Annotated[bool, typer.Option("--digest", help="Print one hash of all that a store holds.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare ledger, vector store and files, of one store or of all."""
    found = run(lambda settings: _doctor(settings, store, repair=repair, digest=digest), data)
    healthy = all(each["healthy"] for each in found)
    if as_json:
        print_json({"healthy": healthy, "stores": found})
    elif not found:
        typer.echo("There is no store yet: quoth ingest PATH makes one.")
    else:
        for each in found:
            _print_store(each, only_digest=digest and not repair)
    if not healthy:
        raise typer.Exit(FAULTS_REMAIN)


def why(
    file: Annotated[str, typer.Argument(help="A path, a URI, or the end of a path.", show_default=False)],
    store: StoreOption = None,
    question: Annotated[
        str | None, typer.Option("--question", "-q", help="Also say why it is found, or not.", metavar="TEXT")
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what became of one file, and why a question finds it or does not."""
    found = run(lambda settings: _why(settings, file, store, question), data)
    if as_json:
        print_json(found)
        return
    typer.secho(found["uri"], bold=True)
    for sentence in found["sentences"]:
        typer.echo(f"  {sentence}")
    if "checked_at" in found:
        typer.secho(f"  looked at {_when(found['checked_at'])}, version {found['generation']}", dim=True)
    if "search" in found:
        _print_search(found["search"])


async def _doctor(settings: Settings, store: str | None, *, repair: bool, digest: bool) -> list[dict[str, Any]]:
    from ingest.doctor import Doctor
    from rag.assembly import open_engine

    async with open_engine(settings) as engine:
        names = [store] if store else engine.stores.names()
        physician = Doctor(engine)
        found = []
        for name in names:
            entry: dict[str, Any] = {"store": name, "healthy": True}
            if repair:
                treated = await physician.repair(name, on_wait=_say_waiting)
                entry = treated.after.as_dict() | {"before": treated.before.as_dict()}
            elif not digest:
                entry = (await physician.examine(name, on_wait=_say_waiting)).as_dict()
            if digest:
                entry["digest"] = await physician.digest(name, on_wait=_say_waiting)
            found.append(entry)
    return found


async def _why(settings: Settings, file: str, store: str | None, question: str | None) -> dict[str, Any]:
    from ingest.found import findability
    from ingest.why import explain
    from rag.assembly import open_engine
    from rag.concurrency import in_thread

    async with open_engine(settings) as engine:
        owner = await in_thread(engine.stores.get, store or settings.store)
        explanation = await in_thread(explain, engine, owner, file)
        found = {"store": owner.name} | explanation.as_dict()
        known = engine.documents.at(owner.id, [explanation.uri]).get(explanation.uri)
        if question is not None and known:
            found["search"] = (await findability(engine, owner, known, question)).as_dict()
        elif question is not None:
            found["sentences"].append("No question finds it, since it is not indexed.")
    return found


def _say_waiting() -> None:
    typer.echo("An ingest of this store is running; waiting for it to end ...", err=True)


def _print_store(found: dict[str, Any], *, only_digest: bool) -> None:
    if only_digest:
        typer.echo(f"{found['digest']}  {found['store']}")
        return
    before = found.get("before")
    if before:
        _print_findings(before["findings"], before["counts"], "found")
    left = found["counts"]
    _print_findings(found["findings"], left, "left" if before else "found")
    for note in found["notes"][:SHOWN]:
        typer.secho(f"  note: {note['message']} {' '.join(note['uris'][:4])}".rstrip(), dim=True)
    if len(found["notes"]) > SHOWN:
        typer.secho(f"  ... and {sum(found['note_counts'].values()) - SHOWN} notes more (--json)", dim=True)
    if "digest" in found:
        typer.echo(f"{found['digest']}  {found['store']}")
    faults = sum(left.values())
    mended = f", {sum(before['counts'].values()) - faults} mended" if before and before["counts"] else ""
    verdict = f"{faults} faults{mended}" if faults else f"healthy{mended}"
    typer.secho(f"Store {found['store']!r}: {verdict}.", bold=True)
    if faults and not before:
        typer.echo(f"`quoth doctor --store {found['store']} --repair` sets them right.")


def _print_findings(findings: Sequence[dict[str, Any]], counts: dict[str, int], word: str) -> None:
    for kind, count in counts.items():
        some = [finding for finding in findings if finding["kind"] == kind]
        typer.secho(f"{word}: {count} {kind}", bold=True)
        for finding in some[:SHOWN]:
            typer.echo(f"  {finding['uri'] or ' '.join(finding['ids'])}: {finding['message']}")
        if count > SHOWN:
            typer.secho(f"  ... and {count - SHOWN} more (--json)", dim=True)
        typer.secho(f"  Repair: {some[0]['repair']}", dim=True)


def _print_search(search: dict[str, Any]) -> None:
    typer.echo(f"  {search['sentence']}")
    for passage in search["passages"]:
        words = f"; words: {' '.join(passage['words'])}" if passage["words"] else "; no word matches"
        scores = ", ".join(
            f"{name} {passage[name]:.3f} (number {passage[f'{name}_rank'] or '-'})"
            for name in ("dense", "sparse", "fused")
            if passage[name] is not None
        )
        typer.secho(f"    chunk {passage['ordinal']}: {scores}{words}", dim=True)
        typer.secho(f"      {passage['excerpt']}", dim=True)


def _when(seconds: float) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
