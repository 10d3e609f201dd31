"""Multiple choice as it is written: "**B**", "The correct answer is B.", the words alone, one ruled out before another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from conscience.cases.case import Case
from conscience.errors import CaseError
from conscience.evals.oracles.asides import without_asides
from conscience.evals.oracles.formulas import last_box
from conscience.evals.oracles.grade import Grade
from conscience.evals.oracles.refusals import is_refusal
from conscience.evals.oracles.words import LETTER_OF_WORD, folded, main_clause, stems
from conscience.messages.rendering import request_text

LAST, LONGEST = 20, 1000
"""Announcements of an answer that are looked at, the last ones, and characters that are read behind each."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_DECLARED = re.compile(
    r"\b(?:answer|choice|option|response|solution|selection|(?:correct|right) one|antwort|respuesta|réponse)"
    r"(?:\s+(?!not\b|can ?not\b|never\b|no\b|nicht\b|[a-hj-z]\b)\w+){0,4}?\s*"
    r"\b(?:is|be|are|ist|es|est|as)\b\s*:?\s*"
    r"|\b(?:answer|choice|option|antwort|respuesta|réponse)[\"']?\s*[:=→-]+\s*"
    r"|\bI(?:'d| would|'ll| will)? (?:choose|pick|select|go with|say|answer)\s+"
    r"|(?:答案|选|選|答え|正解)(?:是|为|為|は)?\s*[:：]?\s*"
    r"|(?<!\w)(?=\(?[a-hj-z]\)?\s+is\s+(?:the\s+)?(?:correct|right|best)\b)",
    re.IGNORECASE,
)
"""What comes before the answer where it is named as such."""

_TURN = re.compile(
    r"\b(?:however|actually|instead|therefore|thus|hence|so|leav(?:es|ing)|no)\b[.,:]*\s+"
    r"(?:(?:it(?:'s| is| must be| has to be)|us with|only|just|option|choice|on reflection,? it's)\s+)?(?=\(?[A-Z]\b)"
    r"|\bwhich is\s+(?=\(?[A-Z]\b)|\bactually\b,?\s+(?:is\s+|it(?:'s| is)\s+)?|=\s?(?=-?\d+\W*$)",
    re.IGNORECASE,
)
"""What comes before a choice that is settled on after others."""
TAKEN_BACK = re.compile(
    r"\b(?:wait|hold on|hmm+|scratch that|correction|on second thought|let me (?:re-?)?(?:check|think))\b", re.IGNORECASE
)
"""That what was said before may not hold."""
_TICKED = re.compile(r"[✅✔✓☑]")

_MARK = re.compile(
    rf"(?<!{LETTER_OF_WORD})(?<!')(?:\(([A-Za-z])\)|\[([A-Za-z])\]|([A-Za-z])\)"
    rf"|(?:[Oo]ption|[Cc]hoice|[Ee]nding|[Ll]etter)\s\(?([A-Z])(?!{LETTER_OF_WORD})"
    r"|([A-Z])(?=\s*(?:[.,:;!?\n\"”]|$|-\s|–|—|(?:because|since|as|is|was|or|and)\b|\())"
    rf"|([B-HJ-Z])(?!{LETTER_OF_WORD}|['+#./]))"
)
"""A letter that stands for a choice; "A" and "I" are words too, unless something sets them apart."""

_RULED_OUT = re.compile(
    r"\b(?:not|never|wrong|incorrect|false|unlikely|ruled? out|cross\w* out|eliminat\w*|exclud\w*|neither|nor|instead of"
    r"|rather than|although|though|nicht|falsch|no es|no son|incorrect[ao]|faux|pas)\b|[❌✗✘]|不是|不对|错误|ではな|間違",
    re.IGNORECASE,
)
_RULED_OUT_BEHIND = re.compile(
    r"\W*(?:⟦\d+⟧\W*)?(?:(?:is|was|are|can|could|would|must|be|has|been|clearly|also|ruled)\b\W*)*"
    r"\b(?:not(?!\s+(?:\(?[A-Z]\b|⟦))|never|wrong|incorrect|false|unlikely|out|eliminat\w*|exclud\w*)\b",
    re.IGNORECASE,
)
"""That the choice is ruled out which stands before it; not in "C, not A"."""
_LINKED = re.compile(r"\s*(?:(?:or|and)\b|[+*/=×^]\s*[\w⟦]|-\s*\d)", re.IGNORECASE)
"""What makes a choice one of several, or a number one of a sum."""
_CLAUSE = re.compile(
    r"(?<=[.!?;。！？])\s*|\n+|,?\s+\b(?=(?:but|so|therefore|hence|thus|while|whereas)\b)|(?<=,)\s", re.IGNORECASE
)

