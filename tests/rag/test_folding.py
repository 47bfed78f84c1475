"""Folding: marks that people leave out go, marks that are letters stay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.folding import fold


@pytest.mark.parametrize(
    ("word", "folded"),
    [
        ("información", "informacion"),
        ("straße", "straße"),  # case folding makes it strasse before
        ("ışık", "isik"),
        ("i̇stanbul", "istanbul"),
        ("Łódź".casefold(), "lodz"),
        ("cœur", "coeur"),
        ("πότε", "ποτε"),
        ("ёлка", "елка"),
        ("за́мок", "замок"),
        ("й", "й"),
        ("كِتَاب", "كتاب"),
        ("סֵפֶר", "ספר"),
        ("फ़िल्म", "फिल्म"),
        ("कि", "कि"),
        ("น้ำ", "น้ำ"),
        ("plain", "plain"),
    ],
)
def test_fold(word: str, folded: str) -> None:
    assert fold(word) == folded


@given(st.text(max_size=40))
def test_folding_twice_changes_nothing(word: str) -> None:
    assert fold(fold(word)) == fold(word)
