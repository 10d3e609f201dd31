"""The options that several commands share: which program, by which models, judged by which oracle."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conscience.backends.embedded.catalogue import is_local, weights_named
from conscience.cli._shared.program import imported, is_importable, open_file
from conscience.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from conscience.backends.backend import Backend
    from conscience.backends.roles import Roles
    from conscience.constitution.schema import Constitution
    from conscience.evals.oracles.grade import Oracle
    from conscience.program import Conscience

Command = Callable[..., Any]
PATH = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, dir_okay=False)
"""A file to write: that it is a folder shows before anything is paid for."""

LOCAL = "local"
"""The model where none is named: the embedded one."""


class Amount(click.FloatRange):
    """A finite number in a range: NaN, which Python reads too, is in every range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


@dataclass(frozen=True)
class Setup:
    """What a command line says about the program and its models.

    Attributes:
        constitution: a name or a file; None for the general one.
        program: a compiled program's file, or ``package.module:name``; None for a plain one.
        lm: the model; None for the program's own, and where it has none, for the embedded one.
        review_lm: another model for the role review.
        max_tokens: the longest answer.
        no_cache: whether answers are neither read from disk nor kept there.
        timeout: seconds an attempt.
    """

    constitution: str | None = None
    program: str | None = None
    lm: str | None = None
    review_lm: str | None = None
    max_tokens: int | None = None
    no_cache: bool = False
    timeout: float = 120.0

    def check(self) -> None:
        """Reads the files before the slow imports: a typing error should show at once.

        Raises:
            ConstitutionError: the constitution cannot be read.
            InputError: both a constitution and a program are named.
        """
        if self.program is not None and not is_importable(self.program):
            self._check_constitution()
        elif self.program is None or self.constitution is not None:
            self.loaded()

    def loaded(self) -> Constitution:
        """The constitution that is named, or the general one."""
        from conscience.constitution.schema import Constitution

        return Constitution.load(self.constitution or "general")

    def backend(self, name: str) -> Backend:
        """A backend with this command's options."""
        from conscience.backends.backend import Backend
        from conscience.backends.decisions.naming import only_decides

        writes = not only_decides(name)
        options: dict[str, Any] = {"max_tokens": self.max_tokens} if self.max_tokens and writes else {}
        return Backend(name, timeout=self.timeout, cache=not self.no_cache, **options)

    def roles(self, **more: str | None) -> Roles:
        """A backend for each role that the command line names, and for generate also where it does not.

        Args:
            more: role → model, for further roles.

        Raises:
            ConfigurationError: a name is empty or malformed.
        """
        return self._roles({"generate": LOCAL if self.lm is None else self.lm, "review": self.review_lm, **more})

    def built(
        self,
        *,
        max_revisions: int | None = None,
        threshold: float | None = None,
        propose: str | None = None,
        **policy: Any,
    ) -> Conscience:
        """The program; of the policy, what is None is left as it is.

        Args:
            propose: another model for the role propose.
        """
        self._start_engine()
        from conscience.program import Conscience

        policy = {name: value for name, value in {"max_revisions": max_revisions, **policy}.items() if value is not None}
        if self.program is None:
            return Conscience(constitution=self.loaded(), lm=self.roles(propose=propose), threshold=threshold, **policy)
        if not is_importable(self.program):
            program = open_file(self.program, self.roles(propose=propose))
        elif isinstance(value := imported(self.program), Conscience):
            self._check_constitution()
            program = self._with_models(value, propose)
        else:
            program = self._with_models(Conscience(value, constitution=self.loaded()), propose)
        for name, value in policy.items():
            setattr(program, name, value)
        return program.with_gate(program.gate_settings.with_threshold(threshold)) if threshold is not None else program

    def _start_engine(self) -> None:
        """Starts the embedded model while DSPy is imported, which takes as long."""
        model = LOCAL if self.lm is None and (self.program is None or not is_importable(self.program)) else self.lm
        if model is not None and is_local(model):
            from conscience.backends.embedded.local import start_ahead

            start_ahead(weights_named(model))

    def _check_constitution(self) -> None:
        if self.constitution is not None:
            raise InputError("--constitution and --program do not go together", hint="a program has its constitution inside")

    def _roles(self, models: dict[str, str | None]) -> Roles:
        from conscience.backends.roles import Roles

        named = {role: name for role, name in models.items() if name is not None}
        for role, name in named.items():
            if not name.strip():
                option = "--lm" if role == "generate" else f"--{role}-lm"
                raise ConfigurationError(f"{option} is empty", hint="write provider/model, or local")
        return Roles.of({role: self.backend(name) for role, name in named.items()})

    def _with_models(self, program: Conscience, propose: str | None) -> Conscience:
        """An imported program by the models of the command line; those that this leaves out are the program's own."""
        from conscience.backends.roles import Roles
        from conscience.usage import ROLES

        if self.lm is not None or not _has_model(program):
            program.set_lm(self.roles(propose=propose))
            return program
        if self.max_tokens is not None or self.no_cache:
            option = "--no-cache" if self.no_cache else "--max-tokens"
            raise InputError(
                f"{option} goes with --lm here", hint="the program brings its own model; name another, or set that there"
            )
        named = self._roles({"review": self.review_lm, "propose": propose})
        if named.own("review") or named.own("propose"):
            program.set_lm(Roles({role: named.own(role) or program.roles.backend(role) for role in ROLES}))
        return program


