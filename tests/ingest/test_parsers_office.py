"""What the parsers of office formats make of small files that are known in full, of damaged and of hostile ones."""

from pathlib import Path

import pytest

from ingest.parsers.limits import ParserLimits
from ingest.parsers.registry import parse
from rag.documents import Document, Locator
from rag.errors import ParseError
from tests.ingest.made_office import (
    EPUB,
    ODP,
    ODS,
    ODT,
    PPTX,
    RTF,
    XLSX,
    amount,
    contents,
    epub,
    opendocument,
    package,
    pptx,
    row,
    shape,
    words,
    xlsb,
    xlsx,
)

LIMITS = ParserLimits(max_characters=1_000_000, max_pages=5, max_entries=50, max_expanded_bytes=30_000_000)
OFFICE = "mixed_office/docling"


def shown(document: Document) -> list[tuple[str, str]]:
    return [(block.kind, document.text[block.start : block.end]) for block in document.blocks]


def headings_of(document: Document, text: str) -> tuple[str, ...]:
    return next(block.headings for block in document.blocks if text in document.text[block.start : block.end])


def locators(document: Document) -> list[Locator]:
    return [block.locator for block in document.blocks]


def reason(data: bytes, name: str) -> str:
    with pytest.raises(ParseError) as caught:
        parse(data, name, LIMITS)
    assert str(caught.value).endswith(".")
    return caught.value.reason


def read(collections: Path, path: str) -> Document:
    file = collections / "folders" / path
    return parse(file.read_bytes(), file.name, LIMITS)


# Written documents


def test_rtf() -> None:
    document = parse(RTF, "g.rtf", LIMITS)
    assert document.title == "The Guide"
    assert shown(document) == [
        ("heading", "# Guide"),
        ("paragraph", "Opening wörds “quoted”."),
        ("table", "| key | value |\n| --- | --- |\n| a | 1 |"),
        ("paragraph", "Last."),
    ]
    assert headings_of(document, "Last.") == ("Guide",)


def test_rtf_named_as_word_documents_often_are() -> None:
    assert parse(RTF, "g.doc", LIMITS).title == "The Guide"


def test_rtf_that_breaks_off_in_a_page_header() -> None:
    assert parse(rb"{\rtf1 words\par{\header {a \bin99999 ", "g.rtf", LIMITS).text == "words"


def test_opendocument_text() -> None:
    document = parse(ODT, "g.odt", LIMITS)
    assert document.title == "Guide"
    assert shown(document) == [
        ("heading", "Guide"),
        ("paragraph", "Opening words."),
        ("paragraph", "A note."),
        ("heading", "Install"),
        ("list", "- one\n  - inner"),
        ("table", "key | value\na | 1"),
    ]
    assert headings_of(document, "inner") == ("Guide", "Install")
    assert set(locators(document)) == {Locator()}


def test_opendocument_leaves_out_what_is_not_shown() -> None:
    content = (
        "<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
        "<text:table-of-content><text:p>contents</text:p></text:table-of-content>"
        "<text:section><text:list><text:list-item><text:h>One</text:h></text:list-item></text:list></text:section>"
        "<text:p>a<text:tab/>b<text:line-break/>c <draw:frame><draw:object><text:p>formula</text:p></draw:object>"
        "<draw:image/><svg:title>image1</svg:title><svg:desc>A duck.</svg:desc></draw:frame></text:p>"
        "<table:table><table:table-row><table:table-cell/></table:table-row></table:table>"
    )
    document = parse(opendocument("text", content, title="Own"), "g.odt", LIMITS)
    assert document.title == "Own"
    assert shown(document) == [("heading", "One"), ("paragraph", "a b\nc"), ("paragraph", "A duck.")]


def test_opendocument_nested_without_end_is_refused() -> None:
    nested = "<text:span>" * 50_000 + "x" + "</text:span>" * 50_000
    assert reason(opendocument("text", f"<text:p>{nested}</text:p>"), "g.odt") == "too_deep"


