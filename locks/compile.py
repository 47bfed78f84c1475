"""Compile pyproject.toml into hash-pinned locks: `python locks/compile.py` (needs `uv` on the PATH).

base.txt        what Quoth runs with, torch aside; installed with --no-deps, because the lock is already the closure
torch-cpu.txt   torch's CPU wheel, where the index in use has it
torch.txt       torch of the default index, where it has not
cuda.txt        what that wheel needs beside it on Linux
dev.txt         what the tests and checks add
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "locks"
CUDA_ONLY = re.compile(r"^(nvidia-|cuda-|triton==)")

# The CPU wheels of torch are not in the default index. pip prefers links that carry a hash to those that carry none,
# so that one requirement for both builds would never choose a CPU wheel from a folder; hence a lock of its own.
CPU_TORCH = "torch==2.13.0+cpu"
CPU_TORCH_SHA256 = ("6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",)


def compile_closure(*arguments: str) -> dict[str, str]:
    """Resolve pyproject.toml for every platform; requirement line -> its block with hashes."""
    command = ["uv", "pip", "compile", "pyproject.toml", "--universal", "--generate-hashes", "--quiet"]
    command += ["--no-annotate", "--no-header", "--python-version", "3.11", *arguments]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S603
    blocks = re.split(r"\n(?=\S)", text.strip())
    return {block.split(" \\")[0]: block for block in blocks}


def write(name: str, blocks: list[str]) -> None:
    """Write one lock file."""
    (LOCKS / name).write_text("# Made by locks/compile.py; do not edit.\n" + "\n".join(blocks) + "\n")


def main() -> None:
    """Compile the locks."""
    base = compile_closure()
    dev = compile_closure("--group", "dev")
    cuda = [block for name, block in base.items() if CUDA_ONLY.match(name)]
    torch = [block for name, block in base.items() if name.startswith("torch==")]
    write("cuda.txt", cuda)
    write("torch.txt", torch)
    write("torch-cpu.txt", [" \\\n    ".join([CPU_TORCH, *(f"--hash=sha256:{digest}" for digest in CPU_TORCH_SHA256)])])
    write("base.txt", [block for block in base.values() if block not in cuda and block not in torch])
    write("dev.txt", [block for name, block in dev.items() if name not in base])


if __name__ == "__main__":
    main()
