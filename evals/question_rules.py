"""Questions without a language model: from headings, definitions, and sentences with figures.

The rules are simple, and it shows: they use the document's own words and know English only. `evals.wording` says how
much is copied. What they are good for: they need nothing, each has its passage, and the same document gives the same
questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from evals.stored import StoredDocument
from evals.wording import content_words
from rag.documents import Block
from rag.sentences import split_sentences

LONGEST_HEADING: Final = 12
SENTENCE_WORDS: Final = range(5, 36)
LEAST_CONTENT: Final = 4
LONGEST_QUOTE: Final = 800

_MARKUP = re.compile(r"\*\*|__|(?<!\w)[*_](?=\w)|(?<=[\w.])[*_](?!\w)|`|\[(?=[^\]]+\]\()|(?<=\w)\]\([^)]*\)")
_RULE = re.compile(r"[=_-]{4,}")
_LEADING = re.compile(r"^(?:[#>\s]+|[-*+•‣◦]\s+|\(?(?:\d{1,3}(?:\.\d+)*|[a-zA-Z])[.)]\s+|\d+(?:\.\d+)+\s+)+")
_IMPERATIVES: Final = (
    "add apply approve ask book call carry change charge check choose claim clean close configure connect contact copy "
    "create delete disable disconnect empty enable export fill fit get grease import install join maintain make mount "
    "move order pack pay prepare print protect reach register remove rent repair replace request reset restart restore "
    "return review run save select send share store submit switch test tighten uninstall update upgrade upload use wire"
).split()
_DOUBLED: Final = frozenset("get run submit fit".split())
_GENERIC: Final = frozenset(
    "appendix contents introduction overview summary notes note references index page preface example examples".split()
)
_PRONOUNS: Final = (
    r"It|Its|This|That|These|Those|There|They|Their|He|She|His|Her|We|Our|You|Your|I|Here|What|Who|Which|Both|Each|All|"
    r"None|Some|Any|Such|Other|Others|Another|One|Then|So|But|And|Or|Also|However|Otherwise|Instead|Yes|No|Example|Not|"
    r"If|When|While|Where|As|Because|Since|Therefore|Thus|Only"
)
_NOT_IN_TERM = r"(?!(?:is|are|means|stands|in|on|at|from|for|by|with|to)\b)"
_DEFINITION = re.compile(
    rf"(?!(?:{_PRONOUNS})\b)(?P<x>(?:The |An? )?[\w&/+-]+(?: {_NOT_IN_TERM}[\w&/+-]+){{0,4}}) "
    r"(?P<verb>(?:is|are)(?= (?:an?|any|every) )|means|stands for) (?P<rest>[^.;:]+)"
)
_DEFINED_BY: Final = {
    "is": "What is {}?", "are": "What are {}?", "means": "What does {} mean?", "stands for": "What does {} stand for?",
}  # fmt: skip
_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_NUMBER = r"\d+(?:[.,]\d+)*"
_NO_NOUN = r"(?!(?:was|is|has|as|its|us|plus|less)\b)"
_WHOLE = rf"(?<![\w.,-]){_NUMBER}"
_ABBREVIATED: Final = {
    "m": "metres", "cm": "centimetres", "mm": "millimetres", "km": "kilometres", "kg": "kilograms", "g": "grams",
    "W": "watts", "kW": "kilowatts", "V": "volts", "A": "amperes", "°C": "degrees Celsius", "bar": "bars",
    "GB": "gigabytes", "MB": "megabytes", "ms": "milliseconds", "s": "seconds", "h": "hours",
}  # fmt: skip
_UNITS = "|".join(re.escape(unit) for unit in _ABBREVIATED)
_FIGURE = re.compile(
    rf"(?P<date>(?:\b\d{{1,2}} {_MONTH}(?: \d{{4}})?|{_MONTH} \d{{1,2}}(?:, \d{{4}})?|{_MONTH} \d{{4}})\b)"
    r"|(?P<hours>(?:from |between )\d{1,2}:\d{2} (?:to|and) \d{1,2}:\d{2}\b)"
    r"|(?P<clock>(?<=at |by )\d{1,2}:\d{2}\b(?! (?:to|and)))"
    rf"|(?P<share>{_WHOLE}\s?(?:%|percent\b|per cent\b))"
    rf"|(?P<money>[$€£]\s?{_NUMBER})"
    r"|(?P<year>(?<=\b[Ii]n )(?:1[5-9]|20)\d\d\b)"
    rf"|(?P<unit>{_WHOLE} (?P<short>{_UNITS})(?![\w-]))"
    rf"|(?P<count>{_WHOLE} (?P<noun>(?:working |calendar |business |full )?{_NO_NOUN}[a-z]+s)\b(?!['’] | \d))"
)
_MEASURES: Final = {
    "costs": "How much does {} cost?", "weighs": "How much does {} weigh?", "lasts": "How long does {} last?",
    "takes": "How long does {} take?",
}  # fmt: skip
_ASKED: Final = {
    "date": "what date", "hours": "at what hours", "clock": "what time", "share": "what percentage",
    "money": "how much", "year": "what year",
}  # fmt: skip
# Before a figure: an article or a name that belongs to it, or a word that stands for another sentence's thing.
_UNCLEAR = re.compile(
    r"\b(?:an?|the|than|first|last|next|other|\d[\d.,]* \w+|[A-Z]\w*) $|\b(?:it|them|they|this|these|those)\b|[:;=]"
)
_ELSEWHERE = re.compile(r"\b(?:these|those|this|them|they)\b")
_BEFORE_A_DATE = re.compile(r"\b(?:on|by|until|from|of|since|before|after|to|in) $")
_TIMES = re.compile(r"(?:second|minute|hour|day|week|month|year)s$")
_VERB = re.compile(
    r" (?P<verb>costs|weighs|lasts|takes|is|are|has|have|receives?|gets?|earns?) (?P<most>up to |about )?"
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A question, the characters of the document that answer it, and the accepted answers (none: the passage is it)."""

    question: str
    start: int
    end: int
    answers: tuple[str, ...]
    kind: str


