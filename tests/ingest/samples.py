"""A small file of every format, each with the word "Opening" in it."""

import io
import json
import zipfile

from tests.ingest.made import SAMPLES as BASIC
from tests.ingest.made_data import outlook_mail
from tests.ingest.made_office import OFFICE_SAMPLES
from tests.ingest.pictures import png, written

_NOTEBOOK = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {},
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Guide\n", "\n", "Opening words."]},
        {
            "cell_type": "code", "metadata": {}, "execution_count": 1, "source": "1 + 1",
            "outputs": [{"output_type": "execute_result", "data": {"text/plain": "2"}, "metadata": {}}],
        },
    ],
}  # fmt: skip


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("deep/guide.md", "# Guide\n\nOpening words.\n")
        archive.writestr("table.csv", "key,value\na,1\n")
        archive.writestr("program.exe", b"MZ")
    return out.getvalue()


SAMPLES = {
    **BASIC,
    **OFFICE_SAMPLES,
    "guide.adoc": b"= Guide\n\nOpening words.\n\n== Install\n\n----\nrun it\n----\n\n* one\n* two\n",
    "guide.csv": b'key,value\na,"Opening, words"\n\nb,2\n',
    "guide.json": json.dumps({"title": "Guide", "body": {"first": "Opening words", "n": [1, 2]}}, indent=2).encode(),
    "guide.jsonl": b'{"text": "Opening words"}\n{"text": "more"}\n',
    "guide.xml": b"<guide><title>Guide</title><p>Opening words.</p><item><key>a</key><value>1</value></item></guide>",
    "guide.ipynb": json.dumps(_NOTEBOOK).encode(),
    "guide.eml": b"Subject: Guide\nFrom: a@example.com\nContent-Type: text/plain; charset=utf-8\n\nOpening words.\n",
    "guide.msg": outlook_mail("Opening words."),
    "guide.py": b'"""Opening words."""\n\n\ndef first(x):\n    return x\n\n\nclass Second:\n    value = 1\n',
    "guide.zip": _zip(),
}

PICTURE = ("guide.png", png(written("Opening words.")))
