"""Streams that are cut, by the model, the reader or the end of the server: none looks complete and is not."""

import asyncio
import json
import random
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.api.server_process import Told, ask, body, ended, request, server_process

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
AT_ONCE = 20
COMPLETE = ("data: [DONE]", "event: response.completed")


class Case:
    """One stream: what it is asked for, and how it is cut."""

    def __init__(self, chance: random.Random, most_words: int = 40, gap: float = 0.002) -> None:
        self.words = chance.randint(1, most_words)
        self.how = chance.choice(["whole", "raise", "crash", "silence", "leave"])
        self.path = chance.choice([CHAT, RESPONSES])
        question = f"words={self.words} gap={gap}"
        if self.how in ("raise", "crash", "silence"):
            question += f" at={chance.randrange(self.words)} end={self.how}"
        self.leave_after = chance.randint(1, 6000) if self.how == "leave" else None
        asked = {"model": "quoth/default", "input": question, "stream": True}
        self.sent = request(self.path, body(question) if self.path == CHAT else json.dumps(asked).encode())
        self.expected = "".join(f"word{number} " for number in range(self.words)).rstrip()

    def judge(self, told: Told) -> str:
        """What the reader would take it for: `complete`, `broken` (an event says so), `refused`, or `cut`."""
        if told.status != 200:
            assert told.terminals or told.status >= 500 or told.status == 0, told.head
            return "refused" if told.status else "cut"
        assert len(told.terminals) <= 1, told.terminals
        if not told.terminals:
            assert not told.is_whole, "it ended as if it were whole, without a terminal event"
            return "cut"
        (terminal,) = told.terminals
        assert told.frames[-1] == terminal, "something came behind the end"
        if terminal.startswith(COMPLETE):
            said = told.text if self.path == CHAT else _text_of(terminal)
            assert said.rstrip() == self.expected, "it looks complete and is not"
            return "complete"
        return "broken"


def _text_of(terminal: str) -> str:
    response = json.loads(terminal.split("data: ", 1)[1])["response"]
    return "".join(part["text"] for item in response["output"] for part in item.get("content", ()))


async def run(
    port: int, cases: list[Case], process: subprocess.Popen[bytes] | None = None, after: float = 0
) -> Counter:  # type: ignore[type-arg]
    """Ask all, a few at once; with a process, end it in the midst."""
    gate = asyncio.Semaphore(AT_ONCE)
    counted: Counter[str] = Counter()

    async def one(case: Case) -> None:
        async with gate:
            try:
                told = await asyncio.wait_for(ask(port, case.sent, case.leave_after), 60)
            except ConnectionError:
                counted[f"{case.how}: not connected"] += 1
                return
            counted[f"{case.how}: {case.judge(told)}"] += 1

    asking = [asyncio.create_task(one(case)) for case in cases]
    if process:
        await asyncio.sleep(after)
        process.send_signal(signal.SIGTERM)
    await asyncio.gather(*asking)
    return counted


def cut_many(folder: Path, streams: int, rounds: int, in_round: int) -> Counter[str]:
    """Cut streams at random: `streams` by model and reader, and in each round as many as that by SIGTERM."""
    chance = random.Random(20)
    counted: Counter[str] = Counter()
    environment = {"QUOTH_SERVER__SHUTDOWN_SECONDS": "0", "QUOTH_SERVER__MAX_CONCURRENT_ANSWERS": "64"}
    for number in range(rounds):
        place = folder / f"round{number}"
        place.mkdir()
        with server_process(place, environment=environment) as (process, port):
            if number == 0:
                counted += asyncio.run(run(port, [Case(chance) for _ in range(streams)]))
            last = [Case(chance, 200, 0.01) for _ in range(in_round)]
            told = asyncio.run(run(port, last, process, chance.uniform(0.2, 0.8)))
            counted += Counter({f"SIGTERM, {name}": count for name, count in told.items()})
            assert ended(process, 20) == 0
    print(f"\n{sum(counted.values())} streams: {dict(sorted(counted.items()))}")  # noqa: T201
    return counted


def judged(counted: Counter[str]) -> None:
    """Every way of cutting was met, and told for what it is."""
    assert counted["whole: complete"]
    for how in ("raise", "crash", "silence"):
        assert counted[f"{how}: broken"]
        assert counted[f"{how}: complete"] == 0
    assert counted["leave: cut"]
    assert counted["SIGTERM, whole: broken"]


@pytest.mark.slow
def test_no_stream_that_was_cut_looks_complete(tmp_path: Path) -> None:
    judged(cut_many(tmp_path, streams=60, rounds=1, in_round=20))


@pytest.mark.long
def test_no_stream_of_two_thousand_that_was_cut_looks_complete(tmp_path: Path) -> None:
    counted = cut_many(tmp_path, streams=1600, rounds=10, in_round=40)
    assert sum(counted.values()) == 2000
    judged(counted)
