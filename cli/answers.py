"""`quoth ask` and `quoth chat`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.documents import where
from cli.execution import DataOption, JsonOption, StoreOption, print_json, run

if TYPE_CHECKING:
    from rag.answering import Answerer
    from rag.citations import Citation
    from rag.conversation import Message
    from rag.events import AnswerCompleted
    from rag.settings import Settings


def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    store: StoreOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer one question, and cite it."""
    run(lambda settings: _ask(settings, question, store, as_json=as_json), data)


def chat(store: StoreOption = None, data: DataOption = None) -> None:
    """Talk with your documents; an empty line or Ctrl-D ends it."""
    run(lambda settings: _chat(settings, store), data)


async def _ask(settings: Settings, question: str, store: str | None, *, as_json: bool) -> None:
    from rag.assembly import open_answerer, open_engine

    async with open_engine(settings) as engine, open_answerer(engine) as answerer:
        done = await _answer(answerer, store or settings.store, question, (), shown=not as_json)
    if as_json:
        citations = [citation.as_dict() for citation in done.citations]
        print_json({"question": question, "answer": done.text, "citations": citations})


async def _chat(settings: Settings, store: str | None) -> None:
    from rag.assembly import open_answerer, open_engine
    from rag.conversation import Message

    name = store or settings.store
    async with open_engine(settings) as engine, open_answerer(engine) as answerer:
        engine.stores.get(name)
        typer.echo(f"Chatting with the store {name!r}; an empty line ends it.")
        history: list[Message] = []
        while question := _read_line():
            done = await _answer(answerer, name, question, history, shown=True)
            history += [Message("user", question), Message("assistant", done.text)]


def _read_line() -> str:
    try:
        return input("\n> ").strip()
    except EOFError:
        return ""


async def _answer(
    answerer: Answerer, store: str, question: str, history: Sequence[Message], *, shown: bool
) -> AnswerCompleted:
    """Answer, printing as it comes when `shown`; raises the error of an answer that broke off."""
    from rag.events import AnswerCompleted, AnswerFailed, CitationAdded, TextDelta

    prepared = await answerer.prepare(store, question, history)
    numbers: dict[str, int] = {}
    async for event in answerer.stream(prepared):
        if isinstance(event, AnswerFailed):
            raise event.error
        if isinstance(event, AnswerCompleted):
            if shown:
                _print_sources(event.citations, numbers)
            return event
        if shown and isinstance(event, TextDelta):
            _write(event.text)
        elif shown and isinstance(event, CitationAdded):
            _write(f" [{numbers.setdefault(_source(event.citation), len(numbers) + 1)}]")
    raise AssertionError("an answer ended without a terminal event")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _source(citation: Citation) -> str:
    return f"{citation.uri}#{citation.char_start}"


def _print_sources(citations: Sequence[Citation], numbers: dict[str, int]) -> None:
    typer.echo("")
    shown: set[str] = set()
    for citation in citations:
        source = _source(citation)
        if source in shown:
            continue
        shown.add(source)
        place = where(citation.uri, citation.locator.as_dict())
        typer.secho(f"\n[{numbers[source]}] {citation.title}", bold=True, nl=False)
        typer.secho(f"  {place}  ({citation.verdict})", dim=True)
        typer.secho("    " + _quote(citation), dim=True, nl=False)
    typer.echo("")


def _quote(citation: Citation, longest: int = 300) -> str:
    text: Any = " ".join(citation.quote.split())
    return f"“{text if len(text) <= longest else text[:longest] + ' …'}”"