def _has_model(program: Conscience) -> bool:
    try:
        program.roles.backend("generate")
    except ConfigurationError:
        return False
    return True


concurrency_option = click.option(
    "--concurrency", type=click.IntRange(1, 256), default=4, show_default=True, help="Cases under way at once."
)


def spend_options(command: Command) -> Command:
    """Adds the most that may be spent: ``max_calls`` and ``max_cost``."""
    cost = click.option("--max-cost", type=Amount(0, min_open=True), metavar="DOLLARS", help="The most to spend.")
    calls = click.option("--max-calls", type=click.IntRange(1), metavar="N", help="The most calls to models.")
    return calls(cost(command))


def setup_options(command: Command) -> Command:
    """Adds the options about the program; the command gets them as one argument, ``setup``."""

    @wraps(command)
    def collected(**given: Any) -> Any:
        setup = Setup(**{f.name: given.pop(f.name) for f in fields(Setup)})
        setup.check()
        return command(setup=setup, **given)

    decorated: Command = collected
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


_OPTIONS = (
    click.option("--constitution", "-c", metavar="NAME|FILE", help="What to judge by.  [default: general]"),
    click.option(
        "--lm", metavar="MODEL", help="LiteLLM model, local, or local:NAME.  [default: local, or an imported program's own]"
    ),
    click.option("--review-lm", metavar="MODEL", help="Another model for the role review."),
    click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="The longest answer, in tokens."),
    click.option("--no-cache", is_flag=True, help="Neither read nor keep answers on disk."),
    click.option("--timeout", type=Amount(0.1), default=120.0, show_default=True, help="Seconds an attempt."),
    click.option(
        "--program", metavar="FILE|MODULE:NAME", help="A compiled program, with its constitution, or one to import."
    ),
)


def oracle_named(name: str | None, judge_lm: str | None, program: Any) -> Oracle | None:
    """The oracle that a command line names; None where each case says its own.

    Raises:
        InputError, ConfigurationError: there is none of that name, or an option is missing or too many.
    """
    if judge_lm is not None and name != "judge":
        raise InputError("--judge-lm goes with --oracle judge")
    if name is None:
        return None
    if name != "judge":
        from conscience.evals.oracles.named import load_oracle

        return load_oracle(name)
    from conscience.backends.backend import Backend
    from conscience.evals.oracles.judge import Judge

    if judge_lm is not None and not judge_lm.strip():
        raise ConfigurationError("--judge-lm is empty", hint="write provider/model, or local")
    return Judge(program.constitution, Backend(judge_lm) if judge_lm else program.roles.backend("judge"))
