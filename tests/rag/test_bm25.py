"""BM25: terms of many languages and scripts. test_bm25_parity.py compares the scores with an independent library."""

import math
import zlib

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
        ("नमस्ते दुनिया", ["नमस्त", "दुनिय"]),
        ("東京都に住む", ["東京", "京都", "都に", "に住", "住む"]),
        ("Übergröße ﬁle", ["ubergross", "file"]),
        ("1,250 euros or 1250", ["1250", "euro", "1250"]),
        ("", []),
        ("the of --- !!", []),
        ("12,345,678.90", ["12345678.90", "12345678", "90"]),
        ("rows 1,2,3 of v1,250 and 1,25", ["row", "1", "2", "3", "v1", "v", "1", "250", "1", "25"]),
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


def test_what_is_asked_twice_counts_twice() -> None:
    once, twice = (
        ENCODER.encode_query("the trains and the seats"),
        ENCODER.encode_query("trains, trains and seats of the"),
    )
    assert set(once.values) == {1.0}
    said = dict(zip(twice.indices, twice.values, strict=True))
    assert said[zlib.crc32(b"train")] == 2.0
    assert said[zlib.crc32(b"seat")] == 1.0


def test_passage_weights_do_not_depend_on_the_question() -> None:
    assert ENCODER.encode_passage("trains trains").values[0] < 2 * ENCODER.encode_passage("trains").values[0]


def shared(question: str, passage: str) -> int:
    """How many terms of a question a passage has."""
    return len(set(ENCODER.encode_query(question).indices) & set(ENCODER.encode_passage(passage).indices))


GERMAN = (
    "Die Kündigungsfristen sind in der Anlage und auf der Seite des Vertrages, wie es die Häuser mit dem Rat wollen."
)
SPANISH = "La información de las reuniones está en el servidor, y los documentos son para los que la piden con tiempo."
TURKISH = (
    "Bu IŞIKLAR ile evler daha çok görülür ve bir kitapta nasıl olduğu için her zaman yazılır, ama ne zaman değil."
)
RUSSIAN = "Договоры были подписаны в городах и на заводах, где это было нужно."
VIETNAMESE = "Người lao động được nghỉ phép theo quy định của công ty và các ngày lễ trong năm là có lương cho tất cả."


@pytest.mark.parametrize(
    ("question", "passage"),
    [
        ("Kündigungsfrist", GERMAN),  # alone it does not tell its language
        ("Was ist eine Kündigungsfrist?", GERMAN),
        ("kundigungsfrist", GERMAN),
        ("Kuendigungsfrist", GERMAN),
        ("Haus", GERMAN),
        ("reunión", SPANISH),
        ("informacion", SPANISH),
        ("ışık", TURKISH),
        ("kitap", TURKISH),
        ("договор", RUSSIAN),
        ("nghi phep", VIETNAMESE),
        ("nghỉ phép", VIETNAMESE),
        ("How does Kündigungsfristen work?", GERMAN),  # a word of one language in a question of another
        ("Was ist ein Server?", "The servers met."),  # likewise, and in a passage of the default language
        ("résumé", "Send the resume to the office."),
        ("resume", "Send the résumé to the office."),
        ("سياسه", "السِّيَاسَة"),
        ("ספר", "סֵפֶר"),
        ("ποτε", "Πότε"),
    ],
)
def test_a_question_meets_the_words_of_a_passage(question: str, passage: str) -> None:
    assert shared(question, passage)


@pytest.mark.parametrize(
    ("question", "passage"),
    [
        ("茶", "我喜欢喝茶。"),
        ("カメラ", "新しいカメラを買った"),
        ("京都", "東京都と京都府"),
        ("책", "책을 읽었다"),
        ("도서관", "학생들이 도서관에서 공부한다"),
        ("แมว", "ฉันเลี้ยงแมวสองตัว"),
        ("น้ำ", "ดื่มน้ำทุกวัน"),
        ("ນ້ຳ", "ດື່ມນ້ຳທຸກມື້"),
        ("ទឹក", "ផឹកទឹករាល់ថ្ងៃ"),
    ],
)
def test_words_of_scripts_without_spaces_are_found_inside_runs(question: str, passage: str) -> None:
    asked, held = ENCODER.encode_query(question).indices, ENCODER.encode_passage(passage).indices
    assert asked
    assert set(asked) <= set(held)


def test_marks_stay_with_their_letters() -> None:
    assert shared("किताब", "यह किताब अच्छी है")
    assert not shared("कल", "कुल काल कील")
    assert not shared("ไป", "ปี")


def test_stems_of_a_language_that_a_passage_is_not_in_find_nothing() -> None:
    # In Spanish `son` is a form of a verb; its stem would be that of the English noun.
    passage = dict.fromkeys(ENCODER.encode_passage("The casa was built on the sand by the son, and it is his.").indices)
    spanish = zlib.crc32(b"spanish:cas")
    assert spanish in ENCODER.encode_query("casas").indices
    assert spanish not in passage


def test_the_length_of_a_passage_without_spaces_is_counted_in_words() -> None:
    few, many = (ENCODER.encode_passage("茶" + "水火" * count) for count in (10, 100))
    weights = [dict(zip(one.indices, one.values, strict=True))[zlib.crc32("茶".encode())] for one in (few, many)]
    words = [(1 + 2 * count) / 3 / bm25.AVERAGE_WORDS for count in (10, 100)]
    assert weights == pytest.approx([(bm25.K1 + 1) / (1 + bm25.K1 * (1 - bm25.B + bm25.B * each)) for each in words])


def test_a_long_question_in_no_known_language_asks_for_few_terms() -> None:
    words = [f"zq{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(300)]
    assert len(ENCODER.encode_query(" ".join(words)).indices) <= 2 * len(words)
    assert len(ENCODER.encode_query(" ".join(words[:3])).indices) > 2 * 3


def test_another_default_language_names_another_fingerprint() -> None:
    assert BM25Encoder("german").fingerprint != ENCODER.fingerprint
    assert list(BM25Encoder("german").terms("Häuser")) == ["haus"]