def test_repeated_cells_do_not_multiply_without_end() -> None:
    cell = '<table:table-cell table:number-columns-repeated="999999999"><text:p>x</text:p></table:table-cell>'
    document = parse(
        opendocument("text", f"<table:table><table:table-row>{cell}</table:table-row></table:table>"), "g.odt", LIMITS
    )
    assert document.text.count("x") == 100


def test_epub_in_the_order_of_its_spine() -> None:
    document = parse(EPUB, "g.epub", LIMITS)
    assert document.title == "One"
    assert shown(document) == [
        ("heading", "One"),
        ("paragraph", "Opening words."),
        ("heading", "Two"),
        ("paragraph", "second chapter"),
    ]
    assert headings_of(document, "second") == ("Two",)
    assert set(locators(document)) == {Locator()}


def test_epub_titles() -> None:
    assert parse(epub({"a": "<p>x</p>"}, title="Own"), "g.epub", LIMITS).title == "Own"
    assert parse(epub({"a": "<h2>x</h2>"}), "g.epub", LIMITS).title == "g"


def test_epub_of_many_anchors_is_not_deep() -> None:
    assert parse(epub({"a": "<a id='x'/>" * 10_000 + "<p>x</p>"}), "g.epub", LIMITS).text == "x"


def test_epub_that_is_protected() -> None:
    parts = contents(EPUB)
    reference = '<CipherReference URI="{}"/>'
    parts["META-INF/encryption.xml"] = f"<encryption>{reference.format('OEBPS/font.otf')}</encryption>".encode()
    assert parse(package(parts), "g.epub", LIMITS).title == "One"
    parts["META-INF/encryption.xml"] = f"<encryption>{reference.format('OEBPS/b.xhtml')}</encryption>".encode()
    assert reason(package(parts), "g.epub") == "encrypted"


def test_epub_with_a_page_missing() -> None:
    parts = contents(EPUB)
    del parts["OEBPS/b.xhtml"]
    assert reason(package(parts), "g.epub") == "corrupt"


def test_word_comments_are_not_the_documents_text(collections: Path) -> None:
    document = read(collections, f"{OFFICE}/docx/docx_comments.docx")
    assert "[cmt" not in document.text and "[^cmt" not in document.text and "reviewer comment" not in document.text
    assert "paragraph that has a comment attached to it." in document.text
    assert document.text.endswith("This paragraph has an anonymous comment.")


def test_word_97(collections: Path) -> None:
    document = read(collections, f"{OFFICE}/doc/legacy_sample.doc")
    assert document.title == "Let’s swim!"
    assert headings_of(document, "I like to eat leaves") == ("Let’s swim!", "Let’s eat")
    assert ("list", "1. Leaves\n2. Berries\n3. Grain") in shown(document)
    assert "\\" not in document.text


# Presentations


def test_powerpoint() -> None:
    document = parse(PPTX, "g.pptx", LIMITS)
    assert document.title == "The Guide"
    assert shown(document) == [
        ("heading", "The Guide"),
        ("paragraph", "Opening words."),
        ("list", "- one\n  - inner"),
        ("table", "key | value\na | 1"),
        ("paragraph", "Say this."),
    ]
    assert [locator.slide for locator in locators(document)] == [1, 1, 3, 3, 3]
    assert headings_of(document, "Opening") == ("The Guide",)
    assert headings_of(document, "inner") == ()
    assert document.text == "The Guide\n\nOpening words.\n\n- one\n  - inner\n\nkey | value\na | 1\n\nSay this."


def test_powerpoint_titles() -> None:
    assert parse(pptx([shape("x")], title="Own"), "g.pptx", LIMITS).title == "Own"
    assert parse(pptx([shape("x")], title="PowerPoint Presentation"), "g.pptx", LIMITS).title == "g"


