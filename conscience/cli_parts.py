"""What the commands share: options about the model, printing, and a progress bar."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from conscience.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from conscience.backends import Roles

Command = Callable[..., Any]


@dataclass(frozen=True)
class Models:
    """The models that a command line names."""

    lm: str
    review_lm: str | None
    max_tokens: int | None
    no_cache: bool
    timeout: float

    def roles(self) -> Roles:
        """A backend for each role.

        Raises:
            ConfigurationError: a name is empty or malformed.
        """
        from conscience.backends import Backend, Roles

        roles = {"generate": self.lm} | ({"review": self.review_lm} if self.review_lm is not None else {})
        for option, name in zip(("--lm", "--review-lm"), roles.values(), strict=False):
            if not name.strip():
                raise ConfigurationError(f"{option} is empty", hint="write provider/model, or local")
        options: dict[str, Any] = {"max_tokens": self.max_tokens} if self.max_tokens else {}
        return Roles.of(
            {r: Backend(name, timeout=self.timeout, cache=not self.no_cache, **options) for r, name in roles.items()}
        )


def model_options(command: Command) -> Command:
    """Adds the options about models; the command gets them as one argument, ``models``."""

    @wraps(command)
    def collected(
        *, lm: str, review_lm: str | None, max_tokens: int | None, no_cache: bool, timeout: float, **rest: Any
    ) -> Any:
        return command(models=Models(lm, review_lm, max_tokens, no_cache, timeout), **rest)

    options = [
        click.option(
            "--constitution", "-c", default="general", metavar="NAME|FILE", show_default=True, help="What to judge by."
        ),
        click.option("--lm", default="local", metavar="MODEL", show_default=True, help="LiteLLM model, or local."),
        click.option("--review-lm", metavar="MODEL", help="Another model for the role review."),
        click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="The longest answer, in tokens."),
        click.option("--no-cache", is_flag=True, help="Neither read nor keep answers on disk."),
        click.option("--timeout", type=click.FloatRange(0.1), default=120.0, show_default=True, help="Seconds an attempt."),
    ]
    decorated: Command = collected
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=True, indent=2))


def printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


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
