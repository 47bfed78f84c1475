"""The line that opens a block of code: `python` colours it, `mermaid`, `html` or `svg` may bring it to life."""

from __future__ import annotations

from typing import Final

import regex

# Renderers draw, run or embed blocks of other names.
COLOURED: Final = frozenset(
    "ada apache asm awk bash bat batch c c# c++ clojure cmake cobol console cpp cs csharp css csv dart diff docker "
    "dockerfile elixir elm env erlang f# fortran fsharp gherkin go golang gradle graphql groovy haskell hcl http ini "
    "java javascript js json json5 jsonc julia kotlin less lisp log lua make makefile matlab nginx nim nix none "
    "objc objective-c ocaml octave pascal patch perl php plain plaintext postgresql powershell prolog properties proto "
    "protobuf ps1 pwsh py pycon python python3 r racket rb regex ruby rust rs sass scala scheme scss sed sh shell "
    "solidity sparql sql sqlite swift tcl terraform text tf toml ts tsql txt typescript vb verilog vhdl vim wasm xml "
    "yaml yml zig zsh".split()
)
LONGEST_INFO: Final = 200

# The fence, what follows on its line, and the line's end unless the line is too long.
FENCE_LINE: Final = regex.compile(rf"(`{{3,}}+|~{{3,}}+)([^\n]{{0,{LONGEST_INFO}}}+)[\s\S]")


def fence_without_renderer(fence: str, info: str) -> str:
    """The line, without its end, when it names a language that is only coloured, and otherwise the bare fence."""
    words = info.split()
    if not words:
        return fence + info
    name = words[0].lower()
    if name in COLOURED:
        return fence + (info if len(words) == 1 else words[0])
    return fence + ("\n" if len(info) == LONGEST_INFO else "")
