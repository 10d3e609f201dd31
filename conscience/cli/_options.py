"""What the commands share: options about the model, printing, and a progress bar."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conscience.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from conscience.backends.backend import Backend
    from conscience.backends.roles import Roles
    from conscience.constitution.schema import Constitution
    from conscience.program import Conscience

Command = Callable[..., Any]
PATH = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, dir_okay=False)
"""A file to write: that it is a folder shows before anything is paid for."""


@dataclass(frozen=True)
class Setup:
    """What a command line says about the program: a constitution or a compiled program, and its models."""

    constitution: str | None
    program: Path | None
    lm: str
    review_lm: str | None
    max_tokens: int | None
    no_cache: bool
    timeout: float

    def check(self) -> None:
        """Reads the files before the slow imports: a typing error should show at once.

        Raises:
            ConstitutionError: the constitution cannot be read.
            InputError: both a constitution and a program are named.
        """
        if self.constitution is not None and self.program is not None:
            raise InputError("--constitution and --program do not go together", hint="a program has its constitution inside")
        if self.program is None:
            self.loaded()

    def loaded(self) -> Constitution:
        """The constitution that is named, or the general one."""
        from conscience.constitution.schema import Constitution

        return Constitution.load(self.constitution or "general")

    def backend(self, name: str) -> Backend:
        """A backend with this command's options."""
        from conscience.backends.backend import Backend

        options: dict[str, Any] = {"max_tokens": self.max_tokens} if self.max_tokens else {}
        return Backend(name, timeout=self.timeout, cache=not self.no_cache, **options)

    def roles(self, **more: str | None) -> Roles:
        """A backend for each role.

        Args:
            more: role → model, for further roles.

        Raises:
            ConfigurationError: a name is empty or malformed.
        """
        from conscience.backends.roles import Roles

        named = {"generate": self.lm, "review": self.review_lm, **more}
        roles = {role: name for role, name in named.items() if name is not None}
        for role, name in roles.items():
            if not name.strip():
                option = "--lm" if role == "generate" else f"--{role}-lm"
                raise ConfigurationError(f"{option} is empty", hint="write provider/model, or local")
        return Roles.of({role: self.backend(name) for role, name in roles.items()})

    def built(self, roles: Roles | None = None, **policy: Any) -> Conscience:
        """The program; of the policy, what is None is left as it is."""
        from conscience.program import Conscience

        roles = self.roles() if roles is None else roles
        given = {name: value for name, value in policy.items() if value is not None}
        if self.program is None:
            return Conscience(constitution=self.loaded(), lm=roles, **given)
        program: Conscience = opened(self.program, roles)
        for name, value in given.items():
            setattr(program, name, value)
        return program


def opened(path: Path, roles: Roles, *, quiet: bool = False) -> Conscience:
    """A compiled program; what there is to warn of is one line on stderr, unless it is to be ``quiet``."""
    from conscience.program import Conscience

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        program: Conscience = Conscience.load(path, lm=roles)
    for warning in () if quiet else caught:
        click.echo(f"conscience: {printable(str(warning.message))}", err=True)
    return program


def setup_options(command: Command) -> Command:
    """Adds the options about the program; the command gets them as one argument, ``setup``."""

    @wraps(command)
    def collected(**given: Any) -> Any:
        setup = Setup(**{f.name: given.pop(f.name) for f in fields(Setup)})
        setup.check()
        return command(setup=setup, **given)

    decorated: Command = collected
    for option in (program_option, *reversed(_OPTIONS)):
        decorated = option(decorated)
    return decorated


_OPTIONS = (
    click.option("--constitution", "-c", metavar="NAME|FILE", help="What to judge by.  [default: general]"),
    click.option("--lm", default="local", metavar="MODEL", show_default=True, help="LiteLLM model, or local."),
    click.option("--review-lm", metavar="MODEL", help="Another model for the role review."),
    click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="The longest answer, in tokens."),
    click.option("--no-cache", is_flag=True, help="Neither read nor keep answers on disk."),
    click.option("--timeout", type=click.FloatRange(0.1), default=120.0, show_default=True, help="Seconds an attempt."),
)
program_option = click.option("--program", type=PATH, metavar="FILE", help="A compiled program, with its constitution.")


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


def write(path: Path, text: str) -> None:
    """Writes a text.

    Raises:
        InputError: it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}", hint="choose another --out") from None


@contextmanager
def resumable() -> Iterator[None]:
    """Work whose answers are in a journal: Ctrl-C ends it in one line that says so."""
    from conscience.optimizers.runtime import Interrupted

    try:
        yield
    except (Interrupted, KeyboardInterrupt):
        click.echo("conscience: interrupted; the same command goes on from here", err=True)
        raise click.exceptions.Exit(130) from None


def oracle_named(name: str | None, judge_lm: str | None, program: Any) -> Any:
    """The oracle that a command line names; None where each case says its own.

    Raises:
        InputError, ConfigurationError: there is none of that name, or an option is missing or too many.
    """
    if judge_lm is not None and name != "judge":
        raise InputError("--judge-lm goes with --oracle judge")
    if name is None:
        return None
    if name != "judge":
        from conscience.evals.oracles import load_oracle

        return load_oracle(name)
    from conscience.backends.backend import Backend
    from conscience.evals.judge import Judge

    if judge_lm is not None and not judge_lm.strip():
        raise ConfigurationError("--judge-lm is empty", hint="write provider/model, or local")
    return Judge(program.constitution, Backend(judge_lm) if judge_lm else program.roles.backend("judge"))
