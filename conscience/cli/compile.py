"""The commands that compile: compile, recalibrate, show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conscience._base.locks import locked_folder
from conscience._redaction import redact
from conscience.cli._shared.cases import column_option, skip_bad_option, tell_skipped, telling
from conscience.cli._shared.executors import batch_option, chosen_executor, ray_option
from conscience.cli._shared.options import FILE, PATH, Amount, Setup, concurrency_option, oracle_named, setup_options
from conscience.cli._shared.output import bar, console, print_json, resumable
from conscience.cli._shared.program import open_file
from conscience.errors import ConscienceError, InputError

if TYPE_CHECKING:
    from rich.progress import Progress

    from conscience.cases.case import Case
    from conscience.evals.oracles.grade import Oracle
    from conscience.optimizers.holdout import Tell
    from conscience.optimizers.runtime import CompileProgress, Runtime, Watch
    from conscience.program import Conscience
    from conscience.usage import Budget

_BUDGET = (
    click.option("--max-calls", type=click.IntRange(1), metavar="N", help="The most calls in all, reports included."),
    click.option("--max-cost", type=Amount(0, min_open=True), metavar="DOLLARS", help="The most to spend in all."),
    click.option("--max-minutes", type=Amount(0, min_open=True), metavar="N", help="The longest time in all."),
)


def _budgeted(command: Any) -> Any:
    for option in reversed(_BUDGET):
        command = option(command)
    return command


def _budget(max_calls: int | None, max_cost: float | None, max_minutes: float | None) -> Budget:
    from conscience.usage import Budget

    seconds = None if max_minutes is None else 60 * max_minutes
    return Budget(calls=max_calls, dollars=max_cost, seconds=seconds)


@click.command("compile")
@click.argument("cases", nargs=-1, required=True, metavar="CASES...")
@click.option("--out", type=FILE, required=True, metavar="FILE", help="Where the compiled program goes (JSON).")
@click.option("--labels", type=click.IntRange(8), metavar="N", help="Learn from so many cases; the others test the result.")
@click.option("--report-cases", type=click.IntRange(0), default=200, show_default=True, help="Test on so many at most.")
@click.option("--target-fpr", type=Amount(0, 1, min_open=True, max_open=True), default=0.05, show_default=True,
              help="The highest share of harmless drafts that may be flagged.")  # fmt: skip
@click.option(
    "--auto", type=click.Choice(["light", "medium", "heavy"]), default="light", show_default=True, help="How much to try."
)
@click.option("--prompts", type=click.Choice(["gepa", "random", "miprov2", "simba", "off"]),
              help="How to search instructions and demos.  [default: gepa where a model can write them]")  # fmt: skip
@click.option("--propose-lm", metavar="MODEL", help="A model that proposes questions and instructions.")
@click.option(
    "--embed-lm",
    "embed",
    multiple=True,
    metavar="MODEL",
    help="Embedding models to read with: e5 (read by default where it is installed), local, LiteLLM's, or none.",
)
@click.option("--oracle", metavar="NAME", help="As in eval; by default each case says its own.")
@click.option("--judge-lm", metavar="MODEL", help="The model of the oracle judge.")
@_budgeted
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything that is drawn.")
@concurrency_option
@ray_option
@batch_option
@column_option
@skip_bad_option
@setup_options
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def compile_command(
    cases: tuple[str, ...],
    out: Path,
    labels: int | None,
    report_cases: int,
    target_fpr: float,
    auto: Any,
    prompts: Any,
    propose_lm: str | None,
    embed: tuple[str, ...],
    oracle: str | None,
    judge_lm: str | None,
    max_calls: int | None,
    max_cost: float | None,
    max_minutes: float | None,
    seed: int,
    concurrency: int,
    ray: str | None,
    batch: bool,
    columns: dict[str, str],
    skip_bad: bool,
    setup: Setup,
    as_json: bool,
) -> None:
    """Compile the program on labelled CASES, and report what that changed on cases that it never saw.

    Ctrl-C keeps the best so far; the same command goes on where it stopped and pays for nothing twice.
    """
    from conscience.optimizers.prompts.search import check_installed
    from conscience.optimizers.runtime import Runtime
    from conscience.optimizers.self_correction import SelfCorrection

    _refuse_no_program(out)
    if prompts is not None:
        check_installed(prompts)
    program = setup.built(propose=propose_lm)
    decides = oracle_named(oracle, judge_lm, program)
    learning, holdout = _parts(cases, labels, report_cases, seed, skip_bad, decides, columns)
    _tell_foreseen(learning, target_fpr)
    folder = out.with_name(out.stem + ".work")
    with locked_folder(folder):
        with bar("compiling") as progress_bar, chosen_executor(ray, batch, progress_bar) as executor:
            budget, watch = _budget(max_calls, max_cost, max_minutes), _watching(progress_bar)
            runtime = Runtime(folder / "calls.jsonl", budget, threads=concurrency, watch=watch, executor=executor)
            optimizer = SelfCorrection(
                oracle=decides,
                target_fpr=target_fpr,
                auto=auto,
                embeddings=None if not embed else [model for model in embed if model != "none"],
                prompts=prompts,
                seed=seed,
                runtime=runtime,
            )
            compiled = optimizer.compile(program, trainset=learning)
            stopped = compiled.compile_result.interrupted
            with _saved_at_the_end(compiled, out, folder):
                if not stopped:
                    stopped = _reported(program, compiled, holdout, folder, runtime, decides, seed, _telling(progress_bar))
        _show(out, as_json, folder)
    if stopped:
        click.echo("conscience: interrupted; this is the best so far, and the same command goes on from here", err=True)
        raise click.exceptions.Exit(130)


@click.command("recalibrate")
@click.argument("program_file", type=PATH, metavar="PROGRAM.json")
@click.argument("cases", nargs=-1, required=True, metavar="CASES...")
@click.option("--out", type=FILE, required=True, metavar="FILE", help="Where the recalibrated program goes.")
@click.option("--old-lm", metavar="MODEL", help="The model that it was compiled for, to be measured on the same cases.")
@click.option("--target-fpr", type=Amount(0, 1, min_open=True, max_open=True), default=0.05, show_default=True,
              help="The highest share of harmless drafts that may be flagged.")  # fmt: skip
@batch_option
@column_option
@click.option("--oracle", metavar="NAME", help="As in eval; by default each case says its own.")
@click.option("--judge-lm", metavar="MODEL", help="The model of the oracle judge.")
@_budgeted
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything that is drawn.")
@concurrency_option
@ray_option
@click.option("--lm", default="local", metavar="MODEL", show_default=True, help="The model to carry it over to.")
@click.option("--review-lm", metavar="MODEL", help="Another model for the role review.")
@click.option("--timeout", type=Amount(0.1), default=120.0, show_default=True, help="Seconds an attempt.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def recalibrate_command(
    program_file: Path,
    cases: tuple[str, ...],
    out: Path,
    old_lm: str | None,
    target_fpr: float,
    columns: dict[str, str],
    oracle: str | None,
    judge_lm: str | None,
    max_calls: int | None,
    max_cost: float | None,
    max_minutes: float | None,
    seed: int,
    concurrency: int,
    ray: str | None,
    batch: bool,
    lm: str,
    review_lm: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Carry a compiled program over to another model: refit weights and threshold on CASES, from about 16 labels."""
    from conscience.optimizers.recalibration import Recalibration
    from conscience.optimizers.runtime import Runtime

    _refuse_no_program(out)
    setup = Setup(lm=lm, review_lm=review_lm, timeout=timeout)
    program = open_file(program_file, setup.roles(), quiet=True)
    decides = oracle_named(oracle, judge_lm, program)
    labelled = _read(cases, columns)
    _tell_foreseen(labelled, target_fpr)
    folder = out.with_name(out.stem + ".work")
    with locked_folder(folder), bar("recalibrating") as progress_bar, chosen_executor(ray, batch, progress_bar) as executor:
        budget, watch = _budget(max_calls, max_cost, max_minutes), _watching(progress_bar)
        runtime = Runtime(folder / "calls.jsonl", budget, threads=concurrency, watch=watch, executor=executor)
        optimizer = Recalibration(target_fpr=target_fpr, oracle=decides, seed=seed, runtime=runtime)
        with resumable():
            recalibrated = optimizer.compile(program, trainset=labelled)
            recalibrated.save(out)
            old = None if old_lm is None else open_file(program_file, setup.roles(generate=old_lm, review=None), quiet=True)
            matrix = optimizer.compare(program, recalibrated, old)
    if as_json:
        print_json(matrix.to_json())
    else:
        from conscience.cli._shared.render_program import show_matrix

        show_matrix(console(), matrix)
        click.echo(f"program: {out}")


