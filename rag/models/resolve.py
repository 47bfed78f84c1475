"""A model's name to its files: a local path, else the models folder, else the hub."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rag.errors import ModelNotFoundError
from rag.models.catalogue import CATALOGUE, KnownModel
from rag.models.manifest import Manifest, read_manifest, remembered_sha256


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model that is here. `path` is its folder, or the file itself where a model is one file."""

    name: str
    path: Path
    models_dir: Path
    known: KnownModel | None
    manifest: Manifest | None

    @property
    def revision(self) -> str:
        """Of the source it came from; `local` for files that somebody put there."""
        return self.manifest.revision if self.manifest else "local"

    def find(self, *patterns: str) -> Path | None:
        """The first file that matches the first pattern that matches any; names in ascending order."""
        if self.path.is_file():
            return self.path if any(self.path.match(pattern) for pattern in patterns) else None
        return next((path for pattern in patterns for path in sorted(self.path.glob(pattern)) if path.is_file()), None)

    def file(self, *patterns: str) -> Path:
        """As `find`. Raises ModelNotFoundError when nothing matches."""
        found = self.find(*patterns)
        if found is None:
            raise ModelNotFoundError(
                f"The model {self.name} at {self.path} has no file {' or '.join(patterns)}. "
                f"Delete that folder and run `quoth models pull {self.name}`, or choose another backend."
            )
        return found

    def weights_sha256(self, weights: Path) -> str:
        """The sha256 that stands for `weights` in a fingerprint.

        From the manifest where there is one, so that no start reads all bytes. For a graph exported here it is that of
        the weights it was exported from: their outputs were compared before the graph was put in place, and an
        exporter's bytes change with its version.
        """
        if self.manifest and weights.is_relative_to(self.path):
            key = weights.relative_to(self.path).as_posix()
            recorded = self.manifest.derived.get(key) or self.manifest.files.get(key)
            if recorded:
                return recorded
        return remembered_sha256(weights, self.models_dir)


def resolve(name: str, models_dir: Path, *, download: bool = True) -> ModelFolder:
    """Find a model's files.

    A model that is on this machine is never looked up on the network.

    Args:
        name: as the hub names it, or the path of a folder or of one file.
        models_dir: where pulled models lie.
        download: fetch a model from the hub that is nowhere here, unless HF_HUB_OFFLINE forbids it.

    Raises:
        ModelNotFoundError: it is in none of these places; the message names the command that pulls it.
        ConfigurationError: its manifest is torn.
    """
    local = Path(name).expanduser()
    if local.exists():
        manifest = read_manifest(local) if local.is_dir() else None
        return ModelFolder(name, local, models_dir, CATALOGUE.get(manifest.name if manifest else name), manifest)
    present = installed(name, models_dir)
    if present is not None:
        return present
    if download and name not in CATALOGUE and is_hub_name(name) and not _offline():
        from rag.models.pull import pull

        return pull(name, models_dir, export=False)
    raise ModelNotFoundError(
        f"The model {name} is not on this machine (looked in {models_dir}). Run: quoth models pull {name}"
    )


def installed(name: str, models_dir: Path) -> ModelFolder | None:
    """The model in the models folder, or None. Models are put there by one rename, so what exists is whole."""
    known = CATALOGUE.get(name)
    if known is None and not is_hub_name(name):
        return None
    path = models_dir / (known.location if known else name)
    if not path.exists():
        return None
    return ModelFolder(name, path, models_dir, known, read_manifest(path) if path.is_dir() else None)


def is_hub_name(name: str) -> bool:
    """Whether it reads as OWNER/NAME, which also keeps it from leading out of the models folder."""
    parts = name.split("/")
    allowed = all(part and part.strip(".") and all(c.isalnum() or c in "-_." for c in part) for part in parts)
    return len(parts) == 2 and allowed


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
