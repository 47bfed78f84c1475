"""A follow-up question and its history become a question that can be searched for alone.

By a hosted language model where one is configured; otherwise, and whenever that does not work out, by the words of the
history that a question in English leans on: a question that opens a new subject stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from typing import Final

from rag.bm25 import BM25Encoder
from rag.conversation import Message
from rag.errors import QuothError
from rag.prompt_files import prompt_text
from rag.protocols import ChatModel, Prompt, Sampling
from rag.stemming import Stemmer

logger = logging.getLogger(__name__)

CONDENSE_SECONDS: Final = 8.0
CONDENSED_TOKENS: Final = 96
SHOWN_MESSAGES: Final = 6
SHOWN_CHARACTERS: Final = 600
LONGEST_CONDENSED: Final = 500
# Of the words of a condensed question, how many must stand in the conversation; and of the question's, in it.
FROM_CONVERSATION: Final = 0.6
FROM_QUESTION: Final = 0.5
# A question leans back over as many others at most.
DEEPEST: Final = 3
SHORT: Final = 4
ENOUGH_TERMS: Final = 2

_LEAD = re.compile(
    r"^(?:(?:and|but|so|then|ok|okay|well|also|now|thanks|thank you|great|hmm|or|plus)\b[\s,.!]*)+", re.IGNORECASE
)
_ASKING = re.compile(
    r"^(?:how|what|which|who|whom|whose|where|when|why|can|could|do|does|did|is|are|was|were|will|would|should|may|might"
    r"|must|has|have|had|tell|show|explain|describe|list|give|name)\b",
    re.IGNORECASE,
)
_ELLIPSIS = re.compile(
    r"^(?:what|how) about\b|^(?:why|why not|how so|how come|really|else|since when)\W*$", re.IGNORECASE
)
_POINTING = re.compile(
    r"\b(?:it|its|itself|they|them|their|theirs|themselves|this|these|those|he|him|his|she|her|one|ones|former|latter"
    r"|else|instead|otherwise|both|neither)\b"
    r"|\b(?:the|this|that|these|those)\s+(?:same|other|others|rest|second|third|last)\b"
    r"|\b(?:do|does|did|is|are|was|about|with|for|of|in|on|like|after|before|to|from|use|using|than|why|how|what)\s+that\b"
    r"|^that\b|\bthat\W*$|\b(?:in|from|over|up|out)?\s*there\W*$",
    re.IGNORECASE,
)
# These words point at nothing here: "is it possible to", "is there a way".
_EMPTY = re.compile(
    r"\b(?:is|was|would|will|makes?)\s+it\s+(?:possible|true|ok|okay|safe|better|worth|necessary|allowed|mandatory"
    r"|enough|recommended|easy|hard|a good idea)\b|\b(?:is|are|was|were)\s+there\b"
    r"|\bone\s+(?:day|week|month|year|hour)\b"
    r"|\b(?:each|one) (?:other|another)\b|\bat (?:this|the same) time\b|\bone of\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[\w.@/_-]*\w")
_COMMON: Final = frozenset(
    "a about after again all also am an and another any anything are as at be because been before being between but "
    "by can cannot case come could did do does doing don't done else every exactly example far few first for from "
    "get gets getting give go goes got had happen happens has have having he help her here him his how i if in "
    "instead into is it its itself just kind know let like look lot made make makes many may me mean means might "
    "more most much must my need needed needs neither no not now of off ok on once one ones only or other others "
    "our out over own please possible put really same say says several shall she should show simply since so some "
    "something sort still such sure take tell than that the their theirs them then there these they thing things "
    "this those though through to together too under until up us use used using very want was way ways we well were "
    "what when where whether which while who whom whose why will with within without work works would yes yet you "
    "your".split()
)
_MARKS: Final = ("?", "？", "؟")
_stemmer = Stemmer("english")
_encoder = BM25Encoder()


class Condenser:
    """Makes follow-up questions stand alone.

    Args:
        model: what rewrites them; without one, the words of the history alone do.
        seconds: after which the model is not waited for any longer.
        instructions: what the model is told to do; None takes those that come with Quoth.
    """

    def __init__(
        self, model: ChatModel | None = None, seconds: float = CONDENSE_SECONDS, instructions: str | None = None
    ) -> None:
        self._model = model
        self._instructions = instructions or prompt_text("condense")
        self._seconds = seconds

    async def stand_alone(self, question: str, history: Sequence[Message]) -> str:
        """The question as it is to be searched for. Whatever fails on the way, there is one."""
        if self._model is None or not any(message.role == "user" for message in history):
            return stand_alone(question, history)
        try:
            async with asyncio.timeout(self._seconds):
                written = await _ask(self._model, self._instructions, question, history)
        except (QuothError, TimeoutError) as error:
            logger.warning("the model did not condense a question (%s): %s", type(error).__name__, error)
            return stand_alone(question, history)
        found = _accepted(written, question, history)
        if found is None:
            logger.info("what the model made of a question is none, or invents words; the history's are taken")
            return stand_alone(question, history)
        return found


def stand_alone(question: str, history: Sequence[Message]) -> str:
    """The question with the words of earlier ones that it leans on; otherwise as it is."""
    asked = [message.content for message in history if message.role == "user"]
    return _resolved(question, asked[-DEEPEST:])


def _resolved(question: str, asked: Sequence[str]) -> str:
    """The question, led by the last one when that is left unsaid, or followed by its terms when it points at them."""
    if not asked or not leans(question):
        return question
    earlier = _resolved(asked[-1], asked[:-1])
    bare = _bare(question)
    if _is_elliptic(question):
        return f"{earlier.strip()}\n{bare}"
    own = {_stem(term) for term in _terms(question)}
    added = [term for term in _terms(earlier) if _stem(term) not in own]
    return f"{bare} {' '.join(added)}".strip()


def leans(question: str) -> bool:
    """Whether a question in English means something that was said before."""
    bare = _bare(question)
    if _is_elliptic(question):
        return True
    if _POINTING.search(_EMPTY.sub(" ", bare)):
        return True
    # Who asks in full with words of their own begins something new, also when they say "so" or "and" first.
    return len(_terms(bare)) < (ENOUGH_TERMS if bare != question.strip() else 1)


def _is_elliptic(question: str) -> bool:
    """Whether the question is a part of one: "and for contractors?", "why?"."""
    bare = _bare(question)
    if not bare or _ELLIPSIS.search(bare):
        return True
    if _ASKING.search(bare):
        return False
    # Other languages ask in other words, so that without a lead only a few words are taken for a part. Terms count
    # where a script writes no spaces.
    words = max(len(bare.split()), len(list(_encoder.terms(bare))))
    return words < (2 * SHORT if bare != question.strip() else SHORT)


def _bare(question: str) -> str:
    """Without what only leads in: "and", "ok, so"."""
    return _LEAD.sub("", question.strip())


def _terms(text: str) -> list[str]:
    """The words that say what a text is about, in order, each once."""
    found: dict[str, str] = {}
    for word in _WORD.findall(text):
        if word.casefold() not in _COMMON:
            found.setdefault(_stem(word), word)
    return list(found.values())


def _stem(word: str) -> str:
    return _stemmer.stem(word.casefold())


def _telling(text: str) -> frozenset[str]:
    """What stands for a text's words when two are compared, in any script."""
    return frozenset(_encoder.terms(text)) - _COMMON