@click.command("show")
@click.argument("program_file", type=PATH, metavar="PROGRAM.json")
@click.option("--json", "as_json", is_flag=True, help="Print the file as it was understood.")
def show_command(program_file: Path, as_json: bool) -> None:
    """Show a compiled program: questions, weights, prompts, thresholds, and what was measured."""
    from conscience.artifacts.schema import Artifact

    artifact = Artifact.read(program_file)
    if as_json:
        print_json(artifact.model_dump(mode="json"))
        return
    from conscience.cli._shared.render_program import show_program

    show_program(console(), artifact)


def _read(sources: tuple[str, ...], columns: Mapping[str, str] | None, skip_bad: bool = False) -> list[Case]:
    from conscience.cases.case import load_cases

    skipped: list[ConscienceError] = []
    cases = load_cases(sources, columns=columns, skip_bad=skip_bad, on_bad=skipped.append, on_reading=telling())
    tell_skipped(skipped)
    return cases


def _parts(
    sources: tuple[str, ...],
    labels: int | None,
    report: int,
    seed: int,
    skip_bad: bool,
    oracle: Oracle | None,
    columns: Mapping[str, str] | None = None,
) -> tuple[list[Case], list[Case]]:
    """Cases to learn from, and cases for the report; pairs whole, labels in proportion. Each can be judged."""
    from conscience.cases.splits import split_cases
    from conscience.optimizers.data.labeled_drafts import check_judged

    cases = _read(sources, columns, skip_bad)
    if not cases:
        raise InputError("no cases to learn from")
    check_judged(cases, oracle)
    if labels is not None and labels > len(cases):
        raise InputError(f"--labels {labels}: there are only {len(cases)} cases")
    share = labels / len(cases) if labels is not None else 0.8
    if share >= 1 or (report == 0 and labels is None):
        return cases, []
    parts = split_cases(cases, {"learn": share, "unseen": 1 - share}, seed=seed)
    return _at_most(parts["learn"], labels or len(cases)), _at_most(parts["unseen"], report)


