"""The command that serves programs over HTTP."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conscience.cli._shared.options import PATH, Amount, Setup, setup_options
from conscience.cli._shared.output import printable
from conscience.errors import ConfigurationError, ConscienceError, InputError

if TYPE_CHECKING:
    from conscience._types import ReleaseMode
    from conscience.server.limits import Limits
    from conscience.server.settings import LogSettings, ProgramSettings

NAME = "conscience"
"""The model's name that clients may ask for where nobody says another."""


@dataclass(frozen=True)
class Served:
    """One program that is served.

    Attributes:
        names: the names that clients ask for.
        setup: what it is made of.
        policy: what is set on it, by name.
    """

    names: tuple[str, ...]
    setup: Setup
    policy: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """All that a process needs to know of what it serves; a worker gets it as a pickle.

    Attributes:
        served: the programs.
        config: the file that has the keys' policies; None where the environment has the one.
        limits: of each process.
        log: where verdicts are written; None for nowhere.
        release: how answers are streamed.
        only_local: whether only this machine is answered.
        playground: whether there is one.
    """

    served: list[Served]
    config: Path | None
    limits: Limits
    log: LogSettings | None
    release: ReleaseMode
    only_local: bool
    playground: bool


@click.command("serve")
@setup_options
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    help="The model's name that clients send; may be repeated.  [default: conscience, and that of --lm]",
)
@click.option("--threshold", type=Amount(0, 1), help="The probability from which the gate flags.")
@click.option("--max-revisions", type=click.IntRange(0, 10), help="How often to revise.  [default: 1]")
@click.option("--on-unresolved", type=click.Choice(["refuse", "best", "raise"]), help="[default: refuse]")
@click.option("--on-error", type=click.Choice(["closed", "open", "raise"]), help="[default: closed]")
@click.option("--mode", type=click.Choice(["enforce", "observe"]), help="observe reviews and logs, and alters nothing.")
@click.option(
    "--release",
    type=click.Choice(["hold", "window"]),
    default="hold",
    show_default=True,
    help="Stream nothing before the verdict, or about sentence by sentence as each passes.",
)
@click.option("--log", type=PATH, metavar="FILE", help="A line for each verdict, without texts; rotated at 64 MB.")
@click.option("--log-texts", is_flag=True, help="With requests, responses and drafts, to label them later.")
@click.option(
    "--config", type=PATH, metavar="FILE", help="Programs by name, policies by key, limits; in place of the above."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; beyond loopback only with a key.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes; each has the limits for itself."
)
@click.option("--playground", is_flag=True, help="With a page at /playground that shows each stage of a call, drafts too.")
@click.option("--concurrency", type=click.IntRange(1), help="Requests answered at once.  [default: 64]")
@click.option("--queue", type=click.IntRange(0), help="Requests that may wait.  [default: 128]")
@click.option("--request-seconds", type=Amount(0.1), help="The longest that an answer may take.  [default: 300]")
@click.option(
    "--max-body", "body_bytes", type=click.IntRange(1), metavar="BYTES", help="The largest request.  [default: 10 MB]"
)
def serve_command(
    setup: Setup,
    names: tuple[str, ...],
    threshold: float | None,
    max_revisions: int | None,
    on_unresolved: str | None,
    on_error: str | None,
    mode: str | None,
    release: ReleaseMode,
    log: Path | None,
    log_texts: bool,
    config: Path | None,
    host: str,
    port: int,
    workers: int,
    playground: bool,
    **limits: Any,
) -> None:
    """Serve programs behind OpenAI's API: point a client's base URL at http://HOST:PORT/v1.

    Clients send the key in CONSCIENCE_API_KEY as "Authorization: Bearer KEY". Without a key the server answers this
    machine alone. With --config each key has a policy of its own.
    """
    policy = {"threshold": threshold, "max_revisions": max_revisions, "on_unresolved": on_unresolved, "on_error": on_error}
    policy = {name: value for name, value in {**policy, "mode": mode}.items() if value is not None}
    if log_texts and log is None:
        raise InputError("--log-texts goes with --log", hint="say which file: --log FILE")
    own = {name: value for name, value in limits.items() if value is not None}
    if config is not None:
        if setup != Setup() or names or policy or log or release != "hold":
            raise InputError(
                "--config goes with neither the options of a program nor --name", hint="write them into the file"
            )
        plan, keyed = _plan_of(config, own, playground)
    else:
        served = [Served(names or _names(setup), setup, policy)]
        logged = None if log is None else {"path": str(log), "texts": log_texts}
        plan, keyed = _plan(served, own, logged, release, playground)
    _serve(plan, host, port, workers, keyed=keyed)


