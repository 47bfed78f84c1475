"""The confined process that parses: `python -m ingest.parsers.child MEMORY_BYTES TESSERACT`.

Only `ingest.sandbox` starts it. It takes frames (a job as JSON, then the file's bytes) from its standard input and
answers each with one frame: the document or a failure as JSON, behind a byte that says whether it wants to be replaced.

What confines it, all set before the first byte of a file is read:

* address space, CPU time and open files are limited; it can write no file (a file size limit of 0) and dumps no core;
* on Linux it moves into a network namespace of its own where the kernel lets it, so that not even native code reaches
  the network. Where the kernel does not (no privilege and no user namespaces, and on macOS), only Python code is
  stopped, by an audit hook that forbids sockets, processes and programs;
* the one program that the hook lets pass is tesseract, at the path that the parent names, with the arguments and the
  environment of `ingest.parsers.tesseract`. It inherits all of these limits;
* it gets no environment variables and dies with its parent.

It can read the files that its user can read: a parser library taken over by a file could send their content back as
the document's text, and nowhere else.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from functools import partial
from typing import Any, BinaryIO

from ingest.parsers.limits import ParserLimits
from ingest.parsers.registry import parse
from ingest.parsers.tesseract import is_command
from ingest.parsers.wire import LENGTH, decode_job, encode_document, encode_failure, frame
from rag.errors import ParseError

KEEP, REPLACE = b"\0", b"\1"
MAX_FILES = 200  # native libraries leak a little with every file
_MAX_OPEN_FILES = 64
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_AF_UNIX = 1  # asyncio wakes itself through a pair of these
_FORBIDDEN = frozenset(
    {
        "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo",
        "socket.gethostbyname", "socket.gethostbyaddr", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn",
        "os.fork", "os.forkpty",
    }
)  # fmt: skip


def confine(memory_bytes: int, tesseract: str = "") -> None:
    """Give up whatever parsing does not need, but for the program at the path `tesseract`. There is no way back."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, _MAX_OPEN_FILES)
    with contextlib.suppress(ValueError, OSError):  # macOS knows no such limit; the wall limit still holds there
        _limit(resource.RLIMIT_AS, memory_bytes)
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    if sys.platform == "linux":
        kernel = ctypes.CDLL(None)
        kernel.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if kernel.unshare(_CLONE_NEWNET):
            kernel.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
        kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    sys.addaudithook(partial(_forbid, tesseract))


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(kind, (most, most))


def _forbid(tesseract: str, event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen" and is_command(tesseract, arguments):
        return
    if event in _FORBIDDEN or (event == "socket.__new__" and arguments[1] != _AF_UNIX):
        raise PermissionError(f"A parser may not call {event}.")


def _allow_cpu(seconds: int) -> None:
    """Count the CPU limit, which the kernel counts from the process's start, from here."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    most = int(used.ru_utime + used.ru_stime) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _answer(data: bytes, job: dict[str, Any]) -> tuple[bytes, bool]:
    """The reply to one job, and whether the process is fit for another."""
    try:
        return encode_document(parse(data, job["name"], ParserLimits(**job["limits"]))), True
    except ParseError as error:
        return encode_failure(error.reason, str(error)), True
    except (MemoryError, RecursionError) as error:
        return encode_failure("parser_killed", f"Parsing took more memory than it may ({type(error).__name__})."), False
    except Exception as error:  # the edge of one file: whatever a library raises must not end the run
        shown = f"{type(error).__name__}: {error}"
        return encode_failure("parser_error", f"The parser failed ({shown}). Please report the file."), False


def _read(source: BinaryIO) -> bytes | None:
    """The next frame's body, or None when the parent has closed the pipe."""
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    body = source.read(length)
    return body if len(body) == length else None


def _has_grown(memory_bytes: int) -> bool:
    """Whether the address space that is left may be too little for the next file."""
    try:
        with open("/proc/self/statm", "rb") as pages:  # noqa: PTH123 - pathlib would double the start-up
            return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") > memory_bytes // 4
    except FileNotFoundError:  # not Linux; there, the number of files alone decides
        return False


def main() -> None:
    """Serve jobs until the parent closes the pipe."""
    memory_bytes, tesseract = int(sys.argv[1]), sys.argv[2]
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not write into the replies
    confine(memory_bytes, tesseract)
    sink.write(KEEP)  # ready: the parent starts its clock
    sink.flush()
    for files_left in reversed(range(MAX_FILES)):
        head = _read(source)
        data = _read(source) if head is not None else None
        if head is None or data is None:
            return
        job = decode_job(head)
        _allow_cpu(job["cpu_seconds"])
        reply, fit = _answer(data, job)
        del data
        fit = fit and bool(files_left) and not _has_grown(memory_bytes)
        sink.write((KEEP if fit else REPLACE) + frame(reply))
        sink.flush()


if __name__ == "__main__":
    main()