def _tell_foreseen(cases: list[Case], target_fpr: float) -> None:
    """Says what the labels at hand can do, before anything is spent."""
    from conscience.optimizers.feasibility import foreseen

    for line in foreseen(cases, target_fpr):
        click.echo(f"conscience: {line}", err=True)


def _at_most(cases: list[Case], most: int) -> list[Case]:
    """As many as fit without tearing a pair apart."""
    units: dict[tuple[bool, str], list[Case]] = {}
    for case in cases:
        units.setdefault((case.pair is None, case.pair or case.id), []).append(case)
    kept: list[Case] = []
    for unit in units.values():
        if len(kept) + len(unit) <= most:
            kept += unit
    return kept


def _refuse_no_program(out: Path) -> None:
    """Makes sure that nothing is written over but a program: the cases may be called like it."""
    from conscience.artifacts.schema import Artifact

    try:
        if out.is_file() and out.stat().st_size:
            Artifact.read(out)
    except InputError:
        raise InputError(f"{out} is there already, and is no program", hint="choose another --out, or delete it") from None


@contextmanager
def _saved_at_the_end(compiled: Conscience, out: Path, folder: Path) -> Iterator[None]:
    """Saves a program once, when the report is in it; also where the report fails, by Ctrl-C or anything else.

    A copy in the work folder comes first: a disk that the report fills up has no room for the program afterwards, but the
    copy can still be put in its place.
    """
    from conscience.artifacts.schema import Provenance

    copy = folder / "compiled.json"
    compiled.save(copy)
    try:
        yield
    except BaseException as error:
        why = (
            "was interrupted"
            if isinstance(error, KeyboardInterrupt)
            else f"failed: {redact(str(error)) or type(error).__name__}"
        )
        provenance = compiled.provenance or Provenance()
        notes = (*provenance.notes, f"the report on holdout cases {why}")
        compiled.provenance = provenance.model_copy(update={"notes": notes})
        raise
    finally:
        try:
            compiled.save(out)
        except ConscienceError:
            copy.replace(out)
            raise
        copy.unlink()