def _names(setup: Setup) -> tuple[str, ...]:
    return (NAME,) if setup.lm is None else tuple(dict.fromkeys((NAME, setup.lm)))


def _plan_of(config: Path, own: dict[str, Any], playground: bool) -> tuple[Plan, bool]:
    """What a file says is to be served, and whether it has keys."""
    with _extra():
        from conscience.server.settings import limits_of, read_settings
    settings = read_settings(config)
    served, policies = [_served(name, program) for name, program in settings.programs.items()], settings.policies()
    limits = limits_of({**settings.limits, **own})
    return Plan(served, config, limits, settings.log, settings.release, not policies, playground), bool(policies)


def _plan(
    served: list[Served], own: dict[str, Any], log: dict[str, Any] | None, release: ReleaseMode, playground: bool
) -> tuple[Plan, bool]:
    """What the options say is to be served, and whether there is a key."""
    with _extra():
        from conscience.server.settings import LogSettings, limits_of, policies_of_environment
    policies, logged = policies_of_environment(), None if log is None else LogSettings(**log)
    return Plan(served, None, limits_of(own), logged, release, not policies, playground), bool(policies)


@contextmanager
def _extra() -> Iterator[None]:
    """Says what is missing where the extra is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        hint = "pip install 'dspy-conscience[server]'"
        raise ConfigurationError(f"conscience serve needs {error.name}", hint=hint) from None


def _serve(plan: Plan, host: str, port: int, workers: int, *, keyed: bool) -> None:
    from conscience.server.running import bound, check_binding, run

    check_binding(host, keyed)
    _log_to_stderr()
    listener = bound(host, port)
    # With one process, what is wrong with a program or its model ends the command here.
    make_app = partial(_same, _app(plan)) if workers == 1 else partial(_worker, plan)
    where = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    click.echo(f"conscience: serving {', '.join(n for s in plan.served for n in s.names)} on {where}/v1", err=True)
    if plan.playground:
        click.echo(f"conscience: the playground is at {where}/playground", err=True)
    run(make_app, listener, plan.limits, workers=workers)


def _served(name: str, settings: ProgramSettings) -> Served:
    given = {name: value for name, value in settings if value is not None}
    made_of = {field.name: given.pop(field.name) for field in fields(Setup) if field.name in given}
    setup = Setup(**made_of)
    setup.check()
    return Served((name,), setup, given)


def _app(plan: Plan) -> Any:
    """The app of one process, its models ready."""
    from conscience.server.app import create_app
    from conscience.server.settings import policies_of_environment, read_settings

    log = None if plan.log is None else plan.log.opened()
    programs: dict[str, Any] = {}
    for one in plan.served:
        program = one.setup.built(**one.policy)
        program.log = program.log or log
        program.name = program.name or one.names[0]
        program.warm()
        programs |= dict.fromkeys(one.names, program)
    policies = read_settings(plan.config).policies() if plan.config is not None else policies_of_environment()
    return create_app(
        programs,
        policies=policies,
        limits=plan.limits,
        release=plan.release,
        only_local=plan.only_local,
        playground=plan.playground,
    )


def _same(app: Any) -> Any:
    return app


def _worker(plan: Plan) -> Any:
    """The app of a worker; where it cannot be made, one line and the end."""
    _log_to_stderr()
    try:
        return _app(plan)
    except ConscienceError as error:
        click.echo(f"conscience: {printable(str(error))}", err=True)
        sys.exit(3)  # by which uvicorn's supervisor knows that starting again would not help


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("conscience.server").setLevel(logging.INFO)
