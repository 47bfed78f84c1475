"""How an embedder's vectors are made from its text: prefixes, pooling, length; from the catalogue or the files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.errors import ConfigurationError
from rag.models.catalogue import Pooling
from rag.models.resolve import ModelFolder


@dataclass(frozen=True, slots=True)
class Recipe:
    """`max_tokens` counts everything that goes in: prefix, text and special tokens."""

    query_prefix: str
    passage_prefix: str
    pooling: Pooling
    max_tokens: int


def recipe_of(folder: ModelFolder) -> Recipe:
    """The recipe of a known model, else what the folder's sentence-transformers files say.

    Raises:
        ConfigurationError: the files ask for a pooling other than cls or mean.
    """
    known = folder.known
    if known is not None:
        return Recipe(known.query_prefix, known.passage_prefix, known.pooling, known.max_tokens)
    prompts = _read(folder.path / "config_sentence_transformers.json").get("prompts") or {}
    sentence = _read(folder.path / "sentence_bert_config.json")
    longest = sentence.get("max_seq_length") or _read(folder.path / "config.json").get("max_position_embeddings") or 512
    return Recipe(
        query_prefix=prompts.get("query", ""),
        passage_prefix=prompts.get("passage") or prompts.get("document") or "",
        pooling=_pooling(folder),
        max_tokens=int(longest),
    )


def _pooling(folder: ModelFolder) -> Pooling:
    config = _read(folder.path / "1_Pooling" / "config.json")
    chosen = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    if not config or chosen == ["pooling_mode_mean_tokens"] or config.get("pooling_mode") == "mean":
        return "mean"
    if chosen == ["pooling_mode_cls_token"] or config.get("pooling_mode") == "cls":
        return "cls"
    raise ConfigurationError(
        f"The model {folder.name} pools by {', '.join(chosen) or config}; the onnx backend knows cls and mean. "
        "Set QUOTH_EMBEDDER__BACKEND=sentence-transformers."
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ConfigurationError(f"{path} is not valid JSON: {error}. Pull the model again.") from None
    return found if isinstance(found, dict) else {}