def _reported(
    program: Conscience,
    compiled: Conscience,
    cases: list[Case],
    folder: Path,
    runtime: Runtime,
    oracle: Oracle | None,
    seed: int,
    tell: Tell,
) -> bool:
    """Puts the figures on holdout cases into the program's provenance; returns whether Ctrl-C ended the report."""
    from conscience.optimizers.holdout import report_holdout

    learned = compiled.compile_result.drafts
    report = report_holdout(program, compiled, cases, folder, runtime, learned=learned, oracle=oracle, seed=seed, tell=tell)
    provenance = compiled.provenance
    assert provenance is not None  # it was compiled just now
    figures = {**provenance.figures, "holdout": report.figures.to_json() if report.figures else {}}
    compiled.provenance = provenance.model_copy(update={"figures": figures, "notes": (*provenance.notes, *report.notes)})
    return report.stopped


def _watching(progress_bar: Progress) -> Watch:
    task, last_stage = progress_bar.add_task("", total=None, cost=""), ""

    def watch(progress: CompileProgress) -> None:
        nonlocal last_stage
        spent = progress.usage.total
        cost = f"{spent.calls} calls" + (f", ${spent.dollars:.4f}" if spent.dollars else "")
        best = f"best: {progress.best}" if progress.best else ""
        status = ", ".join(part for part in (progress.stage, cost, best) if part)
        progress_bar.update(task, completed=progress.done, total=progress.total or None, cost=status)
        if progress.stage != last_stage:
            last_stage = progress.stage
            _say(progress_bar, status)

    return watch


def _telling(progress_bar: Progress) -> Tell:
    tasks: dict[str, Any] = {}

    def tell(name: str, done: int, total: int) -> None:
        if name not in tasks:
            tasks[name] = progress_bar.add_task("", total=total, cost=f"holdout cases, {name}")
            _say(progress_bar, f"{total} holdout cases, {name}")
        progress_bar.update(tasks[name], completed=done)

    return tell


def _say(progress_bar: Progress, status: str) -> None:
    """A line in place of the bar where there is no terminal: a log of half an hour's work is not to be empty."""
    if progress_bar.disable:
        click.echo(f"conscience: {status}", err=True)


def _show(out: Path, as_json: bool, folder: Path) -> None:
    from conscience.artifacts.schema import Artifact

    artifact = Artifact.read(out)
    if as_json:
        print_json(artifact.provenance.model_dump(mode="json") if artifact.provenance else {})
        return
    from conscience.cli._shared.render_program import show_program

    show_program(console(), artifact)
    page = folder / "report.html"
    click.echo(f"program: {out}" + (f"; report: {page}" if page.exists() else ""))
