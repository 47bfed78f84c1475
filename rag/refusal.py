"""What is said when the documents do not answer."""

from __future__ import annotations

from typing import Final

NO_ANSWER: Final = "I could not find an answer to this in the documents."
