"""Datasets by name or path: read, cut into a dev and a test half, or with the documents that spans refer to.

Two layouts, told apart by what lies in the folder; docs/eval-data.md describes both for people:

* BEIR: `corpus.jsonl`, `queries.jsonl`, `qrels/SPLIT.tsv`, and perhaps `answers.jsonl` (`evals.beir`);
* your own: `questions.jsonl` and a folder `documents` of files of any format (`evals.folder_questions`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Set
from dataclasses import replace
from pathlib import Path

from evals.beir import read_beir, read_original
from evals.folder_questions import QUESTIONS, read_folder_questions
from evals.records import CorpusDocument, Dataset
from rag.errors import InvalidInputError

CORPUS = "corpus.jsonl"
DATA_DIR = Path("data")


def read_dataset(folder: Path, split: str = "test") -> Dataset:
    """Read a dataset in either layout.

    Args:
        folder: with `corpus.jsonl`, or with `questions.jsonl`.
        split: of the judgements, `qrels/SPLIT.tsv`. A folder of your own has none but `test`.

    Raises:
        InvalidInputError: nothing such is there, or what is there is malformed; the message names file and line.
    """
    if (folder / CORPUS).is_file():
        return read_beir(folder, split)
    if not (folder / QUESTIONS).is_file():
        raise InvalidInputError(
            f"{folder} is no dataset. It needs {CORPUS}, queries.jsonl and qrels/{split}.tsv, or {QUESTIONS} and a "
            "folder named documents."
        )
    if split != "test":
        raise InvalidInputError(f"{folder} has no split named {split!r}: {QUESTIONS} is all `test`.")
    return read_folder_questions(folder)


def find_dataset(name_or_path: str, data_dir: Path | None = None) -> Path:
    """The folder of a dataset.

    Args:
        name_or_path: a path, or the name of a folder below `data_dir`, such as `cranfield` or `xquad/de`.
        data_dir: `data` in the current folder where it is None.

    Raises:
        InvalidInputError: there is none; the message lists those that are there.
    """
    below = DATA_DIR if data_dir is None else data_dir
    for folder in (Path(name_or_path).expanduser(), below / name_or_path):
        if _is_dataset(folder):
            return folder
    known = ", ".join(list_datasets(below)) or "none"
    raise InvalidInputError(
        f"There is no dataset at {name_or_path!r}, nor one of that name in {below} (there: {known}). A dataset is a "
        f"folder with {CORPUS} or {QUESTIONS}."
    )


def list_datasets(data_dir: Path) -> list[str]:
    """Names of the datasets in a folder and in its folders, in order."""
    found = [*data_dir.glob(f"*/{CORPUS}"), *data_dir.glob(f"*/*/{CORPUS}")]
    found += [*data_dir.glob(f"*/{QUESTIONS}"), *data_dir.glob(f"*/*/{QUESTIONS}")]
    return sorted({path.parent.relative_to(data_dir).as_posix() for path in found})


def split_queries(dataset: Dataset, dev_share: float = 0.5, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Cut the questions in two: what is tuned on the first is measured on the second.

    Which half a question falls into depends on its id and the seed alone, so that it stays there when others come.

    Args:
        dataset: its documents go into both halves.
        dev_share: about this share of the questions goes into the first, 0 to 1.
        seed: another one cuts differently.

    Returns:
        (dev, test); each with a `sha256` of its own. `corpus_sha256` is that of the whole.

    Raises:
        InvalidInputError: `dev_share` is not 0 to 1.
    """
    if not 0 <= dev_share <= 1:
        raise InvalidInputError(f"The share of the dev half must be 0 to 1; it is {dev_share}.")
    dev = {query for query in dataset.queries if _draw(query, seed) < dev_share}
    cut = f"{dev_share} {seed}"
    return _part(dataset, f"dev {cut}", dev), _part(dataset, f"test {cut}", dataset.queries.keys() - dev)


def corpus_sha256(dataset: Dataset) -> str:
    """Over the documents alone: names an index that several splits share."""
    digest = hashlib.sha256()
    for document in dataset.documents.values():
        digest.update(json.dumps([document.id, document.title, document.text]).encode())
    return digest.hexdigest()


def with_originals(dataset: Dataset) -> Dataset:
    """The same questions over the uncut documents that the spans refer to, so that chunkings can be compared.

    A set whose corpus is already cut into passages keeps the uncut documents in `originals`, and its spans name those.

    Returns:
        A dataset whose documents are the files of `originals`, by file name; a document is relevant (grade 1) to the
        questions that have a span in it, and only questions whose spans all are in them are kept.

    Raises:
        InvalidInputError: the spans refer to no uncut documents.
    """
    kept = {
        case.id: case
        for case in dataset.cases
        if case.spans and not any(span.document in dataset.documents for span in case.spans)
    }
    names = sorted({span.document for case in kept.values() for span in case.spans})
    if not names:
        raise InvalidInputError(f"No span of {dataset.name} refers to a file in {dataset.folder / 'originals'}.")
    documents = {name: CorpusDocument(name, Path(name).stem, read_original(dataset.folder, name)) for name in names}
    cases = [
        replace(case, documents=tuple(dict.fromkeys(span.document for span in case.spans))) for case in kept.values()
    ]
    return replace(
        dataset,
        name=f"{dataset.name}/originals",
        sha256=_derived(dataset, "originals"),
        documents=documents,
        queries={query: dataset.queries[query] for query in kept},
        qrels={case.id: dict.fromkeys(case.documents, 1) for case in cases},
        cases=tuple(cases),
    )


def _part(dataset: Dataset, label: str, kept: Set[str]) -> Dataset:
    return replace(
        dataset,
        sha256=_derived(dataset, label),
        queries={query: text for query, text in dataset.queries.items() if query in kept},
        qrels={query: grades for query, grades in dataset.qrels.items() if query in kept},
        cases=tuple(case for case in dataset.cases if case.id in kept),
    )


def _draw(query: str, seed: int) -> float:
    """A number in [0, 1) that depends on the two alone."""
    digest = hashlib.sha256(f"{seed}\0{query}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _derived(dataset: Dataset, label: str) -> str:
    return hashlib.sha256(f"{dataset.sha256} {label}".encode()).hexdigest()


def _is_dataset(folder: Path) -> bool:
    return (folder / CORPUS).is_file() or (folder / QUESTIONS).is_file()
