"""Small files of every format, made of bytes here, so that tests know what is in them."""

import io
import zipfile
from collections.abc import Sequence

MARKDOWN = b"""---
title: "The *Guide*"
---

# Guide

Opening words.
More of them.

## Install

1. one
   - nested

   still the item
2. two

```sh
# no heading
pip install

quoth
```

| key | value |
| --- | --- |
| a | 1 |

Underlined
----------

> quoted
> words

    indented code

Last.
"""

RST = b""".. _top:

=====
Guide
=====

Opening words::

    literal text

    more of it

Install
-------

.. code-block:: sh

    pip install quoth

* one

* two
  goes on

== ====
a  b
== ====
1  2
== ====

Deeper
~~~~~~

Last.
"""

HTML = b"""<!doctype html><html><head><title>Page title</title><style>p {color: red}</style></head><body>
<nav><a href="/">Home</a></nav>
<main><h1>Guide<a class="headerlink" href="#g">#</a></h1><p>Opening &amp; <b>bold</b>
  words.</p>
<h2>Install</h2><ul><li><p>one</p></li><li>two<ul><li>inner</li></ul></li></ul>
<pre>pip  install
  quoth</pre>
<table><tr><th>key</th><th>value</th></tr><tr><td>a</td><td><p>1</p></td></tr></table>
<blockquote>quoted<br>words</blockquote>
<p hidden>secret</p><p style="display: none">secret</p><script>secret()</script><template>secret</template></main>
<footer>imprint</footer></body></html>"""


def pdf(
    pages: Sequence[str], *, title: str = "", outline: Sequence[tuple[str, int]] = (), image: bool = False
) -> bytes:
    """A PDF with a text line for each line of each page, and an outline of (title, page counted from 0)."""
    count = len(pages)
    first_outline = 4 + 2 * count
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R {f'/Outlines {first_outline} 0 R' if outline else ''} "
        "/PageLabels << /Nums [0 << /S /r >>] >> >>",
        f"<< /Type /Pages /Count {count} /Kids [{' '.join(f'{4 + 2 * n} 0 R' for n in range(count))}] >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, page in enumerate(pages):
        lines = "".join(f"({_escaped(line)}) Tj T* " for line in page.split("\n")) if page else ""
        stream = f"BT /F1 12 Tf 14 TL 50 750 Td {lines}ET" if lines else ""
        if image:
            stream += " q 100 0 0 100 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 ID x EI Q"
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> "
            f"/Contents {5 + 2 * number} 0 R >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    if outline:
        last = first_outline + len(outline)
        objects.append(f"<< /First {first_outline + 1} 0 R /Last {last} 0 R /Count {len(outline)} >>")
        for at, (text, page) in enumerate(outline, first_outline + 1):
            following = f"/Next {at + 1} 0 R" if at < last else ""
            target = f"/Dest [{4 + 2 * page} 0 R /Fit]"
            objects.append(f"<< /Title ({_escaped(text)}) /Parent {first_outline} 0 R {target} {following} >>")
    objects.append(f"<< /Title ({_escaped(title)}) >>")
    return _pdf_file(objects)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def _pdf_file(objects: Sequence[str]) -> bytes:
    out = io.BytesIO()
    out.write(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1"))
    table = out.tell()
    out.write(f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode())
    out.write("".join(f"{offset:010} 00000 n \n" for offset in offsets).encode())
    out.write(f"trailer << /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>\n".encode())
    out.write(f"startxref\n{table}\n%%EOF".encode())
    return out.getvalue()


_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_RELATIONSHIPS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def docx(paragraphs: Sequence[tuple[int, str]]) -> bytes:
    """A Word document of (heading level or 0, text)."""
    body = "".join(
        f'<w:p><w:pPr><w:pStyle w:val="Heading{level}"/></w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>'
        if level
        else f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"
        for level, text in paragraphs
    )
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="Heading{level}"><w:name w:val="heading {level}"/>'
        f'<w:pPr><w:outlineLvl w:val="{level - 1}"/></w:pPr></w:style>'
        for level in range(1, 4)
    )
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/word/document.xml" ContentType="{main}.document.main+xml"/>'
        f'<Override PartName="/word/styles.xml" ContentType="{main}.styles+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r1" '
        f'Type="{_RELATIONSHIPS}/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r1" '
        f'Type="{_RELATIONSHIPS}/styles" Target="styles.xml"/></Relationships>',
        "word/document.xml": f"<w:document {_W}><w:body>{body}</w:body></w:document>",
        "word/styles.xml": f"<w:styles {_W}>{styles}</w:styles>",
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{content}')
    return out.getvalue()


SAMPLES = {
    "guide.md": MARKDOWN,
    "guide.txt": b"Opening words.\n\nMore of them,\r\non two lines.\n",
    "guide.rst": RST,
    "guide.html": HTML,
    "guide.pdf": pdf(
        ["Guide\nOpening words.", "", "Install\nType (this).\nLast."],
        title="The Guide",
        outline=[("Guide", 0), ("Install", 2)],
    ),
    "guide.docx": docx([(1, "Guide"), (0, "Opening words."), (2, "Install"), (0, "Last.")]),
}
