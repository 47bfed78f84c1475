"""Which settings a search may try: read from TOML, checked against the settings themselves."""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rag.errors import InvalidInputError
from rag.settings import Section, Settings

Changes = Mapping[str, Any]
"""Dotted setting -> value, such as `retrieval.dense_weight` -> 0.7; only what differs from the settings in force."""

Space = Mapping[str, Sequence[Any]]
"""Dotted setting -> values to try."""

# Values around the defaults. A setting that this version does not have is left out.
USUAL: Space = {
    "chunking.max_tokens": (128, 256, 400),
    "chunking.overlap_tokens": (0, 32),
    "retrieval.dense_weight": (0.3, 0.5, 0.7),
    "retrieval.candidates": (50, 100, 200),
}


def usual_space(models: Sequence[str] = ()) -> dict[str, Sequence[Any]]:
    """What is tried when no space is given.

    Args:
        models: embedders that are installed.
    """
    known = known_settings()
    found = {name: values for name, values in USUAL.items() if name in known}
    return {**found, "embedder.model": tuple(models)} if models else found


def known_settings() -> set[str]:
    """Dotted names of every setting that stands in a section."""
    return {
        f"{name}.{key}"
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
        for key in field.annotation.model_fields
    }


def read_space(path: Path) -> dict[str, Sequence[Any]]:
    """Read lists of values, in sections as `quoth.toml` has them.

    Raises:
        InvalidInputError: the file cannot be read, a setting does not exist, or it has no list of values.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} cannot be read as TOML: {error}.") from None
    found: dict[str, Sequence[Any]] = {}
    for section, keys in tree.items():
        for key, values in keys.items() if isinstance(keys, dict) else [("", keys)]:
            name = f"{section}.{key}" if key else section
            if name not in known_settings():
                raise InvalidInputError(f"{path}: there is no setting {name}. `.env.example` lists them all.")
            if not isinstance(values, list) or not values:
                raise InvalidInputError(f"{path}: {name} needs a list of values to try, such as [64, 128].")
            found[name] = tuple(values)
    if not found:
        raise InvalidInputError(f"{path} names no setting to try.")
    return found


def combinations(space: Space) -> Iterator[dict[str, Any]]:
    """Every choice of one value for each setting."""
    for values in itertools.product(*space.values()):
        yield dict(zip(space, values, strict=True))


def changed(settings: Settings, changes: Changes) -> Settings:
    """The settings with these changes. Raises InvalidInputError where a value is out of its bounds."""
    sections = {}
    for name, keys in as_tree(changes).items():
        section = getattr(settings, name)
        try:
            sections[name] = type(section).model_validate({**dict(section), **keys})
        except ValidationError as error:
            problems = "; ".join(f"{name}.{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
            raise InvalidInputError(f"The space holds a value that the settings refuse: {problems}.") from None
    return settings.model_copy(update=sections)


def effective(settings: Settings, changes: Changes) -> dict[str, Any]:
    """Those of the changes that differ from what the settings have already."""
    return {name: value for name, value in changes.items() if _value(settings, name) != value}


def _value(settings: Settings, name: str) -> Any:
    section, _, key = name.partition(".")
    return getattr(getattr(settings, section), key)


def as_tree(changes: Changes) -> dict[str, dict[str, Any]]:
    """The same changes in sections, as the settings take them."""
    tree: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        section, _, key = name.partition(".")
        tree.setdefault(section, {})[key] = value
    return tree


def as_toml(changes: Changes) -> str:
    """The same changes as a settings file."""
    sections = []
    for section, keys in as_tree(changes).items():
        # JSON writes numbers, booleans and strings as TOML does.
        lines = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in keys.items())
        sections.append(f"[{section}]\n{lines}")
    return "\n".join(sections)


def said(changes: Changes) -> str:
    """The changes on one line, for people; `defaults` where there are none."""
    return ", ".join(f"{name.partition('.')[2]} {value}" for name, value in changes.items()) or "defaults"
