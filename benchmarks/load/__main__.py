"""The API under load, on one machine: clients in this process, the server in another.

    python -m benchmarks.load                      a short form of all four, about three minutes
    python -m benchmarks.load --full               the long form, about half an hour
    python -m benchmarks.load --only throughput    one of capacity, throughput, overload, leaving

capacity    the most streams at once whose first token comes within a second, at the 99th percentile
throughput  tokens a second of 200 streams, divided by what bare ASGI reaches in the same run
overload    four times the capacity: answers a second against the peak, and how fast the others are refused
leaving     a fifth of the clients leave at random: when the model hears of it, and what grows
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from benchmarks.load.clients import RAW, Clients, Outcome, percentile
from rag.backends.vectors.edge_process import stop_worker

TOKENS_PER_SECOND = 50
GOAL_FIRST_SECONDS = 1.0
KINDS = ("capacity", "throughput", "overload", "leaving")


@contextmanager
def served(slots: int, waiting: int = 0) -> Iterator[int]:
    """A server with so many slots for answers; yields its port."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ, "QUOTH_SERVER__MAX_CONCURRENT_ANSWERS": str(slots), "QUOTH_CHAT__MAX_ANSWER_TOKENS": "4096",
            "QUOTH_SERVER__MAX_WAITING_ANSWERS": str(waiting), "QUOTH_SERVER__SHUTDOWN_SECONDS": "0",
            # It is judged whether the documents answer, which is work, and an answer is written in any case.
            "QUOTH_CHAT__ANSWERABLE_THRESHOLD": "0",
        }  # fmt: skip
        command = [sys.executable, "-m", "benchmarks.load.server", folder]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None  # noqa: S101
        try:
            yield int(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
            stop_worker(Path(folder))


def state(port: int) -> dict[str, Any]:
    """Of the server's process."""
    with urlopen(f"http://127.0.0.1:{port}/bench/state", timeout=30) as reply:
        told: dict[str, Any] = json.loads(reply.read())
    return told


def firsts(outcomes: list[Outcome]) -> list[float]:
    """Times to the first token; of a stream that had none, infinite."""
    return [float("inf") if each.first is None else each.first for each in outcomes]


async def capacity(levels: list[int], words: int, seconds: float) -> int:
    """Hold more and more streams open, arriving at random, until the first token is late."""
    best = 0
    for streams in levels:
        with served(slots=4 * streams) as port:
            clients = Clients(port, words, 1 / TOKENS_PER_SECOND)
            await clients.at_once(2)
            lasting = words / TOKENS_PER_SECOND
            outcomes = await clients.arriving(streams / lasting, lasting + seconds)
        settled = outcomes[int(streams / 2) :]
        late = percentile(firsts(settled), 0.99)
        whole = sum(each.is_complete for each in outcomes)
        print(
            f"capacity: {streams} streams at once, {streams / lasting:.1f} new ones a second: first token p50 "
            f"{percentile(firsts(settled), 0.5) * 1000:.0f} ms, p99 {late * 1000:.0f} ms; {whole} of {len(outcomes)} "
            "whole",
            flush=True,
        )
        if late >= GOAL_FIRST_SECONDS or whole < len(outcomes):
            break
        best = streams
    print(f"capacity: {best} streams (goal 200)", flush=True)
    return best


async def throughput(streams: int, words: int, rounds: int) -> None:
    """Unthrottled: the API and bare ASGI by turns, in one server."""
    ratios = []
    with served(slots=2 * streams) as port:
        clients = Clients(port, words, 0)
        await clients.at_once(4)
        for _ in range(rounds):
            rates, costs = {}, {}
            for name, path in (("raw ASGI", RAW), ("Quoth", "/v1/chat/completions")):
                before = state(port)["cpu_seconds"]
                seconds, outcomes = await clients.at_once(streams, path)
                costs[name] = (state(port)["cpu_seconds"] - before) / (streams * words) * 1e6
                if not all(each.is_complete for each in outcomes):
                    raise SystemExit(
                        f"throughput: {name} left {sum(not each.is_complete for each in outcomes)} unserved"
                    )
                rates[name] = streams * words / seconds
            ratios.append(rates["Quoth"] / rates["raw ASGI"])
            # The seconds are those from when all have begun; the CPU's are all, retrieval included.
            shown = ", ".join(
                f"{name} {rate:,.0f} tokens/s ({costs[name]:.0f} µs of CPU each)" for name, rate in rates.items()
            )
            print(f"throughput: {streams} streams of {words} tokens: {shown}, ratio {ratios[-1]:.2f}", flush=True)
    print(f"throughput: median ratio {percentile(ratios, 0.5):.2f} (goal 0.6)", flush=True)


async def overload(slots: int, words: int, seconds: float) -> None:
    """Offer as much as there is room for, then four times that."""
    lasting = words / TOKENS_PER_SECOND
    goodputs = {}
    for times in (1, 4):
        with served(slots) as port:
            clients = Clients(port, words, 1 / TOKENS_PER_SECOND)
            await clients.at_once(2)
            before = state(port)["cpu_seconds"]
            outcomes = await clients.arriving(times * slots / lasting, seconds)
            cpu = state(port)["cpu_seconds"] - before
        whole = sum(each.is_complete for each in outcomes)
        refused = [each.ended for each in outcomes if each.status in (429, 503) and each.ended is not None]
        lost = len(outcomes) - whole - len(refused)
        goodputs[times] = whole / (seconds + lasting)
        print(
            f"overload: {times} x {slots} slots, {len(outcomes)} asked in {seconds:.0f} s: {goodputs[times]:.1f} whole "
            f"answers/s, {len(refused)} refused (p50 {percentile(refused, 0.5) * 1000:.0f} ms, p99 "
            f"{percentile(refused, 0.99) * 1000:.0f} ms), {lost} lost; {cpu:.1f} s of CPU",
            flush=True,
        )
    print(
        f"overload: {goodputs[4] / goodputs[1]:.2f} of the goodput (goals: 0.9, and refusals within 100 ms)", flush=True
    )


async def leaving(requests: int, streams: int, words: int) -> None:
    """A fifth leaves; the model must hear of it, and nothing may grow."""
    lasting = words / TOKENS_PER_SECOND
    with served(slots=4 * streams) as port:
        clients = Clients(port, words, 1 / TOKENS_PER_SECOND)
        await clients.at_once(2)
        before: dict[str, Any] = {}
        done, delays, unheard = 0, [], 0
        batch = max(streams * 4, requests // 10)
        while done < requests:
            outcomes = await clients.arriving(streams / lasting, batch / streams * lasting, 0.2, lasting, seed=done)
            await asyncio.sleep(0.7)
            told = state(port)
            left = [each for each in outcomes if each.left_at is not None and each.first is not None]
            delays += [told["closed"][each.id] - each.left_at for each in left if each.id in told["closed"]]
            unheard += sum(each.id not in told["closed"] for each in left)
            done += len(outcomes)
            shown = {name: told[name] for name in ("open", "tasks", "descriptors", "resident_mb")}
            print(f"leaving: {done} requests, {len(delays)} left: {shown}", flush=True)
            before = before or told
        growth = {name: round(told[name] - before[name], 1) for name in ("tasks", "descriptors", "resident_mb")}
        heard = f"p50 {percentile(delays, 0.5) * 1000:.0f} ms, max {max(delays) * 1000:.0f} ms (goal 500)"
        print(f"leaving: closed within {heard}, {unheard} unheard; first to last batch: {growth}", flush=True)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--streams", type=int, default=200, help="of throughput, overload and leaving")
    parser.add_argument("--words", type=int, default=500, help="of an answer of throughput")
    chosen = parser.parse_args()
    full, streams = chosen.full, chosen.streams
    wanted = (chosen.only,) if chosen.only else KINDS
    if "capacity" in wanted:
        asyncio.run(capacity([100, 150, 200, 250, 300, 400, 600] if full else [100, 200], 500, 30 if full else 10))
    if "throughput" in wanted:
        asyncio.run(throughput(streams, chosen.words, 5 if full else 3))
    if "overload" in wanted:
        asyncio.run(overload(streams, 500, 60 if full else 15))
    if "leaving" in wanted:
        asyncio.run(leaving(20_000 if full else 1_000, streams, 100))


if __name__ == "__main__":
    main()
