"""What GET /v1/doctor reports, as the document describes it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from ingest.findings import Kind


class FindingObject(BaseModel):
    """Something that is wrong, and what `quoth doctor --repair` does about it."""

    kind: Kind
    message: str
    uri: str
    ids: list[str]
    repair: str


class NoteObject(BaseModel):
    """Something worth knowing that is no fault."""

    kind: str
    message: str
    uris: list[str]


class StoreExamination(BaseModel):
    """What was found in one store: all is counted, and the first of each kind are told."""

    store: str
    healthy: bool
    counts: dict[str, int]
    findings: list[FindingObject]
    note_counts: dict[str, int]
    notes: list[NoteObject]


class DoctorReport(BaseModel):
    """What is wrong with the stores."""

    object: Literal["doctor.report"]
    healthy: bool
    stores: list[StoreExamination]
