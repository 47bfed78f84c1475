"""A watch runs where something changed, one run at a time, and takes nothing for gone that is only away."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ingest.watched import MOST_FOLDERS, Root, affected_folders, changes_that_count
from ingest.watching import WatchEvent, watch
from rag.errors import InvalidInputError, QuothError, StorageError, UpstreamUnavailableError

PATIENCE_SECONDS = 30


class Recorder:
    """Stands in for an ingest: notes what it is asked for, and fails or waits where it is told to."""

    def __init__(self) -> None:
        self.runs: list[list[Path]] = []
        self.events: list[WatchEvent] = []
        self.failures: list[QuothError] = []
        self.let_go = asyncio.Event()
        self.let_go.set()
        self.at_once = self.most_at_once = self.cancelled = 0
        self._news = asyncio.Event()

    async def run(self, paths: Sequence[Path]) -> object:
        self.runs.append(list(paths))
        self._news.set()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.at_once -= 1
        if self.failures:
            raise self.failures.pop(0)
        return len(self.runs)

    def on_event(self, event: WatchEvent) -> None:
        self.events.append(event)
        self._news.set()

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not holds():
                self._news.clear()
                await self._news.wait()

    async def after(self, act: Callable[[], object], runs_on: Path) -> None:
        """Act, and wait for a run on exactly this path that has ended."""
        before = len(self.events)
        act()
        await self.until(
            lambda: any(event.kind == "ran" and event.paths == (runs_on,) for event in self.events[before:])
        )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "root"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "a.md").write_text("a")
    (folder / "deep" / "b.md").write_text("b")
    return folder


@asynccontextmanager
async def watching(recorder: Recorder, *paths: Path, **options: object) -> AsyncIterator[asyncio.Event]:
    """A watch that has made its first run, ended at the end."""
    stop = asyncio.Event()
    settings: dict[str, object] = {"rescan_seconds": 3600, "stop": stop, "on_event": recorder.on_event, **options}
    task = asyncio.create_task(watch(recorder.run, paths, **settings))  # type: ignore[arg-type]
    ended = asyncio.create_task(asyncio.wait({task}))
    try:
        first = asyncio.create_task(recorder.until(lambda: recorder.events or recorder.runs))
        await asyncio.wait({first, ended}, return_when=asyncio.FIRST_COMPLETED)
        first.cancel()
        yield stop
        stop.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await task
    finally:
        task.cancel()
        await asyncio.gather(task, ended, return_exceptions=True)


def test_every_kind_of_change_is_run_on_where_it_happened(root: Path) -> None:
    async def story() -> None:
        seen = Recorder()
        async with watching(seen, root):
            await seen.until(lambda: "ran" in seen.kinds())
            assert seen.runs == [[root]]
            assert seen.events[0].result == 1
            await seen.after(lambda: (root / "deep" / "new.md").write_text("new"), root / "deep")
            await seen.after(lambda: (root / "deep" / "new.md").write_text("newer"), root / "deep")
            (root / "deep" / "x.tmp").write_text("swapped in")
            await seen.after(lambda: (root / "deep" / "x.tmp").replace(root / "deep" / "b.md"), root / "deep")
            await seen.after(lambda: (root / "deep" / "b.md").rename(root / "deep" / "er" / "c.md"), root / "deep")
            await seen.after((root / "deep" / "er" / "c.md").unlink, root / "deep" / "er")
            await seen.after(lambda: (root / "one" / "two").mkdir(parents=True), root / "one")
            await seen.after(lambda: (root / "one" / "two" / "d.md").write_text("d"), root / "one" / "two")
            await seen.after(lambda: shutil.rmtree(root / "one" / "two"), root / "one")
            await seen.after(lambda: shutil.rmtree(root / "one"), root)
            await seen.after(lambda: (root / "deep" / ".quothignore").write_text("*.log\n"), root / "deep")
        assert seen.most_at_once == 1

    asyncio.run(story())


def test_what_a_walk_would_not_find_causes_no_run(root: Path, tmp_path: Path) -> None:
    (root / ".quothignore").write_text("build/\n*.log\n")
    (root / "build").mkdir()
    (root / "data").mkdir()

    async def story() -> None:
        seen = Recorder()
        async with watching(seen, root, leave_out=[root / "data"]):
            await seen.until(lambda: "ran" in seen.kinds())
            for name in (".hidden.md", "a.md~", "deep/.b.md.swp", "build/c.md", "deep/run.log", "data/ledger.db"):
                (root / name).write_text("nothing to see")
            (tmp_path / "beside.md").write_text("outside")
            await seen.after(lambda: (root / "deep" / "er" / "z.md").write_text("z"), root / "deep" / "er")
            assert seen.runs == [[root], [root / "deep" / "er"]]

    asyncio.run(story())


def test_changes_during_a_run_are_gathered_for_the_next(root: Path) -> None:
    async def story() -> None:
        seen = Recorder()
        async with watching(seen, root):
            await seen.until(lambda: "ran" in seen.kinds())
            seen.let_go.clear()
            (root / "deep" / "n.md").write_text("n")
            await seen.until(lambda: len(seen.runs) == 2)
            (root / "deep" / "er" / "m.md").write_text("m")
            (root / "o.md").write_text("o")
            seen.let_go.set()
            # A run on the root is what their sum comes to, if both were heard by then.
            await seen.until(lambda: "ran" in seen.kinds()[-1:] and [root] in seen.runs[2:])
            assert seen.runs[1] == [root / "deep"]
            assert seen.runs[2:] in ([[root]], [[root / "deep" / "er"], [root]], [[root], [root / "deep" / "er"]])
            assert seen.most_at_once == 1

    asyncio.run(story())


def test_a_root_that_is_away_is_left_alone_until_it_is_back(root: Path, tmp_path: Path) -> None:
    other = tmp_path.resolve() / "other"
    other.mkdir()

    async def story() -> None:
        seen = Recorder()
        async with watching(seen, root, other, rescan_seconds=0.2):
            await seen.until(lambda: "ran" in seen.kinds())
            os.rename(root, tmp_path / "away")  # noqa: PTH104
            await seen.until(lambda: "gone" in seen.kinds())
            before = len(seen.events)
            await seen.until(lambda: seen.kinds()[before:].count("ran") >= 3)
            # The run that was under way when the root went may still name it.
            assert all(event.paths == (other,) for event in seen.events[before + 1 :])
            os.rename(tmp_path / "away", root)  # noqa: PTH104
            await seen.until(lambda: "back" in seen.kinds())
            await seen.until(lambda: any(root in event.paths for event in seen.events[-1:]))

    asyncio.run(story())


def test_a_root_that_becomes_another_folder_is_heard_again(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "next")

    def swap() -> None:
        root.rename(tmp_path / "old")
        (tmp_path / "next").rename(root)

    async def story() -> None:
        seen = Recorder()
        async with watching(seen, root):
            await seen.until(lambda: "ran" in seen.kinds())
            await seen.after(swap, root)
            await seen.after(lambda: (root / "deep" / "new.md").write_text("new"), root / "deep")

    asyncio.run(story())


def test_a_file_is_watched_through_its_replacement(root: Path) -> None:
    file = root / "a.md"

    async def story() -> None:
        seen = Recorder()
        async with watching(seen, file):
            await seen.until(lambda: "ran" in seen.kinds())
            for number in range(2):
                (root / "x.tmp").write_text(f"swapped in {number}")
                await seen.after(lambda: (root / "x.tmp").replace(file), file)
            (root / "other.md").write_text("not watched")
            await seen.after(lambda: file.write_text("once more"), file)
        assert {tuple(paths) for paths in seen.runs} == {(file,)}

    asyncio.run(story())


def test_everything_is_looked_at_from_time_to_time(root: Path) -> None:
    async def story() -> None:
        seen = Recorder()
        async with watching(seen, root, rescan_seconds=0.1):
            await seen.until(lambda: seen.kinds().count("ran") >= 3)
        assert {tuple(paths) for paths in seen.runs} == {(root,)}

    asyncio.run(story())


def test_what_can_pass_is_tried_again_and_the_rest_ends_the_watch(root: Path) -> None:
    async def story() -> None:
        seen = Recorder()
        seen.failures = [UpstreamUnavailableError("The embedder is down.")]
        async with watching(seen, root):
            await seen.until(lambda: "ran" in seen.kinds())
            assert seen.kinds() == ["retrying", "ran"]
            assert "The embedder is down." in seen.events[0].message
            assert seen.runs == [[root], [root]]
        seen = Recorder()
        seen.failures = [StorageError("The disk is full.")]
        ended = watch(seen.run, [root], rescan_seconds=3600, stop=asyncio.Event())
        with pytest.raises(StorageError, match="disk is full"):
            await asyncio.wait_for(ended, PATIENCE_SECONDS)

    asyncio.run(story())


def test_an_empty_folder_is_waited_for_and_a_real_complaint_is_not(root: Path, tmp_path: Path) -> None:
    empty = tmp_path.resolve() / "empty"
    empty.mkdir()

    async def story() -> None:
        seen = Recorder()
        seen.failures = [InvalidInputError("There are no files.")]
        async with watching(seen, empty):
            await seen.until(lambda: "empty" in seen.kinds())
            await seen.after(lambda: (empty / "a.md").write_text("a"), empty)
        seen = Recorder()
        seen.failures = [InvalidInputError("No such name for a store.")]
        with pytest.raises(InvalidInputError, match="No such name"):
            await asyncio.wait_for(watch(seen.run, [root], rescan_seconds=3600, stop=asyncio.Event()), PATIENCE_SECONDS)

    asyncio.run(story())


def test_a_stop_ends_a_run_and_the_watch(root: Path) -> None:
    async def story() -> None:
        seen = Recorder()
        seen.let_go.clear()
        async with watching(seen, root):
            await seen.until(lambda: seen.runs)
        assert (seen.cancelled, seen.events) == (1, [])

    asyncio.run(story())


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="nothing to watch"):
        asyncio.run(watch(Recorder().run, [tmp_path / "gone"], rescan_seconds=1, stop=asyncio.Event()))


def test_where_to_look(root: Path, tmp_path: Path) -> None:
    def look(*changed: str) -> list[str]:
        roots = [Root(root), Root(root / "a.md")]
        return [os.path.relpath(path, root) for path in affected_folders(roots, [f"{root}{name}" for name in changed])]

    assert look("/deep/b.md") == ["deep"]
    assert look("/deep/gone/and/away.md") == ["deep"]
    assert look("/deep/er") == ["deep/er"]
    assert look("/deep/er/x.md", "/deep/b.md") == ["deep"]
    assert look("/deep/er/x.md", "/a.md") == ["a.md", "deep/er"]
    assert look("/deep/er/x.md", "/c.md") == ["."]
    assert look("") == ["."]
    assert look("2/x.md") == []
    (root / "deep" / "er" / "link.md").symlink_to("../../a.md")
    assert look("/deep/b.md") == ["."], "a link may lead to what lies elsewhere in the root"
    (root / "deep" / "er" / "link.md").unlink()
    (root / "way").symlink_to("deep")
    assert look("/way/b.md") == ["."], "found by the link's name, which only a walk of the root gives"
    many = [root / f"f{number}" for number in range(MOST_FOLDERS + 1)]
    for folder in many:
        folder.mkdir()
    assert look(*(f"/{folder.name}/x.md" for folder in many[1:])) == sorted(folder.name for folder in many[1:])
    assert look(*(f"/{folder.name}/x.md" for folder in many)) == ["."]


def test_rules_that_cannot_be_understood_do_not_silence_the_watch(root: Path) -> None:
    (root / ".quothignore").write_text("[\n")
    assert changes_that_count(Root(root), [f"{root}/a.md"], []) == [f"{root}/a.md"]
