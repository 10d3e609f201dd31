"""What ``conscience pairs`` is given: files of cases, of pairs, or of others' preferences, told apart by their first row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from conscience.cases.case import Case, iter_cases
from conscience.cases.columns import Columns
from conscience.cases.rows import BadRow
from conscience.cases.sources import inputs
from conscience.errors import CaseError, InputError
from conscience.optimizers.training.pairs import PreferencePair
from conscience.optimizers.training.shapes import is_preference


@dataclass
class Material:
    """What there is to make pairs of.

    Attributes:
        pairs: those that were pairs already.
        cases: the others.
        skipped: rows that could not be read.
    """

    pairs: list[PreferencePair] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    skipped: list[CaseError] = field(default_factory=list)


def read_material(
    sources: Iterable[str],
    *,
    columns: Mapping[str, str] | None = None,
    skip_bad: bool = False,
    on_reading: Callable[[str], None] | None = None,
) -> Material:
    """Reads sources of cases, as ``iter_cases`` does, and of pairs in any shape.

    Raises:
        CaseError: a source cannot be read, or a row is bad and ``skip_bad`` is off.
    """
    material = Material()
    of_cases = []
    for source in sources:
        if is_preference(_first_row(source)):
            material.pairs += _pairs(source, skip_bad, material.skipped)
        else:
            of_cases.append(source)
    if of_cases:
        read = iter_cases(
            of_cases, columns=columns, skip_bad=skip_bad, on_bad=material.skipped.append, on_reading=on_reading
        )
        material.cases = list(read)
    return material


def _first_row(source: str) -> object:
    for input_ in inputs(source, Columns(None)):
        for _, row in input_.rows():
            return row
    return None


def _pairs(source: str, skip_bad: bool, skipped: list[CaseError]) -> Iterator[PreferencePair]:
    for input_ in inputs(source, Columns(None)):
        for number, row in input_.rows():
            try:
                if isinstance(row, BadRow):
                    raise InputError(str(row), hint=row.hint)
                yield PreferencePair.from_json(row)
            except InputError as error:
                bad = CaseError(f"{input_.place(number)}: {error.message}", hint=error.hint)
                if not skip_bad:
                    raise bad from None
                skipped.append(bad)
