"""The command line; ask, review, doctor and pull are here. Heavy imports wait until a command needs them.

Exit codes: 0 done, 1 a check failed, 2 bad input, 3 backend unreachable, 130 interrupted.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

import click

from conscience import __version__
from conscience.cli._options import PATH, Setup, bar, console, print_json, printable, setup_options
from conscience.cli.compile import compile_command, recalibrate_command, show_command
from conscience.cli.label import label_command, propose_command
from conscience.cli.measure import cases_command, compare_command, eval_command
from conscience.errors import ConscienceError, InputError

Command = Callable[..., Any]


def main() -> NoReturn:
    """The console script: every known failure is one line on stderr and an exit code."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what the terminal's encoding lacks is shown as a question mark
    try:
        done = cli.main(standalone_mode=False)
        code = done if isinstance(done, int) else 0  # click returns the code of an Exit that a command raised
    except click.ClickException as error:
        error.show()
        code = 2
    except ConscienceError as error:
        click.echo(f"conscience: {printable(str(error))}", err=True)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("conscience: interrupted", err=True)
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = 0
    sys.exit(code)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="conscience")
def cli() -> None:
    """An LLM that reviews its own answer and mends it before anyone sees it."""


@cli.command()
@click.argument("request")
@setup_options
@click.option("--max-revisions", type=click.IntRange(0, 10), help="How often to revise.  [default: 1]")
@click.option("--on-unresolved", type=click.Choice(["refuse", "best", "raise"]), help="[default: refuse]")
@click.option("--on-error", type=click.Choice(["closed", "open", "raise"]), help="[default: closed]")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def ask(
    request: str,
    setup: Setup,
    max_revisions: int | None,
    on_unresolved: str | None,
    on_error: str | None,
    as_json: bool,
) -> None:
    """Answer REQUEST ("-" reads it from standard input), review the answer, and revise it where it must be."""
    text = click.open_file("-", errors="surrogateescape").read() if request == "-" else request
    if not text.strip():
        raise InputError("the request is empty", hint="say what is asked")
    program = setup.built(max_revisions=max_revisions, on_unresolved=on_unresolved, on_error=on_error)
    outcome = program(text)
    if as_json:
        print_json(outcome.to_json())
        return
    from conscience.cli._render import show_outcome

    show_outcome(console(), text, outcome)


@cli.command()
@click.option("--request", metavar="TEXT", help="What was asked.")
@click.option("--response", metavar="TEXT", help="The text to judge.")
@click.option("--reasoning", default="", metavar="TEXT", help="The reasoning behind it, judged with it.")
@click.option("--cases", type=PATH, metavar="FILE", help="Judge the given responses of these cases.")
@click.option("--out", type=PATH, metavar="FILE", help="Where the verdicts go, a row a case (JSON Lines).")
@click.option("--limit", type=click.IntRange(1), help="Stop after so many cases.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=4, show_default=True, help="Cases under way at once.")
@click.option("--skip-bad", is_flag=True, help="Go on without rows that cannot be read.")
@setup_options
@click.option("--json", "as_json", is_flag=True, help="Print the verdict, or the summary, as JSON.")
def review(
    request: str | None,
    response: str | None,
    reasoning: str,
    cases: Path | None,
    out: Path | None,
    limit: int | None,
    concurrency: int,
    skip_bad: bool,
    setup: Setup,
    as_json: bool,
) -> None:
    """Judge one response, or those of a file of cases. Interrupted, the same command goes on where it stopped."""
    if (cases is None) == (response is None):
        raise InputError(
            "nothing to review, or too much", hint="give either --response (and --request) or --cases and --out"
        )
    if cases is not None and out is None:
        raise InputError("--cases needs --out", hint="name the file for the verdicts")
    judge = setup.built().review
    if cases is not None and out is not None:
        _review_cases(judge, cases, out, limit, concurrency, skip_bad, as_json)
        return
    verdict = judge(request=request or "", response=response or "", reasoning=reasoning).verdict
    if as_json:
        print_json(verdict.to_dict())
    else:
        from conscience.cli._render import show_verdict

        show_verdict(console(), verdict)


def _review_cases(
    judge: Any, cases: Path, out: Path, limit: int | None, concurrency: int, skip_bad: bool, as_json: bool
) -> None:
    from conscience.cases.case import iter_cases
    from conscience.evals.batch import BatchProgress, review_cases

    def read(tell: Callable[[ConscienceError], None] | None = None) -> Any:
        return iter_cases(cases, skip_bad=skip_bad, limit=limit, on_bad=tell)

    skipped: list[ConscienceError] = []
    total = sum(1 for _ in read(skipped.append))  # also finds bad rows before anything is spent
    for error in skipped[:5]:
        click.echo(f"conscience: skipped: {printable(str(error))}", err=True)
    with bar("reviewing") as shown:
        task = shown.add_task("", total=total, cost="")

        def watch(progress: BatchProgress) -> None:
            cost = f"{progress.flagged} flagged, {progress.failed} failed, {progress.calls} calls"
            shown.update(
                task, completed=progress.done, cost=cost + (f", ${progress.dollars:.4f}" if progress.dollars else "")
            )

        progress = asyncio.run(review_cases(judge, read(), out, concurrency=concurrency, watch=watch))
    if as_json:
        print_json({**vars(progress), "skipped": len(skipped), "total": total, "out": str(out)})
    else:
        click.echo(
            f"{progress.done} of {total} cases reviewed ({progress.resumed} of them before), {progress.flagged} flagged, "
            f"{progress.failed} failed, {len(skipped)} rows skipped; {progress.calls} calls → {out}"
        )
    if progress.stopped:
        click.echo("conscience: interrupted; the same command goes on from here", err=True)
        raise click.exceptions.Exit(130)
    if progress.failed:
        raise click.exceptions.Exit(1)


@cli.command()
@click.option("--lm", default="local", metavar="MODEL", show_default=True, help="LiteLLM model, or local.")
@click.option("--timeout", type=click.FloatRange(0.1), default=60.0, show_default=True, help="Seconds an attempt.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def doctor(lm: str, timeout: float, as_json: bool) -> None:
    """Reach a backend and tell what it can do, with a line of advice for each gap."""
    from conscience.backends.backend import Backend
    from conscience.doctor import examine

    checks = examine(Backend(lm, timeout=timeout, retries=1, cache=False))
    if as_json:
        print_json([vars(check) for check in checks])
        return
    from conscience.cli._render import show_checks

    show_checks(console(), checks)


@cli.command()
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER", help="Where to keep the weights.")
def pull(to: Path | None) -> None:
    """Fetch the embedded model's weights (98 MB, SmolLM2-135M-Instruct, Apache-2.0) and check them."""
    from conscience.backends.weights import pull as fetch

    fetch(to, progress=click.echo)


for command in (
    eval_command,
    compare_command,
    cases_command,
    compile_command,
    recalibrate_command,
    show_command,
    propose_command,
    label_command,
):
    cli.add_command(command)
