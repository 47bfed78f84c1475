"""`quoth serve`."""

from __future__ import annotations

import json
import shlex
import socket
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from cli.execution import DataOption, run

if TYPE_CHECKING:
    from rag.assembly import Engine
    from rag.settings import Settings


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one.")] = None,
    data: DataOption = None,
    question: Annotated[str, typer.Option("--try", help="Question of the curl line that is printed.")] = "",
) -> None:
    """Serve the chat API until it is interrupted."""
    run(lambda settings: _serve(settings, host, port, question), data)


async def _serve(settings: Settings, host: str | None, port: int | None, question: str) -> None:
    from api.app import create_app, open_live
    from api.logs import start_logging
    from cli.serving import GracefulServer, bound_stalls

    address = host or settings.server.host
    _require_key_beyond_loopback(address, settings)
    listener = _listen(address, settings.server.port if port is None else port)
    bound_stalls(listener)
    # Opened here and handed over, so that what is missing is an error of this command and not a failed start-up.
    with closing(start_logging(settings, settings.log_level, settings.server.log_format)):
        async with open_live(settings) as live:
            server = GracefulServer(create_app(settings, lambda _: nullcontext(live)), settings.server)
            _introduce(live.engine, listener, question)
            await server.serve(sockets=[listener])


def _introduce(engine: Engine, listener: socket.socket, question: str) -> None:
    stores, settings = engine.stores, engine.settings
    summaries = [stores.summary(stores.get(name)) for name in stores.names()]
    for summary in summaries:
        typer.echo(f"Store {summary.name!r}: {summary.documents} documents, {summary.chunks} chunks, {summary.model}")
    if not summaries:
        typer.echo("There is no store yet: quoth ingest PATH makes one.")
    names = [summary.name for summary in summaries]
    tried = settings.store if settings.store in names or not names else names[0]
    has_key = settings.server.api_key is not None or engine.keys.exist()
    if not has_key:
        typer.echo("There is no API key: only programs of this machine are answered. quoth keys create NAME makes one.")
    _print_curl(listener, tried, question, has_key=has_key)


def _listen(host: str, port: int) -> socket.socket:
    from rag.errors import InvalidInputError

    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        raise InvalidInputError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Another program may be using the port; "
            "choose one with --port."
        ) from error
    return listener


def _require_key_beyond_loopback(host: str, settings: Settings) -> None:
    from api.authentication import is_loopback
    from rag.errors import ConfigurationError
    from rag.ledger.connection import connect
    from rag.ledger.keys import Keys

    if settings.server.api_key is not None or is_loopback(host):
        return
    ledger = connect(settings.data_dir, settings.ledger_url)
    has_key = Keys(ledger).are_usable()
    ledger.dispose()
    if not has_key:
        raise ConfigurationError(
            f"Listening on {host} lets other machines read your documents, and there is no API key. Make one first "
            "(quoth keys create NAME), or listen on 127.0.0.1."
        )


def _print_curl(listener: socket.socket, store: str, question: str, *, has_key: bool) -> None:
    host, port = listener.getsockname()[:2]
    body = {
        "model": f"quoth/{store}",
        "messages": [{"role": "user", "content": question or "What do these documents cover?"}],
    }
    key = ' -H "Authorization: Bearer $KEY"' if has_key else ""
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"Serving on http://{shown}:{port} - try:\n")
    typer.echo(
        f"  curl -s http://{shown}:{port}/v1/chat/completions -H 'Content-Type: application/json'{key} \\\n"
        f"    -d {shlex.quote(json.dumps(body))}\n"
    )
