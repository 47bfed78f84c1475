"""What a server writes to its log: one line a record, JSON or for people; never any content, never a secret.

A log must not be able to stop the server, nor to be forged. So the lines are written by a thread of their own, those
that do not fit into its queue are counted and left out, and every control character is escaped. Of an exception, and of
whatever a library fills into its messages, only the names of classes and functions are told: the rest may be content.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import threading
import time
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, SecretStr

LogFormat = Literal["auto", "json", "text"]

MAX_QUEUED_LINES: Final = 10_000
CLOSE_SECONDS: Final = 1.0
OWN: Final = frozenset({"rag", "ingest", "api", "cli"})
REDACTED: Final = "***"
LONGEST_MESSAGE: Final = 2_000

_URL_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")


def secrets_of(settings: BaseModel) -> frozenset[str]:
    """Every secret value among the settings, the passwords in URLs included."""
    found: set[str] = set()
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            found |= secrets_of(value)
        elif isinstance(value, SecretStr):
            found.add(value.get_secret_value())
        elif isinstance(value, str) and (password := re.search(r"://[^/\s:@]*:([^/\s@]+)@", value)):
            found.add(password[1])
    return frozenset(found - {""})


class Line(logging.Formatter):
    """A record as one line."""

    def __init__(self, *, as_json: bool, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._as_json = as_json
        self._secrets = tuple(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its end."""
        fields: Mapping[str, Any] = {"request_id": getattr(record, "request_id", None), **getattr(record, "fields", {})}
        shown: dict[str, Any] = {
            "time": _timestamp(record.created), "level": record.levelname.lower(), "logger": record.name,
            "message": self._clean(_message(record)),
        }  # fmt: skip
        shown |= {name: self._clean(value) for name, value in fields.items() if value is not None}
        if record.exc_info and record.exc_info[1]:
            shown |= {"error": names_of(record.exc_info[1]), "at": _frames(record.exc_info[1])}
        if self._as_json:
            return json.dumps(shown)
        head = f"{shown.pop('time')[11:19]} {shown.pop('level'):<7} {shown.pop('logger')}: {shown.pop('message')}"
        return " ".join([head, *(f"{name}={_plain(value)}" for name, value in shown.items())])

    def _clean(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        for secret in self._secrets:
            value = value.replace(secret, REDACTED)
        return escaped(_URL_PASSWORD.sub(rf"\1{REDACTED}@", value))[:LONGEST_MESSAGE]


class LogSink(logging.Handler):
    """Writes lines to a file descriptor in a thread of its own; `dropped` counts those that found no room."""

    def __init__(self, formatter: logging.Formatter, descriptor: int, max_lines: int = MAX_QUEUED_LINES) -> None:
        super().__init__()
        self.dropped = 0
        self.setFormatter(formatter)
        self._descriptor = descriptor
        self._lines: queue.Queue[bytes | None] = queue.Queue(max_lines)
        self._thread = threading.Thread(target=self._write, name="quoth-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record, if it is ours or matters; never waits, never raises."""
        if record.levelno < logging.WARNING and record.name.partition(".")[0] not in OWN:
            return  # some libraries tell requests with their content there
        try:
            self._lines.put_nowait(self.format(record).encode(errors="replace") + b"\n")
        except queue.Full:
            self.dropped += 1
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002
        """Count a record that cannot be formatted: the default prints its arguments, which may be content."""
        self.dropped += 1

    def close(self) -> None:
        """Write what is queued, as far as that goes within a second."""
        super().close()
        with suppress(queue.Full):
            self._lines.put_nowait(None)
        self._thread.join(CLOSE_SECONDS)

    def _write(self) -> None:
        # Not through sys.stderr: a thread that is blocked there holds a lock that the interpreter's end asks for.
        while (line := self._lines.get()) is not None:
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                self.dropped += 1


def start_logging(settings: BaseModel, level: str, how: LogFormat, descriptor: int = 2) -> LogSink:
    """Send all logging of this process to one sink, in place of where it went. `close` it at the end."""
    as_json = how == "json" or (how == "auto" and not os.isatty(descriptor))
    sink = LogSink(Line(as_json=as_json, secrets=secrets_of(settings)), descriptor)
    root = logging.getLogger()
    for handler in tuple(root.handlers):
        root.removeHandler(handler)
    root.addHandler(sink)
    root.setLevel(level.upper())
    return sink


def dropped_lines() -> int:
    """Lines that the sinks of this process had no room for."""
    return sum(handler.dropped for handler in logging.getLogger().handlers if isinstance(handler, LogSink))


def escaped(text: str) -> str:
    """Text without any character that could end a line, move a cursor or turn the direction of writing."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"\\u{ord(character):04x}" if unicodedata.category(character)[0] in "CZ" and character != " " else character
        for character in text
    )


def names_of(error: BaseException) -> str:
    """The class of an exception and of its causes, without what they say."""
    names: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(names) < 8:
        names.append(type(cause).__name__)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return " < ".join(names)


def _message(record: logging.LogRecord) -> str:
    if record.name.partition(".")[0] not in OWN:
        return str(record.msg).partition("\n")[0]
    arguments = record.args
    if isinstance(arguments, tuple):
        arguments = tuple(names_of(each) if isinstance(each, BaseException) else each for each in arguments)
    return str(record.msg) % arguments if arguments else str(record.msg)


def _frames(error: BaseException) -> list[str]:
    frames: list[str] = []
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        frames.append(f"{'/'.join(Path(code.co_filename).parts[-2:])}:{step.tb_lineno} {code.co_name}")
        step = step.tb_next
    return frames[-20:]


def _timestamp(created: float) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(created))}.{int(created % 1 * 1000):03d}Z"


def _plain(value: Any) -> str:
    return " > ".join(value) if isinstance(value, list) else str(value)
