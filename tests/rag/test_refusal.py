"""A refusal says what was looked for and what comes nearest, and nothing that could be live."""

from rag.documents import Chunk, Scores, SearchHit
from rag.refusal import NO_ANSWER, is_refusal, refusal


def hit(title: str) -> SearchHit:
    return SearchHit("s", Chunk("c", "d", "g", 0, "text", 0, 4), title, "file:///t", 1.0, Scores())


def test_it_says_what_was_looked_for_and_what_is_nearest() -> None:
    said = refusal("Who pays?", [hit("Leave"), hit("Leave"), hit("Travel"), hit("Pay"), hit("Rest")])
    assert said == f"{NO_ANSWER} I looked for “Who pays?”. The nearest passages are in: Leave; Travel; Pay."


def test_titles_and_questions_are_contained_and_cut() -> None:
    said = refusal("<img src=x>\n" + "x" * 500, [hit("[a](http://evil.example) <b>\u202e" + "t" * 200)])
    assert "<img" not in said
    assert "](" not in said
    assert "http://evil" not in said
    assert "\u202e" not in said
    assert len(said) < 450


def test_refusals_of_models_are_known() -> None:
    assert is_refusal(NO_ANSWER)
    assert is_refusal("The documents do not answer this.")
    assert is_refusal("The provided context does not contain this information.")
    assert is_refusal("There is no information about this in the passages.")
    assert not is_refusal("The documents are kept for ten years.")
    assert not is_refusal("The documents do not say that the moon is made of cheese.")
    assert not is_refusal("The documents do not answer this, but call 555 0100.")