def test_powerpoint_of_images_only() -> None:
    assert (
        reason(pptx(["<p:pic><p:nvPicPr><p:cNvPr descr='image1.png'/></p:nvPicPr></p:pic>"]), "g.pptx") == "needs_ocr"
    )
    assert reason(pptx([""]), "g.pptx") == "no_text"


def test_powerpoint_of_too_many_slides() -> None:
    assert reason(pptx([shape("x")] * 6), "g.pptx") == "too_long"


def test_powerpoint_charts_are_tables(collections: Path) -> None:
    document = read(collections, f"{OFFICE}/pptx/pptx_chart.pptx")
    assert shown(document)[:3] == [
        ("heading", "Quarterly Duck Survey"),
        ("paragraph", "Wild Duck Observations by Year"),
        ("table", "| Freshwater Ducks | Saltwater Ducks\n2019 | 120 | 80\n2020 | 130 | 95\n2021 | 150 | 110\n"
         "2022 | 175 | 130"),
    ]  # fmt: skip


def test_opendocument_presentation() -> None:
    document = parse(ODP, "g.odp", LIMITS)
    assert document.title == "Guide"
    assert shown(document) == [
        ("heading", "Guide"),
        ("paragraph", "Opening words."),
        ("paragraph", "A note."),
        ("paragraph", "Last."),
    ]
    assert [locator.slide for locator in locators(document)] == [1, 1, 1, 3]
    assert headings_of(document, "Last.") == ()


def test_powerpoint_97(collections: Path) -> None:
    document = read(collections, f"{OFFICE}/ppt/legacy_sample.ppt")
    slides = {document.text[block.start : block.end]: block.locator.slide for block in document.blocks}
    assert slides["Test Table Slide"] == slides["With footnote"] == 1
    assert slides["Second slide title"] == slides["Some notes on the second slide."] == 2
    assert slides["List item6"] == 3
    assert headings_of(document, "And baz things") == ("Second slide title",)


# Spreadsheets


def test_excel() -> None:
    document = parse(XLSX, "g.xlsx", LIMITS)
    assert document.title == "g"
    assert document.text == ("Sales\n\nOpening | price | sold\nnut and bolt | 7\nnail | 0.3 | 2023-03-15\n\ntotal | 8")
    assert [block.kind for block in document.blocks] == ["heading", "table", "table"]
    assert locators(document) == [
        Locator(sheet="Sales"),
        Locator(sheet="Sales", rows=(2, 4)),
        Locator(sheet="Sales", rows=(9, 9)),
    ]
    assert {block.headings for block in document.blocks} == {("Sales",)}


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (amount(7), "7"),
        (amount(-0.5), "-0.5"),
        (amount("1e15"), "1e+15"),
        (amount(123456789012345), "123456789012345"),
        (amount(45000.5, 2), "2023-03-15 12:00:00"),
        (amount(1.5, 3), "36:00:00"),
        (amount(0.5, 2), "12:00:00"),
        ('<c t="b"><v>1</v></c>', "TRUE"),
        (words("  a\r\n\tb "), "a b"),
        (words("naïve | x"), "naïve | x"),
    ],
)
def test_cells_as_people_write_them(cell: str, text: str) -> None:
    assert parse(xlsx({"S": row(1, cell)}), "g.xlsx", LIMITS).text == f"S\n\n{text}"


def test_excel_titles() -> None:
    assert parse(xlsx({"S": row(1, amount(7))}, title="Own"), "g.xlsx", LIMITS).title == "Own"


def test_lines_of_a_table_are_its_rows_one_for_one() -> None:
    sheet = "".join(row(n, "", "" if n % 2 else words("x\ny"), amount(n)) for n in range(3, 40))
    document = parse(xlsx({"S": sheet}), "g.xlsx", LIMITS)
    table = document.blocks[1]
    assert table.locator.rows == (3, 39)
    lines = document.text[table.start : table.end].split("\n")
    assert [line.rsplit(" ", 1)[1] for line in lines] == [str(n) for n in range(3, 40)]


def test_a_sheet_of_nothing_is_no_text() -> None:
    assert reason(xlsx({"S": ""}), "g.xlsx") == "no_text"


