"""Exact answers: the number, letter or words that a response ends up with, beside the right ones."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from conscience.cases.case import Case
from conscience.errors import CaseError
from conscience.evals.oracles.choice import LETTERS, listed_choices, picked_choice
from conscience.evals.oracles.grade import Grade
from conscience.evals.oracles.refusals import is_refusal
from conscience.evals.oracles.words import folded
from conscience.messages.rendering import request_text

UNITS: Mapping[str, tuple[str, float]] = {
    **dict.fromkeys(("mm", "millimeter", "millimetre"), ("length", 1e-3)),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), ("length", 1e-2)),
    **dict.fromkeys(("m", "meter", "metre"), ("length", 1.0)),
    **dict.fromkeys(("km", "kilometer", "kilometre"), ("length", 1e3)),
    **dict.fromkeys(("mg", "milligram"), ("mass", 1e-3)),
    **dict.fromkeys(("g", "gram"), ("mass", 1.0)),
    **dict.fromkeys(("kg", "kilogram"), ("mass", 1e3)),
    **dict.fromkeys(("ms", "millisecond"), ("time", 1e-3)),
    **dict.fromkeys(("s", "sec", "second"), ("time", 1.0)),
    **dict.fromkeys(("min", "minute"), ("time", 60.0)),
    **dict.fromkeys(("h", "hr", "hour"), ("time", 3600.0)),
    **dict.fromkeys(("ml", "milliliter", "millilitre"), ("volume", 1e-3)),
    **dict.fromkeys(("l", "liter", "litre"), ("volume", 1.0)),
}
"""Unit → what it measures, and its size; a unit that is not here equals only itself."""

_DECLARED = re.compile(
    r"(?:^|\b)(?:####|(?:final |correct )?(?:answer|result|solution|total|respuesta|antwort|réponse|答案|答え)\s*"
    r"(?:(?:is|are|=|:|es|ist|est|是|は)\s*)+)\s*:?\s*(.+)",
    re.IGNORECASE,
)
_NO_UNITS = frozenset(("and", "or", "in", "of", "is", "as", "the", "so", "for", "because", "which", "total", "times", "per"))
_NUMBER = re.compile(
    r"(?P<sign>[-+−]\s?)?(?P<money>[$€£¥]\s?)?(?:(?P<whole>\d+)\s+(?=\d+/\d))?"
    r"(?:\\?d?frac\{(?P<top>\d+(?:\.\d+)?)\}\{(?P<bottom>\d+(?:\.\d+)?)\}"
    r"|(?P<over>\d+)\s*/\s*(?P<under>\d+)(?![\d/])"
    r"|(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"(?:[eE](?P<e>[-+−]?\d+)|\s*(?:\\times|×|\*|x)\s*10\s*(?:\^|\*\*)\s*\{?(?P<power>[-+−]?\d+)\}?)?)"
    r"(?:\s*(?P<percent>%|\\%|percent\b|per cent\b))?"
)
_UNIT = re.compile(r"\s*(?:\\(?:,|;|text|mathrm)\s*\{?\s*)?(°\s?[CFK]?|[A-Za-zµΩ]+(?:[/^]\w+)*)")


@dataclass(frozen=True)
class _Quantity:
    value: float
    unit: str = ""


def exact(case: Case, response: str) -> Grade:
    """Right is a response whose final answer is the expected one: the same choice of those that the request lists, the same
    number (with its unit, where both have one), or the same words."""
    if case.expected is None:
        raise CaseError(f"case {case.id!r}: field 'expected' is needed by the oracle 'exact'")
    choices = case.choices or listed_choices(request_text(case.request))
    if re.fullmatch(r"\(?[A-Z]\)?\.?", case.expected.strip()) and len(choices) > 1:
        picked = picked_choice(choices, response)
        letter = None if picked is None else LETTERS[picked]
        right = letter == case.expected.strip().strip("().")
        said = "names no single choice" if letter is None else f"chose {letter}"
    else:
        answer = final_answer(response, numeric=_quantity(case.expected) is not None)
        right = answer is not None and same_answer(case.expected, answer)
        said = "gives no answer" if answer is None else f"answers {answer[:80]!r}"
    return Grade(right, f"{said}, right is {case.expected!r}", not right and is_refusal(response))


def final_answer(text: str, *, numeric: bool = False) -> str | None:
    """What a response ends up with: the last box, what it calls its answer the last time, else its last number or line.

    Args:
        numeric: a number is asked for.
    """
    if boxes := _boxes(text):
        return boxes[-1]
    plain = re.sub(r"[*`$]|\\[()\[\]]", "", text)
    declared = [match[1].strip() for match in _DECLARED.finditer(plain)]
    declared = [answer for answer in declared if not numeric or _NUMBER.search(answer)]
    if declared:
        return re.split(r"(?<=[^\d\s])[.!?](?:\s|$)|(?<=\d)\.(?:\s|$)", declared[-1])[0].strip().rstrip(".")
    if numeric:
        numbers = list(_NUMBER.finditer(plain))
        return plain[numbers[-1].start() :].strip() if numbers else None
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else None


def same_answer(expected: str, answer: str) -> bool:
    """Whether two answers are the same number, or the same words."""
    wanted, given = _quantity(expected), _quantity(answer)
    if wanted is None or given is None:
        return wanted is None and folded(_bare(expected)) == folded(_bare(answer))
    if not wanted.unit or not given.unit or wanted.unit == given.unit:
        return math.isclose(wanted.value, given.value, rel_tol=1e-6, abs_tol=1e-12)
    of_wanted, of_given = UNITS.get(wanted.unit), UNITS.get(given.unit)
    if of_wanted is None or of_given is None or of_wanted[0] != of_given[0]:
        return False
    return math.isclose(wanted.value * of_wanted[1], given.value * of_given[1], rel_tol=1e-6)


def _quantity(text: str) -> _Quantity | None:
    """The number that a text is, with its unit: the first one after an equals sign, or in it; None where it is words."""
    text = _bare(text.rpartition("=")[2])
    match = _NUMBER.search(text)
    if match is None or re.search(r"[^\W\d_]{3,}", text[: match.start()]):
        return None
    if match["top"]:
        value = _over(match["top"], match["bottom"])
    elif match["over"]:
        value = _over(match["over"], match["under"])
    else:
        value = float(match["digits"].replace(",", ""))
        value *= 10.0 ** int((match["e"] or match["power"] or "0").replace("−", "-"))
    value += float(match["whole"] or 0)
    if (match["sign"] or "").strip() in ("-", "−"):
        value = -value
    if match["percent"]:
        return _Quantity(value, "%")
    if match["money"]:
        return _Quantity(value, match["money"].strip())
    unit = _UNIT.match(text, match.end())
    return _Quantity(value, _unit(unit[1]) if unit else "")


def _over(top: str, bottom: str) -> float:
    return float(top) / float(bottom) if float(bottom) else math.nan


def _unit(text: str) -> str:
    """A unit by one name; empty for a word that only follows the number."""
    text = text.replace(" ", "")
    if text.casefold() in _NO_UNITS:
        return ""
    if text in UNITS:
        return text
    name = text.casefold()
    return name[:-1] if name.endswith("s") and len(name) > 2 else name


def _bare(text: str) -> str:
    """Without TeX's and Markdown's marks."""
    text = re.sub(r"\\(?:text|mathrm|mathbf|textbf|boxed)\s*\{([^{}]*)\}", r"\1", text)
    return re.sub(r"[*`$]|\\[()\[\],;!]|\\left|\\right", "", text).replace("−", "-").strip().rstrip(".")


def _boxes(text: str) -> list[str]:
    """What stands in each \\boxed{…}, braces inside it included."""
    boxes = []
    for match in re.finditer(r"\\boxed\s*\{", text):
        depth, end = 1, match.end()
        while end < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        if not depth:
            boxes.append(text[match.end() : end - 1].strip())
    return boxes
