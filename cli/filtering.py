"""`--where` and `--half-life`, of every command that searches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote, urlsplit

import typer

if TYPE_CHECKING:
    from rag.assembly import Engine
    from rag.filters import Filter

WhereOption = Annotated[
    str | None,
    typer.Option(
        "--where", metavar="FILTER",
        help='Only in documents of which this holds: type = pdf and path ~ "hr/*" and date >= 2024-01-01.',
    ),
]  # fmt: skip
HalfLifeOption = Annotated[
    float | None,
    typer.Option("--half-life", help="The age at which newness counts half; 0 ignores dates.", metavar="DAYS"),
]


async def filter_of(engine: Engine, store: str, text: str | None) -> Filter | None:
    """The filter that `--where` says; relative paths in it lie below the folders that the store was made of.

    Raises:
        InvalidInputError: the text is no filter.
        StoreNotFoundError: there is no such store.
    """
    from rag.concurrency import in_thread
    from rag.filter_text import parse_filter

    if text is None:
        return None
    roots = await in_thread(lambda: engine.documents.inspection(engine.stores.get(store).id).roots())
    return parse_filter(text, [unquote(urlsplit(root).path) for root in roots if root.startswith("file:")])


def check_where(text: str | None) -> None:
    """Refuse what is no filter before anything is opened. Raises InvalidInputError."""
    from rag.filter_text import parse_filter

    if text is not None:
        parse_filter(text, ["/"])
