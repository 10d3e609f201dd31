"""The bounds that an error names for a number: "must be less than or equal to 5", "in range (0, 2]", "expected >= 16"."""

from __future__ import annotations

import re

JUST_ABOVE = 0.01
"""How far a fraction is kept from a bound that is not itself allowed."""

_NUMBER = r"[`'\"(]*(-?(?:\d{1,3}(?:,\d{3})++(?!\d)|\d++(?:\.\d++)?+))"
_PLAIN = r"(-?\d+(?:\.\d+)?|[-+]?\s?inf(?:inity)?)"

_BRACKETS = re.compile(rf"([\[(])\s*{_PLAIN}\s*(?:,|\.\.+|-|;|to)\s*{_PLAIN}\s*([\])])", re.IGNORECASE)
_BETWEEN = re.compile(
    rf"(?:between|from|range:?|in)\s+{_PLAIN}\s*(\(?(?:in|ex)clusive\)?)?\s*(?:and|to|-|\.\.+)\s*{_PLAIN}\s*(\(?(?:in|ex)clusive\)?)?",
    re.IGNORECASE,
)
_AT_LEAST = re.compile(
    rf"(?:at least|>=|≥|(?:greater|larger) (?:than )?or equal to|no(?:t)? less than"
    rf"|minimum(?: value| allowed| length)?(?: of| is|:)?)\s*:?\s*{_NUMBER}",
    re.IGNORECASE,
)
_AT_MOST = re.compile(
    r"(?:at most|<=|≤|(?:less|smaller|lower) (?:than )?or equal to|no(?:t)? (?:be )?(?:more|greater|larger|higher) than"
    r"|(?:not|cannot) exceed|cannot request more than|up to|limit(?: of| is)?"
    r"|max(?:imum)?(?:[ _](?:allowed|value|number|length|size|of|is|supported|tokens|output|completion|for|this|model))*)"
    rf"\s*[:=]?\s*{_NUMBER}"
    rf"|>\s*{_NUMBER},? which is the max",
    re.IGNORECASE,
)
_ABOVE = re.compile(rf"(?:(?:greater|larger|more|higher|bigger) than|>)\s*{_NUMBER}(?!,? which is the max)", re.IGNORECASE)
_BELOW = re.compile(rf"(?:(?:less|smaller|lower|fewer) than|<)\s*{_NUMBER}", re.IGNORECASE)
_POSITIVE = re.compile(r"strictly positive|be (?:a )?positive|non-?zero", re.IGNORECASE)


def bounds(text: str, *, whole: bool) -> tuple[float | None, float | None]:
    """The least and the most that a text allows; None where it names no such bound.

    Args:
        text: what a server says of a parameter.
        whole: whether the parameter counts something, so that "above 0" is 1 and not just above.
    """
    step = 1.0 if whole else JUST_ABOVE
    if match := _BRACKETS.search(text):
        least, most = _value(match[2]), _value(match[3])
        return (
            least + step if least is not None and match[1] == "(" else least,
            most - step if most is not None and match[4] == ")" else most,
        )
    if match := _BETWEEN.search(text):
        least, most = _value(match[1]), _value(match[3])
        return (
            least + step if least is not None and "ex" in (match[2] or "").lower() else least,
            most - step if most is not None and "ex" in (match[4] or "").lower() else most,
        )
    least = _first(_AT_LEAST, text)
    if least is None and (above := _first(_ABOVE, text)) is not None:
        least = above + step
    if least is None and _POSITIVE.search(text):
        least = step
    most = _first(_AT_MOST, text)
    if most is None and (below := _first(_BELOW, text)) is not None:
        most = below - step
    return (least, most) if least is None or most is None or least <= most else (None, most)


def _first(pattern: re.Pattern[str], text: str) -> float | None:
    match = pattern.search(text)
    number = next((group for group in match.groups() if group is not None), None) if match else None
    return None if number is None else float(number.replace(",", ""))


def _value(text: str) -> float | None:
    return None if "inf" in text.lower() else float(text)
