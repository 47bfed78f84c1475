"""Compile pyproject.toml into three hash-pinned locks: `python locks/compile.py` (needs `uv` on the PATH).

base.txt    what Quoth runs with; installed with --no-deps, because the lock is already the closure
dev.txt     what its tests and checks add
cuda.txt    what the default index's torch wheel for Linux needs beside it, and the CPU wheel does not
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "locks"
CUDA_ONLY = re.compile(r"^(nvidia-|cuda-|triton==)")

# The CPU wheels of torch are served beside the default index under the local version 2.13.0+cpu, which `torch==2.13.0`
# also names; their hashes are not in the default index.
CPU_TORCH_SHA256 = ("6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",)


def compile_closure(*arguments: str) -> dict[str, str]:
    """Resolve pyproject.toml for every platform; requirement line -> its block with hashes."""
    command = ["uv", "pip", "compile", "pyproject.toml", "--universal", "--generate-hashes", "--quiet"]
    command += ["--no-annotate", "--no-header", "--python-version", "3.11", *arguments]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S603
    blocks = re.split(r"\n(?=\S)", text.strip())
    return {block.split(" \\")[0]: block for block in blocks}


def with_cpu_torch(block: str) -> str:
    """Add the CPU wheels' hashes to torch's block."""
    return block + "".join(f" \\\n    --hash=sha256:{digest}" for digest in CPU_TORCH_SHA256)


def write(name: str, blocks: list[str]) -> None:
    """Write one lock file."""
    (LOCKS / name).write_text("# Made by locks/compile.py; do not edit.\n" + "\n".join(blocks) + "\n")


def main() -> None:
    """Compile the three locks."""
    base = compile_closure()
    dev = compile_closure("--group", "dev")
    write("cuda.txt", [block for name, block in base.items() if CUDA_ONLY.match(name)])
    kept = {name: block for name, block in base.items() if not CUDA_ONLY.match(name)}
    write("base.txt", [with_cpu_torch(b) if n.startswith("torch==") else b for n, b in kept.items()])
    write("dev.txt", [block for name, block in dev.items() if name not in base])


if __name__ == "__main__":
    main()
