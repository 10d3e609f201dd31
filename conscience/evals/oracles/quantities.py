"""Numbers as people write them: digits, fractions, powers, percent, money and words, each with its unit."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

UNITS: Mapping[str, tuple[str, float]] = {
    **dict.fromkeys(("mm", "millimeter", "millimetre"), ("length", 1e-3)),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), ("length", 1e-2)),
    **dict.fromkeys(("m", "meter", "metre"), ("length", 1.0)),
    **dict.fromkeys(("km", "kilometer", "kilometre"), ("length", 1e3)),
    **dict.fromkeys(("inch", "inche", "inches", "in"), ("length", 0.0254)),
    **dict.fromkeys(("ft", "foot", "feet"), ("length", 0.3048)),
    **dict.fromkeys(("mile", "mi"), ("length", 1609.344)),
    **dict.fromkeys(("mg", "milligram"), ("mass", 1e-3)),
    **dict.fromkeys(("g", "gram"), ("mass", 1.0)),
    **dict.fromkeys(("kg", "kilogram", "kilo"), ("mass", 1e3)),
    **dict.fromkeys(("lb", "pound"), ("mass", 453.59237)),
    **dict.fromkeys(("oz", "ounce"), ("mass", 28.349523125)),
    **dict.fromkeys(("ms", "millisecond"), ("time", 1e-3)),
    **dict.fromkeys(("s", "sec", "second"), ("time", 1.0)),
    **dict.fromkeys(("min", "minute"), ("time", 60.0)),
    **dict.fromkeys(("h", "hr", "hour"), ("time", 3600.0)),
    **dict.fromkeys(("d", "day"), ("time", 86400.0)),
    **dict.fromkeys(("week",), ("time", 604800.0)),
    **dict.fromkeys(("ml", "milliliter", "millilitre"), ("volume", 1e-3)),
    **dict.fromkeys(("l", "liter", "litre"), ("volume", 1.0)),
    **dict.fromkeys(("gal", "gallon"), ("volume", 3.785411784)),
    **dict.fromkeys(("n", "newton"), ("force", 1.0)),
    **dict.fromkeys(("j", "joule"), ("energy", 1.0)),
    **dict.fromkeys(("w", "watt"), ("power", 1.0)),
    **dict.fromkeys(("v", "volt"), ("voltage", 1.0)),
    **dict.fromkeys(("hz", "hertz"), ("frequency", 1.0)),
    **dict.fromkeys(("yr", "year"), ("years", 1.0)),
    **dict.fromkeys(("°", "degree", "deg"), ("angle", 1.0)),
    **dict.fromkeys(("mph",), ("length/time", 1609.344 / 3600)),
    **dict.fromkeys(("kph", "kmh"), ("length/time", 1000 / 3600)),
    **dict.fromkeys(("$", "dollar", "usd"), ("dollars", 1.0)),
    **dict.fromkeys(("¢", "cent"), ("dollars", 0.01)),
    **dict.fromkeys(("€", "euro", "eur"), ("euros", 1.0)),
    **dict.fromkeys(("£", "gbp"), ("pounds sterling", 1.0)),
    **dict.fromkeys(("¥", "yen", "jpy"), ("yen", 1.0)),
}
"""Unit → what it measures, and its size; a unit that is not here, nor made of such, equals only itself."""

_NUMBER = re.compile(
    r"(?<![A-Za-z_])(?P<sign>(?<![\w)\]}])(?<![\d)\]}]\s)(?:[-+−–]\s?|(?:minus|negative)\s))?(?P<money>[$€£¥]\s?)?(?:(?P<whole>\d+)\s+(?=\d+/\d))?"
    r"(?:\\frac\{(?P<top>-?\d+(?:\.\d+)?)\}\{(?P<bottom>\d+(?:\.\d+)?)\}"
    r"|(?P<over>\d+)\s*/\s*(?P<under>\d+)(?![\d/])"
    r"|(?P<base>\d+)\s*(?:\^|\*\*)\s*(?:\{(?P<braced>[-+−]?\d+)\}|(?P<power>[-+−]?\d+))"
    r"|(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"(?:[eE](?P<e>[-+−]?\d+)|\s*(?:\\times|\\cdot|×|·|\*|x)\s*10\s*(?:\^|\*\*)\s*\{?(?P<ten>[-+−]?\d+)\}?)?)"
    r"(?:\s*(?P<scale>thousand|million|billion|trillion)\b)?(?P<short>(?<=\d)[KkMB]\b)?"
    r"(?:\s*(?P<percent>%|\\%|percent\b|per cent\b))?"
)
_SCALES: Mapping[str, float] = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_SHORT: Mapping[str, float] = {"K": 1e3, "M": 1e6, "B": 1e9}
_UNIT = re.compile(
    r"\s*(?:\\(?:,|;|text|mathrm)\s*\{?\s*)?(°\s?[CFK]?|¢|[$€£¥](?!\d)|(?:[A-Za-zµΩ]{2,}|[A-Zdghlms](?![A-Za-z]))(?:[/^]\w+)*[²³]?)"
)
_NO_UNITS = frozenset(
    ("and", "or", "in", "of", "is", "as", "the", "so", "for", "because", "which", "total", "times", "per", "to")
)

_ONES = re.findall(
    r"\w+",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen",
)
_TENS = re.findall(r"\w+", "twenty thirty forty fifty sixty seventy eighty ninety")
_WORDS: Mapping[str, int] = {
    **{word: value for value, word in enumerate(_ONES)},
    **{word: value for value, word in zip(range(20, 100, 10), _TENS, strict=True)},
    "hundred": 100,
    **{word: int(size) for word, size in _SCALES.items()},
}
_SPELLED = re.compile(rf"\b(?:{'|'.join(_WORDS)})\b(?:(?:[\s-]+|\s+and\s+)(?:{'|'.join(_WORDS)})\b)*", re.IGNORECASE)
_FRACTIONS: Mapping[str, str] = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5", "⅘": "4/5",
    "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8",
}  # fmt: skip
_SIGNS = {"pm": "±", "ge": "≥", "geq": "≥", "le": "≤", "leq": "≤"}
_POWERS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


@dataclass(frozen=True)
class Quantity:
    """A number, its unit (empty: none), and where the two stand in the text."""

    value: float
    unit: str
    start: int
    end: int


def quantities(text: str) -> list[Quantity]:
    """Every number in a text, in order; those in words count where none is in digits."""
    found: list[Quantity] = []
    for match in _NUMBER.finditer(text):
        if not found or match.start() >= found[-1].end:  # the 2 of cm^2 is none
            found.append(_read(text, match))
    return _joined(found or [_read_words(text, match) for match in _SPELLED.finditer(text)], text)


def _joined(found: list[Quantity], text: str) -> list[Quantity]:
    """With 2 hours and 40 minutes as one, in the smaller unit."""
    joined: list[Quantity] = []
    for quantity in found:
        last = joined[-1] if joined else quantity
        (kind, larger), (same, smaller) = _measure(last.unit), _measure(quantity.unit)
        apart = text[last.end : quantity.start].strip() not in ("", "and", ",", ", and")
        if kind and kind == same and larger > smaller and kind in ("time", "length") and not apart:
            value = last.value * larger / smaller + quantity.value
            joined[-1] = Quantity(value, quantity.unit, last.start, quantity.end)
        else:
            joined.append(quantity)
    return joined


def same_quantity(wanted: Quantity, given: Quantity) -> bool:
    """Whether two quantities are the same, their units converted; one without a unit is of any, and .5 is 50 %."""
    a, b = (wanted.value, wanted.unit), (given.value, given.unit)
    if wanted.unit == given.unit or not wanted.unit or not given.unit:
        shares = {"%", ""} == {wanted.unit, given.unit} and any(
            unit == "%" and _close(value / 100, other) for (value, unit), (other, _) in ((a, b), (b, a))
        )
        return shares or _close(wanted.value, given.value)
    (kind, size), (other, of_other) = _measure(wanted.unit), _measure(given.unit)
    return kind != "" and kind == other and _close(wanted.value * size, given.value * of_other)


def plain_numbers(text: str) -> str:
    """A text whose fractions, powers, degrees and areas are written one way."""
    text = re.sub(r"[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞]", lambda sign: f" {_FRACTIONS[sign[0]]}", text)
    text = re.sub(r"\\[dtc]frac", r"\\frac", text)
    text = re.sub(r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"(?<=\d)\\frac\{(\d+)\}\{(\d+)\}", r" \1/\2", text)
    text = re.sub(r"[⁻⁰¹²³⁴-⁹]+", lambda power: "^" + power[0].translate(_POWERS), text)
    text = re.sub(r"\s?\^\s?\{?\\circ\}?", "°", text)
    text = re.sub(r"\b(?:square|sq\.?) ([A-Za-z]+)", r"\1^2", re.sub(r"\bcubic ([A-Za-z]+)", r"\1^3", text))
    text = re.sub(r"\\(pm|geq?|leq?)(?![a-z])", lambda name: _SIGNS[name[1]], text).replace(">=", "≥").replace("<=", "≤")
    return re.sub(r"(?<=[a-z]) per (?=(?:hour|minute|second|day|week)\b)", "/", text)


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12)


def _read(text: str, match: re.Match[str]) -> Quantity:
    if match["top"]:
        value = _over(match["top"], match["bottom"])
    elif match["over"]:
        value = _over(match["over"], match["under"])
    elif match["base"]:
        value = _power(float(match["base"]), match["braced"] or match["power"])
    else:
        value = float(match["digits"].replace(",", "")) * _power(10.0, match["e"] or match["ten"] or "0")
    value = (value + float(match["whole"] or 0)) * _SCALES.get(match["scale"] or "", 1.0)
    value *= _SHORT.get((match["short"] or "").upper(), 1.0)
    if (match["sign"] or "+").strip() != "+":
        value = -value
    if match["percent"]:
        return Quantity(value, "%", *match.span())
    if match["money"]:
        return Quantity(value, match["money"].strip(), *match.span())
    return _with_unit(value, text, match)


def _read_words(text: str, match: re.Match[str]) -> Quantity:
    whole = part = 0.0
    for word in re.findall(r"[a-z]+", match[0].casefold()):
        value = float(_WORDS.get(word, 0))
        if value >= 1000:
            whole, part = whole + max(part, 1) * value, 0
        else:
            part = max(part, 1) * value if value == 100 else part + value
    return _with_unit(whole + part, text, match)


def _with_unit(value: float, text: str, match: re.Match[str]) -> Quantity:
    unit = _UNIT.match(text, match.end())
    name = _unit(unit[1]) if unit else ""
    return Quantity(value, name, match.start(), unit.end() if unit and name else match.end())


def _over(top: str, bottom: str) -> float:
    return float(top) / float(bottom) if float(bottom) else math.nan


def _power(base: float, exponent: str) -> float:
    try:
        return base ** int(exponent.replace("−", "-"))
    except (OverflowError, ZeroDivisionError, ValueError):  # more digits than Python reads
        return math.inf


def _measure(unit: str) -> tuple[str, float]:
    """What a unit measures, and its size; of m/s or cm^2, from its parts. Empty where that is not known."""
    if unit in UNITS:
        return UNITS[unit]
    kind, size = "", 1.0
    for sign, name, power in re.findall(r"(^|/)([^/^]+)(?:\^([23]))?", unit):
        name = name.removesuffix("s") if name not in UNITS else name
        if name not in UNITS:
            return "", 1.0
        kind += sign + UNITS[name][0] + power
        size *= UNITS[name][1] ** (int(power or 1) * (-1 if sign else 1))
    return kind, size


def _unit(text: str) -> str:
    """A unit by one name; empty for a word that only follows the number."""
    text = text.replace(" ", "")
    if text.casefold() in _NO_UNITS:
        return ""
    if text in UNITS:
        return text
    name = text.casefold()
    return name[:-1] if name.endswith("s") and len(name) > 2 and "/" not in name and name not in UNITS else name
