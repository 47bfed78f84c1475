"""Every benchmark that needs nothing but the examples: `make bench`."""

from __future__ import annotations

import subprocess
import sys

MODULES = ("benchmarks.first_answer", "benchmarks.load")


def main() -> None:
    """Run them one after the other."""
    for module in MODULES:
        print(f"\n$ python -m {module}\n", flush=True)
        subprocess.run([sys.executable, "-m", module], check=True)


if __name__ == "__main__":
    main()
