"""`quoth eval report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.evaluation.compare import MetricOption, SeedOption, read_results
from cli.execution import JsonOption, print_json


def report(
    files: Annotated[
        list[Path],
        typer.Argument(help="Results; the first system is what others are compared with.", metavar="RESULT..."),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="The page; Markdown and JSON go beside it.", metavar="FILE")
    ] = Path("report.html"),
    metric: MetricOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page that needs nothing else, and the same as Markdown and JSON."""  # fmt: skip
    from evals.report import write_report

    html, markdown, data = write_report(read_results(files), out, metric, seed=seed)
    if as_json:
        print_json({"html": str(html), "markdown": str(markdown), "json": str(data)})
    else:
        typer.echo(f"Wrote {html}, {markdown} and {data}.")
