"""What every command that reads cases says and asks about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import click

from conscience.cli._shared.output import printable
from conscience.errors import ConscienceError, InputError

if TYPE_CHECKING:
    from conscience.cases.case import Case

SHOWN = 5
"""Skipped rows that are named; all are counted."""


def _by_column(context: click.Context, option: click.Parameter, given: Iterable[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for text in given:
        field, equals, column = text.partition("=")
        if not (equals and field.strip() and column.strip()):
            raise InputError(f"--column {text}: names no column", hint="say FIELD=COLUMN, as in --column request=prompt")
        if columns.setdefault(column.strip(), field.strip()) != field.strip():
            raise InputError(f"--column {text}: this column was said to be {columns[column.strip()]!r}", hint="say one")
    return columns


column_option = click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="FIELD=COLUMN",
    callback=_by_column,
    help="Which column is which field, as in request=prompt; misaligned=flag: its 1 is misaligned; meta=x: leave x unread.",
)


skip_bad_option = click.option("--skip-bad", is_flag=True, help="Go on without rows that cannot be read.")


def telling() -> Callable[[str], None]:
    """Says each line about how cases were read once, however often they are read."""
    said: set[str] = set()

    def tell(line: str) -> None:
        if line not in said:
            said.add(line)
            click.echo(f"conscience: read {printable(line)}", err=True)

    return tell


def tell_skipped(skipped: Iterable[ConscienceError]) -> None:
    """Names the first rows that were left out."""
    for error in list(skipped)[:SHOWN]:
        click.echo(f"conscience: skipped: {printable(str(error))}", err=True)


class KindCount:
    """Counts labels while cases are read, to say before anything is spent what they cannot measure."""

    def __init__(self) -> None:
        self.labels: Counter[str] = Counter()

    def counting(self, cases: Iterable[Case]) -> Iterator[Case]:
        """The cases, counted from their beginning."""
        self.labels.clear()
        for case in cases:
            self.labels[case.label or "none"] += 1
            yield case

    def count(self, cases: Iterable[Case]) -> None:
        """Counts all of them."""
        self.labels = Counter(case.label or "none" for case in cases)

    def tell(self) -> None:
        """Says so where there are labels of one kind only."""
        from conscience.cases.checks import one_kind

        if line := one_kind(self.labels):
            click.echo(f"conscience: {line}", err=True)
