"""Records: ids from content, and the place of a quote within a chunk."""

from hypothesis import given
from hypothesis import strategies as st

from rag.documents import Block, Chunk, Locator, chunk_id, document_id, generation_of, store_id

TEXT = "Page three ends.\n\nPage four begins.\nIt goes on."
BLOCKS = (
    Block(100, 116, "paragraph", ("A",), Locator(page=3)),
    Block(118, 147, "paragraph", ("A", "B"), Locator(page=4, page_label="iv")),
)


def test_a_quote_has_the_page_and_headings_of_its_own_blocks() -> None:
    chunk = Chunk("c", "d", "g", 0, TEXT, 100, 147, ("A",), Locator(page=3, page_end=4), blocks=BLOCKS)
    assert chunk.place_of(0, 16) == (("A",), Locator(page=3, page_end=3))
    assert chunk.place_of(18, 29) == (("A", "B"), Locator(page=4, page_end=4, page_label="iv"))
    assert chunk.place_of(5, 25) == (("A",), Locator(page=3, page_end=4))


def test_a_quote_has_its_own_lines() -> None:
    blocks = (Block(0, len(TEXT), "paragraph", (), Locator(lines=(10, 13))),)
    chunk = Chunk("c", "d", "g", 0, TEXT, 0, len(TEXT), (), Locator(lines=(10, 13)), blocks=blocks)
    assert chunk.place_of(0, 16)[1].lines == (10, 10)
    assert chunk.place_of(18, 47)[1].lines == (12, 13)


def test_without_blocks_the_chunk_is_the_place() -> None:
    chunk = Chunk("c", "d", "g", 0, TEXT, 0, len(TEXT), ("A",), Locator(page=7))
    assert chunk.place_of(0, 4) == (("A",), Locator(page=7))


@given(st.text(), st.text(), st.integers(0, 1000))
def test_ids_are_derived_and_do_not_collide_by_concatenation(first: str, second: str, ordinal: int) -> None:
    document = document_id(store_id(first), second)
    assert document == document_id(store_id(first), second)
    assert chunk_id(document, "g", ordinal) != chunk_id(document, "g", ordinal + 1)
    assert generation_of(first, second) != generation_of(f"{first}x", second)


@given(
    st.builds(
        Locator,
        page=st.none() | st.integers(1, 9),
        sheet=st.none() | st.text(min_size=1),
        rows=st.none() | st.tuples(st.integers(1, 9), st.integers(1, 9)),
    )
)
def test_locators_survive_json(locator: Locator) -> None:
    assert Locator.from_dict(locator.as_dict()) == locator