async def _ask(model: ChatModel, instructions: str, question: str, history: Sequence[Message]) -> str:
    talk = [message for message in history if message.role != "system"][-SHOWN_MESSAGES:]
    shown = "\n".join(f"{message.role.capitalize()}: {_shown(message.content)}" for message in talk)
    wanted = f"Conversation:\n{shown}\n\nLast question: {_shown(question)}\n\nThe question, rewritten to stand alone:"
    prompt = Prompt((Message("system", instructions), Message("user", wanted)), question, ())
    deltas = model.stream(prompt, Sampling(max_tokens=CONDENSED_TOKENS, temperature=0))
    written = ""
    try:
        async for delta in deltas:
            written += delta.text
    finally:
        await deltas.aclose()  # type: ignore[attr-defined]
    return written


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]} …"


def _accepted(written: str, question: str, history: Sequence[Message]) -> str | None:
    """What a model wrote, if it is one line that keeps the question and speaks of the conversation; else None."""
    lines = [line.strip() for line in written.strip().splitlines() if line.strip()]
    if len(lines) != 1:
        return None
    found = lines[0].strip("\"'“”`* ")
    if question.rstrip().endswith(_MARKS) and not found.endswith(_MARKS):
        return None
    made, own = _telling(found), _telling(question)
    said = own.union(*(_telling(message.content) for message in history))
    if not made or len(found) > LONGEST_CONDENSED or len(made & said) < FROM_CONVERSATION * len(made):
        return None
    return found if len(made & own) >= FROM_QUESTION * len(own) else None
