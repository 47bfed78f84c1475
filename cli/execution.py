"""How every command runs: settings, the event loop, and the one place where an error becomes an exit code.

Exit codes:
    0    done
    1    failed: the engine, a model or the machine
    2    refused: arguments, settings or input
    3    not there: a store or a model of that name
    4    ingest finished, and some files failed; doctor finished, and faults remain
    130  interrupted
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from rag.errors import ConfigurationError, InvalidInputError, NotFoundError, QuothError

FAILED, REFUSED, NOT_THERE, SOME_FILES_FAILED, INTERRUPTED = 1, 2, 3, 4, 130
FAULTS_REMAIN = SOME_FILES_FAILED
NO_TEXT = re.compile("[\ud800-\udfff]")

T = TypeVar("T")

StoreOption = Annotated[str | None, typer.Option("--store", "-s", help="Name of the store.", metavar="NAME")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Data directory.", metavar="DIR")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def run(command: Callable[[Any], Coroutine[Any, Any, T]], data: Path | None = None) -> T:
    """Load the settings and run `command(settings)` to its end."""
    from rag.settings import load_settings

    settings = load_settings({"data_dir": data} if data else None)
    logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    return asyncio.run(command(settings))


def print_json(value: Any) -> None:
    """One JSON object on one line of standard output; what came in as bytes that are no text leaves as U+FFFD."""
    sys.stdout.write(NO_TEXT.sub("\ufffd", json.dumps(value, ensure_ascii=False)) + "\n")


def exit_code(error: QuothError) -> int:
    """The exit code that fits an error."""
    if isinstance(error, NotFoundError):
        return NOT_THERE
    return REFUSED if isinstance(error, ConfigurationError | InvalidInputError) else FAILED


def guarded(command: Callable[[], None]) -> int:
    """Run the command line to its end; returns the exit code and prints what went wrong to standard error."""
    try:
        command()
    except QuothError as error:
        _complain(str(error))
        return exit_code(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left, as `| head` does; nothing is wrong, and nothing more can be said.
        sys.stderr.close()
        return 0
    except Exception as error:
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            logging.getLogger(__name__).exception("unexpected")
        _complain(
            f"{type(error).__name__}: {error}\nThis was not expected; QUOTH_LOG_LEVEL=debug shows where it happened."
        )
        return FAILED
    return 0


def _complain(message: str) -> None:
    typer.secho("Error: ", fg=typer.colors.RED, bold=True, err=True, nl=False)
    typer.echo(message, err=True)
