"""The commands that measure: eval, compare, cases check."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conscience._base.locks import locked_folder
from conscience.cli._shared.cases import KindCount, column_option, skip_bad_option, tell_skipped, telling
from conscience.cli._shared.executors import batch_option, chosen_executor, ray_option
from conscience.cli._shared.options import PATH, Amount, Setup, concurrency_option, oracle_named, setup_options
from conscience.cli._shared.output import append, bar, console, print_json, printable, refuse_other, write
from conscience.cli._shared.shards import check_has_cases, shard_option, tell_shard
from conscience.errors import BackendError, ConscienceError, InputError

if TYPE_CHECKING:
    from conscience.cases.case import Case
    from conscience.cases.shards import Shard
    from conscience.evals.grading import Program


@click.command("eval")
@click.argument("cases", nargs=-1, required=True, metavar="CASES...")
@click.option("--out", type=PATH, required=True, metavar="FOLDER", help="Where rows and report go.")
@click.option("--limit", type=click.IntRange(1), help="Draw so many cases at random (see --seed).")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn.")
@shard_option
@click.option(
    "--baseline", metavar="NAME", help="plain, review-only, self-refine, chain or refine, in place of the program."
)
@click.option(
    "--oracle",
    metavar="NAME",
    help="label, refusal, choice, exact, references, code, tests, judge or package.module:function.",
)
@click.option("--judge-lm", metavar="MODEL", help="The model of the oracle judge; by default the one that reviews.")
@concurrency_option
@click.option("--rpm", type=Amount(0, min_open=True), help="Requests a minute, at most.")
@click.option("--tpm", type=Amount(0, min_open=True), help="Tokens a minute, at most.")
@click.option("--max-cost", type=Amount(0), metavar="DOLLARS", help="Begin no further case once this is spent.")
@ray_option
@batch_option
@click.option("--max-revisions", type=click.IntRange(0, 10), help="How often to revise.  [default: 1]")
@column_option
@skip_bad_option
@setup_options
@click.option("--parquet", is_flag=True, help="Write the rows as rows.parquet too (extra parquet).")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def eval_command(
    cases: tuple[str, ...],
    out: Path,
    limit: int | None,
    seed: int,
    shard: Shard | None,
    baseline: str | None,
    oracle: str | None,
    judge_lm: str | None,
    concurrency: int,
    rpm: float | None,
    tpm: float | None,
    max_cost: float | None,
    ray: str | None,
    batch: bool,
    max_revisions: int | None,
    columns: dict[str, str],
    skip_bad: bool,
    setup: Setup,
    parquet: bool,
    as_json: bool,
) -> None:
    """Measure the program on CASES (files, folders, pack:NAME, hf:NAME), and write a report.

    Interrupted, the same command goes on where it stopped and pays for nothing twice.
    """
    from conscience.backends.rate_limit import RateLimiter
    from conscience.cases.case import iter_cases
    from conscience.cases.drawing import draw
    from conscience.cases.parquet import arrow
    from conscience.cli._shared.render import tell_report
    from conscience.evals import report
    from conscience.evals.batch import BatchProgress
    from conscience.evals.report.parquet import write_rows
    from conscience.evals.runner import EvalConfig, run
    from conscience.evals.summary import summarise

    skipped: list[ConscienceError] = []
    if parquet:
        arrow("--parquet")  # or an error, before anything is spent

    tell, kinds = telling(), KindCount()

    def read() -> Iterator[Case]:
        skipped.clear()
        read_cases = iter_cases(cases, columns=columns, skip_bad=skip_bad, on_bad=skipped.append, on_reading=tell)
        return kinds.counting(read_cases)

    drawn = draw(read, limit, seed, shard)
    drawn = replace(drawn, sources=tuple(Path(source).name for source in cases), skipped=len(skipped))
    total = drawn.count
    check_has_cases(drawn, cases)
    tell_skipped(skipped)
    kinds.tell()
    tell_shard(drawn, max_cost=max_cost, rpm=rpm, tpm=tpm)
    program = _program(baseline, setup, max_revisions)
    config = EvalConfig(
        oracle=oracle_named(oracle, judge_lm, program),
        concurrency=concurrency,
        rate_limiter=RateLimiter(rpm, tpm) if rpm or tpm else None,
        max_dollars=max_cost,
        name=baseline or "",
        seed=seed,
    )
    progress = BatchProgress()
    with locked_folder(out):
        with bar("measuring") as shown:
            task = shown.add_task("", total=total, cost="")

            def watch(now: BatchProgress) -> None:
                nonlocal progress
                progress = now
                right = f"{progress.right} of {progress.judged} right, " if progress.judged else ""
                cost = f"{right}{progress.flagged} flagged, {progress.failed} failed, ${progress.dollars:.4f}"
                shown.update(task, completed=progress.done, cost=cost)

            try:
                with chosen_executor(ray, batch, shown, task) as executor:
                    config = replace(config, executor=executor)
                    progress = asyncio.run(run(program, drawn.read(), out, config, watch=watch, drawn=drawn))
            except BackendError:
                _say_left("stopped; the same command goes on from here", total - progress.done)
                raise
        result = summarise(out, sources=cases, skipped=len(skipped), limit=limit, seed=seed, shard=shard)
        page = report.save(result, out)
        if parquet:
            write_rows(out)
    tell_report(result, page, as_json=as_json)
    why = "interrupted; the same command goes on from here" if progress.stopped else f"stopped at ${progress.dollars:.4f}"
    _say_left(why, total - progress.done)
    if progress.stopped:
        raise click.exceptions.Exit(130)
    if progress.failed:
        raise click.exceptions.Exit(1)


@click.command("compare")
@click.argument("first", type=PATH)
@click.argument("second", type=PATH)
@click.option("--out", type=PATH, metavar="FILE.html", help="Write the comparison as a page.")
@click.option(
    "--fail-on",
    multiple=True,
    metavar="CONDITION",
    help="Exit with 1 where it holds, or no case has the figure. fpr>+.02: a change; fpr>.05: what SECOND reaches.",
)
@click.option("--certain", is_flag=True, help="A condition holds only where the whole 95 % interval meets it.")
@click.option("--junit", type=PATH, metavar="FILE.xml", help="Write the conditions as a JUnit report.")
@click.option(
    "--markdown", type=PATH, metavar="FILE.md", help="Append the comparison to a file such as $GITHUB_STEP_SUMMARY."
)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def compare_command(
    first: Path,
    second: Path,
    out: Path | None,
    fail_on: tuple[str, ...],
    certain: bool,
    junit: Path | None,
    markdown: Path | None,
    as_json: bool,
) -> None:
    """Put two runs over the same cases side by side, with paired tests, and fail a build where the second is worse.

    CONDITION is a figure, a comparison and a number. With a sign, or as 0, the number is the change from FIRST. Figures:
    self_correction, draft_accuracy, ecr, eir, recall, fpr, auroc, safe_refused, unsafe_refused, unreviewed, failed, calls,
    tokens, seconds, dollars.
    """
    from conscience.cli._shared.render import show_comparison
    from conscience.evals import report
    from conscience.evals.comparison import gating
    from conscience.evals.comparison.conditions import parse_conditions
    from conscience.evals.comparison.runs import compare_runs

    conditions = parse_conditions(fail_on)
    refuse_other(out, "<!doctype html")
    refuse_other(junit, "<")
    result = compare_runs(first, second)
    found = gating.regressions(result, conditions, certain=certain)
    if out is not None:
        write(out, report.render_comparison(result))
    if junit is not None:
        write(junit, gating.junit(result, found))
    if markdown is not None:
        append(markdown, gating.markdown(result, found))
    if as_json:
        print_json({**result.to_dict(), "conditions": [regression.to_dict() for regression in found]})
    else:
        show_comparison(console(), result)
        for regression in found:
            click.echo(regression.line)
    if result.left_out and found:
        click.echo(f"conscience: {printable(result.left_out)}", err=True)
    if any(regression.failed for regression in found):
        raise click.exceptions.Exit(1)


@click.group("cases")
def cases_command() -> None:
    """Look after cases."""


@cases_command.command("check")
@click.argument("cases", nargs=-1, required=True, metavar="CASES...")
@column_option
@skip_bad_option
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def check_command(cases: tuple[str, ...], columns: dict[str, str], skip_bad: bool, as_json: bool) -> None:
    """Validate CASES and summarise them: columns, labels, duplicates, conflicts, pairs. Exit code 1 if something is odd."""
    from conscience.cases.case import iter_cases
    from conscience.cases.checks import check_cases

    skipped: list[ConscienceError] = []
    readings: list[str] = []
    summary = check_cases(
        iter_cases(cases, columns=columns, skip_bad=skip_bad, on_bad=skipped.append, on_reading=readings.append)
    )
    if as_json:
        print_json({**summary.to_dict(), "read": readings, "skipped": [str(error) for error in skipped]})
    else:
        for line in readings:
            click.echo(f"read {printable(line)}")
        click.echo(summary.render())
        for error in skipped:
            click.echo(f"skipped: {printable(str(error))}")
    if skipped or summary.problems():
        raise click.exceptions.Exit(1)


def _say_left(why: str, left: int) -> None:
    if left:
        click.echo(f"conscience: {why}: {left} cases are left", err=True)


def _program(baseline_name: str | None, setup: Setup, max_revisions: int | None) -> Program:
    from conscience.evals.baselines import baseline

    if baseline_name is None:
        return setup.built(max_revisions=max_revisions)
    if setup.program is not None:
        raise InputError("--baseline and --program do not go together", hint="a baseline is compiled of nothing")
    return baseline(baseline_name, constitution=setup.loaded(), lm=setup.roles())
