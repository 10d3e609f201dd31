"""Exact answers: the number, letter, formula or words that a response ends up with, beside the right ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import filterfalse

from conscience.cases.case import Case
from conscience.errors import CaseError
from conscience.evals.oracles.asides import without_asides
from conscience.evals.oracles.choice import LAST, LETTERS, LONGEST, TAKEN_BACK, listed_choices, picked_choice
from conscience.evals.oracles.formulas import (
    behind_equals,
    is_formula,
    last_box,
    sides,
    without_emphasis,
    without_marks,
    written,
)
from conscience.evals.oracles.grade import Grade
from conscience.evals.oracles.quantities import Quantity, plain_numbers, quantities, same_quantity
from conscience.evals.oracles.refusals import is_refusal
from conscience.evals.oracles.words import adds, states, without_article
from conscience.messages.rendering import request_text

_IS = r"\s*(?:(?:(?:is|are|be|=|:|es|ist|est)(?=\W)|是|は|为|為)\s*)+:?\s*"
_ANSWER = re.compile(
    rf"####\s*|(?<![^\W\d_])(?<!wrong )(?<!your )(?:answer|respuesta|antwort|réponse|ответ)[\"']?"
    rf"(?:{_IS}|\s?\n+(?=\W?\d))|(?:答案|答え){_IS}|<(?:final_)?answer>\s*",
    re.IGNORECASE,
)
"""What comes before an answer that is called one."""
_RESULT = re.compile(rf"\b(?:result|solution|total){_IS}", re.IGNORECASE)
"""What comes before it in the last line, and in the middle of the work before that."""
_REASON = re.compile(r"\s?(?:\(|[,;]?\s?\b(?:because|since|as|which|where|when|not|rather than)\b)", re.IGNORECASE)
"""What comes behind an answer that is explained, or set apart from another."""
_RULED_OUT = re.compile(r"\b(?:not|never|instead of|rather than)\s+(?:be\s+)?\W?$|n't\s+(?:be\s+)?\W?$", re.IGNORECASE)
_BOUND = re.compile(r"(?:\b(?:less|more|greater|fewer|larger|smaller|other) than|[<>≤≥±]|\\pm)\s*\W?$", re.IGNORECASE)
"""What stands before a number that the answer only comes near, or has twice."""
_ANSWERS_SO = r"\s*(?:[,.;:!(–—-]|$|\d)|\s+(?:it|they|he|she|you|we|I|that|this|there|the|because|since|as)\b"
"""What stands behind a Yes or a No that is the answer; not in "No doubt", nor in "Yes and no"."""
_SENTENCE_END = re.compile(r"(?<!\b[a-z]\.[a-z])[.!?](?=\s|$)|。|\n")
_GOES_ON = re.compile(
    r"[a-z]|\s*(?:\\(?!text|mathrm|quad|[,;!% )])|[π√^]|[:,](?=[-+−]?\d)|,?\s\b(?:or|and|to)\s+(?=[-+−$]?\d)"
    r"|,\s(?=[-+−]?\d+\W*$)|[-+−–*/]\s*[\\\d(√π])"
)
"""What stands behind a number that is a part of the answer only, as in 5:30, 2 or 3, 2π."""


_COMES_TO = re.compile(r"\b(?:so|i\.e\.,?|therefore|thus|hence|which is)\s|:(?!\d)|[.!?]\s+", re.IGNORECASE)
"""What stands between the work and what it comes to."""
_WITH_COMMAS = re.compile(r"\b(?:respuesta|resultado|antwort|ergebnis|réponse|résultat)\b", re.IGNORECASE)
"""Of a language that writes 0,5 and 1.250."""
_CONDITION = re.compile(r"\b(?:in|for|of|over|at|than|after|during|per|every)\s(?:the\s)?(?:original\s)?\W?$", re.IGNORECASE)
"""What stands before a number that a condition of the question may be."""
_NEARLY = re.compile(r"(?:≈|\\approx)\s*[-−]?[\d.,]+\d%?")


def exact(case: Case, response: str) -> Grade:
    """Right is a response whose final answer is the expected one: the same choice of those that the request lists, the same
    number or numbers (with units, where both have one), the same formula but for spaces, or the same words."""
    if case.expected is None:
        raise CaseError(f"case {case.id!r}: field 'expected' is needed by the oracle 'exact'")
    choices = case.choices or listed_choices(request_text(case.request))
    if re.fullmatch(r"\(?[A-Z]\)?\.?", case.expected.strip()) and len(choices) > 1:
        picked = picked_choice(choices, response, request_text(case.request))
        right = picked == LETTERS.index(case.expected.strip().strip("()."))
        said = "names no single choice" if picked is None else f"chose {LETTERS[picked : picked + 1] or choices[picked]}"
    else:
        numbers, said_of_it = numbers_of(case.expected), without_asides(response)
        asked = request_text(case.request)
        texts = dict.fromkeys((said_of_it, _NEARLY.sub("", said_of_it)))  # 1/6 ≈ 0.167 says 1/6 as well
        answers = [final_answer(text, numbers=numbers, question=asked) for text in texts]
        answer = answers[0]
        right = any(each is not None and same_answer(case.expected, each) for each in answers)
        right = right or (not numbers and _sets_apart(case.expected, said_of_it, asked))
        said = "gives no answer" if answer is None else f"answers {answer[:80]!r}"
    return Grade(right, f"{said}, right is {case.expected!r}", not right and is_refusal(response))


def numbers_of(expected: str) -> int:
    """How many numbers an expected answer is, each with its unit; 0 for a formula, and for words before the first."""
    text = re.sub(r"\b[A-Za-z]\s*=", "", behind_equals(without_marks(expected)))
    found = quantities(text)
    if not found or re.search(r"[^\W\d_]{3,}", text[: found[0].start]):
        return 0
    for quantity in reversed(found):
        text = f"{text[: quantity.start]} {text[quantity.end :]}"
    return 0 if re.search(r"[^\w\s,.:;&/()–-]|(?<!\w)[a-z](?!\w)", text) else len(found)


def final_answer(text: str, *, numbers: int = 0, question: str = "") -> str | None:
    """What a response ends up with: the last box, what it calls its answer the last time, else its last number, or the last
    line that has so many.

    Args:
        numbers: how many numbers are asked for; 0 for words or a formula.
        question: what was asked: a condition of it that is said again, as in "$300 in 3 years", is passed over.
    """
    text = re.sub(r"[^\S\n]+", " ", text.rpartition("</think>")[2])
    if (box := last_box(text)) and not TAKEN_BACK.search(text.rpartition("\\boxed")[2]):
        return box
    plain = re.sub(r"\\(?:text|mathrm)\s?\{([^{}]*)\}", r"\1", without_emphasis(text))
    plain = plain_numbers(re.sub(r"\\[()\[\],;! ]|<<[^<>]*>>", "", plain))
    if _WITH_COMMAS.search(plain):
        plain = re.sub(r"(?<![\d.,])(\d{1,3})[.  ](\d{3})(?![\d.,]*\d)", r"\1\2", plain)
        plain = re.sub(r"(?<![\d.,(\[])(\d+),(\d{1,2})(?![\d,])", r"\1.\2", plain)
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    for pattern, where in ((_ANSWER, plain), (_RESULT, lines[-1] if lines else "")):
        for match in [*pattern.finditer(where)][: -LAST - 1 : -1]:
            answer = _stated(where[match.end() : match.end() + LONGEST])
            if answer and len(quantities(answer)) >= min(numbers, 1):
                if TAKEN_BACK.search(where, match.end()):
                    break
                return answer
    if numbers == 1:
        alone = quantities(lines[0]) if len(lines) > 1 else []
        if len(alone) == 1 and not lines[0][: alone[0].start].strip() and not lines[0][alone[0].end :].strip(" ."):
            return lines[0]
        if emphasised := next((bold for bold in reversed(_emphasised(text)) if quantities(bold)), None):
            return emphasised
        outside = re.sub(r"\([^()]*\)", lambda inside: " " * len(inside[0]), plain)
        found = quantities(outside) or quantities(plain)
        before = {n.start: plain[max(0, n.start - 20) : n.start] for n in reversed(found)}
        standing = [start for start in before if not (_RULED_OUT.search(before[start]) or _BOUND.search(before[start]))]
        asked = {(quantity.value, quantity.unit) for quantity in quantities(plain_numbers(question))}
        given = {
            n.start for n in found if (n.value, n.unit) in asked and _CONDITION.search(plain[max(0, n.start - 20) : n.start])
        }
        return next((plain[start:].strip() for start in [*filterfalse(given.__contains__, standing), *standing]), None)
    lines = [line for line in lines if len(quantities(line)) >= numbers]
    return lines[-1].rstrip(".!") if lines else None


def _emphasised(text: str) -> list[str]:
    """What stands in bold, but for numbered steps and headings."""
    found: list[str] = re.findall(r"\*\*([^*\n]{1,80})\*\*(?!:)", text)
    return [bold for bold in found if not re.match(r"\W*(?:[A-Za-z]+\s)?\d+[.:)]\s|.*:\s*$", bold)]


def same_answer(expected: str, answer: str) -> bool:
    """Whether two answers are the same number or numbers, the same formula, or the same words; what explains the answer, or
    sets it apart from another, is no part of it."""
    numbers, expected, answer = numbers_of(expected), without_marks(expected), without_marks(answer)
    reason = _REASON.search(answer, 1)
    texts = (answer, answer[: reason.start()] if reason else answer)
    if numbers:
        wanted, ordered = quantities(behind_equals(expected)), not re.search(r"\b(?:and|or)\b", expected)
        return any(_same_numbers(wanted, text, ordered=ordered) for text in texts)
    if is_formula(expected):
        answer = re.split(r"≈|\\approx", answer, maxsplit=1)[0]
        return behind_equals(written(expected)) in sides(answer)
    return any(states(expected, text) for text in texts)


def _same_numbers(wanted: Sequence[Quantity], text: str, *, ordered: bool) -> bool:
    if len(wanted) > 1:
        ending = next((part for part in reversed(_COMES_TO.split(text)) if quantities(part)), "")
        for given in map(quantities, (text, ending, ending.rpartition("=")[2])):
            if not ordered:
                wanted, given = sorted(wanted, key=_value), sorted(given, key=_value)
            if len(given) == len(wanted) and all(map(same_quantity, wanted, given)):
                return True
        return False
    tail = behind_equals(text)
    given = quantities(tail)
    if not given or _BOUND.search(tail[: given[0].start]) or _BOUND.search(text[: len(text) - len(tail)]):
        return False
    return not _GOES_ON.match(tail, given[0].end) and same_quantity(wanted[0], given[0])


def _value(quantity: Quantity) -> float:
    return quantity.value


def _stated(text: str) -> str:
    """The answer that a text begins with: its first sentence or line; empty where it is only said what it is not."""
    text = text.lstrip(" :\n\t")
    if (ended := _SENTENCE_END.search(text)) and ended[0] == "?":
        return ""
    if contrast := re.match(r"not\b[^.!?\n]*?\bbut\s+", text, re.IGNORECASE):
        text = text[contrast.end() :]
    if re.match(r"not\b", text, re.IGNORECASE):
        return ""
    return _SENTENCE_END.split(text, maxsplit=1)[0].partition("</answer>")[0].strip()


def _sets_apart(expected: str, response: str, question: str) -> bool:
    """Whether a response begins with the expected words as a line or a sentence, or with this yes or no, or with a sentence
    that adds nothing but them to the question, or has them in bold last, and calls nothing else its answer."""
    response = response.rpartition("</think>")[2]
    if last_box(response) or _ANSWER.search(without_emphasis(response)):
        return False
    if (emphasised := _emphasised(response)) and same_answer(expected, emphasised[-1]):
        return True
    if is_formula(expected):
        return False
    opening = next((line for line in without_marks(response).splitlines() if line.strip()), "")
    words = without_article(expected)
    if words in ("yes", "no", "true", "false"):
        return re.match(rf"\W*{words}\b(?:{_ANSWERS_SO})", opening, re.IGNORECASE) is not None
    sentence = _SENTENCE_END.split(opening, maxsplit=1)[0]
    return bool(words) and (
        without_article(sentence) == words or states(expected, sentence) or adds(expected, sentence, question)
    )
