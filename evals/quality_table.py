"""The README's table of quality, made from `evals/expected/*.yaml`.

python -m evals.quality_table            print it
python -m evals.quality_table --write    put it into the README
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from evals.expectations import FOLDER, ROOT, Expected, read_expected
from rag.errors import InvalidInputError

README = ROOT / "README.md"
BEGIN, END = "<!-- quality: made by python -m evals.quality_table --write -->", "<!-- quality ends -->"

ROWS = {
    "bm25": "words (BM25)",
    "dense": "vectors (bge-small, int8)",
    "default": "both, as Quoth searches",
    "rrf": "both, by reciprocal ranks instead",
}
COLUMNS = {
    "cranfield": "Cranfield",
    "cacm": "CACM",
    "scifact_train": "SciFact train",
    "squad2_dev_half": "SQuAD 2 dev, half",
    "pubmedqa": "PubMedQA",
    "chunking_eval": "Chroma chunking",
    "hotpotqa_train100": "HotpotQA, 100",
    "musique_train100": "MuSiQue, 100",
    "xquad-en": "XQuAD en",
}


def table(expected: Sequence[Expected]) -> str:
    """A Markdown table, one row a system, one column a dataset; what was not measured is left open."""
    by_name = {each.dataset: each for each in expected}
    shown = [name for name in COLUMNS if name in by_name]
    lines = [
        f"| nDCG@10 | {' | '.join(COLUMNS[name] for name in shown)} |",
        "| --- |" + " --: |" * len(shown),
    ]
    for system, label in ROWS.items():
        scores = [by_name[name].scores.get(system) for name in shown]
        if any(scores):
            cells = [f"{score[0]:.3f}".lstrip("0") if score else "" for score in scores]
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def with_table(text: str, made: str) -> str:
    """A text with the table between its marks. Raises InvalidInputError when it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InvalidInputError(f"The text has no place for the table: {BEGIN} ... {END}.")
    return f"{before}{BEGIN}\n{made}\n{END}{after}"


def main(arguments: Sequence[str]) -> None:
    """Print the table, or write it."""
    made = table(read_expected(FOLDER))
    if "--write" in arguments:
        README.write_text(with_table(README.read_text(encoding="utf-8"), made), encoding="utf-8")
    else:
        sys.stdout.write(made + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
