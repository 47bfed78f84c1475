"""A sentence is found word for word, whatever became of its white space and typography."""

import regex
from hypothesis import given
from hypothesis import strategies as st

from rag.hidden_text import INVISIBLE
from rag.verbatim import VerbatimText

TEXT = "Use `List[T]`  or\n<T> for it. The “rate” is 5–7 %, therapists’ own."


def found(sentence: str, text: str = TEXT) -> str | None:
    span = VerbatimText(text).find(sentence)
    return text[slice(*span)] if span else None


def test_white_space_emphasis_and_typography_do_not_matter() -> None:
    assert found("Use List[T] or < T> for it.") == "Use `List[T]`  or\n<T> for it."
    assert found('**The "rate" is 5-7 %,** therapists\' own.') == "The “rate” is 5–7 %, therapists’ own."
    assert found("The\u200b “rate”") == "The “rate”"


def test_list_markers_of_the_answer_do_not_matter_and_those_of_the_text_are_found() -> None:
    assert found("- The “rate” is 5–7 %,") == "The “rate” is 5–7 %,"
    assert found("- one", "a\n- one\n- two") == "- one"
    assert found("2) two", "a\n- one\n- two") == "two"


def test_words_are_whole_and_signs_alone_are_nothing() -> None:
    assert found("The rapists") is None
    assert found("he “rate”") is None
    assert found("rate” is 5–7 %, therapist") is None
    assert found("—") is None
    assert found("cat", "concatenate the cat") == "cat"


@given(st.text(alphabet="ab (c)\n*“”é中", min_size=1, max_size=60), st.data())
def test_every_run_of_whole_words_is_found_and_slices_back(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    wanted = text[start:end]
    span = VerbatimText(text).find(wanted)
    squeezed = "".join(wanted.replace("*", "").replace("“", '"').replace("”", '"').split())
    if span:
        again = "".join(text[slice(*span)].replace("*", "").replace("“", '"').replace("”", '"').split())
        assert again == squeezed
    elif any(character.isalnum() for character in squeezed):
        cut = [at for at in (start, end) if 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()]
        spaced = wanted != wanted.strip(" \n*")
        assert cut or spaced


def test_whatever_is_white_space_control_or_invisible_in_all_of_unicode_does_not_matter() -> None:
    every = "".join(map(chr, range(0x110000)))
    left_out = "".join(regex.findall(rf"[\s\p{{Cc}}*`{INVISIBLE}]", every))
    assert len(left_out) > 4000
    assert found(f"Use{left_out}List") == "Use `List"