_SIGNS = re.compile(r"(?:(?<!\w)-(?=\w)|(?<=\w\s)-(?=\s)|(?<=\d)-(?=\d)|[+±*/^<>=#%≤≥√])")
"""Signs by which two choices may differ; a hyphen within words is none."""
_OF_ANSWERS = frozenset(
    ("correct", "right", "true", "it", "this", "that", "answer", "option", "choice", "valid", "the", "one")
)
"""Words that speak of a choice as an answer."""

_UNKNOWN = re.compile(
    r"\bun(?:known|determined|clear|certain|decided|specified)\b|\bnot (?:enough|sufficient|known|answerable|clear|stated)\b"
    r"|\bnot (?:have|contain|give|provide|include) (?:enough|sufficient)\b"
    r"|\binsufficient\b|\bundeterminable\b|\bno (?:way (?:to|of)|information)\b|\bimpossible to\b"
    r"|\b(?:can|could|is|was|are|does|do|did) not (?:\w+ )?(?:be )?(?:known?|determined?|answer(?:ed)?|tell|told|say|said"
    r"|specif\w+|stated?|mention\w*|provided?|clear|possible|infer(?:red)?|conclude\w*)\b",
    re.IGNORECASE,
)
"""That something cannot be told from what is given, as a choice or as an answer."""


def choice(case: Case, response: str) -> Grade:
    """Right is the choice that the case names, by its letter or its words."""
    if case.answer is None:
        raise CaseError(f"case {case.id!r}: field 'answer' is needed by the oracle 'choice'")
    picked = picked_choice(case.choices, response, request_text(case.request))
    if picked is None:
        return Grade(False, "names no single choice", is_refusal(response))
    return Grade(picked == case.answer, f"chose {case.choices[picked]!r}, right is {case.choices[case.answer]!r}")


def picked_choice(choices: Sequence[str], response: str, question: str = "") -> int | None:
    """The index of the one choice that a response settles on; None where it names none, or several.

    In this order: what stands in a box, or behind the only tick; what is named as the answer, the last time, unless that is
    taken back; the letter it comes to after others; what it begins with; the one letter that is not ruled out; the one
    choice whose words are not; that nothing can be told, where one choice says so.

    Args:
        question: what was asked; "not" before the words that it denies itself rules nothing out.
    """
    text = _without_denials(_plain(without_asides(response.rpartition("</think>")[2])), choices, question)
    if (boxed := last_box(text)) and (index := _names(choices, boxed)) is not None:
        return index
    if boxed and re.match(r"\W*none of\b", boxed, re.IGNORECASE):
        return None
    text = re.sub(r"(?:\\boxed|[{} ])+", " ", text)
    ticked = [line for line in text.splitlines() if _TICKED.search(line)]
    if len(ticked) == 1 and (index := _names(choices, _TICKED.sub("", ticked[0]).strip())) is not None:
        return index
    if (index := _announced(choices, text)) is not None:
        return index
    if (index := _leads(choices, text)) is not None:
        return index
    for standing in (_standing_letters(choices, text), _standing_words(choices, text)):
        if len(standing) == 1:
            return standing.pop()
    if (index := _restated(choices, text, question)) is not None or (index := _yes_or_no(choices, text)) is not None:
        return index
    unknown = [i for i, words in enumerate(choices) if _UNKNOWN.search(_spelled_out(words)) or folded(words) == "unknown"]
    return unknown[0] if len(unknown) == 1 and _UNKNOWN.search(_masked(choices, text)) else None


def _announced(choices: Sequence[str], text: str) -> int | None:
    """What is named as the answer, the last time, or a letter that it comes to after taking that back."""
    declared, turned = (_last_led(choices, text, announces) for announces in (_DECLARED, _TURN))
    if declared and turned and TAKEN_BACK.search(text, declared.at, turned.at):
        return turned.choice
    last = declared or turned
    return last.choice if last else None


class _Led(NamedTuple):
    """A choice, and where what it follows ends."""

    at: int
    choice: int


def _last_led(choices: Sequence[str], text: str, announces: re.Pattern[str]) -> _Led | None:
    """The choice behind the last announcement that has one."""
    for match in [*announces.finditer(text)][: -LAST - 1 : -1]:
        if (index := _leads(choices, text[match.end() : match.end() + LONGEST])) is not None:
            return _Led(match.end(), index)
    return None


