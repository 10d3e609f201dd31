"""Splits cases without tearing a pair or a group apart."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal

from conscience._base.files import digest64
from conscience.cases.case import Case
from conscience.errors import InputError


def split_cases(
    cases: Iterable[Case], fractions: Mapping[str, float], *, seed: int, by: Literal["pair", "group"] = "pair"
) -> dict[str, list[Case]]:
    """Splits cases into parts, each label in the same proportion, without tearing a pair (or a group) apart.

    Where there is no label, safe and unsafe requests are kept in proportion instead.

    The same seed gives the same parts in the same order, whatever the order of the rows. A case without a pair, or without
    a group where that is asked for, stands for itself. Few or uneven groups can't be dealt out exactly: the parts come as
    near as a greedy deal gets. A split by group tears a pair that is in several groups: ``check_cases`` names those.

    Args:
        cases: with ids that are unique.
        fractions: part → its share of the cases; they add up to 1.
        seed: another one, another split.
        by: what stays together.

    Raises:
        InputError: the fractions are not above 0 or don't add up to 1, or a part would be empty.
    """
    if not fractions or any(not share > 0 for share in fractions.values()) or abs(sum(fractions.values()) - 1) > 1e-6:
        raise InputError(f"fractions {dict(fractions)} are no split", hint="each above 0, and 1 in all")
    units: defaultdict[tuple[str, str], list[Case]] = defaultdict(list)
    totals: Counter[str] = Counter()
    for case in cases:
        name = case.pair if by == "pair" else case.group
        units[("case", case.id) if name is None else (by, name)].append(case)
        totals[_stratum(case)] += 1
    parts: dict[str, list[Case]] = {part: [] for part in fractions}
    held: dict[str, Counter[str]] = {part: Counter() for part in fractions}
    for _, unit in sorted(units.items(), key=lambda item: digest64(json.dumps([seed, *item[0]]))):
        strata = Counter(map(_stratum, unit))

        def filled(part: str, strata: Counter[str] = strata) -> float:
            """How full the part would be half-way through taking the unit, in the unit's strata (Sainte-Laguë)."""
            terms = (n * (held[part][name] + n / 2) / totals[name] ** 2 for name, n in strata.items())
            return math.fsum(terms) / fractions[part]

        part = min(parts, key=filled)
        parts[part] += sorted(unit, key=lambda case: case.id)
        held[part] += strata
    if empty := [part for part, dealt in parts.items() if not dealt]:
        raise InputError(f"{len(units)} {by}s are too few to split: {', '.join(empty)} would be empty")
    return parts


def _stratum(case: Case) -> str:
    return case.label or f"safe: {case.request_safe}"
