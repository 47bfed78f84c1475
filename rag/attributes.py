"""What filters may ask of a document: the attributes that users give it, and a few that it has by itself.

The latter begin with `quoth.`, which no user's may, so that the two cannot collide: `quoth.filename`, `quoth.type` (the
media type), `quoth.suffix`, `quoth.path` and `quoth.folder` (of a file in a folder; all folders above it), `quoth.date`
(seconds since 1970), and what its parser tells, such as `quoth.from` of a mail.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from rag.dates import seconds_of
from rag.documents import AskedValue, AttributeValue
from rag.errors import InvalidInputError

OWN: Final = "quoth."
DATE: Final = f"{OWN}date"
FILENAME: Final = f"{OWN}filename"
FOLDER: Final = f"{OWN}folder"
PATH: Final = f"{OWN}path"
SUFFIX: Final = f"{OWN}suffix"
TYPE: Final = f"{OWN}type"
MAX_ATTRIBUTES: Final = 16
MAX_KEY_CHARACTERS: Final = 64
MAX_VALUE_CHARACTERS: Final = 512
MAX_GROUPS: Final = 64
MAX_FOLDERS: Final = 64
UPLOADS: Final = "upload:///"

# In filters these name what the store layer itself keeps of a chunk.
_TAKEN = frozenset({"document_id", "generation", "chunk_id"})
_MAX_INTEGER = 2**63


def check_attributes(given: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """A user's attributes, when they can be stored and asked for.

    Raises:
        InvalidInputError: names the first that cannot.
    """
    if len(given) > MAX_ATTRIBUTES:
        raise InvalidInputError(f"{len(given)} attributes were given; a file may have {MAX_ATTRIBUTES}.")
    for key, value in given.items():
        if len(key) > MAX_KEY_CHARACTERS or not _is_name(key):
            raise InvalidInputError(
                f"{key[:MAX_KEY_CHARACTERS]!r} cannot name an attribute: use 1 to {MAX_KEY_CHARACTERS} characters, no "
                "double quote and no backslash."
            )
        if key in _TAKEN or key.startswith(OWN):
            raise InvalidInputError(f"{key!r} is a name of Quoth's own; call the attribute otherwise.")
        if not _is_storable(value) or (isinstance(value, str) and len(value) > MAX_VALUE_CHARACTERS):
            raise InvalidInputError(
                f"The attribute {key!r} has a value that cannot be stored: use a string of at most "
                f"{MAX_VALUE_CHARACTERS} characters, a finite number of at most 64 bits, or a boolean."
            )
    return dict(given)


def check_groups(given: Iterable[str]) -> tuple[str, ...]:
    """The groups that may read a file, each once, sorted. Raises InvalidInputError where one cannot be stored."""
    groups = tuple(sorted(set(given)))
    if len(groups) > MAX_GROUPS or not all(0 < len(each) <= MAX_KEY_CHARACTERS and is_text(each) for each in groups):
        raise InvalidInputError(f"Name at most {MAX_GROUPS} groups, each of 1 to {MAX_KEY_CHARACTERS} characters.")
    return groups


def merged(by_user: Mapping[str, AttributeValue], by_parser: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
    """What a document's row holds: the user's attributes, and its parser's under names of Quoth's own."""
    return {**by_user, **{f"{OWN}{key}": value for key, value in by_parser.items()}}


def of_user(attributes: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
    """Those of a document's attributes that a user gave it."""
    return {key: value for key, value in attributes.items() if not key.startswith(OWN)}


def of_parser(attributes: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
    """Those that its parser told, under the parser's names."""
    return {key.removeprefix(OWN): value for key, value in attributes.items() if key.startswith(OWN)}


def date_of(attributes: Mapping[str, AttributeValue]) -> float | None:
    """A document's date, in seconds since 1970: the user's attribute `date` where it tells one, else Quoth's own."""
    by_user = seconds_of(attributes.get("date"))
    return seconds_of(attributes.get(DATE)) if by_user is None else by_user


def to_ask(uri: str, media_type: str, attributes: Mapping[str, AttributeValue]) -> dict[str, AskedValue]:
    """All that filters may ask of a document; what cannot be stored beside the vectors is left out."""
    path = unquote(urlsplit(uri).path)
    name = path.rsplit("/", 1)[-1]
    found: dict[str, Any] = {**attributes, FILENAME: name, TYPE: media_type, DATE: date_of(attributes)}
    if suffix := PurePosixPath(name).suffix:
        found[SUFFIX] = suffix.lower()
    if uri.startswith("file:"):
        found[PATH] = path
    asked: dict[str, AskedValue] = {key: each for key, each in found.items() if _is_name(key) and _is_storable(each)}
    if PATH in asked and (folders := _folders_above(path)):
        asked[FOLDER] = folders
    return asked


def _folders_above(path: str) -> tuple[str, ...]:
    """From the outermost one, which is not the root of everything."""
    return tuple(str(folder) for folder in list(PurePosixPath(path).parents)[-2::-1][:MAX_FOLDERS])


def upload_uri(file_id: str, filename: str) -> str:
    """The URI of an uploaded document."""
    return f"{UPLOADS}{file_id}/{quote(filename, safe='', errors='surrogatepass')}"


def file_id_of(uri: str) -> str | None:
    """The id of the upload that a document was made of; None for a file in a folder."""
    return uri.removeprefix(UPLOADS).split("/", 1)[0] if uri.startswith(UPLOADS) else None


def _is_name(key: str) -> bool:
    """Whether the vector stores can address it."""
    return bool(key) and '"' not in key and "\\" not in key and is_text(key)


def _is_storable(value: Any) -> bool:
    if isinstance(value, str):
        return is_text(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and -_MAX_INTEGER <= value < _MAX_INTEGER


def is_text(text: str) -> bool:
    """Whether it can be written down: half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