def test_opendocument_spreadsheet() -> None:
    document = parse(ODS, "g.ods", LIMITS)
    assert document.text == "Ducks\n\nOpening | ducks\n2019 | 120.5"
    assert locators(document)[1] == Locator(sheet="Ducks", rows=(1, 2))


def test_binary_excel() -> None:
    document = parse(xlsb(), "g.xlsb", LIMITS)
    assert document.text == "Ducks\n\nyear | 2019\n\nTRUE"
    assert [locator.rows for locator in locators(document)] == [None, (2, 2), (5, 5)]


def test_excel_with_macros() -> None:
    parts = contents(XLSX)
    types = parts["[Content_Types].xml"]
    parts["[Content_Types].xml"] = types.replace(
        b"vnd.openxmlformats-officedocument.spreadsheetml.sheet.main", b"vnd.ms-excel.sheet.macroEnabled.main"
    )
    assert parts["[Content_Types].xml"] != types
    assert parse(package(parts), "g.xlsm", LIMITS).text == parse(XLSX, "g.xlsx", LIMITS).text


def test_columns_that_are_empty_at_the_left_are_left_out() -> None:
    sheet = row(1, "", "", words("a"), words("b")) + row(2, "", "", "", words("c")) + row(4, "", words("d"))
    assert parse(xlsx({"S": sheet}), "g.xlsx", LIMITS).text == "S\n\na | b\n| c\n\nd"


def test_excel_97(collections: Path) -> None:
    document = read(collections, f"{OFFICE}/xls/legacy_sample.xls")
    assert shown(document)[:2] == [
        ("heading", "Duck Observations"),
        ("table", "Number of freshwater ducks per year"),
    ]
    assert document.blocks[2].locator == Locator(sheet="Duck Observations", rows=(4, 10))


def test_an_opendocument_sheet_that_is_not_closed_is_corrupt() -> None:
    parts = contents(ODS)
    end = b"</table:table-row></table:table></office:spreadsheet></office:body></office:document-content>"
    assert parts["content.xml"].endswith(end)
    parts["content.xml"] = parts["content.xml"].removesuffix(end)
    assert reason(package(parts), "g.ods") == "corrupt"


def test_titles_are_clean() -> None:
    document = parse(rb"{\rtf1{\info{\title a\'01b\par c}}words}", "g.rtf", LIMITS)
    assert document.title.isprintable()


FAR = '<c r="XFD1048576"><v>8</v></c>'


def test_a_cell_far_from_the_others_is_refused_before_the_grid_is_made() -> None:
    far = f'{row(1, amount(7))}<row r="1048576">{FAR}</row>'
    assert reason(xlsx({"S": far}), "g.xlsx") == "too_long"
    cell = '<table:table-cell office:value-type="float" office:value="1" table:number-columns-repeated="16384"/>'
    ods = opendocument(
        "spreadsheet",
        f'<table:table table:name="S"><table:table-row table:number-rows-repeated="1048576">{cell}</table:table-row>'
        "</table:table>",
    )
    assert reason(ods, "g.ods") == "too_long"


def test_a_cell_at_the_far_end_alone_is_read_and_an_empty_one_does_no_harm() -> None:
    alone = parse(xlsx({"S": f'<row r="1048576">{FAR}</row>'}), "g.xlsx", LIMITS)
    assert (alone.text, alone.blocks[1].locator.rows) == ("S\n\n8", (1_048_576, 1_048_576))
    styled = f'{row(1, amount(7))}<row r="1048576"><c r="XFD1048576" s="1"/></row>'
    assert parse(xlsx({"S": styled}), "g.xlsx", LIMITS).text == "S\n\n7"


def test_a_sheet_of_too_much_text_is_refused() -> None:
    sheet = "".join(row(n, words("x" * 30_000)) for n in range(1, 40))
    assert reason(xlsx({"S": sheet}), "g.xlsx") == "too_long"