_LISTED = (
    re.compile(r"\(([A-Z])\) ?(.*?)(?=\s\([A-Z]\)|\Z)", re.DOTALL),
    re.compile(r"^ *(?:[-*•] )?\**\(?([A-Za-z])[.):]\**\s+(.*?) *$", re.MULTILINE),
    re.compile(r"(?<!\w)([A-Z])[).:] (.*?)(?=[,;]? [A-Z][).:] |\n|\Z)"),
)


def listed_choices(request: str) -> list[str]:
    """The choices that a request lists last as (A) … (B) …, or a line each as A. …, or in one line as A) … B) …; empty where
    it lists none."""
    for pattern in _LISTED:
        found = [(letter.upper(), words.strip()) for letter, words in pattern.findall(request)]
        first = max((i for i, (letter, _) in enumerate(found) if letter == "A"), default=0)  # examples stand before it
        letters = "".join(letter for letter, _ in found[first:])
        if len(letters) > 1 and LETTERS.startswith(letters):
            return [words for _, words in found[first:]]
    return []


def _plain(text: str) -> str:
    """Without Markdown's emphasis, TeX's marks around a letter, and runs of spaces; C/D and C, D as C and D."""
    text = re.sub(r"[^\S\n]+", " ", re.sub(r"[⟦⟧]", " ", text.replace("’", "'").replace("−", "-")))
    text = re.sub(r"\\(?:text|mathrm|mathbf|textbf)\s?\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\\[dtc]?frac\s?\{([^{}]*)\}\s?\{([^{}]*)\}", r"\1/\2", text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"\b([A-HJ-Z])\s?[/&,]\s?(?:and\s|or\s)?(?=[A-HJ-Z]\b)", r"\1 and ", text)
    return re.sub(r"[*_`$]|\\[()\[\]]", "", text).strip()


def _without_denials(text: str, choices: Sequence[str], question: str) -> str:
    """A text without each "not" that rules no choice out: one that repeats the question's own, and one before words that are
    neither the question's nor a choice's. To "Who was not forgetful?", "The man was not forgetful." names the man; to "Who
    was forgetful?" it does not, and "The man did not remember." does."""
    text = _spelled_out(text)
    if not question.strip():
        return text
    asked = _spelled_out(question).casefold()
    denied = set(re.findall(r"\bnot (\w+)", _masked(choices, asked)))  # where the choices are listed, theirs are not its own
    known = {*re.findall(r"\w+", asked), *re.findall(r"\w+", " ".join(choices).casefold()), *_OF_ANSWERS} - denied

    def kept(match: re.Match[str]) -> str:
        words = re.findall(r"\w+", match[2].casefold())
        rules_out = not known.isdisjoint(words) or any(len(word) == 1 for word in words)
        tells_nothing = _UNKNOWN.search(text, max(0, match.start() - 20), match.end() + 20)
        return match[1] if words[0] not in denied and (rules_out or tells_nothing) else ""

    return re.sub(r"\b(not )(?=((?:\w+[ .;\n]?){1,3}))", kept, text, flags=re.IGNORECASE)


def _names(choices: Sequence[str], text: str) -> int | None:
    """The choice that a short text is: a letter, its words, or both."""
    letter = re.fullmatch(r"\W*([A-Za-z])[^\w+#]*", text) or re.match(r"\W*([A-Z])[).:]\s", text)
    if letter:
        return _index(letter[1], choices)
    standing = _standing_words(choices, text)
    return standing.pop() if len(standing) == 1 else None


def _leads(choices: Sequence[str], text: str) -> int | None:
    """The choice that a text begins with, unless it is ruled out there."""
    lead = re.match(
        r"[\s\"'“:(\[]*(?:it(?:'s| is) )?(?:(?:the )?(?:option|choice|letter|answer)\b[\s:]*)?", text, re.IGNORECASE
    )
    start = lead.end() if lead else 0
    rest = text[start:]
    whole = re.match(r"([A-Za-z])[^\w+#]*(?:\n|\Z)", rest) or _MARK.match(text, start)
    if whole:
        letter = next(group for group in whole.groups() if group)
        behind = rest[len(letter) :]
        clause = _CLAUSE.split(_masked(choices, behind.lstrip("). ]:")), maxsplit=1)[0]
        ruled_out = _LINKED.match(behind) or _RULED_OUT_BEHIND.match(clause)
        return None if ruled_out else _index(letter, choices)
    masked = _masked(choices, rest)
    words = re.match(r"\W*⟦(\d+)⟧", masked)
    if words and not _LINKED.match(masked, words.end()):
        clause = _CLAUSE.split(masked[words.end() :], maxsplit=1)[0]
        return None if _RULED_OUT.search(clause) else int(words[1])
    return None


