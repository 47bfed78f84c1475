"""Source code is cut at its definitions, in every language that has a grammar, and never refused for its errors."""

import re

import pytest

from ingest.parsers import source_code
from ingest.parsers.languages import GRAMMARS
from ingest.parsers.limits import ParserLimits
from ingest.parsers.registry import format_of, parse
from rag.documents import Document
from rag.errors import ParseError

LIMITS = ParserLimits(max_characters=10_000_000, max_pages=3)
LONG = " ".join(["word"] * 300)  # makes a class too long to stay one block

PYTHON = f'''"""Module."""

import os

LIMIT = 3  # not of the function

# Why it is here.
@decorated
def first():
    pass


class Long(Base):
    """{LONG}"""

    size = 1

    # Of the method.
    def method(self):
        def inner():
            pass

    @property
    async def other(self):
        return """
def not_a_function(): pass
"""

    class Small:
        def deep(self): pass

class Short:
    def method(self): pass

if os:
    x = 1
'''

# Each: a file with a long type in it, and the heading paths of its blocks.
LANGUAGES = {
    "a.js": (
        f"import x from 'y';\n/** d */\nexport default class A {{\n// {LONG}\n  m() {{}}\n  get v() {{}}\n}}\n"
        "const g = (a) => a;\nexports.h = function () {};\nlet x = 1;\n",
        [(), ("A",), ("A", "m"), ("A", "v"), ("g",), ("exports.h",), ()],
    ),
    "a.ts": (
        f"interface I {{ a: string }}\nexport abstract class A<T> {{\n  // {LONG}\n\n  @dec()\n  m(): void {{}}\n}}\n"
        "namespace N { export function f() {} }\ntype T = string;\n",
        [("I",), ("A",), ("A", "m"), ("N",), ("T",)],
    ),
    "a.tsx": ("export const View = () => <p>hi</p>;\nfunction f() { return <a b={1} />; }\n", [("View",), ("f",)]),
    "A.java": (
        f"package a;\n\n/** d */\n@Ann\npublic class A {{\n  // {LONG}\n\n"
        "  A() {}\n  void m() {}\n  enum E { X }\n}\n",
        [(), ("A",), ("A", "A"), ("A", "m"), ("A", "E")],
    ),
    "a.kt": (
        f"package a\n\nclass A(val x: Int) {{\n  // {LONG}\n  val y = 1\n\n  fun m() {{\n  }}\n\n"
        "  companion object {\n    fun n() {}\n  }\n}\n\nfun top() = 1\n",
        [(), ("A",), ("A", "m"), ("A", "companion object"), ("top",)],
    ),
    "a.scala": (
        f"package a\n\nclass A(x: Int) {{\n  // {LONG}\n\n  def m() = 1\n}}\nobject O {{ def n: Int = 1 }}\n",
        [(), ("A",), ("A", "m"), ("O",)],
    ),
    "a.swift": (
        f"import A\n\nclass A: B {{\n  // {LONG}\n\n  init() {{}}\n  func m() {{}}\n}}\n"
        "extension A { func r() {} }\n",
        [(), ("A",), ("A", "init"), ("A", "m"), ("A",)],
    ),
    "a.c": (
        "#include <a.h>\n\n/* doc */\nstatic int *f(int a) { return 0; }\nstruct S { int a; };\n#ifdef Q\n"
        "int q(void) { return 1; }\n#endif\n",
        [(), ("f",), ("S",), (), ("q",), ()],
    ),
    "a.cpp": (
        f"namespace n {{\n// {LONG}\n\ntemplate <class T>\nT f(T a) {{ return a; }}\nvoid A::q() {{}}\n}}\nclass A;\n",
        [("n",), ("n", "f"), ("n", "A::q"), ()],
    ),
    "a.cs": (
        f"using A;\nnamespace N {{\n  // {LONG}\n\n  [Attr]\n  class A {{ void M() {{}} }}\n  record R(int a);\n}}\n",
        [(), ("N",), ("N", "A"), ("N", "R")],
    ),
    "a.go": (
        "package a\n\n// doc\nfunc F() {}\nfunc (s *S[T]) M() {}\ntype S struct{ a int }\nvar x = 1\n",
        [(), ("F",), ("S", "M"), ("S",), ()],
    ),
    "a.rs": (
        f"use a::b;\n\n/// doc\n#[derive(X)]\npub struct S {{ a: i32 }}\n\nimpl T for S {{\n  // {LONG}\n\n"
        "  fn m(&self) {}\n}\nmacro_rules! m { () => {} }\n",
        [(), ("S",), ("T for S",), ("T for S", "m"), ("m",)],
    ),
    "a.rb": (
        f"require 'a'\n\n# doc\nmodule M\n  # {LONG}\n\n  class A < B\n    def m; end\n  end\n\n"
        "  def self.n\n  end\nend\n",
        [(), ("M",), ("M", "A"), ("M", "n")],
    ),
    "a.php": (
        f"<?php\nnamespace A\\B;\n\n/** d */\nclass A {{\n  // {LONG}\n\n  function m() {{}}\n}}\n"
        "function top() {}\n",
        [(), ("A",), ("A", "m"), ("top",)],
    ),
    "a.sh": ("#!/bin/bash\nset -e\n\n# doc\nf() { echo; }\nx=1\n", [(), ("f",), ()]),
}


def shown(document: Document) -> list[str]:
    return [document.text[block.start : block.end] for block in document.blocks]


