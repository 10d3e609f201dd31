"""What the commands print and write: a console, a progress bar, JSON, files. Model text is shown, never obeyed."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conscience._base.files import write_atomic
from conscience.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

SHOWN_CHARACTERS = 700
SHOWN_LINES = 16
"""How much of a text a terminal shows: about a screen for draft, verdict and revision together."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=True, indent=2))


def printable(text: str) -> str:
    """The text as one line, with nothing in it that a terminal acts on."""
    return "".join(c if c.isprintable() else " " for c in text)


def safe(text: str) -> str:
    """The text with its lines, without the control and direction characters that a terminal acts on."""
    return _CONTROL.sub("", text)


def shortened(text: str, characters: int = SHOWN_CHARACTERS, lines: int = SHOWN_LINES) -> tuple[str, int]:
    """The beginning of a text, and how many characters of it are missing; it ends where a word or a line does."""
    kept = "\n".join(text.split("\n")[:lines])
    if len(kept) > characters:
        kept = kept[:characters]
        words = re.match(r"(?s)(.*\S)\s+\S*$", kept)
        kept = words[1] if words and len(words[1]) > characters // 2 else kept
    return kept, len(text) - len(kept)


def bar(label: str) -> Progress:
    """A progress bar on stderr, with a field for cost; silent where there is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[cost]}"),
    )
    return Progress(*columns, console=console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def write(path: Path, text: str, *, private: bool = False) -> None:
    """Writes a text, whole or not at all.

    Args:
        private: whether the file is for this user alone.

    Raises:
        InputError: it cannot be written.
    """
    try:
        write_atomic(path, text, private=private)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}", hint="choose another file") from None


def refuse_other(path: Path | None, begins: str) -> None:
    """Makes sure that a file which is about to be written is not there yet, or is of its kind: labels may be in it.

    Args:
        path: where it goes, if anywhere.
        begins: what every file of its kind begins with.

    Raises:
        InputError: it is something else.
    """
    if path is None or not path.is_file():
        return
    try:
        with path.open("rb") as file:
            other = not file.read(len(begins)).lower().startswith(begins.encode())
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}", hint="choose another file") from None
    if other and path.stat().st_size:
        raise InputError(f"{path} is there already, and this command did not make it", hint="choose another file")


def append(path: Path, text: str) -> None:
    """Adds a text to the end of a file, which is made where there is none.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}", hint="choose another file") from None


@contextmanager
def resumable() -> Iterator[None]:
    """Work of which nothing is lost: Ctrl-C ends it in one line that says so."""
    try:
        yield
    except _interrupts():
        click.echo("conscience: interrupted; the same command goes on from here", err=True)
        raise click.exceptions.Exit(130) from None


def _interrupts() -> tuple[type[BaseException], ...]:
    """What Ctrl-C raises. The optimizers have an error of their own for it; where they raised it, they are loaded."""
    runtime = sys.modules.get("conscience.optimizers.runtime")
    return (KeyboardInterrupt,) if runtime is None else (KeyboardInterrupt, runtime.Interrupted)
