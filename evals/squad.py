"""Exact match and F1 of short answers, as the official evaluation of SQuAD 2.0 defines them.

The best over all accepted answers counts. A question without an accepted answer wants none: an empty answer scores 1
and any other 0. Articles are those of English; other languages are compared with theirs left in, as XQuAD does.

Sources: Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", EMNLP 2016, and "Know What
You Don't Know: Unanswerable Questions for SQuAD", ACL 2018.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case, without ASCII punctuation and articles, one space between words."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def exact_match(answer: str, accepted: Sequence[str]) -> float:
    """1 when the normalised answer is one of those accepted, else 0.

    Args:
        answer: empty for a refusal.
        accepted: empty where the question has no answer; those of which nothing is left when normalised are left out.
    """
    return float(normalise(answer) in _targets(accepted))


def f1(answer: str, accepted: Sequence[str]) -> float:
    """The best harmonic mean of precision and recall of words, 0 to 1. Arguments as in `exact_match`."""
    words = normalise(answer).split()
    return max(_word_f1(words, target.split()) for target in _targets(accepted))


def contains(answer: str, accepted: Sequence[str]) -> float:
    """1 when the normalised answer holds one of those accepted as whole words, else 0; not a measure of SQuAD.

    Fit for answers in sentences, which exact match never rewards. Arguments as in `exact_match`.
    """
    words = f" {normalise(answer)} "
    targets = _targets(accepted)
    if targets == [""]:
        return float(not words.strip())
    return float(any(f" {target} " in words for target in targets))


def _targets(accepted: Sequence[str]) -> list[str]:
    """What is accepted, normalised; the empty string alone where nothing is."""
    return [text for text in map(normalise, accepted) if text] or [""]


def _word_f1(found: Sequence[str], wanted: Sequence[str]) -> float:
    if not found or not wanted:
        return float(found == wanted)
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted))
