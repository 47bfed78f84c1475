"""What was answered so far, on disk, so that an interrupted run goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.answers import AnswerRecord
from rag.errors import InvalidInputError


class Journal:
    """Records as they come, beside the result that they will make, so that an interrupted run goes on.

    `FILE.answers.part` grows by a line a record; a finished run renames it to `FILE.answers.jsonl`, which is for people
    to read and never taken for answers again: the code may have changed meanwhile.
    """

    def __init__(self, save: Path, run: Mapping[str, Any]) -> None:
        """Args: `run` names all that the answers depend on, as JSON types."""
        self._part = save.with_name(f"{save.name}.answers.part")
        self._whole = save.with_name(f"{save.name}.answers.jsonl")
        self._run = json.loads(json.dumps(run))

    def read(self) -> dict[str, dict[str, AnswerRecord]]:
        """System -> case id -> record of the interrupted run; failed ones are left out, so that they are tried again.

        Raises:
            InvalidInputError: the file is of another run, or malformed.
        """
        if not self._part.is_file():
            self._part.write_text(json.dumps({"run": self._run}) + "\n", "utf-8")
            return {}
        lines = self._part.read_text("utf-8").split("\n")
        complete = lines[:-1]  # the last was cut off in the middle, or is empty
        found: dict[str, dict[str, AnswerRecord]] = {}
        try:
            then = json.loads(complete[0])["run"]
            for line in complete[1:]:
                row = json.loads(line)
                record = AnswerRecord.from_dict(row["record"])
                if not record.error:
                    found.setdefault(row["system"], {})[record.case] = record
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise InvalidInputError(f"{self._part} is malformed ({error}). Delete it to begin anew.") from None
        differing = [key for key in self._run.keys() | then.keys() if self._run.get(key) != then.get(key)]
        if differing:
            raise InvalidInputError(
                f"{self._part} is of an interrupted run with other {', '.join(sorted(differing))}. Delete it, or save "
                "the result elsewhere."
            )
        self._part.write_text("".join(f"{line}\n" for line in complete), "utf-8")
        return found

    def write(self, system: str, record: AnswerRecord) -> None:
        """Add a record."""
        with self._part.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"system": system, "record": record.as_dict()}, ensure_ascii=False) + "\n")

    def finish(self) -> None:
        """The run is over."""
        self._part.replace(self._whole)
