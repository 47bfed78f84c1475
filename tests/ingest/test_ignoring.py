"""`.quothignore` means what `.gitignore` would, says no to what it cannot read, and tells which line it was."""

import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ingest.ignoring import MAX_IGNORE_BYTES, why_ignored
from ingest.source_files import Refused, SourceFile
from ingest.sources import root_uri, source_at, walk
from rag.errors import InvalidInputError
from rag.settings import IngestSettings

LIMITS = IngestSettings()


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("words")


def found(*paths: Path) -> list[str]:
    root = paths[0].resolve()
    return sorted(str(item.path.relative_to(root)) for item in walk(paths, LIMITS))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "root"
    make(folder, "a.md", "a.log", "build/b.md", "docs/build/c.md", "docs/keep.log", "docs/old/d.md", "notes/build")
    return folder


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ("", "a.log a.md build/b.md docs/build/c.md docs/keep.log docs/old/d.md notes/build"),
        ("*.log", "a.md build/b.md docs/build/c.md docs/old/d.md notes/build"),
        ("# note\n\n*.log\n!keep.log", "a.md build/b.md docs/build/c.md docs/keep.log docs/old/d.md notes/build"),
        ("build", "a.log a.md docs/keep.log docs/old/d.md"),
        ("build/", "a.log a.md docs/keep.log docs/old/d.md notes/build"),
        ("/build", "a.log a.md docs/build/c.md docs/keep.log docs/old/d.md notes/build"),
        ("docs/*\n!docs/old", "a.log a.md build/b.md docs/old/d.md notes/build"),
        ("docs\n!docs/old/d.md", "a.log a.md build/b.md notes/build"),
        ("docs/**/d.md", "a.log a.md build/b.md docs/build/c.md docs/keep.log notes/build"),
        ("**/old/", "a.log a.md build/b.md docs/build/c.md docs/keep.log notes/build"),
        ("*\n!*/\n!*.md", "a.md build/b.md docs/build/c.md docs/old/d.md"),
        ("?.[!m]*\r\nno[t]es\r\n", "a.md build/b.md docs/build/c.md docs/keep.log docs/old/d.md"),
    ],
)
def test_the_syntax(root: Path, rules: str, left: str) -> None:
    (root / ".quothignore").write_bytes(rules.encode())
    assert found(root) == left.split()


def test_inner_files_win_below_their_folder(root: Path) -> None:
    (root / ".quothignore").write_text("*.log\nold/\n")
    (root / "docs" / ".quothignore").write_text("!keep.log\n!old\n/build\n")
    assert found(root) == ["a.md", "build/b.md", "docs/keep.log", "docs/old/d.md", "notes/build"]


@pytest.mark.parametrize("rule", ["!old", "!/old/", "!**/old", "!**/old/"])
def test_a_folder_taken_back_in_takes_nothing_else_back_in(root: Path, rule: str) -> None:
    (root / ".quothignore").write_text("*.md\n")
    (root / "docs" / ".quothignore").write_text(rule)
    assert "docs/old/d.md" not in found(root)


def test_rules_hold_below_their_folder_whichever_path_is_given(root: Path) -> None:
    (root.parent / ".quothignore").write_text("*.log\n")
    (root / ".quothignore").write_text("/docs/old\n")
    assert found(root / "docs") == ["build/c.md"]
    assert found(root) == ["a.md", "build/b.md", "docs/build/c.md", "notes/build"]


def test_what_is_named_itself_is_read(root: Path) -> None:
    (root / ".quothignore").write_text("docs/\n*.log\n")
    assert found(root / "a.log") == ["."]
    assert found(root / "docs") == ["build/c.md", "old/d.md"]
    assert found(root, root / "docs", root / "a.log") == [
        "a.log", "a.md", "build/b.md", "docs/build/c.md", "docs/old/d.md", "notes/build"
    ]  # fmt: skip


