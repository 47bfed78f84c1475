"""The walk finds what there is, once, and says why it leaves out the rest."""

import hashlib
import os
import socket
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import pytest

from ingest.source_files import Refused, SourceFile
from ingest.sources import root_uri, walk
from rag.errors import InvalidInputError, ParseError
from rag.settings import IngestSettings

LIMITS = IngestSettings(max_file_bytes=1000)


def write(path: Path, content: bytes = b"words") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def found(*paths: Path) -> dict[str, str]:
    """Names below the first path, and what becomes of them."""
    outcomes = [
        (str(item.path.relative_to(paths[0].resolve())), "read" if isinstance(item, SourceFile) else item.reason)
        for item in walk(paths, LIMITS)
    ]
    assert len(dict(outcomes)) == len(outcomes), "something was found twice"
    return dict(outcomes)


def the_file(path: Path) -> SourceFile:
    (item,) = walk([path], LIMITS)
    assert isinstance(item, SourceFile)
    return item


def test_each_file_has_an_outcome(tmp_path: Path) -> None:
    write(tmp_path / "b.md")
    write(tmp_path / "a" / "c.TXT")
    write(tmp_path / "a" / "README")
    write(tmp_path / "a" / "photo.xcf")
    write(tmp_path / "empty.md", b"")
    write(tmp_path / "large.md", b"x" * 1001)
    write(tmp_path / "just.md", b"x" * 1000)
    assert found(tmp_path) == {
        "b.md": "read",
        "a/c.TXT": "read",
        "a/README": "read",
        "a/photo.xcf": "unsupported",
        "empty.md": "empty",
        "large.md": "too_large",
        "just.md": "read",
    }


def test_order_is_that_of_names(tmp_path: Path) -> None:
    for name in ("z.md", "b/2.md", "b/1.md", "a.md", "B.md"):
        write(tmp_path / name)
    assert list(found(tmp_path)) == ["B.md", "a.md", "z.md", "b/1.md", "b/2.md"]


def test_hidden_files_and_what_tools_leave_behind_do_not_count(tmp_path: Path) -> None:
    for name in (".hidden.md", ".git/a.md", "__pycache__/a.txt", "node_modules/x/README.md", "a.md~", "~$a.docx",
                 "#a.md#", "a.md.swp", "a.md.bak"):  # fmt: skip
        write(tmp_path / name)
    write(tmp_path / "a.md")
    assert found(tmp_path) == {"a.md": "read"}
    assert found(tmp_path / ".git") == {"a.md": "read"}, "unless it is what was asked for"


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="nothing to read"):
        list(walk([tmp_path, tmp_path / "gone"], LIMITS))
    with pytest.raises(InvalidInputError):
        root_uri(tmp_path / "gone")


def test_links_inside_are_read_once_and_links_out_never(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root / "a.md")
    write(root / ".data" / "hidden.md")
    write(tmp_path / "outside.md")
    write(tmp_path / "outside" / "b.md")
    (root / "0_link.md").symlink_to("a.md")
    (root / "1_link.md").symlink_to(".data/hidden.md")
    (root / "2_link.md").symlink_to(".data/hidden.md")
    (root / "out.md").symlink_to(tmp_path / "outside.md")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "broken.md").symlink_to("nowhere")
    assert found(root) == {
        "a.md": "read",
        "0_link.md": "duplicate",
        "1_link.md": "read",
        "2_link.md": "duplicate",
        "out.md": "outside_root",
        "out": "outside_root",
        "broken.md": "unreadable",
    }


