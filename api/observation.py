"""What is known of a request when it has ended: its figures, its log line and its trace are made of this."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rag.events import Usage


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the work. `began_at` is a Unix time."""

    name: str
    began_at: float
    seconds: float


@dataclass(slots=True)
class Observation:
    """One request: an Observer of the work below it.

    Attributes:
        route: the template that fitted, such as `/v1/files/{file_id}`; `none` where there was none.
        status: of the response; 499 where the client left before there was one.
        is_cut: the response began and did not end.
    """

    method: str
    route: str = "none"
    status: int = 499
    request_id: str = ""
    key_id: str = ""
    store_ids: tuple[str, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    outcomes: list[str] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    began_at: float = field(default_factory=time.time)
    seconds: float = 0.0
    is_cut: bool = False

    def stage(self, name: str, began_at: float, seconds: float) -> None:
        """A stage is over."""
        self.stages.append(Stage(name, began_at, seconds))

    def searched(self, store_ids: Sequence[str]) -> None:
        """Stores are searched."""
        self.store_ids = tuple(dict.fromkeys((*self.store_ids, *store_ids)))

    def answered(self, outcome: str, usage: Usage) -> None:
        """An answer has ended."""
        self.outcomes.append(outcome)
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        self.cost += usage.cost or 0
