"""Formulas and marked text: TeX and Markdown written one way, so that two spellings of an answer can be compared."""

from __future__ import annotations

import re

from conscience.evals.oracles.quantities import plain_numbers

_INNER = r"(?:[^{}]|\{[^{}]*\})*"


def is_formula(text: str) -> bool:
    """Whether signs count, not only words."""
    return (
        re.search(r"\\[a-z]|[=^*+<>≤≥±∞π√{}\[\]∪∩]|\d[a-z](?![a-z])|\w\s*[/−]\s*\w|\w -|-\d", text, re.IGNORECASE)
        is not None
    )


def written(text: str) -> str:
    """A formula in one spelling: no spaces, TeX's names and braces the same."""
    text = text.replace("π", "\\pi").replace("√", "\\sqrt").replace("∞", "\\infty").replace("·", "\\cdot").casefold()
    text = re.sub(rf"\\frac\{{({_INNER})\}}\{{({_INNER})\}}", r"\1/\2", text)
    text = re.sub(r"\\sqrt\s*(\w)", r"\\sqrt{\1}", text)
    text = re.sub(r"\\sqrt\s*\((\w+)\)", r"\\sqrt{\1}", text)
    text = re.sub(r"\\(?:left|right|cdot|times|quad|displaystyle)(?![a-z])|\\[,;:! ]|[\s*]", "", text)
    return re.sub(r"([_^])\{(\w)\}", r"\1\2", text).rstrip(".")


def sides(text: str) -> set[str]:
    """A formula, and what stands on each side of an equals sign or of "is" in it."""
    return {written(part) for part in (text, *re.split(r"=|\b(?:is|are)\b", text))}


def behind_equals(text: str) -> str:
    """What stands behind the equals sign of a text that has one or more, and no other choice behind it."""
    return text.rpartition("=")[2] if not re.search(r"\bor\b|,\s*[a-z]\s*=", text) else text


_BELOW = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")


def without_marks(text: str) -> str:
    """Without TeX's and Markdown's marks, each sign and fraction written one way."""
    text = re.sub(r"\\(?:text|mathrm|mathbf|textbf|boxed)\s*\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\\[()\[\],;!]|\\left|\\right", "", without_emphasis(text))
    text = re.sub(r"(?<=\d)(?:st|nd|rd|th)\b", "", text.translate(_BELOW))
    return plain_numbers(text.replace("−", "-").replace("\\%", "%")).strip().rstrip(".")


def without_emphasis(text: str) -> str:
    """Without the marks of emphasis, of code and of TeX, and what is struck out; a star between two numbers is a product."""
    text = re.sub(r"~~[^~\n]*~~|</?(?:b|i|u|em|strong|code)>", "", text)
    text = re.sub(r"(?<!\d)\*\*|\*\*(?!\d)|[`$]", "", text)
    text = re.sub(r"(?<=\w)~(?=[\w\\])", " ", text)
    return re.sub(r"(?<!\S)\*(?=\w)|(?<=\w)\*(?=[\s.,:;!?]|$)", "", text)


def last_box(text: str) -> str | None:
    """What stands in the last \\boxed{…} that is closed, braces inside it included."""
    opened: list[int] = []
    last = None
    for match in re.finditer(r"(\\boxed\s*)?\{|\}", text):
        if match[0] != "}":
            opened.append(match.end() if match[1] else 0)
        elif opened and (start := opened.pop()):
            last = text[start : match.start()].strip()
    return last
