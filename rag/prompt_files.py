"""The texts of the prompts: those that come with Quoth, or a user's own in their place."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final, Literal

from rag.errors import ConfigurationError

PromptName = Literal["answer", "condense"]

LONGEST: Final = 50_000


def prompt_text(name: PromptName, folder: Path | None = None) -> str:
    """The text of a prompt.

    Args:
        name: of the file, without `.md`.
        folder: of the user's own; a file that is not there is taken from Quoth's.

    Raises:
        ConfigurationError: the folder is none, or the file cannot be used.
    """
    packaged = files("rag").joinpath(f"prompts/{name}.md")
    if folder is None:
        return packaged.read_text(encoding="utf-8")
    path = folder.expanduser() / f"{name}.md"
    if not path.parent.is_dir():
        raise ConfigurationError(f"QUOTH_CHAT__PROMPTS_DIR is {folder}, which is no folder. Make it, or unset it.")
    if not path.exists():
        return packaged.read_text(encoding="utf-8")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The prompt {path} cannot be read as UTF-8 text: {error}.") from error
    if not text.strip() or len(text) > LONGEST:
        raise ConfigurationError(f"The prompt {path} has {len(text)} characters: write 1 to {LONGEST:,}.")
    return text
