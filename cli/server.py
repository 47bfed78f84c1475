"""`quoth serve`."""

from __future__ import annotations

import ipaddress
import json
import shlex
import socket
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from cli.execution import DataOption, run

if TYPE_CHECKING:
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
    import uvicorn

    from api.app import create_app, open_live

    address = host or settings.server.host
    _require_key_beyond_loopback(address, settings)
    listener = _listen(address, settings.server.port if port is None else port)
    # Opened here and handed over, so that what is missing is an error of this command and not a failed start-up.
    async with open_live(settings) as live:
        stores = live.engine.stores
        summaries = [stores.summary(stores.get(name)) for name in stores.names()]
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(settings, lambda _: nullcontext(live)), log_level="warning", access_log=False,
                server_header=False, timeout_graceful_shutdown=int(settings.server.shutdown_seconds),
            )
        )  # fmt: skip
        for summary in summaries:
            typer.echo(
                f"Store {summary.name!r}: {summary.documents} documents, {summary.chunks} chunks, {summary.model}"
            )
        if not summaries:
            typer.echo("There is no store yet: quoth ingest PATH makes one.")
        names = [summary.name for summary in summaries]
        tried = settings.store if settings.store in names or not names else names[0]
        _print_curl(listener, settings, tried, question)
        with suppress(KeyboardInterrupt):
            await server.serve(sockets=[listener])


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
    from rag.errors import ConfigurationError

    if settings.server.api_key is not None or host == "localhost":
        return
    with suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return
    raise ConfigurationError(
        f"Listening on {host} lets other machines read your documents. Set QUOTH_SERVER__API_KEY first, or listen on "
        "127.0.0.1."
    )


def _print_curl(listener: socket.socket, settings: Settings, store: str, question: str) -> None:
    host, port = listener.getsockname()[:2]
    body = {
        "model": f"quoth/{store}",
        "messages": [{"role": "user", "content": question or "What do these documents cover?"}],
    }
    key = ' -H "Authorization: Bearer $QUOTH_SERVER__API_KEY"' if settings.server.api_key else ""
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"Serving on http://{shown}:{port} - try:\n")
    typer.echo(
        f"  curl -s http://{shown}:{port}/v1/chat/completions -H 'Content-Type: application/json'{key} \\\n"
        f"    -d {shlex.quote(json.dumps(body))}\n"
    )
