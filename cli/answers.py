"""`quoth ask` and `quoth chat`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.documents import where
from cli.execution import DataOption, JsonOption, StoreOption, print_json, run
from cli.filtering import HalfLifeOption, WhereOption, check_where, filter_of

if TYPE_CHECKING:
    from rag.answering import Answerer, PreparedAnswer
    from rag.assembly import Engine
    from rag.citations import Citation
    from rag.conversation import Message
    from rag.events import AnswerCompleted
    from rag.recording import Recorder
    from rag.searching import SearchOptions
    from rag.settings import Settings


def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    store: StoreOption = None,
    condition: WhereOption = None,
    half_life: HalfLifeOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="Print what the model would be asked, and where its tokens go.")
    ] = False,
) -> None:
    """Answer one question, and cite it."""
    check_where(condition)
    wanted = _Wanted(store, condition, half_life)
    if show_prompt:
        run(lambda settings: _show_prompt(settings, question, wanted, as_json=as_json), data)
    else:
        run(lambda settings: _ask(settings, question, wanted, as_json=as_json), data)


def chat(
    conversation: Annotated[
        str | None, typer.Argument(help="With --continue: its id, or the beginning of it.", metavar="[ID]")
    ] = None,
    go_on: Annotated[bool, typer.Option("--continue", help="Go on with the latest conversation, or with ID.")] = False,
    save: Annotated[bool, typer.Option("--save/--no-save", help="Keep the conversation in the ledger.")] = True,
    store: StoreOption = None,
    condition: WhereOption = None,
    half_life: HalfLifeOption = None,
    data: DataOption = None,
) -> None:
    """Talk with your documents; an empty line or Ctrl-D ends it. `/up` and `/down` rate the last answer."""
    from rag.errors import InvalidInputError

    if (conversation and not go_on) or (go_on and not save):
        raise InvalidInputError("Go on with a conversation by: quoth chat --continue [ID], without --no-save.")
    check_where(condition)
    wanted = _Wanted(store, condition, half_life)
    run(lambda settings: _chat(settings, wanted, conversation, go_on=go_on, save=save), data)


@dataclass(frozen=True)
class _Wanted:
    """Where to search, and how."""

    store: str | None
    condition: str | None
    half_life: float | None

    async def options(self, engine: Engine, store: str) -> SearchOptions:
        where = await filter_of(engine, store, self.condition)
        return {"where": where, "recency_half_life_days": self.half_life}


async def _ask(settings: Settings, question: str, wanted: _Wanted, *, as_json: bool) -> None:
    from rag.assembly import open_answerer, open_engine

    async with open_engine(settings) as engine, open_answerer(engine) as answerer:
        name = wanted.store or settings.store
        options = await wanted.options(engine, name)
        done = await _answer(answerer, name, question, (), options, shown=not as_json)
    if as_json:
        print_json(
            {
                "question": question, "answer": done.text, "refused": done.is_refusal,
                "answerable": asdict(done.answerable) if done.answerable else None,
                "sentences": [sentence.as_dict() for sentence in done.sentences],
                "citations": [citation.as_dict() for citation in done.citations], "usage": asdict(done.usage),
            }
        )  # fmt: skip


async def _show_prompt(settings: Settings, question: str, wanted: _Wanted, *, as_json: bool) -> None:
    from rag.assembly import open_answerer, open_engine

    async with open_engine(settings) as engine, open_answerer(engine) as answerer:
        name = wanted.store or settings.store
        found, prompt, _ = await answerer.compose(name, question, **await wanted.options(engine, name))
    budget = asdict(prompt.budget) if prompt.budget else {}
    if as_json:
        print_json({"messages": [asdict(message) for message in prompt.messages], "tokens": budget})
        return
    for message in prompt.messages:
        typer.secho(f"--- {message.role}", bold=True)
        typer.echo(message.content)
    typer.secho(f"--- {len(prompt.hits)} of {len(found.passages)} passages; tokens:", bold=True, nl=False)
    typer.echo(" " + ", ".join(f"{name} {tokens}" for name, tokens in budget.items()))


async def _chat(settings: Settings, wanted: _Wanted, conversation: str | None, *, go_on: bool, save: bool) -> None:
    from rag.assembly import open_answerer, open_engine
    from rag.conversation import Message
    from rag.recording import begin_recording

    async with open_engine(settings) as engine, open_answerer(engine) as answerer:
        is_named = wanted.store is not None
        name, known = _chosen(engine, wanted.store or settings.store, conversation, go_on=go_on, is_named=is_named)
        engine.stores.get(name)
        options = await wanted.options(engine, name)
        typer.echo(f"Chatting with the store {name!r}; an empty line ends it.")
        if go_on and known:
            typer.echo(f"Going on with {known[:8]}.")
        history: list[Message] = []
        answer_id = ""
        while question := _read_line():
            if question.startswith(("/up", "/down")):
                _rate(engine, answer_id, question)
            elif save:
                recorder = await begin_recording(engine, name, known, question, take_over=True)
                known, answer_id = recorder.conversation_id, recorder.answer_id
                await _answer(answerer, name, question, recorder.history, options, shown=True, recorder=recorder)
            else:
                done = await _answer(answerer, name, question, history, options, shown=True)
                history += [Message("user", question), Message("assistant", done.text)]
        if known:
            typer.echo(f"Kept as {known[:8]}; quoth chat --continue goes on with it.")


def _chosen(
    engine: Engine, name: str, conversation: str | None, *, go_on: bool, is_named: bool
) -> tuple[str, str | None]:
    """The store, and the conversation to go on with; an id alone tells the store, too."""
    from rag.errors import InvalidInputError, NotFoundError

    if conversation:
        found = engine.conversations.find(conversation)
        if is_named and found.store != name:
            raise InvalidInputError(
                f"The conversation {conversation} is about the store {found.store!r}, not {name!r}."
            )
        return found.store, found.id
    if not go_on:
        return name, None
    latest = engine.conversations.latest(engine.stores.identity(name))
    if latest is None:
        raise NotFoundError(f"There is no conversation about the store {name!r} yet: quoth chat begins one.")
    return name, latest.id


def _rate(engine: Engine, answer_id: str, line: str) -> None:
    """`/up` or `/down`, and a comment."""
    word, _, comment = line.partition(" ")
    if word not in ("/up", "/down"):
        typer.echo("Rate the last answer with /up or /down, and a comment behind it if you like.")
    elif not answer_id:
        typer.echo("There is no kept answer to rate yet.")
    else:
        engine.feedback.give(answer_id, "up" if word == "/up" else "down", comment.strip())
        typer.echo("Thank you; quoth feedback export makes a test case of it.")


def _read_line() -> str:
    try:
        return input("\n> ").strip()
    except EOFError:
        return ""


async def _answer(
    answerer: Answerer,
    store: str,
    question: str,
    history: Sequence[Message],
    options: SearchOptions,
    *,
    shown: bool,
    recorder: Recorder | None = None,
) -> AnswerCompleted:
    """Answer, printing as it comes when `shown`; raises the error of an answer that broke off."""
    from rag.events import AnswerCompleted, AnswerFailed, CitationAdded, TextDelta

    preparing = answerer.prepare(store, question, history, **options)
    prepared = await (recorder.prepared(preparing) if recorder else preparing)
    if shown:
        _tell_left_out(prepared, len(history), recorder)
    events = answerer.stream(prepared)
    numbers: dict[str, int] = {}
    async for event in recorder.keep(events) if recorder else events:
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


def _tell_left_out(prepared: PreparedAnswer, earlier: int, recorder: Recorder | None) -> None:
    from rag.conversation import HistoryShare

    messages = prepared.prompt.messages
    share = recorder.share(messages) if recorder else HistoryShare.of(earlier, messages)
    if share.left_out:
        typer.secho(f"(the {share.left_out} earliest messages are too long ago for this answer)", dim=True)


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
