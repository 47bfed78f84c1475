"""Counting tokens, against the libraries' own answers and as a property of spans."""

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from rag.errors import ConfigurationError, ModelNotFoundError
from rag.models.catalogue import CATALOGUE
from rag.models.resolve import installed
from rag.settings import load_settings
from rag.tokens import (
    SLICE_CHARACTERS,
    EmbedderTokenizer,
    PromptTokenizer,
    load_prompt_tokenizer,
    prompt_token_counter,
    replace_surrogates,
)

MODELS = load_settings().models_dir


def prompt_tokenizer(encoding: str = "o200k_base") -> PromptTokenizer:
    if installed(f"tiktoken/{encoding}", MODELS) is None:
        pytest.skip(f"tiktoken/{encoding} is not in the models folder: quoth models pull tiktoken/{encoding}")
    return load_prompt_tokenizer(MODELS, encoding)


def embedder_tokenizer() -> EmbedderTokenizer:
    folder = installed("BAAI/bge-small-en-v1.5", MODELS)
    if folder is None:
        pytest.skip("BAAI/bge-small-en-v1.5 is not in the models folder: quoth models pull BAAI/bge-small-en-v1.5")
    return EmbedderTokenizer(Tokenizer.from_file(str(folder.file("tokenizer.json"))))


def test_o200k_counts_as_published() -> None:
    """`tiktoken is great!` is six tokens in OpenAI's cookbook on counting tokens."""
    count = prompt_tokenizer().count
    assert count("tiktoken is great!") == 6
    assert count("") == 0
    assert count("hello world") == 2


def test_cl100k_counts_as_published() -> None:
    assert prompt_tokenizer("cl100k_base").count("antidisestablishmentarianism") == 6


def test_control_tokens_in_a_text_are_text() -> None:
    assert prompt_tokenizer().count("<|endoftext|>") > 1


def test_a_long_run_of_one_character_is_counted() -> None:
    counted = prompt_tokenizer().count("a" * (SLICE_CHARACTERS * 3))
    assert counted == pytest.approx(SLICE_CHARACTERS * 3 / 8, rel=0.01)


def test_spans_of_a_long_text_continue_over_slices() -> None:
    text = "word " * (SLICE_CHARACTERS // 2)
    spans = prompt_tokenizer().offsets(text)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
    assert all(one[1] == other[0] for one, other in pairwise(spans))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200))
def test_prompt_spans_tile_the_text(text: str) -> None:
    tokenizer = prompt_tokenizer()
    spans = tokenizer.offsets(text)
    assert "".join(text[start:end] for start, end in spans) == text
    assert len(spans) <= tokenizer.count(text)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.characters(), max_size=200))
def test_embedder_spans_are_ordered_and_within_the_text(text: str) -> None:
    tokenizer = embedder_tokenizer()
    spans = tokenizer.offsets(text)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert spans == sorted(spans)
    assert len(spans) <= tokenizer.count(text)


def test_embedder_tokens_are_never_truncated_padded_or_special() -> None:
    inner = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.enable_truncation(3)
    inner.enable_padding(length=9)
    tokenizer = EmbedderTokenizer(inner)
    assert tokenizer.count("a a a a a") == 5
    assert tokenizer.offsets("a  a") == [(0, 1), (3, 4)]


def test_half_a_surrogate_pair_is_replaced_in_place() -> None:
    assert replace_surrogates("a\ud83dz") == "a�z"
    assert embedder_tokenizer().offsets("a \ud83d z")[-1] == (4, 5)


def test_an_encoding_that_is_not_here_names_its_command(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="quoth models pull tiktoken/o200k_base"):
        prompt_token_counter(tmp_path)


def test_a_torn_encoding_is_refused_and_left_alone(tmp_path: Path) -> None:
    ranks = tmp_path / CATALOGUE["tiktoken/o200k_base"].location
    ranks.parent.mkdir()
    ranks.write_bytes(b"IQ== 0\n")
    with pytest.raises(ConfigurationError, match="torn"):
        prompt_token_counter(tmp_path)
    assert ranks.exists()


def test_loading_leaves_the_environment_as_it_was() -> None:
    before = dict(os.environ)
    prompt_tokenizer()
    assert dict(os.environ) == before
