"""The commands that answer and judge: ask, review."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conscience.cli._shared.cases import column_option, skip_bad_option, tell_skipped, telling
from conscience.cli._shared.executors import batch_option, chosen_executor, ray_option
from conscience.cli._shared.options import PATH, Amount, Setup, concurrency_option, setup_options
from conscience.cli._shared.output import bar, console, print_json
from conscience.cli._shared.shards import check_has_cases, shard_option, tell_shard
from conscience.errors import ConscienceError, InputError

if TYPE_CHECKING:
    from conscience.cases.case import Case
    from conscience.cases.shards import Shard
    from conscience.program import Conscience

threshold_option = click.option(
    "--threshold", type=click.FloatRange(0, 1), help="Flag from this probability on.  [default: the program's own]"
)


@click.command("ask")
@click.argument("request")
@setup_options
@threshold_option
@click.option("--max-revisions", type=click.IntRange(0, 10), help="How often to revise.  [default: 1]")
@click.option("--on-unresolved", type=click.Choice(["refuse", "best", "raise"]), help="[default: refuse]")
@click.option("--on-error", type=click.Choice(["closed", "open", "raise"]), help="[default: closed]")
@click.option("--full", is_flag=True, help="Show long texts whole.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def ask_command(
    request: str,
    setup: Setup,
    threshold: float | None,
    max_revisions: int | None,
    on_unresolved: str | None,
    on_error: str | None,
    full: bool,
    as_json: bool,
) -> None:
    """Answer REQUEST ("-" reads it from standard input), review the answer, and revise it where it must be."""
    text = click.open_file("-", errors="surrogateescape").read() if request == "-" else request
    if not text.strip():
        raise InputError("the request is empty", hint="say what is asked")
    program = setup.built(threshold=threshold, max_revisions=max_revisions, on_unresolved=on_unresolved, on_error=on_error)
    outcome = program(text)
    if as_json:
        print_json(outcome.to_json(full=True))
        return
    from conscience.cli._shared.render import show_outcome

    show_outcome(console(), text, outcome, full=full)


@click.command("review")
@click.option("--request", metavar="TEXT", help="What was asked.")
@click.option("--response", metavar="TEXT", help="The text to judge.")
@click.option("--reasoning", default="", metavar="TEXT", help="The reasoning behind it, judged with it.")
@click.option("--cases", type=PATH, metavar="FILE", help="Judge the given responses of these cases.")
@click.option("--out", type=PATH, metavar="FILE", help="Where the verdicts go, a row a case (JSON Lines).")
@click.option("--limit", type=click.IntRange(1), help="Stop after so many cases.")
@shard_option
@concurrency_option
@click.option("--max-cost", type=Amount(0), metavar="DOLLARS", help="Begin no further case once this is spent.")
@ray_option
@batch_option
@column_option
@skip_bad_option
@setup_options
@threshold_option
@click.option("--full", is_flag=True, help="Show long texts whole.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict, or the summary, as JSON.")
def review_command(
    request: str | None,
    response: str | None,
    reasoning: str,
    cases: Path | None,
    out: Path | None,
    limit: int | None,
    shard: Shard | None,
    concurrency: int,
    max_cost: float | None,
    ray: str | None,
    batch: bool,
    columns: dict[str, str],
    skip_bad: bool,
    setup: Setup,
    threshold: float | None,
    full: bool,
    as_json: bool,
) -> None:
    """Judge one response, or those of a file of cases. Interrupted, the same command goes on where it stopped."""
    if (cases is None) == (response is None):
        raise InputError(
            "nothing to review, or too much", hint="give either --response (and --request) or --cases and --out"
        )
    if cases is not None and out is None:
        raise InputError("--cases needs --out", hint="name the file for the verdicts")
    if shard is not None and cases is None:
        raise InputError("--shard goes with --cases", hint="one response cannot be divided")
    alone = {"--out": out is not None, "--batch": batch, "--ray": ray is not None, "--max-cost": max_cost is not None}
    if cases is None and (name := next((name for name, given in alone.items() if given), None)):
        raise InputError(f"{name} goes with --cases", hint="one response is judged at once")
    program = setup.built(threshold=threshold)
    if cases is not None and out is not None:
        _review_cases(program, cases, out, limit, shard, concurrency, max_cost, ray, batch, columns, skip_bad, as_json)
        return
    verdict = program.review(request=request or "", response=response or "", reasoning=reasoning).verdict
    if as_json:
        print_json(verdict.to_dict())
    else:
        from conscience.cli._shared.render import show_verdict

        show_verdict(console(), verdict, full=full)


def _review_cases(
    program: Conscience,
    cases: Path,
    out: Path,
    limit: int | None,
    shard: Shard | None,
    concurrency: int,
    max_cost: float | None,
    ray: str | None,
    batch: bool,
    columns: dict[str, str],
    skip_bad: bool,
    as_json: bool,
) -> None:
    from conscience.backends.storage.journal import Journal
    from conscience.cases.case import iter_cases
    from conscience.cases.drawing import draw
    from conscience.distributed.batch_files import executor_in, work_beside
    from conscience.distributed.tasks import Shared
    from conscience.evals.batch import BatchProgress, review_cases

    if not out.name or out.is_dir():
        raise InputError(f"--out {out}: is a folder", hint="name a file for the verdicts")
    say = telling()

    skipped: list[ConscienceError] = []

    def read() -> Iterator[Case]:
        skipped.clear()
        return iter_cases(cases, columns=columns, skip_bad=skip_bad, limit=limit, on_bad=skipped.append, on_reading=say)

    drawn = draw(read, shard=shard)  # also finds bad rows before anything is spent
    drawn = replace(drawn, limit=limit, sources=(cases.name,), skipped=len(skipped))
    total = drawn.count
    check_has_cases(drawn, [str(cases)])
    tell_skipped(skipped)
    tell_shard(drawn, max_cost=max_cost)
    backend, folder = program.roles.backend("review"), work_beside(out)
    if max_cost is not None:
        backend.check_prices()
        max_cost = max_cost if shard is None else shard.share(max_cost)
    journal = Journal(folder / "calls.jsonl") if batch or ray is not None or folder.exists() else None
    judge = (program if journal is None else program.for_run(journal)).review
    with bar("reviewing") as shown:
        task = shown.add_task("", total=total, cost="")

        def watch(progress: BatchProgress) -> None:
            cost = f"{progress.flagged} flagged, {progress.failed} failed, {progress.calls} calls"
            shown.update(
                task, completed=progress.done, cost=cost + (f", ${progress.dollars:.4f}" if progress.dollars else "")
            )

        with chosen_executor(ray, batch, shown, task) as executor:
            chosen = executor_in(folder, executor, {"review": backend}, max_cost)
            progress = asyncio.run(
                review_cases(
                    judge,
                    drawn.read(),
                    out,
                    concurrency=concurrency,
                    max_dollars=max_cost,
                    watch=watch,
                    drawn=drawn,
                    executor=chosen,
                    shared=Shared(journal),
                )
            )
    if as_json:
        print_json({**vars(progress), "skipped": drawn.skipped, "total": total, "out": str(out)})
    else:
        click.echo(
            f"{progress.done} of {total} cases reviewed ({progress.resumed} of them before), {progress.flagged} flagged, "
            f"{progress.failed} failed, {drawn.skipped} rows skipped; {progress.calls} calls → {out}"
        )
    if progress.stopped:
        click.echo("conscience: interrupted; the same command goes on from here", err=True)
        raise click.exceptions.Exit(130)
    if left := total - progress.done:
        click.echo(f"conscience: stopped at ${progress.dollars:.4f}: {left} cases are left", err=True)
    if progress.failed:
        raise click.exceptions.Exit(1)
