"""Models, as the document describes them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field


class ModelObject(BaseModel):
    """What can be asked: `quoth`, a store, or the embedder."""

    id: Annotated[str, Field(examples=["quoth/default"])]
    object: Literal["model"]
    created: int
    owned_by: Literal["quoth"]
    name: Annotated[str, Field(default="", description="of a store: what it is called")]


class ModelList(BaseModel):
    """All models that the key sees."""

    object: Literal["list"]
    data: list[ModelObject]
