"""Results to files: one HTML page that needs nothing else, and the same as Markdown and JSON beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from evals.markdown import markdown
from evals.records import EvalResult
from evals.report_page import page
from evals.sections import sections, sections_as_json
from rag.errors import InvalidInputError


def write_report(
    results: Sequence[tuple[str, EvalResult]], out: Path, metric: str | None = None, *, seed: int = 0
) -> tuple[Path, Path, Path]:
    """Write the report.

    Args:
        results: name of the file without its suffix, and what it holds; the first system of each dataset is what the
            others are compared with.
        out: the HTML file; Markdown and JSON get its name with their suffix.
        metric: what questions are shown by; None takes nDCG@10, or F1 of answers.
        seed: of the resampling.

    Returns:
        The HTML, the Markdown and the JSON file.

    Raises:
        InvalidInputError: there is nothing to report, the files cannot be written, or `out` is not an HTML file.
    """
    if out.suffix not in {".html", ".htm"}:
        raise InvalidInputError(f"{out} must end in .html: Markdown and JSON are written beside it.")
    found = sections(results, metric, seed=seed)
    texts = {
        out: page(found),
        out.with_suffix(".md"): markdown(found),
        out.with_suffix(".json"): json.dumps(sections_as_json(found), ensure_ascii=False) + "\n",
    }
    for path, text in texts.items():
        try:
            # A lone surrogate, which JSON may hold, is no text that could be written.
            path.write_text(text, encoding="utf-8", errors="replace")
        except OSError as error:
            raise InvalidInputError(f"{path} cannot be written: {error.strerror}.") from None
    html, md, data = texts
    return html, md, data
