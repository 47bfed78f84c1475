"""BM25: terms of many scripts, and weights that agree with an independent library."""

import math
from collections import Counter

import bm25s
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag import bm25
from rag.bm25 import BM25Encoder

ENCODER = BM25Encoder()


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The running dogs", ["run", "dog"]),
        ("max_tokens maxTokens", ["max_token", "max", "token", "maxtoken", "max", "token"]),
        ("error E-42 in v1.2", ["error", "e-42", "e", "42", "v1.2", "v", "1", "2"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("東京都に住む", ["東京", "京都", "都に", "に住", "住む"]),
        ("Übergröße ﬁle", ["übergröss", "file"]),
        ("", []),
        ("the of --- !!", []),
    ],
)
def test_terms(text: str, terms: list[str]) -> None:
    assert list(ENCODER.terms(text)) == terms


@given(st.text(max_size=300))
def test_any_text_has_finite_weights_at_distinct_places(text: str) -> None:
    for vector in (ENCODER.encode_passage(text), ENCODER.encode_query(text)):
        assert list(vector.indices) == sorted(set(vector.indices))
        assert all(0 <= index < 2**32 for index in vector.indices)
        assert all(weight > 0 and math.isfinite(weight) for weight in vector.values)


def test_scores_equal_those_of_bm25s() -> None:
    texts = [
        "Trains are booked in second class, and trains only.",
        "Flights need the consent of a manager.",
        "A manager books trains.",
        "Lunch is paid by the company on days of travel by train or by air.",
    ]
    # bm25s normalises by the corpus's own average length; give it passages whose average is our constant.
    terms = [list(ENCODER.terms(text)) for text in texts]
    filler = bm25.AVERAGE_WORDS * (len(texts) + 1) - sum(map(len, terms))
    terms.append(["filler"] * filler)
    other = bm25s.BM25(k1=bm25.K1, b=bm25.B, method="lucene")
    other.index(terms, show_progress=False)
    query = list(dict.fromkeys(ENCODER.terms("Which trains may a manager book?")))

    passages = [ENCODER.encode_passage(text) for text in texts]
    df = Counter(index for passage in passages for index in passage.indices)
    wanted = set(ENCODER.encode_query("Which trains may a manager book?").indices)
    ours = [
        sum(
            weight * math.log(1 + (len(terms) - df[index] + 0.5) / (df[index] + 0.5))
            for index, weight in zip(passage.indices, passage.values, strict=True)
            if index in wanted
        )
        for passage in passages
    ]
    # bm25s leaves the constant factor k1 + 1 out.
    assert ours == pytest.approx(np.asarray(other.get_scores(query))[:4] * (bm25.K1 + 1), rel=1e-4)
