"""Where figures come from: code, packages, machine, command."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "quoth", "numpy", "onnxruntime", "tokenizers", "qdrant-edge-py", "qdrant-client", "sentence-transformers",
    "snowballstemmer", "sqlalchemy",
)  # fmt: skip
GIT_SECONDS = 10


def provenance(seed: int, command: str | None = None) -> dict[str, Any]:
    """What is to be known besides the settings to get the same figures again.

    Args:
        seed: of the resampling.
        command: as typed; None takes this process's.

    Returns:
        `commit` (None outside of a checkout), `changed` (whether its files are not those of the commit), `versions`,
        `machine` {cpu, cores, os, python}, `seed`, `command`, `time` (UTC).
    """
    commit = _git("rev-parse", "HEAD")
    return {
        "commit": commit,
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")) if commit else None,
        "versions": versions(),
        "machine": {
            "cpu": cpu_model(),
            "cores": os.cpu_count() or 1,
            "os": f"{platform.system()} {platform.release()} {platform.machine()}",
            "python": platform.python_version(),
        },
        "seed": seed,
        "command": command if command is not None else " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def cpu_model() -> str:
    """The processor's name, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Of the packages that figures depend on, as far as they are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _git(*arguments: str) -> str | None:
    """What git says of this code's own folder; None where there is no git, or no checkout."""
    folder = Path(__file__).parent
    if not (folder.parent / ".git").exists():
        return None  # a checkout around an installed package is another project's
    try:
        done = subprocess.run(  # noqa: S603
            ["git", "-C", str(folder), *arguments],  # noqa: S607
            capture_output=True, text=True, check=False, timeout=GIT_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
