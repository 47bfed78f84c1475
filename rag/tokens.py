"""Counting tokens: the embedder's own tokenizer for chunks, tiktoken's for prompt budgets."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import ConfigurationError
from rag.models.catalogue import CATALOGUE
from rag.models.resolve import resolve

if TYPE_CHECKING:
    import tiktoken
    import tokenizers

PROMPT_ENCODING = "o200k_base"
CACHE_VARIABLE = "TIKTOKEN_CACHE_DIR"
# tiktoken is quadratic in an unbroken run of characters; slices bound that and add a token each at most
SLICE_CHARACTERS = 50_000

SURROGATE = re.compile("[\ud800-\udfff]")

_loading = threading.Lock()


def replace_surrogates(text: str) -> str:
    """Half a surrogate pair, which JSON can carry but UTF-8 cannot, becomes U+FFFD; no character moves."""
    return SURROGATE.sub("\ufffd", text)


class EmbedderTokenizer:
    """A Hugging Face tokenizer as `rag.protocols.Tokenizer`: no special tokens, never truncated."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        """Take over a tokenizer: its truncation and padding are switched off."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer

    def count(self, text: str) -> int:
        """Tokens of `text`, without special tokens."""
        return len(self._tokenizer.encode_batch_fast([replace_surrogates(text)], add_special_tokens=False)[0].ids)

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """The span of characters of each token, in order; tokens that stand for no character are left out."""
        spans = self._tokenizer.encode(replace_surrogates(text), add_special_tokens=False).offsets
        return [(start, end) for start, end in spans if start < end]


class PromptTokenizer:
    """A tiktoken encoding as `rag.protocols.Tokenizer`. Text that looks like a control token is counted as text."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding

    def count(self, text: str) -> int:
        """Tokens of `text`; beyond 50,000 characters at most one too many for each 50,000."""
        return sum(len(self._encoding.encode_ordinary(part)) for part in _slices(text))

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """The span of characters of each token; of the tokens that share a character the last one has it."""
        found: list[tuple[int, int]] = []
        for number, part in enumerate(_slices(text)):
            base = number * SLICE_CHARACTERS
            tokens = self._encoding.encode_ordinary(part)
            starts = [*self._encoding.decode_with_offsets(tokens)[1], len(part)]
            found += [(base + start, base + end) for start, end in pairwise(starts) if start < end]
        return found


def load_prompt_tokenizer(models_dir: Path, encoding: str = PROMPT_ENCODING) -> PromptTokenizer:
    """A tiktoken encoding out of the models folder, without the network; loaded once.

    Raises:
        ModelNotFoundError: its file is not there; the message names the command that pulls it.
        ConfigurationError: its file is torn.
    """
    return PromptTokenizer(_encoding(encoding, resolve(f"tiktoken/{encoding}", models_dir, download=False).path))


def prompt_token_counter(models_dir: Path) -> Callable[[str], int]:
    """Counts tokens as o200k_base does. Raises as `load_prompt_tokenizer`."""
    return load_prompt_tokenizer(models_dir).count


@lru_cache(maxsize=4)
def _encoding(name: str, ranks: Path) -> tiktoken.Encoding:
    """tiktoken answers a torn file by deleting it and asking the network, so it is compared before."""
    if hashlib.sha256(ranks.read_bytes()).hexdigest() != CATALOGUE[f"tiktoken/{name}"].files[0].sha256:
        raise ConfigurationError(f"{ranks} is torn. Delete it and run: quoth models pull tiktoken/{name}")
    import tiktoken

    with _loading, _cache_folder(ranks.parent):
        return tiktoken.get_encoding(name)


@contextmanager
def _cache_folder(folder: Path) -> Iterator[None]:
    """tiktoken knows its cache by an environment variable alone; it is set while one encoding loads."""
    before = os.environ.get(CACHE_VARIABLE)
    os.environ[CACHE_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[CACHE_VARIABLE]
        else:
            os.environ[CACHE_VARIABLE] = before


def _slices(text: str) -> list[str]:
    return [text[start : start + SLICE_CHARACTERS] for start in range(0, len(text), SLICE_CHARACTERS)]