def draft_questions(document: StoredDocument) -> list[Draft]:
    """All questions that the rules find in a document, in the order of its text, each once."""
    found: dict[str, Draft] = {}
    for draft in (*_from_headings(document), *_from_sentences(document)):
        found.setdefault(draft.question.casefold(), draft)
    return sorted(found.values(), key=lambda draft: (draft.start, draft.end, draft.question))


def plain(text: str) -> str:
    """One line of text without list markers, heading marks and emphasis."""
    return _MARKUP.sub("", _LEADING.sub("", " ".join(text.split())))


def _from_headings(document: StoredDocument) -> Iterator[Draft]:
    for heading, block in _sections(document):
        question = _heading_question(document, heading)
        text = document.text[block.start : block.end]
        if question and len(text) <= LONGEST_QUOTE and len(text.split()) >= 4:
            yield Draft(question, block.start, block.end, (), "heading")


def _sections(document: StoredDocument) -> Iterator[tuple[Block, Block]]:
    """Each heading with the block right under it, where both stand in one chunk or the next."""
    for heading, block in zip(document.blocks, document.blocks[1:], strict=False):
        if heading.kind == "heading" and block.kind != "heading":
            yield heading, block


def _heading_question(document: StoredDocument, heading: Block) -> str | None:
    said = re.sub(r"^\d+ (?=[A-Z])", "", plain(document.text[heading.start : heading.end])).strip(" :=-")
    words = said.split()
    if not words or len(words) > LONGEST_HEADING or said.casefold() == document.title.casefold():
        return None
    if not re.search(r"[^\W\d]", said) or not content_words(said) or said.casefold() in _GENERIC:
        return None
    if said.endswith("?"):
        return said
    how_to = _how_to(words)
    if how_to:
        return how_to
    if len(words) > 2:
        return said
    above = heading.headings[-2] if len(heading.headings) > 1 else document.title
    return f"{plain(above)}: {said}" if above and above.casefold() != said.casefold() else None


def _how_to(words: list[str]) -> str | None:
    """`Returning goods`, `Return goods` and `How to return goods` as `How do I return goods?`."""
    if [word.casefold() for word in words[:2]] == ["how", "to"] and len(words) > 2:
        return f"How do I {' '.join(words[2:])}?"
    verb = {**{v: v for v in _IMPERATIVES}, **{_gerund(v): v for v in _IMPERATIVES}}.get(words[0].casefold())
    if verb is None or len(words) < 2 or words[1].casefold() in {"of", "and", "or", "by"}:
        return None
    rest = ["you" if word.casefold() == "us" else word for word in words[1:]]
    return f"How do I {verb} {' '.join(rest)}?"


def _gerund(verb: str) -> str:
    if verb in _DOUBLED:
        return f"{verb}{verb[-1]}ing"
    return f"{verb.removesuffix('e')}ing"


