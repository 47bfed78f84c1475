"""`quoth search`, and how commands show a source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.execution import DataOption, JsonOption, StoreOption, print_json, run
from cli.explanation import explained, print_explanation
from cli.filtering import HalfLifeOption, WhereOption, check_where, filter_of

if TYPE_CHECKING:
    from rag.documents import SearchHit
    from rag.searching import SearchOptions, SearchResult
    from rag.settings import Settings

SHOWN_COPIES = 3


def search(
    question: Annotated[str, typer.Argument(help="What to look for.")],
    store: StoreOption = None,
    k: Annotated[int | None, typer.Option("-k", help="How many passages.", metavar="N")] = None,
    per_document: Annotated[
        int | None, typer.Option("--per-document", help="Passages of one document at most; 0 is no limit.", metavar="N")
    ] = None,
    diversity: Annotated[
        float | None,
        typer.Option("--diversity", help="0 to 1: how much being like a better one costs a passage.", metavar="X"),
    ] = None,
    expand: Annotated[
        int | None, typer.Option("--expand", help="Also show so much of what stands around them.", metavar="TOKENS")
    ] = None,
    condition: WhereOption = None,
    half_life: HalfLifeOption = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show how every candidate fared.")] = False,
    expect: Annotated[
        str | None,
        typer.Option("--expect", help="Also say what became of this document: a path, a URI, an id.", metavar="FILE"),
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the passages that answer a question best; with --explain, say why these."""
    check_where(condition)
    if explain or expect is not None:
        wanted = {
            "k": k, "per_document": per_document, "diversity": diversity, "expand_tokens": expand,
            "recency_half_life_days": half_life,
        }  # fmt: skip
        told = run(lambda settings: explained(settings, question, store, expect, wanted, condition), data)
        print_explanation(told, as_json=as_json)
        return
    options: SearchOptions = {
        "k": k, "per_document": per_document, "diversity": diversity, "expanded": expand is not None,
        "expand_tokens": expand, "recency_half_life_days": half_life,
    }  # fmt: skip
    found = run(lambda settings: _search(settings, question, store, condition, options), data)
    copies = found.copies
    if as_json:
        hits = [hit_as_dict(hit) | {"also_in": _places(copies.get(hit.chunk.id, ()))} for hit in found.passages]
        print_json({"question": question, "hits": hits})
        return
    if not found.hits:
        typer.echo("Nothing was found.")
    for number, hit in enumerate(found.passages, 1):
        _print_hit(number, hit, copies.get(hit.chunk.id, ()))


def hit_as_dict(hit: SearchHit) -> dict[str, Any]:
    """A hit as JSON types."""
    chunk = hit.chunk
    return {
        "chunk_id": chunk.id, "document_id": chunk.document_id, "uri": hit.uri, "title": hit.title,
        "score": hit.score, "text": chunk.text, "char_start": chunk.char_start, "char_end": chunk.char_end,
        "page_start": chunk.locator.page, "page_end": chunk.locator.page_end or chunk.locator.page,
        "headings": list(chunk.headings), "locator": chunk.locator.as_dict(), "expands": hit.expands,
    }  # fmt: skip


async def _search(
    settings: Settings, question: str, store: str | None, condition: str | None, options: SearchOptions
) -> SearchResult:
    from rag.assembly import open_engine

    async with open_engine(settings) as engine:
        options["where"] = await filter_of(engine, store or settings.store, condition)
        return await engine.retriever.search(store or settings.store, question, **options)


def _places(copies: Sequence[SearchHit]) -> list[dict[str, Any]]:
    """Where a passage stands word for word besides."""
    return [{"document_id": copy.chunk.document_id, "uri": copy.uri, "title": copy.title} for copy in copies]


def _print_hit(number: int, hit: SearchHit, copies: Sequence[SearchHit]) -> None:
    typer.secho(f"{number}. {hit.title}", bold=True, nl=False)
    score = "beside it" if hit.expands else f"{hit.score:.3f}"
    typer.secho(f"  {score}  {where(hit.uri, hit.chunk.locator.as_dict())}", dim=True)
    if hit.chunk.headings:
        typer.secho("   " + " > ".join(hit.chunk.headings), dim=True)
    for line in hit.chunk.text.strip().splitlines()[:6]:
        typer.echo(f"   {line}")
    for copy in copies[:SHOWN_COPIES]:
        typer.secho(f"   also in {where(copy.uri, copy.chunk.locator.as_dict())}", dim=True)
    if len(copies) > SHOWN_COPIES:
        typer.secho(f"   and {len(copies) - SHOWN_COPIES} more", dim=True)


def where(uri: str, locator: dict[str, Any]) -> str:
    """A source and the place in it, for people; a name that would steer the terminal is written out."""
    from urllib.parse import unquote, urlsplit

    name = unquote(urlsplit(uri).path) if uri.startswith("file:") else uri
    if uri.startswith("upload:"):
        name = unquote(uri.rsplit("/", 1)[-1])
    if not name.isprintable():
        name = ascii(name)
    place = ""
    if "page" in locator:
        place = f", page {locator.get('page_label') or locator['page']}"
    elif "lines" in locator:
        place = f":{locator['lines'][0]}"
    return name + place
