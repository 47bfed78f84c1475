"""Figures that are promised: `evals/expected/*.yaml` says command, score and tolerance, and this runs them again.

    python -m evals.expectations --datasets DIR        OK or FAIL each; exit code 1 when one fails
    python -m evals.expectations --datasets DIR --all  the sets that take long, too

Each file is one command on one dataset:

    command: quoth eval retrieval --dataset cranfield --system evals/expected/systems/bm25.toml
    metric: ndcg@10
    takes: short             # or long: only run with --all
    scores:
      bm25: {score: 0.5219, tolerance: 0.002}
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rag.errors import InvalidInputError

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "evals" / "expected"


@dataclass(frozen=True, slots=True)
class Expected:
    """One command, and what it has to come to.

    Attributes:
        dataset: named by the file, `xquad-en` for `xquad/en`.
        scores: system -> (score, tolerance).
        is_long: takes minutes the first time, because much is embedded.
    """

    dataset: str
    command: str
    metric: str
    scores: Mapping[str, tuple[float, float]]
    is_long: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """One figure that was measured again; `found` is None where the command did not name it."""

    dataset: str
    system: str
    metric: str
    expected: float
    tolerance: float
    found: float | None

    @property
    def is_kept(self) -> bool:
        """Whether the figure lies within the tolerance."""
        return self.found is not None and abs(self.found - self.expected) <= self.tolerance

    def __str__(self) -> str:
        """One line for people."""
        found = "none" if self.found is None else f"{self.found:.4f}"
        word = "OK  " if self.is_kept else "FAIL"
        return (
            f"{word} {self.dataset:<18} {self.system:<8} {self.metric} {found}, expected {self.expected:.4f} "
            f"± {self.tolerance:g}"
        )


def read_expected(folder: Path = FOLDER) -> tuple[Expected, ...]:
    """All files of a folder, by name.

    Raises:
        InvalidInputError: a file is no YAML, or lacks something; the message names it.
    """
    return tuple(_expected(path) for path in sorted(folder.glob("*.yaml")))


def run_again(expected: Expected, datasets: Path | None) -> dict[str, Any]:
    """Run a command as it stands, and return the object that it prints.

    Raises:
        InvalidInputError: it failed; the message holds what it said.
    """
    program, *arguments = shlex.split(expected.command)
    if program != "quoth" or arguments[:1] != ["eval"]:
        raise InvalidInputError(f"{expected.dataset}: the command must begin with `quoth eval`: {expected.command}")
    command = [sys.executable, "-m", "evals", *arguments[1:], "--json", "--fresh", "--timed", "0"]
    if datasets:
        command += ["--datasets", str(datasets.resolve())]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise InvalidInputError(f"{expected.dataset}: `{expected.command}` ended with exit code {done.returncode}.")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def judge(expected: Expected, found: Mapping[str, Any]) -> Iterator[Verdict]:
    """Compare what a command printed with what it has to come to."""
    metrics = {system["name"]: system["metrics"] for system in found["systems"]}
    for system, (score, tolerance) in expected.scores.items():
        value = metrics.get(system, {}).get(expected.metric)
        yield Verdict(expected.dataset, system, expected.metric, score, tolerance, value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is wanted, a line for each figure; returns the exit code."""
    parser = argparse.ArgumentParser(description="Run the expected figures again.")
    parser.add_argument("names", nargs="*", help="of the files in evals/expected; all that are short without")
    parser.add_argument("--datasets", type=Path, help="folder of the datasets")
    parser.add_argument("--all", action="store_true", help="also those that take long")
    chosen = parser.parse_args(arguments)
    failures = 0
    for expected in read_expected():
        if chosen.names and expected.dataset not in chosen.names:
            continue
        if expected.is_long and not (chosen.all or chosen.names):
            sys.stdout.write(f"left {expected.dataset}: takes long, --all runs it\n")
            continue
        try:
            verdicts = list(judge(expected, run_again(expected, chosen.datasets)))
        except InvalidInputError as error:
            failures += 1
            sys.stdout.write(f"FAIL {error}\n")
            continue
        failures += sum(not verdict.is_kept for verdict in verdicts)
        sys.stdout.write("".join(f"{verdict}\n" for verdict in verdicts))
        sys.stdout.flush()
    return 1 if failures else 0


def _expected(path: Path) -> Expected:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        scores = {name: (float(each["score"]), float(each["tolerance"])) for name, each in found["scores"].items()}
        takes = found["takes"]
        if takes not in {"short", "long"}:
            raise ValueError(f"takes: short or long, not {takes!r}")
        return Expected(path.stem, str(found["command"]), str(found["metric"]), scores, takes == "long")
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError(f"{path} is not as evals/expectations.py describes it: {error!r}.") from error


if __name__ == "__main__":
    sys.exit(main())
