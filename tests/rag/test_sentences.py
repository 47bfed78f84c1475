"""Sentence boundaries: the cases by name, and what holds for every text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.sentences import SentenceSplitter, split_sentences

CASES = {
    "plain": ["It rains.", "It pours!", "Does it stop?", "Yes."],
    "titles": ["Dr. Ada Byron met Mr. Babbage.", "They talked."],
    "acronym_inside": ["He left the U.S. Army in 1946.", "He wrote."],
    "acronym_last": ["He lived in the U.S.", "The house burned down."],
    "initials": ["J. R. R. Tolkien wrote it.", "It sold well."],
    "abbreviations": ["Use a tool, e.g. Make, i.e. the old one.", "See Fig. 3 and No. 12.", "Done."],
    "no_as_answer": ["No.", "It is not allowed."],
    "month": ["It began on Jan. 5 and ended on Feb. 7.", "Nobody came."],
    "company": ["Acme Inc. bought Widget Co. Ltd. for cash.", "The price was low."],
    "decimals": ["It costs 3.50 euros, or 1.234,56 in all.", "Version 2.0.1 is out."],
    "year_last": ["It began in 1999.", "Then it stopped."],
    "urls": ["Read https://example.org/a.b?x=1.2!y for more.", "Or write to a.b@example.org.", "Thanks."],
    "ellipsis": ["Well... maybe not.", "He stopped…", "Then he ran."],
    "quotes": ['She said "Stop."', "He stopped.", "“Why?” he asked.", "Nobody knew."],
    "brackets": ["It works (mostly.)", "Then it does not.", "(See below.)", "End."],
    "bold": ["**Never do this.**", "Do that."],
    "citation_after": ["The term is 30 days. [1][2]", "It is strict.[3]", "It ends [4].", "So."],
    "cjk": ["今天下雨。", "明天呢？", "「不知道！」", "好"],
    "link": ["See [the manual. Part two](https://example.org/x.Y) first.", "Then go."],
    "code_span": ["Call `a. B()` before.", "Then `stop`.", "End."],
}


@pytest.mark.parametrize("name", CASES)
def test_sentences(name: str) -> None:
    sentences = CASES[name]
    text = ("" if name == "cjk" else " ").join(sentences)
    assert [text[start:end] for start, end in split_sentences(text)] == sentences


LAYOUT = """# 1. A Heading. With stops

A paragraph that is
wrapped over lines. And a second
sentence
- First item. With two sentences.
- second item
  goes on here
1. Do this. Then that.
2. Do more
| Name | Note |
| --- | --- |
| A. | Good. Very. |
x | y. Z | w
a\tb. C
```python
a = 1. + b
# Comment. Here.
```
After the code.


Last one"""


def test_layout_lines_stand_for_themselves() -> None:
    assert [LAYOUT[start:end] for start, end in split_sentences(LAYOUT)] == [
        "# 1. A Heading. With stops",
        "A paragraph that is\nwrapped over lines.",
        "And a second\nsentence",
        "- First item.",
        "With two sentences.",
        "- second item\n  goes on here",
        "1. Do this.",
        "Then that.",
        "2. Do more",
        "| Name | Note |",
        "| --- | --- |",
        "| A. | Good. Very. |",
        "x | y. Z | w",
        "a\tb. C",
        "```python",
        "a = 1. + b",
        "# Comment. Here.",
        "```",
        "After the code.",
        "Last one",
    ]


def test_a_sentence_is_handed_out_as_soon_as_the_next_word_is_known() -> None:
    splitter = SentenceSplitter()
    assert splitter.feed("The term is 30 days") == []
    assert splitter.feed(". ") == []
    assert splitter.feed("It ") == [(0, 20)]
    assert splitter.feed("is strict.") == []
    assert splitter.finish() == [(21, 34)]


pieces = st.sampled_from(
    ["a", "B", "Dr", "U.S", "1", "12", ".", "!", "?", "…", "。", " ", "  ", "\n", "\n\n", "\t", "|", " | ", "- ", "#",
     "# ", "```", "`", "[", "]", "(", ")", "](", "[1]", "[x](y)", '"', "”", "*", "é", "漢", "\r\n", "\x0c", "e.g"]
)  # fmt: skip
texts = st.one_of(st.text(max_size=80), st.lists(pieces, max_size=40).map("".join))


@given(texts)
def test_spans_are_ordered_disjoint_and_cover_everything_but_space(text: str) -> None:
    covered = [False] * len(text)
    last = 0
    for start, end in split_sentences(text):
        assert last <= start < end <= len(text)
        assert not text[start].isspace()
        assert not text[end - 1].isspace()
        covered[start:end] = [True] * (end - start)
        last = end
    assert all(inside or text[at].isspace() for at, inside in enumerate(covered))


@given(st.lists(texts, max_size=6), st.booleans())
def test_any_way_of_feeding_gives_the_same_spans(feeds: list[str], by_character: bool) -> None:
    text = "".join(feeds)
    splitter = SentenceSplitter()
    found = [span for feed in (text if by_character else feeds) for span in splitter.feed(feed)]
    assert found + splitter.finish() == split_sentences(text)


@pytest.mark.parametrize("unit", ["a. ", "[", "](", "`", "\n", ".", "(", "Dr. ", "|", "\t", "a.\t", "- ", "[1] ", '."'])
def test_a_megabyte_of_anything_is_split(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    spans = split_sentences(text)
    assert sum(end - start for start, end in spans) >= sum(not character.isspace() for character in text)
