"""What the parsers of tables, JSON, XML, notebooks, mails and AsciiDoc make of files that are known in full."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ingest.parsers.limits import ParserLimits
from ingest.parsers.packed_rtf import unpacked
from ingest.parsers.registry import parse
from rag.documents import Document, Locator
from rag.errors import ParseError
from tests.ingest.made_data import ASCIIDOC, MAIL, NOTEBOOK_3, compound, notebook, outlook_mail

LIMITS = ParserLimits(max_characters=30_000_000, max_pages=3)


def shown(document: Document) -> list[tuple[str, str]]:
    position = 0
    for block in document.blocks:
        assert position <= block.start < block.end <= len(document.text)
        position = block.end
    return [(block.kind, document.text[block.start : block.end]) for block in document.blocks]


def headings_of(document: Document, words: str) -> tuple[str, ...]:
    return next(block.headings for block in document.blocks if words in document.text[block.start : block.end])


def reason(data: bytes, name: str, limits: ParserLimits = LIMITS) -> str:
    with pytest.raises(ParseError) as caught:
        parse(data, name, limits)
    assert str(caught.value).endswith(".")
    return caught.value.reason


def test_csv() -> None:
    document = parse(b'\xef\xbb\xbfname,note,\r\n"Lozano, Dr","two\r\nlines\there",\r\nx,,z\r\n', "people.csv", LIMITS)
    assert document.title == "people"
    assert shown(document) == [("table", "name | note\nLozano, Dr | two lines here\nx |  | z")]
    assert document.blocks[0].locator == Locator(rows=(1, 3))


def test_csv_tables_between_empty_records() -> None:
    document = parse(b"a;b\n1;2\n2;3\n\n;;\nc;d\n3;4\n", "g.csv", LIMITS)
    assert shown(document) == [("table", "a | b\n1 | 2\n2 | 3"), ("table", "c | d\n3 | 4")]
    assert [block.locator.rows for block in document.blocks] == [(1, 3), (6, 7)]


@pytest.mark.parametrize("data", [b"a,b\r\r\n1,2\r\r\n3,4\r\r\n", b"a,b\n\n1,2\n\n3,4\n"])
def test_double_spaced_csv_is_one_table(data: bytes) -> None:
    document = parse(data, "g.csv", LIMITS)
    assert shown(document) == [("table", "a | b\n1 | 2\n3 | 4")]
    assert document.blocks[0].locator == Locator(rows=(1, 3))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\tb, c\n1\t2, 3\n", "a | b, c\n1 | 2, 3"),
        (b"name;price\na;1,5\nb;2,5\n", "name | price\na | 1,5\nb | 2,5"),
        (b"a|b\n1|2\n", "a | b\n1 | 2"),
        (b"Industry\nAccounting, Finance\nSales\n", "Industry\nAccounting, Finance\nSales"),
        (b"sep=;\na;b,c\n", "a | b,c"),
        (b"a,b\n1\n1,2,3\n", "a | b\n1\n1 | 2 | 3"),
        ("a,b\nä,ö\n".encode("utf-16"), "a | b\nä | ö"),
    ],
)
def test_delimiters(data: bytes, text: str) -> None:
    assert parse(data, "g.csv", LIMITS).text == text


def test_csv_with_a_lone_quote_loses_no_record() -> None:
    rows = b"".join(b"%d,x\n" % number for number in range(2000))
    document = parse(b'n,note\n7,"open\n' + rows + b'8,5" pipe\n9,"a, b"\n10,"Q" said\n', "g.csv", LIMITS)
    lines = document.text.split("\n")
    assert lines[:3] == ["n | note", '7 | "open', "0 | x"]
    assert lines[-4:] == ["1999 | x", '8 | 5" pipe', "9 | a, b", "10 | Q said"]
    assert document.blocks[0].locator == Locator(rows=(1, 2005))


def test_csv_of_a_hundred_thousand_rows_and_a_long_cell() -> None:
    document = parse(b"1,2\n" * 100_000 + b'"' + b"x" * 200_000 + b'",1\n', "g.csv", LIMITS)
    assert (len(document.blocks), document.text.count("\n")) == (1, 100_000)
    assert reason(b"1,2\n" * 100, "g.csv", replace(LIMITS, max_characters=500)) == "too_long"


JSON = b"""{
  "name": "Quoth",
  "size": 1.0,
  "size": 1e999,
  "parts": {"ingest": ["a", "b"]},
  "last": null
}
"""


def test_json_as_a_person_wrote_it() -> None:
    document = parse(JSON, "g.json", LIMITS)
    assert (document.title, document.text) == ("g", JSON.decode())
    assert shown(document) == [
        ("code", '{\n  "name": "Quoth",\n  "size": 1.0,\n  "size": 1e999,'),
        ("code", '"parts": {"ingest": ["a", "b"]},'),
        ("code", '"last": null\n}'),
    ]
    assert [block.headings for block in document.blocks] == [(), ("parts",), ()]
    assert [block.locator.lines for block in document.blocks] == [(1, 4), (5, 5), (6, 7)]


def test_json_on_one_line_is_laid_out() -> None:
    content = {"café": {"a": [], "b": {}}, "big": {"x": {"t": "word " * 200}, "y": {"t": "word " * 200}}}
    document = parse(json.dumps(content, separators=(",", ":")).encode(), "g.json", LIMITS)
    assert document.text == json.dumps(content, indent=2, ensure_ascii=False)
    assert [block.headings for block in document.blocks] == [("café",), ("big", "x"), ("big", "y")]
    assert {block.locator for block in document.blocks} == {Locator()}
    assert json.loads(document.text) == content


def test_json_escapes_are_shown_as_what_they_stand_for() -> None:
    document = parse(rb'["\u00e9\ud83d\ude00 \ud800 \u0022\u000a \\u0041"]', "g.json", LIMITS)
    assert document.text == '["é😀 \\ud800 \\u0022\\u000a \\\\u0041"]'


def test_json_of_ten_megabytes_on_one_line() -> None:
    document = parse(b'["' + b"word " * 2_000_000 + b'"]', "g.json", LIMITS)
    assert len(document.text) == len('[\n  "') + 10_000_000 + len('"\n]')


@pytest.mark.parametrize(
    ("data", "expected", "words"),
    [
        (b"[" * 100_000, "too_deep", "1,000 deep"),
        (b'{\n  "a": 1,\n  b: 2}', "corrupt", "line 3, column 3"),
        (b"[1, 2", "corrupt", "line 1, column 6"),
        (b'{"a" 1}', "corrupt", "line 1, column 6"),
        (b"[1]]", "corrupt", "line 1, column 4"),
        (b"<html>", "wrong_type", "none"),
        (b'{"a": "\0"}', "binary", "NUL"),
    ],
)
def test_json_that_is_none(data: bytes, expected: str, words: str) -> None:
    assert reason(data, "g.json") == expected
    with pytest.raises(ParseError, match=words):
        parse(data, "g.json", LIMITS)


def test_json_lines() -> None:
    data = b'{"a": 1}\n\n  {"b": "\\u00e9"}\nno json\n'
    for name in ("g.jsonl", "g.ndjson"):
        document = parse(data, name, LIMITS)
        assert shown(document) == [("code", '{"a": 1}'), ("code", '{"b": "é"}'), ("code", "no json")]
        assert [block.locator.lines for block in document.blocks] == [(1, 1), (3, 3), (4, 4)]
    assert reason(b"no json\nat all\n", "g.jsonl") == "wrong_type"
    assert len(parse(b'{"a": 1}\n{"a": 2}\n', "g.json", LIMITS).blocks) == 2


def test_json_suite(collections: Path) -> None:
    accepted = set()
    for path in sorted((collections / "hostile" / "json").glob("*.json")):
        try:
            parse(path.read_bytes(), path.name, LIMITS)
        except ParseError as error:
            assert error.reason in ("corrupt", "wrong_type", "no_text", "binary", "too_deep"), path.name
        else:
            accepted.add(path.name)
    refused_wrongly = {path.name for path in (collections / "hostile" / "json").glob("y_*.json")} - accepted
    assert refused_wrongly == set()
    assert {name for name in accepted if name.startswith("n_")} == NUMBERS_THAT_MANY_WRITE


NUMBERS_THAT_MANY_WRITE = {"n_number_NaN.json", "n_number_infinity.json", "n_number_minus_infinity.json"}


def test_xml_of_prose() -> None:
    data = b"""<?xml version="1.0"?><!DOCTYPE book SYSTEM "book.dtd" [<!ENTITY pic SYSTEM "a.png" NDATA png>]>
    <book><title>The Guide</title><meta id="7"><author>Ann</author><year>2026</year></meta>
    <sec id="s1"><title>Install</title><p>First <b>bold</b>,
      H<sub>2</sub>O&nbsp;and &#233;.</p><list><item><p>one</p></item></list><pre>a
  b</pre></sec><sec><heading>One</heading><p>1</p><heading>Two</heading><p>2</p></sec>
    <table><tr><td>a</td><td/><td>c</td></tr><tr><td>d</td><td>e</td></tr></table></book>"""
    document = parse(data, "g.xml", LIMITS)
    assert document.title == "The Guide"
    assert shown(document) == [
        ("heading", "The Guide"),
        ("paragraph", "author: Ann\nyear: 2026"),
        ("heading", "Install"),
        ("paragraph", "First bold, H2O and é."),
        ("paragraph", "one"),
        ("code", "a\n  b"),
        ("heading", "One"),
        ("paragraph", "1"),
        ("heading", "Two"),
        ("paragraph", "2"),
        ("table", "a |  | c\nd | e"),
    ]
    assert headings_of(document, "First") == ("The Guide", "Install")
    assert headings_of(document, "2") == ("The Guide",)
    assert document.blocks[-2].headings == ("The Guide", "Two")


def test_xml_of_data() -> None:
    data = b"""<c:config xmlns:c="urn:c"><server name="db"><host>x</host><port unit="tcp">5432</port></server>
    <add key="a" value="1"/><description>&lt;p&gt;Some&lt;/p&gt;&lt;ul&gt;&lt;li&gt;words&lt;/li&gt;&lt;/ul&gt;%s
    </description></c:config>""" % (b"words " * 50)
    document = parse(data, "g.xml", LIMITS)
    assert shown(document)[:2] == [
        ("paragraph", "server: name=db\nhost: x\nport (unit=tcp): 5432"),
        ("paragraph", "add: key=a, value=1"),
    ]
    assert shown(document)[2:4] == [("paragraph", "Some"), ("list", "- words")]
    assert document.blocks[0].headings == ("server",)


def test_xml_in_its_declared_encoding_and_xhtml() -> None:
    russian = '<?xml version="1.0" encoding="windows-1251"?><a>Привет</a>'.encode("windows-1251")
    assert parse(russian, "g.xml", LIMITS).text == "Привет"
    page = b"<?xml version='1.0'?>\n<!DOCTYPE html>\n<html><body><h1>Page</h1><nav>no</nav></body></html>"
    assert parse(page, "g.xml", LIMITS).text == "Page"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>words &x;</a>', "corrupt"),
        (b'<!DOCTYPE a [<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]><a>words</a>', "corrupt"),
        (b'<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><a>&b;</a>', "corrupt"),
        (b"<a><b></a>", "corrupt"),
        (b"<a>&unknown;</a>", "corrupt"),
        (b"<a>" * 100_000, "too_deep"),
        (b"words", "wrong_type"),
        (b"<r>" + b"<![CDATA[" * 100_000, "corrupt"),
        (b"<a></a>", "no_text"),
    ],
)
def test_xml_that_is_not_read(data: bytes, expected: str) -> None:
    assert reason(data, "g.xml") == expected


def test_xml_bombs(collections: Path) -> None:
    outcomes = {}
    for path in sorted((collections / "hostile" / "xml_bombs").glob("*.xml")):
        try:
            outcomes[path.stem] = parse(path.read_bytes(), path.name, LIMITS).text
        except ParseError as error:
            outcomes[path.stem] = error.reason
    bombs = ("cyclic", "external", "external_file", "quadratic", "xmlbomb", "xmlbomb2")
    assert {name: outcomes[name] for name in bombs} == dict.fromkeys(bombs, "corrupt")
    assert (outcomes["dtd"], outcomes["dtd_element"], outcomes["simple"]) == ("text", "node: A test", "text texttail")


def test_notebook() -> None:
    document = parse(notebook(), "g.ipynb", LIMITS)
    assert document.title == "Guide"
    assert shown(document) == [
        ("heading", "# Guide"),
        ("paragraph", "Opening words."),
        ("heading", "## Install"),
        ("code", "1 + 1"),
        ("code", "loud"),
        ("code", "2"),
        ("code", "ValueError: no"),
        ("paragraph", "Below it."),
        ("heading", "Usage\n====="),
        ("paragraph", "Last."),
        ("code", "x" * 2000 + "\n…"),
    ]
    assert headings_of(document, "Below it.") == ("Guide", "Install")
    assert headings_of(document, "Last.") == ("Usage",)
    assert [block.locator.cell for block in document.blocks] == [1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4]


def test_notebook_of_nbformat_3() -> None:
    document = parse(NOTEBOOK_3, "g.ipynb", LIMITS)
    assert document.title == "Old"
    assert shown(document) == [("heading", "# Old"), ("code", "print(1)"), ("code", "1")]


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"{}", "wrong_type"), (b"[1]", "wrong_type"), (b"{", "corrupt"), (b"[" * 100_000, "too_deep")],
)
def test_notebook_that_is_none(data: bytes, expected: str) -> None:
    assert reason(data, "g.ipynb") == expected


def test_mail() -> None:
    document = parse(MAIL, "g.eml", LIMITS)
    assert document.title == "Grüße to all"
    assert shown(document) == [
        (
            "paragraph",
            "Subject: Grüße to all\nFrom: Jürgen <j@example.com>\nTo: a@example.com, b@example.com\n"
            "Date: Tue, 03 Feb 2026 10:00:00 +0100",
        ),
        ("paragraph", "Schöne words."),
        ("quote", "> quoted\n> words"),
        ("heading", "# Notes"),
        ("paragraph", "Attached words."),
        ("paragraph", "Subject: Inner\nFrom: c@example.com"),
        ("paragraph", "Inner words."),
        ("paragraph", "Attachments not read: tool.exe: unsupported."),
    ]
    assert document.attributes == {
        "from": "Jürgen <j@example.com>",
        "date": "2026-02-03T10:00:00+01:00",
        "attachments_left_out": "tool.exe: unsupported",
    }
    assert document.blocks[4].headings == ("notes.md", "Notes")
    assert document.blocks[4].locator == Locator(entry="notes.md", lines=(3, 3))
    assert document.blocks[6].locator == Locator(entry="Inner")


def test_mail_of_html_alone() -> None:
    document = parse(b"From: a@x\nContent-Type: text/html\n\n<h1>Hi</h1><p>there</p>", "g.eml", LIMITS)
    assert document.title == "g"
    assert shown(document) == [("paragraph", "From: a@x"), ("heading", "Hi"), ("paragraph", "there")]


def test_mail_of_an_unknown_charset_and_a_broken_header() -> None:
    head = b"From: a@x\nSubject: =?no-such?q?a=C3=A4?= =?utf-8?b?!!!?= =?idna?q?x=FF?=\nDate: soon\n"
    data = head + b"Content-Type: text/plain; charset=no\n\n\xc3\xa4"
    document = parse(data, "g.eml", LIMITS)
    assert document.text.endswith("\n\nä")
    assert "date" not in document.attributes


def test_mail_attachments_that_are_nested_are_named_beyond_the_limit() -> None:
    data = b"".join(b"From: a@x\nSubject: s%d\nContent-Type: message/rfc822\n\n" % n for n in range(3))
    document = parse(data + b"From: z@x\nSubject: s3\n\nlast words\n", "g.eml", LIMITS)
    assert "Subject: s2" in document.text and "last words" not in document.text
    assert document.attributes["attachments_left_out"] == "s1/s2/s3: too_deep"


def multipart(count: int) -> bytes:
    lines = (b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(count))
    return b"From: a@x\n" + b"".join(lines) + b"Content-Type: text/plain\n\nhi\n"


def test_mail_of_too_many_parts() -> None:
    assert "hi" in parse(multipart(20), "g.eml", LIMITS).text
    assert reason(multipart(100), "g.eml") == "too_deep"
    assert reason(multipart(1_000), "g.eml") == "too_deep"
    many = b'From: a@x\nContent-Type: multipart/mixed; boundary="b"\n\n' + b"--b\n\nhi\n" * 30
    assert reason(many, "g.eml", replace(LIMITS, max_entries=20)) == "too_long"
    assert reason(b"just some words\n\nand more\n", "g.eml") == "wrong_type"


def test_outlook_mail() -> None:
    document = parse(outlook_mail(), "g.msg", LIMITS)
    assert document.title == "Grüße"
    assert shown(document) == [
        (
            "paragraph",
            "Subject: Grüße\nFrom: Ann <ann@example.com>\nTo: Bob <bob@example.com>\nDate: 2026-02-03T09:00:00+00:00",
        ),
        ("paragraph", "Hello."),
        ("paragraph", "Bye."),
        ("paragraph", "Attached words."),
        ("paragraph", "Subject: Inner"),
        ("paragraph", "Inner words."),
    ]
    assert document.attributes == {"from": "Ann <ann@example.com>", "date": "2026-02-03T09:00:00+00:00"}
    assert [block.locator.entry for block in document.blocks] == [None, None, None, "notes.txt", "Inner", "Inner"]


def test_outlook_mail_of_html() -> None:
    page = {"__substg1.0_10130102": "<p>Grüße</p>".encode("cp1252")}
    assert "Grüße" in parse(outlook_mail("", page), "g.msg", LIMITS).text


def test_outlook_mail_that_is_broken() -> None:
    good = outlook_mail()
    assert reason(b"From: a@x\n\nhi", "g.msg") == "wrong_type"
    assert reason(compound({"WordDocument": b"x"}), "g.msg") == "wrong_type"
    assert reason(good[:600], "g.msg") == "corrupt"
    circle = good[:512] + (0).to_bytes(4, "little") * 128 + good[1024:]
    assert reason(circle, "g.msg") == "corrupt"
    assert reason(good, "g.msg", replace(LIMITS, max_expanded_bytes=100)) == "too_long"


def test_outlook_mails_of_others(collections: Path) -> None:
    folder = collections / "folders" / "mixed_office"
    document = parse((folder / "docling/email/msg_with_attachment.msg").read_bytes(), "g.msg", LIMITS)
    assert document.title == "Email with Attachment"
    assert "This email contains an attachment." in document.text
    assert "It contains some dummy content." in document.text
    assert document.attributes["attachments_left_out"] == "report.pdf: corrupt"


def test_packed_rtf() -> None:
    # The example of the format's specification.
    packed = bytes.fromhex(
        "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
    )
    assert unpacked(packed) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"


def test_asciidoc() -> None:
    document = parse(ASCIIDOC, "g.adoc", LIMITS)
    assert document.title == "The Guide"
    assert document.text == ASCIIDOC.decode()
    assert shown(document) == [
        ("code", ":toc:\n:author: nobody"),
        ("heading", "[[top]]\n= The *Guide*"),
        ("paragraph", "Opening words."),
        ("heading", "== Install [[install]]"),
        ("code", "[source,sh]\n----\n== no heading\n\npip install quoth\n----"),
        ("list", "* one\n** nested\n+\nstill the item\n\n* two"),
        ("table", ".Keys\n|===\n|key |value\n\n|a |1\n|==="),
        ("quote", "[quote]\n____\nquoted words\n____"),
        ("heading", "Deeper\n~~~~~~"),
        ("list", "term:: what it is\n\n literal text"),
        ("paragraph", "Last."),
    ]
    assert headings_of(document, "nested") == ("The Guide", "Install")
    assert headings_of(document, "Last.") == ("The Guide", "Install", "Deeper")
    assert document.blocks[2].locator == Locator(lines=(7, 7))
    assert shown(parse(b"words\n\n literal\n text\n", "g.adoc", LIMITS))[1] == ("code", "literal\n text")
    assert parse(b"words\n\n== Part ==\n", "plain.asciidoc", LIMITS).title == "plain"


@pytest.mark.parametrize("name", ["g.csv", "g.jsonl", "g.xml", "g.ipynb", "g.adoc"])
def test_bytes_that_are_no_text(name: str) -> None:
    assert reason(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR text", name) == "binary"


def test_naughty_strings(collections: Path) -> None:
    document = parse((collections / "hostile/naughty/blns.json").read_bytes(), "blns.json", LIMITS)
    assert document.text.startswith("[") and "\0" not in document.text
    assert all(text.strip() for _, text in shown(document))
