"""How lists are asked for, as OpenAI's are."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import Query

MAX_ID_CHARACTERS: Final = 64
MAX_PAGE: Final = 100

LimitQuery = Annotated[int, Query(ge=1, le=MAX_PAGE)]
OrderQuery = Annotated[Literal["asc", "desc"], Query(description="by the time they were made")]
AfterQuery = Annotated[
    str | None, Query(max_length=MAX_ID_CHARACTERS, description="id of the last one before the page")
]
BeforeQuery = Annotated[
    str | None, Query(max_length=MAX_ID_CHARACTERS, description="id of the first one behind the page")
]
