"""Small office files, made of their XML here: each is as little of its format as the programs that read it want."""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from tests.ingest.made import docx

_RELATIONSHIPS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OOXML = "application/vnd.openxmlformats-officedocument"
_ODF = "urn:oasis:names:tc:opendocument:xmlns"
_ODF_SPACES = " ".join(
    [f'xmlns:{name}="{_ODF}:{name}:1.0"' for name in ("office", "text", "table", "presentation", "meta")]
    + [f'xmlns:draw="{_ODF}:drawing:1.0"', f'xmlns:svg="{_ODF}:svg-compatible:1.0"']
    + ['xmlns:dc="http://purl.org/dc/elements/1.1/"']
)
_A = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
_P = 'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"'
_R = f'xmlns:r="{_RELATIONSHIPS}"'
_SHEET = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def package(parts: Mapping[str, str | bytes]) -> bytes:
    """A ZIP archive of these parts."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


def contents(data: bytes) -> dict[str, bytes]:
    """The parts of a ZIP archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def forged(data: bytes, name: str, size: int) -> bytes:
    """The archive with another size for its part `name`, in the directory and before the part."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        info = archive.getinfo(name)
    changed = bytearray(data)
    struct.pack_into("<I", changed, _record(data, name) + 24, size)
    struct.pack_into("<I", changed, info.header_offset + 22, size)
    return bytes(changed)


def _record(data: bytes, name: str) -> int:
    """Where the directory's record of a part begins."""
    return data.rindex(name.encode()) - 46


