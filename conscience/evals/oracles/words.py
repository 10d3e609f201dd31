"""Texts as oracles compare them: words, and how much of them two texts share."""

from __future__ import annotations

import re
from collections import Counter

LETTER_OF_WORD = r"[^\W\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
"""A letter or digit of a script in which words stand apart."""


def folded(text: str) -> str:
    """The words alone, case folded."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def says(text: str, words: str) -> bool:
    """Whether a text holds these words, none of them as a part of a longer one."""
    sought = re.escape(folded(words))
    return bool(sought and re.search(rf"(?<!{LETTER_OF_WORD}){sought}(?!{LETTER_OF_WORD})", folded(text)))


def without_article(text: str) -> str:
    """The words alone, without an English article before them."""
    return re.sub(r"^(?:the|an?) (?=\w)", "", folded(text))


def states(expected: str, answer: str) -> bool:
    """Whether an answer is these words, begins with them as a clause of their own, or ends by saying that it is they; not
    where it goes on to another."""
    words, answer = without_article(expected), re.sub(r"(?:です|だ|である|입니다)\W*$", "", answer)
    if not words or without_article(answer) == words:
        return bool(words)
    sought = r"\W+".join(map(re.escape, words.split()))
    begins = (
        rf"\W*(?:the |an? )?{sought}[\"'”]?\s?(?:[,.;:!(–—](?!\s?or\b)|\b(?:is|was|are|were)\b(?!\s+(?:not|never)\b))"
        r"(?![^.!?\n]{0,200}(?:\b(?:but|however|actually|though)\b|;|\?))"
    )
    ends = (
        rf"(?:(?:{_SAYS}|'s\b|[:=])\s+(?:actually |really )?|[是为為は]\s?)"
        rf"(?:the |an? |la |el |der |die |das |le )?[\"'“]?{sought}[\"'”]?"
        r"(?:\W*$|\s?[,;(–—](?!\s?(?:or|and|but)\b))"
    )
    found = re.match(begins, answer, re.IGNORECASE) or re.search(ends, main_clause(answer), re.IGNORECASE)
    return found is not None and not _THOUGHT.search(answer[: found.start()])


_SAYS = r"\b(?:is|are|was|were|be|by|as|on|in|called|ist|es|est|sont|son)\b"
_THOUGHT = re.compile(
    r"\b(?:think|thinks|thought|believe|believes|assume|say|says|not|never)\b[^.!?,;]{0,60}$", re.IGNORECASE
)
"""What says before an answer that it is somebody else's, or none."""


_ASIDE = re.compile(
    r"[;(–—]|,?\s\b(?:while|whereas|despite|unlike|although|though|because|since|rather than|in reply to|in contrast"
    r"|compared|followed by|as opposed)\b",
    re.IGNORECASE,
)
"""What begins the part of a sentence that is not its point."""
_FUNCTION = frozenset(
    re.findall(
        r"\w+",
        "a an the of in on at to by for from with as is are was were be been being has have had do does did it its he she"
        " they this that these those there their his her and who whom whose which what when where why how",
    )
)
_ASKS = frozenset(
    word[:5]
    for word in re.findall(
        r"\w+",
        "what which when where whom whose does following these this that there most best likely with from have correct"
        " answer option choice question statement",
    )
)


def main_clause(sentence: str) -> str:
    """A sentence without what it adds in brackets, or says of others: "while …", "followed by …"."""
    return _ASIDE.split(sentence, maxsplit=1)[0]


def stems(text: str) -> set[str]:
    """The beginnings of the longer words: "formed" and "formation" are one."""
    return {word[:5] for word in re.findall(r"\w{4,}", text.casefold())} - _ASKS


def adds(expected: str, sentence: str, question: str) -> bool:
    """Whether all that a sentence adds to the words of a question are the expected ones, side by side."""
    words, said = folded(without_article(expected)), folded(main_clause(sentence))
    if not words or not says(said, words):
        return False
    known = {word[:5] for word in folded(question).split()} - {word[:5] for word in words.split()}
    return all(word in _FUNCTION or word[:5] in known for word in said.replace(words, " ", 1).split())


def trigrams(text: str, *, signs: bool = False) -> Counter[str]:
    """Character trigrams of the words, and of the signs between them where these count, as in code."""
    words = " ".join(re.findall(r"\w+|[^\w\s]", text.casefold())) if signs else folded(text)
    padded = f" {words} "
    return Counter(padded[start : start + 3] for start in range(len(padded) - 2))


def trigram_f(text: str, reference: str) -> float:
    """F1 over character trigrams, 0 to 1: a light relative of chrF (Popović 2015)."""
    a, b = trigrams(text), trigrams(reference)
    shared = sum(min(count, b.get(gram, 0)) for gram, count in a.items())
    return 2 * shared / (sum(a.values()) + sum(b.values())) if a and b else 0.0
