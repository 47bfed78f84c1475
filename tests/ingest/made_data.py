"""Small tables, JSON, XML, notebooks, mails and AsciiDoc, made of bytes here, so that tests know what is in them."""

import json
import struct
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

NOTEBOOK: dict[str, Any] = {
    "cells": [
        {"cell_type": "markdown", "source": ["# Guide\n", "\n", "Opening words.\n", "\n", "## Install"]},
        {
            "cell_type": "code",
            "source": ["1 + 1\n"],
            "outputs": [
                {"output_type": "stream", "text": ["\x1b[31mloud\x1b[0m\n"]},
                {"output_type": "execute_result", "data": {"text/html": "<b>2</b>", "text/plain": ["2"]}},
                {"output_type": "display_data", "data": {"image/png": "AAAA"}},
                {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": ["x"]},
            ],
        },
        {"cell_type": "markdown", "source": "Below it.\n\nUsage\n=====\n\nLast."},
        {"cell_type": "code", "source": "", "outputs": [{"output_type": "stream", "text": "x" * 3000}]},
    ],
    "metadata": {"title": "Not this"},
    "nbformat": 4,
}

NOTEBOOK_3 = json.dumps(
    {
        "worksheets": [
            {
                "cells": [
                    {"cell_type": "heading", "level": 1, "source": ["Old"]},
                    {
                        "cell_type": "code",
                        "input": ["print(1)"],
                        "outputs": [{"output_type": "pyout", "text": ["1"]}],
                    },
                ]
            }
        ],
        "nbformat": 3,
    }
).encode()

MAIL = b"""From: =?utf-8?q?J=C3=BCrgen?= <j@example.com>
To: a@example.com,
 b@example.com
Subject: =?iso-8859-1?q?Gr=FC=DFe?= to all
Date: Tue, 03 Feb 2026 10:00:00 +0100
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="outer"

--outer
Content-Type: multipart/alternative; boundary="inner"

--inner
Content-Type: text/plain; charset="iso-8859-1"
Content-Transfer-Encoding: quoted-printable

Sch=F6ne words.

> quoted
> words
--inner
Content-Type: text/html

<p>Not this</p>
--inner--
--outer
Content-Type: text/markdown; name="../../notes.md"
Content-Disposition: attachment; filename="../../notes.md"

# Notes

Attached words.
--outer
Content-Type: application/octet-stream
Content-Disposition: attachment; filename="tool.exe"
Content-Transfer-Encoding: base64

AAAA
--outer
Content-Type: message/rfc822

From: c@example.com
Subject: Inner

Inner words.
--outer--
"""

ASCIIDOC = b""":toc:
:author: nobody

[[top]]
= The *Guide*

Opening words.

== Install [[install]]

[source,sh]
----
== no heading

pip install quoth
----

* one
** nested
+
still the item

* two

.Keys
|===
|key |value

|a |1
|===

[quote]
____
quoted words
____

Deeper
~~~~~~

term:: what it is

 literal text

Last.
"""


def notebook(cells: Mapping[str, Any] = NOTEBOOK) -> bytes:
    """A notebook as a file."""
    return json.dumps(cells).encode()


def outlook_mail(body: str = "Hello.\r\n\r\nBye.", extra: Mapping[str, Any] | None = None) -> bytes:
    """A mail as Outlook saves it, with a text file and another mail attached."""
    sent = (datetime(2026, 2, 3, 9) - datetime(1601, 1, 1)) // timedelta(microseconds=1) * 10
    inner = {
        "__substg1.0_0037001F": _wide("Inner"),
        "__substg1.0_1000001F": _wide("Inner words."),
        "__properties_version1.0": bytes(24),
    }
    return compound(
        {
            "__properties_version1.0": bytes(32) + struct.pack("<HHIQ", 0x40, 0x39, 6, sent),
            "__substg1.0_0037001F": _wide("Grüße"),
            "__substg1.0_0C1A001F": _wide("Ann"),
            "__substg1.0_5D01001F": _wide("ann@example.com"),
            "__substg1.0_1000001F": _wide(body),
            "__recip_version1.0_#00000000": {
                "__properties_version1.0": bytes(8) + struct.pack("<HHIQ", 3, 0x0C15, 6, 1),
                "__substg1.0_3001001F": _wide("Bob"),
                "__substg1.0_39FE001F": _wide("bob@example.com"),
            },
            "__attach_version1.0_#00000000": {
                "__substg1.0_3707001F": _wide("notes.txt"),
                "__substg1.0_37010102": b"Attached words.",
            },
            "__attach_version1.0_#00000001": {"__substg1.0_3701000D": inner},
            **(extra or {}),
        }
    )


def _wide(text: str) -> bytes:
    return text.encode("utf-16-le")


def compound(tree: Mapping[str, Any]) -> bytes:
    """A compound file of streams (bytes, less than 4,096) and storages (mappings)."""
    none, end = 0xFFFFFFFF, 0xFFFFFFFE
    entries: list[list[Any]] = [["Root Entry", 5, none, none, 0, 0]]  # name, type, right, child, start, size
    small, follows = bytearray(), []

    def add(folder: Mapping[str, Any]) -> int:
        before, first = -1, none
        for name, content in folder.items():
            at = len(entries)
            entries.append([name, 1 if isinstance(content, Mapping) else 2, none, none, 0, 0])
            if before < 0:
                first = at
            else:
                entries[before][2] = at
            before = at
            if isinstance(content, Mapping):
                entries[at][3] = add(content)
                continue
            sectors = -(-len(content) // 64)
            entries[at][4:] = [len(follows) if sectors else end, len(content)]
            follows.extend([*range(len(follows) + 1, len(follows) + sectors), end] if sectors else [])
            small.extend(content.ljust(sectors * 64, b"\0"))
        return first

    entries[0][3] = add(tree)
    tables = [
        struct.pack(f"<{len(follows)}I", *follows),
        bytes(small),
    ]
    counts = [-(-len(entries) // 4), *(-(-len(table) // 512) for table in tables)]
    places = [1, 1 + counts[0], 1 + counts[0] + counts[1]]
    entries[0][4:] = [places[2], len(small)]
    directory = b"".join(
        name.encode("utf-16-le").ljust(64, b"\0")
        + struct.pack("<HBBIII", 2 * len(name) + 2, kind, 1, none, right, child)
        + bytes(36)
        + struct.pack("<IQ", start, size)
        for name, kind, right, child, start, size in entries
    )
    chains = [0xFFFFFFFD]
    for place, count in zip(places, counts, strict=True):
        chains += [*range(place + 1, place + count), end]
    head = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<HHHHH", 62, 3, 0xFFFE, 9, 6) + bytes(10)
    head += struct.pack("<IIIIIIIII", 1, 1, 0, 4096, places[1], counts[1], end, 0, 0) + b"\xff" * 432
    table = struct.pack(f"<{len(chains)}I", *chains).ljust(512, b"\xff")
    parts = (directory.ljust(counts[0] * 512, b"\0"), *(t.ljust(-(-len(t) // 512) * 512, b"\xff") for t in tables))
    return head + table + b"".join(parts)