def test_links_go_by_the_path_as_it_was_found(root: Path) -> None:
    (root / "docs" / "aside.log").symlink_to("../a.md")
    (root / "way").symlink_to("docs/old")
    (root / "back.md").symlink_to("build/b.md")
    (root / ".quothignore").write_text("way/\nbuild/\n*.log\n")
    items = {str(item.path.relative_to(root)): item for item in walk([root], LIMITS)}
    assert sorted(items) == ["a.md", "back.md", "docs/old/d.md", "notes/build"]
    assert isinstance(items["back.md"], SourceFile), "what it leads to is not met under its own name"
    (root / ".quothignore").write_text("docs/\n")
    assert "way/d.md" in found(root)


@pytest.mark.parametrize(
    ("rules", "place", "said"),
    [
        (b"*.log\n\nsecret[", ":3", "no closing bracket"),
        (b"a\\", ":1", "cannot be understood"),
        (b"/", ":1", "names nothing"),
        (b"a\n[z-a]", ":2", "cannot be understood"),
        (b"[[:digit:]]", ":1", "singly"),
        (b"ok\n*a*a*a*a*a*a*a*a*a*b", ":2", "asterisks"),
        (b"ok\nM\xfcll", "line 2", "UTF-8"),
        (b"#" * (MAX_IGNORE_BYTES + 1), ".quothignore", "Shorten"),
    ],
)
def test_what_cannot_be_understood_stops_the_walk(root: Path, rules: bytes, place: str, said: str) -> None:
    (root / "docs" / ".quothignore").write_bytes(rules)
    for paths in ([root], [root / "docs" / "old"]):
        with pytest.raises(InvalidInputError, match=said) as caught:
            list(walk(paths, LIMITS))
        assert place in str(caught.value)
        assert str(root / "docs" / ".quothignore") in str(caught.value)


def test_rules_that_are_no_plain_file_stop_the_walk(root: Path) -> None:
    rules = root / ".quothignore"
    rules.symlink_to("a.md")
    with pytest.raises(InvalidInputError, match="is a link"):
        found(root)
    rules.unlink()
    os.mkfifo(rules)
    with pytest.raises(InvalidInputError, match="not a file"):
        found(root)
    rules.unlink()
    rules.mkdir()
    with pytest.raises(InvalidInputError, match="is a directory"):
        found(root)


@pytest.mark.parametrize("end", ["\t", "\\ ", "\\ \t"])
def test_white_space_at_the_end_of_a_pattern(root: Path, end: str) -> None:
    name = "x" + end.replace("\\", "")
    make(root, name, "x")
    (root / ".quothignore").write_text(f"x{end}  \n")
    assert "x" in found(root)
    assert name not in found(root)


def test_why(root: Path) -> None:
    (root / ".quothignore").write_text("# first\n*.log\ndocs/old/\n")
    (root / "docs" / ".quothignore").write_text("!keep.log\n")
    make(root, ".git/config", "node_modules/x.md", "docs/.quiet.md")
    answers = {
        "a.log": f"{root}/.quothignore:2: *.log",
        "docs/old": f"{root}/.quothignore:3: docs/old/",
        "docs/old/d.md": f"{root}/.quothignore:3: docs/old/",
        "docs/old/not/there.md": f"{root}/.quothignore:3: docs/old/",
        "docs/keep.log": None,
        "a.md": None,
        ".": None,
        ".git/config": "hidden name '.git'",
        "docs/.quiet.md": "hidden name '.quiet.md'",
        "node_modules/x.md": "left behind by a tool: 'node_modules'",
    }
    assert {name: why_ignored(root / name, root) for name in answers} == answers
    (root.parent / "way").symlink_to("root")
    assert why_ignored(root.parent / "way" / "a.log", root.parent / "way") == answers["a.log"]
    with pytest.raises(InvalidInputError, match="does not lie below"):
        why_ignored(root.parent / "elsewhere.md", root)