def test_loops_of_links_end(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.md")
    (tmp_path / "in" / "up").symlink_to("..")
    (tmp_path / "in" / "self").symlink_to("self")
    (tmp_path / "in" / "here").symlink_to(".")
    assert found(tmp_path) == {
        "in/a.md": "read",
        "in/up": "duplicate",
        "in/self": "unreadable",
        "in/here": "duplicate",
    }


def test_a_hidden_folder_is_walked_through_a_link(tmp_path: Path) -> None:
    """As Kubernetes mounts configuration."""
    write(tmp_path / "..2026" / "a.md")
    write(tmp_path / "..2026" / "deep" / "b.md")
    (tmp_path / "current").symlink_to("..2026")
    assert found(tmp_path) == {"current/a.md": "read", "current/deep/b.md": "read"}


def test_special_files_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(tmp_path)  # a socket's path is limited to about 100 bytes
        try:
            server.bind("socket.md")
        finally:
            os.chdir(before)
        assert found(tmp_path) == {"pipe.md": "not_regular", "socket.md": "not_regular"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_a_failure(tmp_path: Path) -> None:
    write(tmp_path / "secret.md").chmod(0)
    write(tmp_path / "folder" / "a.md")
    (tmp_path / "folder").chmod(0)
    try:
        items = list(walk([tmp_path], LIMITS))
    finally:
        (tmp_path / "folder").chmod(0o700)
    assert {item.path.name for item in items} == {"secret.md", "folder"}
    assert all(isinstance(item, Refused) and item.outcome == "failed" for item in items)


def test_overlapping_paths_are_found_once(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b.md")
    single = write(tmp_path / "c.md")
    assert found(tmp_path, tmp_path / "a", single) == {"a/b.md": "read", "c.md": "read"}
    assert found(tmp_path, tmp_path) == {"a/b.md": "read", "c.md": "read"}


@pytest.mark.parametrize("name", [b"line\nfeed.md", b"not \xff text.md", "ü #?%.md".encode(), b"\x1b[31mred.md"])
def test_any_name_survives_as_a_uri(tmp_path: Path, name: bytes) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    try:
        path.write_bytes(b"words")
    except OSError:
        pytest.skip("the file system refuses this name")
    (item,) = walk([tmp_path], LIMITS)
    assert isinstance(item, SourceFile)
    assert item.uri.isascii() and item.uri.isprintable()
    assert unquote_to_bytes(urlsplit(item.uri).path) == os.fsencode(path.resolve())
    assert item.uri.startswith(root_uri(tmp_path) + "/")
    assert item.read(100).data == b"words"


def test_a_file_given_itself_is_its_own_root(tmp_path: Path) -> None:
    file = the_file(write(tmp_path / "a.md"))
    assert file.uri == file.root_uri == root_uri(tmp_path / "a.md")


def test_folders_nested_deeply(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(400):
        deep = deep / "d"
    write(deep / "a.md")
    assert list(found(tmp_path).values()) == ["read"]


def test_reading(tmp_path: Path) -> None:
    content = write(tmp_path / "a.md", b"some words").stat()
    file = the_file(tmp_path / "a.md")
    read = file.read(1000)
    assert read.data == b"some words"
    assert read.sha256 == hashlib.sha256(b"some words").hexdigest()
    assert read.file == file
    assert (file.size_bytes, file.mtime_ns, file.suffix) == (10, content.st_mtime_ns, ".md")


def test_a_file_that_changed_since_it_was_found_is_read_as_it_is_now(tmp_path: Path) -> None:
    file = the_file(write(tmp_path / "a.md"))
    write(tmp_path / "a.md", b"longer than before")
    read = file.read(1000)
    assert read.data == b"longer than before"
    assert (read.file.size_bytes, read.file.uri) == (18, file.uri)


def test_what_became_unfit_since_it_was_found(tmp_path: Path) -> None:
    path = write(tmp_path / "folder" / "a.md")
    other = write(tmp_path / "other" / "a.md", b"not to be read")
    file = the_file(path)

    def reason(most: int = 1000) -> str:
        with pytest.raises(ParseError) as caught:
            file.read(most)
        return caught.value.reason

    assert reason(4) == "too_large"
    path.write_bytes(b"")
    assert reason() == "empty"
    path.unlink()
    assert reason() == "unreadable"
    path.symlink_to(other)
    assert reason() == "unreadable", "a link in its place is not followed"
    path.unlink()
    os.mkfifo(path)
    assert reason() == "not_regular"
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to(other.parent)
    assert reason() == "outside_root", "nor is one above it"
