"""Text of strangers in a prompt: fenced as data, without the tokens that end a turn, and with nothing hidden in it.

The stored text and the quotes of citations stay as they are: only the copy that the model reads is changed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Final

import regex

from rag.documents import SearchHit
from rag.hidden_text import without_hidden

HIDDEN_NOTE: Final = "[hidden characters removed]"

# The control tokens of chat templates: everything between <| and |>, DeepSeek's bars, the names that models of the
# Llama, Mistral, Gemma, Qwen, T5, GLM and BERT families reserve, and roles as tags.
_ANGLED: Final = (
    r"[|｜]"
    r"|/?(?:s|bos|eos|pad|unk|mask|cls|sep|sop|eop|think|thinking|reasoning|reflection|tool_\w+|tools?|function\w*|"
    r"start_of_\w+|end_of_\w+|begin_of_\w+|im_\w+|fim_\w+|extra_id_\d+|unused_?\d+|image\w*|audio\w*|video\w*|"
    r"system|user|assistant|human|model|developer|instructions?|turn|seed:\w+)"
    r"\s*/?[>＞]"
)
_SQUARE: Final = (
    r"/?(?:INST|SYS|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|CALL_ID|ARGS|THINK|IMG|IMG_END|"
    r"BEGIN_OF_\w+|END_OF_\w+|PREFIX|MIDDLE|SUFFIX|gMASK|sMASK|MASK|CLS|SEP|PAD|UNK|BOS|EOS)\]"
)
_CONTROL = regex.compile(rf"[<＜](?={_ANGLED})|<(?=</?SYS>>)|\[(?={_SQUARE})", regex.IGNORECASE)
# Lines that look like the fence's own; the mark in them is a stranger's, but a small model may not compare it.
_FENCE_LINE = regex.compile(r"^[ \t]*(<<|>>)(?=[<>]+[ \t]*[0-9a-fA-F]{8,})", regex.MULTILINE)


def disarm(text: str) -> str:
    """Put a space behind the first character of every control token and of every line that could end a fence."""
    without_tokens: str = _CONTROL.sub(r"\g<0> ", text)
    return str(_FENCE_LINE.sub(r"\1 ", without_tokens))


def draw_mark(texts: Iterable[str], draw: Callable[[], str] = lambda: secrets.token_hex(8)) -> str:
    """A mark that stands in none of the texts; drawn anew for each request, so that no document can know it."""
    known = list(texts)
    mark = draw()
    while any(mark in text for text in known):
        mark = draw()
    return mark


def fenced(number: int, hit: SearchHit, mark: str) -> str:
    """A passage between two lines that hold the mark, harmless to the template around it."""
    source, is_source_changed = without_hidden(" > ".join(dict.fromkeys((hit.title, *hit.chunk.headings))))
    text, is_changed = without_hidden(hit.chunk.text)
    note = f"{HIDDEN_NOTE}\n" if is_changed or is_source_changed else ""
    source = " ".join(source.split())
    return f"<<< {mark} passage {number}, from: {disarm(source)}\n{note}{disarm(text)}\n>>> {mark}\n"


def plain_words(text: str) -> str:
    """What a person asked or said before, without control tokens and hidden characters."""
    return disarm(without_hidden(text)[0])