def _standing_letters(choices: Sequence[str], text: str) -> set[int]:
    """The letters in clauses that rule nothing out."""
    found = set()
    for clause in _clauses(text):
        marked = {_index(next(group for group in match.groups() if group), choices) for match in _MARK.finditer(clause)}
        if marked and not _RULED_OUT.search(_spelled_out(clause)):
            found |= marked
    return {index for index in found if index is not None}


def _standing_words(choices: Sequence[str], text: str) -> set[int]:
    """The choices whose words stand in clauses that rule nothing out."""
    found: set[int] = set()
    for clause in _clauses(_masked(choices, text)):
        if not _RULED_OUT.search(clause):
            found |= {int(index) for index in re.findall(r"⟦(\d+)⟧", clause)}
    return found


def _restated(choices: Sequence[str], text: str, question: str) -> int | None:
    """The choice that a sentence names which says the question again, where others say something of other choices."""
    asked = stems(re.sub(r"⟦\d+⟧", " ", _masked(choices, question)))
    found: set[int] = set()
    for sentence in re.split(r"(?<=[.!?。])\s+|\n+", _masked(choices, text)):
        said = main_clause(sentence)
        named = {int(index) for index in re.findall(r"⟦(\d+)⟧", said)}
        if len(named) == 1 and len(asked & stems(said)) * 2 >= max(len(asked), 3) and not _RULED_OUT.search(said):
            found |= named
    return found.pop() if len(found) == 1 else None


def _yes_or_no(choices: Sequence[str], text: str) -> int | None:
    """The only choice that begins with the Yes or No that a text begins with."""
    opening = re.match(r"\W*(yes|no)\b\s*(?=[,.;:!–—-]|$)", text, re.IGNORECASE)
    begin = [i for i, words in enumerate(choices) if opening and re.match(rf"{opening[1]}\b", words, re.IGNORECASE)]
    return begin[0] if len(begin) == 1 else None


def _masked(choices: Sequence[str], text: str) -> str:
    """The text with each choice's words, the longest first, as a mark of their own: "the man" in "the old man" is not named,
    and the "not" of "not known" rules nothing out. "The man" is named by "man", and not by "a man"."""
    text = _spelled_out(text)
    for words, index in sorted(
        ((_spelled_out(_plain(words)), i) for i, words in enumerate(choices)), key=lambda pair: -len(pair[0])
    ):
        if _SIGNS.search(words):
            text = re.sub(_with_signs(words), f"⟦{index}⟧", text, flags=re.IGNORECASE)
        elif parts := re.findall(r"\w+", words):
            article = parts.pop(0).casefold() if len(parts) > 1 and parts[0].casefold() in ("the", "a", "an") else ""
            before = {"": "", "the": r"(?:the\W+|(?<!\ba\s)(?<!\ban\s))"}.get(article, r"(?:(?:the|an?)\W+)?")
            sought = before + r"\W+".join(map(re.escape, parts))
            if parts[-1].isdecimal():
                before, sought = "", rf"(?<![−-])(?<!\d[.,]){before}{sought}(?![.,]\d)"
            # Only the words fold their case: in an alphabet's range that would be tried letter by letter, 15 ms a choice.
            text = re.sub(rf"(?<!{LETTER_OF_WORD})(?<!⟦)(?i:{sought})(?!{LETTER_OF_WORD})", f"⟦{index}⟧", text)
    return text


def _with_signs(words: str) -> str:
    """A pattern for a choice in which signs count: C++ is not C, and -5 not 5."""
    parts = re.findall(rf"\w+|{_SIGNS.pattern}", _plain(words))
    between = r"[^\w±+−*/^<>=#%-]*"
    return rf"(?<![\w+−-])(?<!\d[.,]){between.join(map(re.escape, parts))}(?![\w+#]|[.,]\d)"


def _spelled_out(text: str) -> str:
    """Contractions and "cannot" as two words."""
    text = re.sub(r"\bcan't\b|\bcannot\b", "can not", text.replace("’", "'"), flags=re.IGNORECASE)
    return re.sub(r"n't\b", " not", text, flags=re.IGNORECASE)


def _clauses(text: str) -> Iterator[str]:
    return (clause for clause in _CLAUSE.split(text) if clause)


def _index(letter: str, choices: Sequence[str]) -> int | None:
    """The choice that a letter stands for: the one that is called so, if one is."""
    called = [i for i, words in enumerate(choices) if words.strip(" ().").upper() == letter.upper()]
    index = called[0] if len(called) == 1 else LETTERS.index(letter.upper())
    return index if index < len(choices) else None
