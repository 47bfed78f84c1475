"""Systems to be compared: each is a name, and settings that a file changes."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.errors import ConfigurationError, InvalidInputError
from rag.settings import Settings, load_settings

DEFAULT = "default"

# What says nothing of how good a system is: places on this machine, and whom it belongs to.
_NOT_SHOWN = {"data_dir", "models_dir", "ledger_url", "store", "log_level", "server"}
_SECRET = "api_key"  # noqa: S105


@dataclass(frozen=True)
class System:
    """What is measured."""

    name: str
    settings: Settings


def read_systems(files: Sequence[Path]) -> tuple[System, ...]:
    """The systems of some settings files, each named as its file; without one, the settings in force, `default`.

    Args:
        files: in the form of `quoth.toml`. What they leave out is as configured.

    Raises:
        InvalidInputError: a file cannot be read, or two have the same name.
        ConfigurationError: a file holds an unknown setting, or a value out of its bounds.
    """
    if not files:
        return (System(DEFAULT, load_settings()),)
    found: dict[str, System] = {}
    for path in files:
        if path.stem in found:
            raise InvalidInputError(f"Two systems are called {path.stem!r}: {path} needs another file name.")
        found[path.stem] = System(path.stem, _settings(path))
    return tuple(found.values())


def differing(settings: Settings) -> dict[str, Any]:
    """The settings that differ from the defaults, as a tree of JSON types; without secrets and places."""
    return _changes(comparable(Settings.model_construct()), comparable(settings))


def comparable(settings: Settings) -> dict[str, Any]:
    """Every setting that a figure can depend on, as a tree of JSON types; secrets are masked."""
    return settings.model_dump(mode="json", exclude=_NOT_SHOWN)


def _settings(path: Path) -> Settings:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(f"The system {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InvalidInputError(f"The system {path} cannot be read as TOML: {error}.") from error
    try:
        return load_settings(tree)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _changes(usual: Mapping[str, Any], mine: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in mine.items():
        if isinstance(value, dict):
            inner = _changes(usual[key], value)
            if inner:
                found[key] = inner
        elif key != _SECRET and value != usual[key]:
            found[key] = value
    return found