def check(document: Document) -> None:
    """Blocks are in order, lose nothing, and lie on the lines that their locators name."""
    position = 0
    for block in document.blocks:
        assert block.kind == "code"
        assert not document.text[position : block.start].strip()
        assert position <= block.start < block.end
        assert block.locator.lines is not None
        first, last = block.locator.lines
        assert len(re.split(r"\r\n|\r|\n", document.text[: block.start])) == first
        assert len(re.split(r"\r\n|\r|\n", document.text[: block.end])) == last
        position = block.end
    assert not document.text[position:].strip()


def test_python() -> None:
    document = parse(PYTHON.encode(), "lib/retrieval.py", LIMITS)
    check(document)
    assert document.title == "retrieval.py"
    assert document.text == PYTHON
    assert [block.headings for block in document.blocks] == [
        (), ("first",), ("Long",), ("Long", "method"), ("Long", "other"), ("Long", "Small"), ("Short",), (),
    ]  # fmt: skip
    texts = shown(document)
    assert texts[0].endswith("# not of the function")
    assert texts[1].startswith("# Why it is here.\n@decorated\ndef first")
    assert texts[2].endswith("size = 1")
    assert texts[3].startswith("# Of the method.\n    def method") and texts[3].endswith("pass")
    assert "def not_a_function" in texts[4]


@pytest.mark.parametrize("name", LANGUAGES)
def test_language(name: str) -> None:
    source, paths = LANGUAGES[name]
    document = parse(source.encode(), name, LIMITS)
    check(document)
    assert [block.headings for block in document.blocks] == paths


def test_each_grammar_loads_and_is_registered() -> None:
    tried = {GRAMMARS[name[name.index(".") :]] for name in (*LANGUAGES, "a.py")}
    assert tried == set(GRAMMARS.values())
    for suffix in GRAMMARS:
        found = format_of(f"a{suffix}")
        assert found is not None and found.module.endswith("source_code")


def test_comments_before_a_definition_are_its_own_unless_a_blank_line_or_code_is_between() -> None:
    source = b"# licence\n\n# of f\n# too\ndef f(): pass\nx = 1  # of x\ndef g(): pass\n"
    assert shown(parse(source, "a.py", LIMITS)) == [
        "# licence", "# of f\n# too\ndef f(): pass", "x = 1  # of x", "def g(): pass",
    ]  # fmt: skip


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_ends_and_letters_of_several_bytes(line_end: str) -> None:
    source = line_end.join(
        ["/* é字\U0001f600 */", "", "function ä() {}", "", f"class B {{ /* {LONG} 字 */", "m() {}", "}"]
    )
    document = parse(source.encode(), "a.js", LIMITS)
    check(document)
    assert shown(document)[1] == "function ä() {}"
    assert document.blocks[-1].headings == ("B", "m")


@pytest.mark.parametrize(
    "source",
    [
        "def f(:\n  pass\n\nclass {\n\ndef g():\n  return (\n",
        "}}}}\n" * 50,
        "class A:\n" + "".join(f"{' ' * depth}class A{depth}:\n" for depth in range(1, 200)) + " " * 200 + "x = 1\n",
        "def f(): pass; \x0c\n\x0bdef g(): pass",
        "(" * 5000,
    ],
)
@pytest.mark.parametrize("suffix", sorted(GRAMMARS))
def test_files_with_errors_are_read(source: str, suffix: str) -> None:
    document = parse(source.encode(), f"a{suffix}", LIMITS)
    check(document)
    assert document.blocks


def test_sound_parts_of_a_file_with_errors_are_found() -> None:
    document = parse(
        b"def sound():\n    pass\n\ndef broken(:\n    pass\n\ndef also_sound():\n    pass\n", "a.py", LIMITS
    )
    assert ("sound",) in [block.headings for block in document.blocks]
    assert ("also_sound",) in [block.headings for block in document.blocks]


def test_what_no_person_wrote_is_read_by_lines() -> None:
    minified = "function a(){};" * 2000
    document = parse(minified.encode(), "a.min.js", LIMITS)
    assert [block.headings for block in document.blocks] == [()]
    long = "def f(): pass\n\n" * (source_code.MAX_PARSED_CHARACTERS // 14)
    document = parse(long.encode(), "a.py", LIMITS)
    assert not any(block.headings for block in document.blocks)


def test_a_grammar_that_loses_its_way_is_stopped() -> None:
    document = parse(b"int f() {}\n\nint g() {\n" + b"a<\n" * 30_000, "a.cpp", LIMITS)
    assert [block.headings for block in document.blocks] == [(), ()]


def test_languages_without_a_grammar_are_split_at_blank_lines() -> None:
    document = parse(b"SELECT 1\nFROM a;\n\n \n-- two\nSELECT 2;\n", "query.sql", LIMITS)
    check(document)
    assert shown(document) == ["SELECT 1\nFROM a;", "-- two\nSELECT 2;"]
    assert document.title == "query.sql"


@pytest.mark.parametrize("name", ["Dockerfile", "dir/Makefile", "a.dockerfile", "app.yaml", "x.R"])
def test_names_that_are_code(name: str) -> None:
    document = parse(b"FROM a\n\nRUN b", name, LIMITS)
    assert document.title == name.rpartition("/")[2]
    assert [block.kind for block in document.blocks] == ["code", "code"]


def test_files_with_secrets_are_not_read() -> None:
    assert format_of(".env") is None
    assert format_of("prod.env") is None


def test_binary() -> None:
    with pytest.raises(ParseError) as caught:
        parse(b"x = 1\0" + b"a" * 50, "a.py", LIMITS)
    assert caught.value.reason == "binary"
