"""How much of a question is copied."""

import pytest

from evals.wording import content_words, copied, mean_overlap, overlap


def test_words_that_only_ask_do_not_count() -> None:
    assert content_words("How much does the pump weigh?") == content_words("pump weigh")


@pytest.mark.parametrize(
    ("question", "passage", "expected"),
    [
        ("How much does the pump weigh?", "The pump weighs 6 kg.", 1.0),
        ("How heavy is the pump?", "The pump weighs 6 kg.", 0.5),
        ("Where is Paris?", "The pump weighs 6 kg.", 0.0),
        ("Who is it?", "It is.", 0.0),
    ],
)
def test_overlap_is_the_share_of_content_words(question: str, passage: str, expected: float) -> None:
    assert overlap(question, passage) == expected


def test_a_set_is_summed_up() -> None:
    assert mean_overlap([1.0, 0.5, 0.0]) == 0.5
    assert mean_overlap([]) == 0.0
    assert copied([1.0, 0.9, 0.89]) == 2
