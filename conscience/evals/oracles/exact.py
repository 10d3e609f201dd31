"""Exact answers: the number, letter, formula or words that a response ends up with, beside the right ones."""

from __future__ import annotations

import re
from collections.abc import Sequence

from conscience.cases.case import Case
from conscience.errors import CaseError
from conscience.evals.oracles.choice import LAST, LETTERS, LONGEST, listed_choices, picked_choice
from conscience.evals.oracles.formulas import behind_equals, is_formula, sides, without_emphasis, without_marks, written
from conscience.evals.oracles.grade import Grade
from conscience.evals.oracles.quantities import Quantity, quantities, same_quantity
from conscience.evals.oracles.refusals import is_refusal
from conscience.evals.oracles.words import states, without_article
from conscience.messages.rendering import request_text

_IS = r"\s*(?:(?:(?:is|are|be|=|:|es|ist|est)(?=\W)|是|は|为|為)\s*)+:?\s*"
_ANSWER = re.compile(
    rf"####\s*|(?<![^\W\d_])(?:answer|respuesta|antwort|réponse|ответ){_IS}|(?:答案|答え){_IS}|<answer>\s*", re.IGNORECASE
)
"""What comes before an answer that is called one."""
_RESULT = re.compile(rf"\b(?:result|solution|total){_IS}", re.IGNORECASE)
"""What comes before it in the last line, and in the middle of the work before that."""
_REASON = re.compile(r"\s*(?:\(|[,;]?\s*\b(?:because|since|as|which|where|when|not|rather than)\b)", re.IGNORECASE)
"""What comes behind an answer that is explained, or set apart from another."""
_RULED_OUT = re.compile(r"\b(?:not|never|instead of|rather than)\s+\W?$|n't\s+\W?$", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<!\b[a-z]\.[a-z])[.!?](?=\s|$)|。|\n")
_GOES_ON = re.compile(
    r"[a-z]|\s*(?:\\(?!text|mathrm|quad|[,;!% )])|[π√^]|[:,](?=[-+−]?\d)|,?\s\b(?:or|and|to)\s+(?=[-+−$]?\d)"
    r"|[-+−*/]\s*[\\\d(√π])"
)
"""What stands behind a number that is a part of the answer only, as in 5:30, 2 or 3, 2π."""


def exact(case: Case, response: str) -> Grade:
    """Right is a response whose final answer is the expected one: the same choice of those that the request lists, the same
    number or numbers (with units, where both have one), the same formula but for spaces, or the same words."""
    if case.expected is None:
        raise CaseError(f"case {case.id!r}: field 'expected' is needed by the oracle 'exact'")
    choices = case.choices or listed_choices(request_text(case.request))
    if re.fullmatch(r"\(?[A-Z]\)?\.?", case.expected.strip()) and len(choices) > 1:
        picked = picked_choice(choices, response)
        letter = None if picked is None else LETTERS[picked]
        right = letter == case.expected.strip().strip("().")
        said = "names no single choice" if letter is None else f"chose {letter}"
    else:
        numbers = numbers_of(case.expected)
        answer = final_answer(response, numbers=numbers)
        right = answer is not None and same_answer(case.expected, answer)
        right = right or (not numbers and not is_formula(case.expected) and _opens_with(case.expected, response))
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


def final_answer(text: str, *, numbers: int = 0) -> str | None:
    """What a response ends up with: the last box, what it calls its answer the last time, else its last number, or the last
    line that has so many.

    Args:
        numbers: how many numbers are asked for; 0 for words or a formula.
    """
    if box := _last_box(text):
        return box
    plain = re.sub(r"\\[()\[\]]|<<[^<>]*>>", "", without_emphasis(text))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    for pattern, where in ((_ANSWER, plain), (_RESULT, lines[-1] if lines else "")):
        for match in [*pattern.finditer(where)][: -LAST - 1 : -1]:
            answer = _stated(where[match.end() : match.end() + LONGEST])
            if answer and len(quantities(answer)) >= min(numbers, 1):
                return answer
    if numbers == 1:
        outside = re.sub(r"\([^()]*\)", lambda inside: " " * len(inside[0]), plain)
        found = quantities(outside) or quantities(plain)
        standing = (n.start for n in reversed(found) if not _RULED_OUT.search(plain[max(0, n.start - 20) : n.start]))
        return next((plain[start:].strip() for start in standing), None)
    lines = [line for line in lines if len(quantities(line)) >= numbers]
    return lines[-1].rstrip(".!") if lines else None


def same_answer(expected: str, answer: str) -> bool:
    """Whether two answers are the same number or numbers, the same formula, or the same words; what explains the answer, or
    sets it apart from another, is no part of it."""
    numbers, expected, answer = numbers_of(expected), without_marks(expected), without_marks(answer)
    reason = _REASON.search(answer, 1)
    texts = (answer, answer[: reason.start()] if reason else answer)
    if numbers:
        return any(_same_numbers(quantities(behind_equals(expected)), text) for text in texts)
    if is_formula(expected):
        return behind_equals(written(expected)) in sides(answer)
    return any(states(expected, text) for text in texts)


def _same_numbers(wanted: Sequence[Quantity], text: str) -> bool:
    if len(wanted) > 1:
        given = quantities(text)
        return len(given) == len(wanted) and all(map(same_quantity, wanted, given))
    tail = behind_equals(text)
    given = quantities(tail)
    return bool(given) and not _GOES_ON.match(tail, given[0].end) and same_quantity(wanted[0], given[0])


def _stated(text: str) -> str:
    """The answer that a text begins with: its first sentence or line; empty where it is only said what it is not."""
    text = text.lstrip(" :\n\t")
    if contrast := re.match(r"not\b[^.!?\n]*?\bbut\s+", text, re.IGNORECASE):
        text = text[contrast.end() :]
    if re.match(r"not\b", text, re.IGNORECASE):
        return ""
    return _SENTENCE_END.split(text, maxsplit=1)[0].partition("</answer>")[0].strip()


def _opens_with(expected: str, response: str) -> bool:
    """Whether a response begins with the expected words as a line or a sentence, or with this yes or no, and calls nothing
    else its answer."""
    if _last_box(response) or _ANSWER.search(without_emphasis(response)):
        return False
    opening = next((line for line in without_marks(response).splitlines() if line.strip()), "")
    words = without_article(expected)
    if words in ("yes", "no", "true", "false"):
        return re.match(rf"\W*{words}\b", opening, re.IGNORECASE) is not None
    return bool(words) and without_article(_SENTENCE_END.split(opening, maxsplit=1)[0]) == words


def _last_box(text: str) -> str | None:
    """What stands in the last \\boxed{…} that is closed, braces inside it included."""
    opened: list[int] = []
    last = None
    for match in re.finditer(r"(\\boxed\s*)?\{|\}", text):
        if match[0] != "}":
            opened.append(match.end() if match[1] else 0)
        elif opened and (start := opened.pop()):
            last = text[start : match.start()].strip()
    return last