def random_pattern(draw: random.Random) -> str:
    names = [
        "a",
        "b",
        "ab",
        "a.md",
        "*.md",
        "*",
        "a*",
        "?b",
        "[ab]",
        "[!a]",
        "*b*",
        "**",
        "a[!b]",
        "\\a",
        "a ",
        " a",
        "#a",
    ]
    parts = [draw.choice(names) for _ in range(draw.choice([1, 1, 1, 2, 2, 3]))]
    start, end = draw.choice(["", "", "", "!", "!", "/", "!/"]), draw.choice(["", "", "", "/", " "])
    return f"{start}{'/'.join(parts)}{end}"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize("seed", range(12))
def test_as_git_does(tmp_path: Path, seed: int) -> None:
    """Random trees and patterns, against `git check-ignore`."""
    draw = random.Random(seed)
    names = ["a", "b", "ab", "a.md", "b.md", "ba", "a ", "#a", " a"]
    root = tmp_path.resolve() / "tree"
    for _ in range(60):
        path = root.joinpath(*(draw.choice(names) for _ in range(draw.randint(1, 4))))
        if not any(parent.is_file() for parent in path.parents) and not path.exists():
            make(root, str(path.relative_to(root)))
    folders = [root, *sorted(path for path in root.rglob("*") if path.is_dir())]
    for folder in draw.sample(folders, min(4, len(folders))):
        rules = "\n".join(random_pattern(draw) for _ in range(draw.randint(1, 5)))
        (folder / ".gitignore").write_text(rules)
        (folder / ".quothignore").write_text(rules)
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name[0] != ".")
    quiet = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", "init", "-q"], cwd=root, env=quiet, check=True, capture_output=True)
    asked = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin", "-z"],
        cwd=root, env=quiet, input="\0".join(files), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert asked.returncode in (0, 1), asked.stderr
    ignored = set(asked.stdout.split("\0"))
    assert found(root) == [name for name in files if name not in ignored]
    assert [name for name in files if why_ignored(root / name, root) is None] == found(root)


def test_a_file_is_found_again_by_its_uri(root: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(root) + b"/odd \xff #?%.md"))
    odd.write_bytes(b"words")
    (root / "link.md").symlink_to("docs/old/d.md")
    (root / ".h.md").write_text("words")
    (root / "shown.md").symlink_to(".h.md")
    for item in walk([root], LIMITS):
        if not isinstance(item, Refused) or item.reason != "duplicate":
            assert source_at(item.uri, item.root_uri, LIMITS) == item
    (single,) = walk([odd], LIMITS)
    assert source_at(single.uri, single.root_uri, LIMITS) == single


def test_a_file_is_judged_anew_by_its_uri(root: Path, tmp_path: Path) -> None:
    uri, base = f"{root_uri(root)}/docs/old/d.md", root_uri(root)
    make(tmp_path, "outside/d.md")

    def reason(uri: str, base: str = base, limits: IngestSettings = LIMITS) -> str:
        item = source_at(uri, base, limits)
        assert isinstance(item, Refused), item
        assert (item.uri, item.root_uri) == (uri, base)
        assert re.search(r"\.$", item.message)
        return item.reason

    assert reason(uri, limits=IngestSettings(max_file_bytes=1)) == "too_large"
    assert reason(uri, f"{base}/docs/build") == "outside_root"
    assert reason(f"{base}/../outside/d.md") == "outside_root"
    assert reason(f"{base}/docs/%2e%2e/a.md") == "outside_root"
    assert reason(f"{base}2/a.md") == "outside_root"
    assert reason(f"{base}/a%00.md") == "outside_root"
    assert reason("https://example.org/a.md") == "outside_root"
    (root / "docs" / "old" / "d.md").write_text("")
    assert reason(uri) == "empty"
    (root / "docs" / "old" / "d.md").unlink()
    assert reason(uri) == "unreadable"
    (root / "docs" / "old").rmdir()
    (root / "docs" / "old").symlink_to(tmp_path / "outside")
    assert reason(uri) == "outside_root"
    (root / "docs" / "old").unlink()
    (root / "docs" / "old").symlink_to(root / "build")
    assert reason(uri) == "unreadable", "a link inside leads to what is there"
