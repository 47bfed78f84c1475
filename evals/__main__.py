"""`python -m evals ...` is `quoth eval ...`."""

from __future__ import annotations

import sys
from importlib import import_module

if __name__ == "__main__":
    # By name: the command line imports the evals, and no import points back.
    sys.exit(import_module("cli.execution").guarded(import_module("cli.evaluation.app").app))
