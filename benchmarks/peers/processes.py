"""A cold process and all that it starts: when it said what, how long it took, the memory of all of them together.

Linux only: it makes this process the parent of what its children leave behind, such as Quoth's vector worker, so that
nothing escapes the count, and reads the proportional share of every process's memory twice a second.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
_SAMPLE_SECONDS = 0.5
_END_SECONDS = 20


@dataclass(slots=True)
class Outcome:
    """What came of one process.

    Attributes:
        said: what its `@@` lines hold together, of keys that come twice the last.
        lines: each of those lines.
        at: key -> seconds after the start at which it was said first.
        wall_seconds: until it ended; what it left running is not waited for.
        cpu_seconds: of it and of all that it started.
        peak_mb: of all of them together, shared pages counted once, in 10^6 bytes.
        output: the lines of standard output that are none of those.
        error: "" when it ended well, else how it ended and its last words.
    """

    said: dict[str, Any] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    at: dict[str, float] = field(default_factory=dict)
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0
    output: list[str] = field(default_factory=list)
    error: str = ""


def adopt_orphans() -> None:
    """Become the parent of what children leave behind. Raises OSError where the kernel cannot."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "this process cannot adopt orphans; the benchmark needs Linux")


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    limit_seconds: float,
    behind: Callable[[], object] = lambda: None,
) -> Outcome:
    """Run a command to its end, and then end what it left running.

    Args:
        command: program and arguments.
        environment: all of it.
        folder: to run in.
        limit_seconds: it is killed then.
        behind: called once it has ended; ends in good order what it leaves behind.
    """
    outcome = Outcome()
    used, started = _children_cpu(), time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )  # fmt: skip
        ended = threading.Event()
        sampler = threading.Thread(target=_sample, args=(outcome, ended))
        sampler.start()
        watchdog = threading.Timer(limit_seconds, process.kill)
        watchdog.start()
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        for line in process.stdout:
            _note(outcome, line.rstrip("\n"), time.perf_counter() - started)
        code = process.wait()
        outcome.wall_seconds = time.perf_counter() - started
        watchdog.cancel()
        ended.set()
        sampler.join()
        behind()
        _end_the_rest()
        outcome.cpu_seconds = _children_cpu() - used
        if code:
            errors.seek(0)
            words = [text for text in errors.read().decode(errors="replace").splitlines() if text.strip()]
            outcome.error = f"exit code {code}: {words[-1].strip()[:200] if words else 'nothing was said'}"
    return outcome


def _note(outcome: Outcome, line: str, seconds: float) -> None:
    if not line.startswith("@@"):
        outcome.output.append(line)
        return
    what = json.loads(line[2:])
    outcome.lines.append(what)
    outcome.said.update(what)
    for key in what:
        outcome.at.setdefault(key, seconds)


def _children_cpu() -> float:
    """Of those that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _sample(outcome: Outcome, ended: threading.Event) -> None:
    while not ended.wait(_SAMPLE_SECONDS):
        outcome.peak_mb = max(outcome.peak_mb, sum(map(_memory_mb, descendants(os.getpid()))))


def descendants(ancestor: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended meanwhile
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, waiting = [], [ancestor]
    while waiting:
        more = children.get(waiting.pop(), [])
        found += more
        waiting += more
    return found


def _memory_mb(process: int) -> float:
    """Its own pages, and its share of those that it shares; 0 once it has ended."""
    try:
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0.0
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * 1024 / 1e6


def _end_the_rest() -> None:
    """Wait for what is ending, kill what is not, and wait for all of them, or their CPU time would not be counted."""
    deadline = time.monotonic() + _END_SECONDS
    while True:
        try:
            process, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if process:
            continue
        if time.monotonic() > deadline:
            for left in descendants(os.getpid()):
                os.kill(left, signal.SIGKILL)
        time.sleep(0.02)
