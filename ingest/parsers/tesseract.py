"""The one program that a parser may run: its command line, its environment, and how both are known again."""

from __future__ import annotations

import re
from typing import Any

# One thread, or tesseract spends most of its time waiting for itself; no locale, and no other variable.
ENVIRONMENT = {"OMP_THREAD_LIMIT": "1", "LC_ALL": "C"}

_ARGUMENTS = re.compile(
    r"stdin stdout -l [A-Za-z_]+(\+[A-Za-z_]+)* --psm 3 -c tessedit_create_tsv=1( --dpi [0-9]{1,4})?"
)


def command(program: str, languages: str, dpi: int = 0) -> list[str]:
    """The one command that is ever run; `dpi` is 0 where the image says it, or nobody knows."""
    words = [program, "stdin", "stdout", "-l", languages, "--psm", "3", "-c", "tessedit_create_tsv=1"]
    return [*words, "--dpi", str(dpi)] if dpi else words


def is_command(program: str, launch: tuple[Any, ...]) -> bool:
    """Whether `launch`, the arguments of the audit event `subprocess.Popen`, is `command` and nothing else."""
    executable, words, folder, environment = launch
    return (
        bool(program)
        and type(words) is list
        and all(type(word) is str for word in words)
        and executable == words[0] == program
        and _ARGUMENTS.fullmatch(" ".join(words[1:])) is not None
        and folder is None
        and environment == ENVIRONMENT
    )