def _from_sentences(document: StoredDocument) -> Iterator[Draft]:
    names = _names(document.text)
    for block in document.blocks:
        if block.kind not in ("paragraph", "list", "quote"):
            continue
        text = document.text[block.start : block.end]
        for start, end in split_sentences(text):
            sentence = plain(text[start:end])
            if len(sentence.split()) not in SENTENCE_WORDS or not re.match(r"[A-Z].*\.$", sentence):
                continue
            if _RULE.search(sentence):
                continue
            drafted = _defined(sentence, names) or _measured(sentence, names) or _asked_in_place(sentence)
            if drafted:
                question, answer, kind = drafted
                yield Draft(question, block.start + start, block.start + end, (answer,), kind)


def _names(text: str) -> frozenset[str]:
    """Words that are written with a capital inside of sentences."""
    return frozenset(re.findall(r"(?<=[a-z,] )[A-Z][\w-]*", text))


def _mid(subject: str, names: frozenset[str]) -> str:
    """A subject as it is written inside of a sentence."""
    first = subject.split(maxsplit=1)[0]
    is_name = first in names or not first[1:].islower() or any(c.isdigit() for c in first)
    return subject if is_name and len(first) > 1 else subject[0].lower() + subject[1:]


def _defined(sentence: str, names: frozenset[str]) -> tuple[str, str, str] | None:
    """`A buddy is a colleague who ...` as `What is a buddy?`."""
    found = _DEFINITION.match(sentence)
    if not found or len(found["rest"].split()) < 4:
        return None
    x = _mid(found["x"], names)
    return (_DEFINED_BY[found["verb"]].format(x), found["rest"].strip(), "definition") if content_words(x) else None


def _measured(sentence: str, names: frozenset[str]) -> tuple[str, str, str] | None:
    """`The pump weighs 6 kg` as `How much does the pump weigh?`."""
    found = _VERB.search(sentence)
    if not found or re.match(rf"(?:{_PRONOUNS})\b", sentence):
        return None
    subject = sentence[: found.start()]
    figure = _FIGURE.match(sentence, found.end())
    if not figure or "," in subject or len(subject.split()) > 7 or _VERB.search(f" {subject} "):
        return None
    verb, x, answer = found["verb"], _mid(subject, names), figure.group()
    if verb in ("is", "are"):
        return f"What {verb} {x}?", answer, "fact"
    if verb in _MEASURES:
        is_time = bool(_TIMES.search(_noun(figure)))
        return (_MEASURES[verb].format(x), answer, "fact") if is_time == (verb in ("takes", "lasts")) else None
    noun = _noun(figure)
    if not noun:
        return None
    plural = verb in ("have", "receive", "get", "earn")
    rest = re.split(r"[,;:.(]| and | or ", sentence[figure.end() :])[0].rstrip()
    base = "have" if verb in ("has", "have") else verb if plural else verb[:-1]
    return f"How many {noun}{_of(rest)} {'do' if plural else 'does'} {x} {base}{_beyond(rest)}?", answer, "fact"


def _of(rest: str) -> str:
    """` of leave` of ` of leave in a year`: what belongs to the noun."""
    found = re.match(r" of(?: [\w-]+){1,3}?(?= in| on| for| at| per| a |$)", rest)
    return found.group() if found else ""


def _beyond(rest: str) -> str:
    return rest[len(_of(rest)) :]


def _noun(figure: re.Match[str]) -> str:
    """What is counted; empty for a date, a share or a price."""
    return figure["noun"] or _ABBREVIATED.get(figure["short"] or "", "")


def _asked_in_place(sentence: str) -> tuple[str, str, str] | None:
    """The sentence with its first figure asked for: `The offer lapses after how many days?`."""
    figures = list(_FIGURE.finditer(sentence))
    if re.match(rf"(?:{_PRONOUNS})\b", sentence) or not 1 <= len(figures) <= 2 or not figures[0].start():
        return None
    figure = figures[0]
    before, behind = sentence[: figure.start()], sentence[figure.end() :].partition(";")[0].rstrip(".")
    if figure["date"] and not _BEFORE_A_DATE.search(before):
        return None
    if _UNCLEAR.search(before) or _ELSEWHERE.search(behind) or len(content_words(before + behind)) < LEAST_CONTENT:
        return None
    asked = next((words for name, words in _ASKED.items() if figure[name]), f"how many {_noun(figure)}")
    answer = re.sub("^(?:from|between) ", "", figure.group())
    return f"{before}{asked}{behind}?", answer, "fact"