def bomb(name: str, *, expands_to: int, says: int) -> bytes:
    """An archive of one part whose header says another size than it expands to."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    block = deflater.compress(bytes(1_000_000)) + deflater.flush(zlib.Z_FULL_FLUSH)
    packed = block * (expands_to // 1_000_000) + deflater.flush()
    path = name.encode()
    fields = struct.pack("<HHHHIIIHH", 0, 8, 0, 33, 0, len(packed), says, len(path), 0)
    head = b"PK\x03\x04" + struct.pack("<H", 20) + fields + path
    record = b"PK\x01\x02" + struct.pack("<HH", 20, 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + path
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, len(record), len(head) + len(packed), 0)
    return head + packed + record + end


def _relationships(*targets: tuple[str, str]) -> str:
    inner = "".join(
        f'<Relationship Id="r{number}" Type="{_RELATIONSHIPS}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets, 1)
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{inner}</Relationships>'


def _office(main: str, content_type: str, parts: Mapping[str, str], title: str) -> bytes:
    types = (
        f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/{main}" ContentType="{_OOXML}.{content_type}.main+xml"/></Types>'
    )
    own = {"docProps/core.xml": f'<p xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title></p>'}
    return package(
        {"[Content_Types].xml": types, "_rels/.rels": _relationships(("officeDocument", main)), **parts}
        | (own if title else {})
    )


def xlsx(sheets: Mapping[str, str], *, title: str = "", hidden: Sequence[str] = ()) -> bytes:
    """An Excel workbook of sheets by name, each given as its rows in XML. Styles: 1 date, 2 time of day, 3 duration."""
    state = "", ' state="hidden"'
    names = "".join(
        f'<sheet name="{name}" sheetId="{number}" r:id="r{number}"{state[name in hidden]}/>'
        for number, name in enumerate(sheets, 1)
    )
    targets = [("worksheet", f"worksheets/sheet{number}.xml") for number in range(1, len(sheets) + 1)]
    parts = {
        f"xl/worksheets/sheet{number}.xml": f"<worksheet {_SHEET}><sheetData>{rows}</sheetData></worksheet>"
        for number, rows in enumerate(sheets.values(), 1)
    }
    return _office(
        "xl/workbook.xml",
        "spreadsheetml.sheet",
        {
            "xl/workbook.xml": f"<workbook {_SHEET} {_R}><sheets>{names}</sheets></workbook>",
            "xl/_rels/workbook.xml.rels": _relationships(*targets, ("styles", "styles.xml")),
            "xl/styles.xml": f'<styleSheet {_SHEET}><cellXfs count="4"><xf numFmtId="0"/><xf numFmtId="14"/>'
            '<xf numFmtId="22"/><xf numFmtId="46"/></cellXfs></styleSheet>',
            **parts,
        },
        title,
    )


def xlsb() -> bytes:
    """A binary Excel workbook: the sheet `Ducks` with "year" in A2, 2019 in B2 and TRUE in A5."""

    def record(kind: int, body: bytes = b"") -> bytes:
        low = bytes([kind & 0x7F | 0x80, kind >> 7]) if kind > 0x7F else bytes([kind])
        return low + bytes([len(body)]) + body

    def text(value: str) -> bytes:
        return struct.pack("<I", len(value)) + value.encode("utf-16-le")

    def cell(kind: int, column: int, value: bytes) -> bytes:
        return record(kind, struct.pack("<II", column, 0) + value)

    def row_header(number: int) -> bytes:
        return record(0, struct.pack("<I", number) + bytes(13))

    book = [
        record(131),
        record(143),
        record(156, struct.pack("<II", 0, 1) + text("r1") + text("Ducks")),
        record(144),
        record(132),
    ]
    cells = [
        row_header(1),
        cell(6, 0, text("year")),
        cell(5, 1, struct.pack("<d", 2019)),
        row_header(4),
        cell(4, 0, b"\1"),
    ]
    sheet = [record(129), record(148, struct.pack("<IIII", 1, 4, 0, 1)), record(145), *cells, record(146), record(130)]
    types = (
        f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.bin" '
        'ContentType="application/vnd.ms-excel.sheet.binary.macroEnabled.main"/></Types>'
    )
    return package(
        {
            "[Content_Types].xml": types,
            "_rels/.rels": _relationships(("officeDocument", "xl/workbook.bin")),
            "xl/workbook.bin": b"".join(book),
            "xl/_rels/workbook.bin.rels": _relationships(("worksheet", "worksheets/sheet1.bin")),
            "xl/worksheets/sheet1.bin": b"".join(sheet),
        }
    )


def row(number: int, *cells: str) -> str:
    """A row of cells in XML, one column after another; "" leaves one out."""
    filled = "".join(
        cell.replace("<c", f'<c r="{chr(ord("A") + at)}{number}"', 1) for at, cell in enumerate(cells) if cell
    )
    return f'<row r="{number}">{filled}</row>'


def words(text: str) -> str:
    """A cell of text."""
    return f'<c t="inlineStr"><is><t>{text}</t></is></c>'


def amount(value: float | str, style: int = 0) -> str:
    """A cell with a number."""
    return f'<c s="{style}"><v>{value}</v></c>'


def shape(*paragraphs: str, kind: str = "") -> str:
    """A PowerPoint shape of paragraphs; `kind` is that of a placeholder."""
    placeholder = f'<p:ph type="{kind}"/>' if kind else ""
    inner = "".join(p if p.startswith("<a:p>") else f"<a:p><a:r><a:t>{p}</a:t></a:r></a:p>" for p in paragraphs)
    return f"<p:sp><p:nvSpPr><p:nvPr>{placeholder}</p:nvPr></p:nvSpPr><p:txBody>{inner}</p:txBody></p:sp>"


def slide_table(*rows: Sequence[str]) -> str:
    """A PowerPoint table."""
    inner = "".join(
        "<a:tr>" + "".join(f"<a:tc><a:txBody><a:p><a:r><a:t>{cell}</a:t></a:r></a:p></a:txBody></a:tc>" for cell in row)
        + "</a:tr>"
        for row in rows
    )  # fmt: skip
    return (
        f"<p:graphicFrame><a:graphic><a:graphicData><a:tbl>{inner}</a:tbl></a:graphicData></a:graphic></p:graphicFrame>"
    )


def pptx(slides: Sequence[str], *, title: str = "", notes: Mapping[int, str] | None = None) -> bytes:
    """A PowerPoint presentation of slides given as their shapes; notes by the number of their slide."""
    parts = {}
    for number, shapes in enumerate(slides, 1):
        parts[f"ppt/slides/slide{number}.xml"] = (
            f"<p:sld {_A} {_P} {_R}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>"
        )
    for number, text in (notes or {}).items():
        parts[f"ppt/slides/_rels/slide{number}.xml.rels"] = _relationships(
            ("notesSlide", f"../notesSlides/notesSlide{number}.xml")
        )
        tree = shape(text, kind="body") + shape("7", kind="sldNum")
        parts[f"ppt/notesSlides/notesSlide{number}.xml"] = (
            f"<p:notes {_A} {_P}><p:cSld><p:spTree>{tree}</p:spTree></p:cSld></p:notes>"
        )
    # The last slide was made first: only the list tells the order.
    order = list(range(len(slides), 0, -1))
    ids = "".join(f'<p:sldId id="{256 + n}" r:id="r{order.index(n) + 1}"/>' for n in range(1, len(slides) + 1))
    return _office(
        "ppt/presentation.xml",
        "presentationml.presentation",
        {
            "ppt/presentation.xml": f"<p:presentation {_P} {_R}><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>",
            "ppt/_rels/presentation.xml.rels": _relationships(*(("slide", f"slides/slide{n}.xml") for n in order)),
            **parts,
        },
        title,
    )


def opendocument(kind: str, content: str, *, title: str = "") -> bytes:
    """An OpenDocument file: `kind` is text, spreadsheet or presentation, `content` what is in that element."""
    parts = {
        "mimetype": f"application/vnd.oasis.opendocument.{kind}",
        "content.xml": f"<office:document-content {_ODF_SPACES}><office:body><office:{kind}>{content}"
        f"</office:{kind}></office:body></office:document-content>",
        "META-INF/manifest.xml": f'<m:manifest xmlns:m="{_ODF}:manifest:1.0"/>',
    }
    if title:
        parts["meta.xml"] = f"<office:document-meta {_ODF_SPACES}><dc:title>{title}</dc:title></office:document-meta>"
    return package(parts)


def epub(pages: Mapping[str, str], *, title: str = "", spine: Sequence[str] | None = None) -> bytes:
    """A book of XHTML bodies by path below the package's folder; the spine's order is that of `spine`."""
    items = "".join(f'<item id="{p}" href="{p}" media-type="application/xhtml+xml"/>' for p in pages)
    order = "".join(f'<itemref idref="{p}"/>' for p in spine or pages)
    package_document = (
        f'<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"{f'<dc:title>{title}</dc:title>' if title else ''}</metadata><manifest>{items}</manifest>"
        f"<spine>{order}</spine></package>"
    )
    return package(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
            "OEBPS/book.opf": package_document,
        }
        | {
            f"OEBPS/{unquote(path)}": '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title/>'
            f'<script src="x.js"/></head><body>{body}</body></html>'
            for path, body in pages.items()
        }
    )


RTF = rb"""{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0 Arial;}}{\stylesheet{\s0 Normal;}{\s1\outlinelevel0 heading 1;}}
{\info{\title The Guide}{\author A}}{\header \pard on every page {\b and bold \} }\par}
\pard\s1\outlinelevel0 Guide\par
\pard\plain Opening w\'f6rds \u8220?quoted\u8221?.{\deleted gone}\par
\trowd\cellx1000\cellx2000 \intbl key\cell value\cell\row
\trowd\cellx1000\cellx2000 \intbl a\cell 1\cell\row
\pard Last.{\pict\wmetafile8 0102030405}\par{\footer foot}}"""

ODT = opendocument(
    "text",
    '<text:h text:outline-level="1">Guide</text:h><text:p>Opening<text:s text:c="2"/><text:span>words</text:span>'
    "<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>A note.</text:p></text:note-body>"
    "</text:note>.<office:annotation><text:p>remark</text:p></office:annotation></text:p>"
    '<text:h text:outline-level="2">Install</text:h><text:list><text:list-item><text:p>one</text:p><text:list>'
    "<text:list-item><text:p>inner</text:p></text:list-item></text:list></text:list-item></text:list>"
    "<table:table><table:table-row><table:table-cell><text:p>key</text:p></table:table-cell><table:table-cell>"
    "<text:p>value</text:p></table:table-cell></table:table-row><table:table-row><table:table-cell><text:list>"
    "<text:list-item><text:p>a</text:p></text:list-item></text:list></table:table-cell><table:table-cell><text:p>1"
    "</text:p></table:table-cell></table:table-row></table:table>",
)

ODP = opendocument(
    "presentation",
    "<draw:page><draw:frame><draw:text-box><text:p>Opening words.</text:p></draw:text-box></draw:frame><draw:frame "
    'presentation:class="title"><draw:text-box><text:p>Guide</text:p></draw:text-box></draw:frame>'
    "<presentation:notes><draw:frame><draw:text-box><text:p>A note.</text:p></draw:text-box></draw:frame>"
    "</presentation:notes></draw:page><draw:page/>"
    "<draw:page><draw:frame><draw:text-box><text:p>Last.</text:p></draw:text-box></draw:frame></draw:page>",
)

ODS = opendocument(
    "spreadsheet",
    '<table:table table:name="Ducks"><table:table-row><table:table-cell office:value-type="string"><text:p>Opening'
    '</text:p></table:table-cell><table:table-cell office:value-type="string"><text:p>ducks</text:p></table:table-cell>'
    '</table:table-row><table:table-row><table:table-cell office:value-type="float" office:value="2019"><text:p>2019'
    '</text:p></table:table-cell><table:table-cell office:value-type="float" office:value="120.5"><text:p>120.5'
    '</text:p></table:table-cell><table:table-cell table:number-columns-repeated="16382"/></table:table-row>'
    '<table:table-row table:number-rows-repeated="1048574">'
    '<table:table-cell table:number-columns-repeated="16384"/></table:table-row>'
    "</table:table>",
)

PPTX = pptx(
    [
        shape("Opening words.") + shape("The", "Guide", kind="title") + shape("3", kind="sldNum"),
        "",
        shape("one", '<a:p><a:pPr lvl="1"/><a:r><a:t>in</a:t></a:r><a:r><a:t>ner</a:t></a:r></a:p>', kind="body")
        + slide_table(("key", "value"), ("a", "1")),
    ],
    notes={3: "Say this."},
)

XLSX = xlsx(
    {
        "Sales": row(2, words("Opening"), words("price"), words("sold")) + row(3, words("nut\nand bolt"), amount(7.0))
        + row(4, words("nail"), amount(0.30000000000000004), amount(45000, 1)) + row(9, "", words("total"), amount(8)),
        "Empty": "",
        "Secret": row(1, words("hidden")),
    },
    hidden=["Secret"],
)  # fmt: skip

EPUB = epub(
    {
        "b.xhtml": "<h1>Two</h1><p>second <a id='x'/>chapter</p>",
        "a%20b.xhtml": "<h1>One</h1><p>Opening words.</p>",
    },
    spine=["a%20b.xhtml", "b.xhtml"],
)

OFFICE_SAMPLES = {
    "guide.docx": docx([(1, "Guide"), (0, "Opening words."), (2, "Install"), (0, "Last.")]),
    "guide.rtf": RTF,
    "guide.odt": ODT,
    "guide.odp": ODP,
    "guide.ods": ODS,
    "guide.pptx": PPTX,
    "guide.xlsx": XLSX,
    "guide.epub": EPUB,
}
