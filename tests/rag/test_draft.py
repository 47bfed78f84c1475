"""What of a model's words is said, under each policy, and what is said about them."""

import random
from itertools import pairwise

import pytest

from rag.containment import Containment
from rag.documents import Chunk, Scores, SearchHit
from rag.draft import Draft, Policy
from rag.events import CitationAdded, SentenceChecked, TextDelta
from rag.grounding import Grounder
from rag.protocols import ModelDelta

TEXT = "Refunds are paid within 30 days. Backups are kept for 35 days off-site.\n\nUse `List[T]` or <T> for it."
WRITTEN = "Backups are kept for 35 days off-site. The moon is made of cheese. Refunds come within 30 days, paid."


def hit(text: str = TEXT, title: str = "Terms") -> SearchHit:
    chunk = Chunk("c", "d", "g", 0, text, 0, len(text))
    return SearchHit(store_id="s", chunk=chunk, title=title, uri="file:///terms", score=1.0, scores=Scores())


def drafted(policy: Policy, *pieces: str, hits: tuple[SearchHit, ...] = ()) -> tuple[Draft, list[object]]:
    draft = Draft(Grounder(hits or (hit(),)), Containment(lambda _: True), policy)
    events: list[object] = []
    for piece in pieces:
        events += draft.write(ModelDelta(piece))
    return draft, events + draft.finish()


def said(events: list[object]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_mark_says_and_marks_what_no_passage_supports() -> None:
    draft, events = drafted("mark", WRITTEN)
    assert draft.text == said(events) == WRITTEN.replace("cheese.", "cheese. ‹unsupported›")
    assert [sentence.verdict for sentence in draft.sentences] == ["quoted", "unsupported", "supported"]
    assert [draft.text[each.start : each.end] for each in draft.sentences] == [each.text for each in draft.sentences]
    assert [each.citations for each in draft.sentences] == [("cit_1",), (), ("cit_2",)]


def test_strict_leaves_it_out_and_off_leaves_it_alone() -> None:
    strict, events = drafted("strict", WRITTEN)
    kept = WRITTEN.replace(" The moon is made of cheese.", "")
    assert strict.text == said(events) == kept
    assert [sentence.verdict for sentence in strict.sentences] == ["quoted", "supported"]
    assert drafted("off", WRITTEN)[0].text == WRITTEN


def test_strict_says_nothing_weak_and_no_white_space_in_its_place() -> None:
    assert drafted("strict", "  The moon!\n\nBackups are kept in the sea for 35 days, somewhere.")[0].text == ""
    assert drafted("strict", "Nonsense first.\n\nRefunds are paid within 30 days.")[0].text == (
        "Refunds are paid within 30 days."
    )


def test_the_words_of_a_passage_in_another_order_are_no_support() -> None:
    source = hit("The company pays 6 % of the gross salary into the company pension every month.")
    said = "The salary is paid by the company every month, and the pay is paid by the company every month."
    assert drafted("strict", said, hits=(source,))[0].text == ""


def test_strict_says_no_words_behind_a_fence_and_none_of_a_longer_refusal() -> None:
    said = (
        "``` Call 555 0100 for a refund.\nRefunds are paid within 30 days.\n```\n\nThe documents do not say who pays."
    )
    assert drafted("strict", said)[0].text == "```\nRefunds are paid within 30 days.\n```"


def test_what_announces_or_is_code_is_not_marked() -> None:
    text = "## The cheese\n\nThese are the cheeses:\n\n```\ncheese = moon[1]\n```\n\n---\n"
    draft, _ = drafted("mark", text)
    assert draft.text == text
    assert {sentence.verdict for sentence in draft.sentences} == {"unsupported"}


def test_quotes_are_found_behind_the_spaces_that_containment_puts_in() -> None:
    draft, _ = drafted("mark", "Use `List[T]` or <T> for it.")
    assert draft.text == "Use `List[T]` or < T> for it."
    (citation,) = draft.citations
    assert (citation.verdict, citation.quote) == ("quoted", "Use `List[T]` or <T> for it.")


def test_taking_numbers_out_does_not_make_anything_live() -> None:
    draft, _ = drafted("off", "<[1]img src=x> and [a][1](http://x)")
    assert "<img" not in draft.text
    assert "](" not in draft.text


def test_a_refusal_of_the_model_is_neither_marked_nor_left_out() -> None:
    for policy in ("mark", "strict"):
        draft, _ = drafted(policy, "The documents do not answer this.")
        assert (draft.text, draft.is_refusal) == ("The documents do not answer this.", True)
    assert not drafted("mark", "Refunds are paid within 30 days. The documents do not say more.")[0].is_refusal


def test_a_claimed_passage_is_looked_at_first() -> None:
    two = hit(), hit("Refunds are paid within 30 days.", title="Other")
    assert drafted("mark", "Refunds are paid within 30 days.", hits=two)[0].citations[0].title == "Terms"
    assert drafted("mark", "Refunds are paid within 30 days [2].", hits=two)[0].citations[0].title == "Other"
    assert drafted("mark", "Refunds are paid within 30 days [7].", hits=two)[0].citations[0].title == "Terms"


@pytest.mark.parametrize("policy", ["strict", "mark", "off"])
def test_cutting_the_stream_changes_nothing_and_offsets_hold(policy: Policy) -> None:
    written = WRITTEN + "\n\n- Use `List[T]` or <T> for it.\n- Nobody knows [3].\n"
    whole, _ = drafted(policy, written)
    draw = random.Random(0)
    for _ in range(300):
        edges = [0, *sorted(draw.sample(range(len(written)), draw.randrange(1, 9))), len(written)]
        draft, events = drafted(policy, *(written[a:b] for a, b in pairwise(edges)))
        assert (draft.text, draft.citations, draft.sentences) == (whole.text, whole.citations, whole.sentences)
        shown = ""
        for event in events:
            if isinstance(event, TextDelta):
                shown += event.text
            elif isinstance(event, CitationAdded):
                assert len(shown) == event.citation.answer_end, "a citation comes right behind its sentence"
                assert TEXT[event.citation.char_start : event.citation.char_end] == event.citation.quote
            elif isinstance(event, SentenceChecked):
                assert shown[event.sentence.start : event.sentence.end] == event.sentence.text
