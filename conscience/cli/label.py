"""The commands that make cases: propose-cases and label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from conscience._base.locks import locked_file, locked_folder
from conscience.cli._shared.cases import KindCount, column_option, telling
from conscience.cli._shared.options import PATH, Setup, setup_options, spend_options
from conscience.cli._shared.output import bar, print_json, printable, resumable, write
from conscience.errors import BudgetExceeded, InputError

if TYPE_CHECKING:
    from conscience.cases.case import Case
    from conscience.optimizers.data.labeling import LabelFile
    from conscience.optimizers.runtime import CompileProgress

KEYS = {"a": "aligned", "m": "misaligned"}
HELP = "a aligned, m misaligned, Enter keep what is proposed, s later, u take the last one back, q end"


@click.command("propose-cases")
@click.option("--out", type=PATH, required=True, metavar="FILE.jsonl", help="Where the cases go; must not exist.")
@click.option("--pairs", type=click.IntRange(1, 100), default=4, show_default=True, help="For each principle.")
@click.option("--propose-lm", metavar="MODEL", help="The model that writes; by default --lm.")
@spend_options
@setup_options
@click.option("--json", "as_json", is_flag=True, help="Print what came of it as JSON.")
def propose_command(
    out: Path,
    pairs: int,
    propose_lm: str | None,
    max_calls: int | None,
    max_cost: float | None,
    setup: Setup,
    as_json: bool,
) -> None:
    """Have a model write contrast pairs for each principle, for people to correct with: conscience label FILE.

    Interrupted, the same command goes on where it stopped.
    """
    if out.exists():
        raise InputError(f"{out} exists", hint="choose another --out, or delete it")
    from conscience.optimizers.data.contrast_pairs import propose_cases, write_cases
    from conscience.optimizers.runtime import Runtime
    from conscience.usage import Budget

    program = setup.built(propose=propose_lm)
    folder = out.with_name(out.stem + ".work")
    with locked_folder(folder):
        with bar("proposing") as progress_bar:
            task = progress_bar.add_task("", total=None, cost="")

            def watch(progress: CompileProgress) -> None:
                progress_bar.update(task, completed=progress.done, cost=f"{progress.stage}, {progress.usage.calls} calls")

            runtime = Runtime(folder / "calls.jsonl", Budget(calls=max_calls, dollars=max_cost), watch=watch)
            with resumable():
                written = propose_cases(runtime.own(program), runtime, pairs=pairs)
        if not written.cases:
            if runtime.exhausted:
                raise BudgetExceeded("the budget ended before a pair was written and checked", hint="raise it")
            raise InputError("the model wrote no pair that could be used", hint="choose another --propose-lm")
        write(out, write_cases(written.cases))
    if runtime.exhausted:
        note = "the budget ended first; to go on, delete the file and raise it: nothing is paid for twice"
        click.echo(f"conscience: {note}", err=True)
    count, lost = len(written.cases) // 2, {n: getattr(written, n) for n in ("unreadable", "doubled", "disputed")}
    if as_json:
        print_json({"pairs": count, **lost, "exhausted": runtime.exhausted, "out": str(out)})
        return
    click.echo(
        f"{count} pairs → {out}; left out: {written.doubled} that came twice, {written.disputed} that the questions could "
        f"not tell apart, {written.unreadable} answers without a pair. Correct them: conscience label {out}"
    )


@click.command("label")
@click.argument("file", type=PATH, metavar="FILE.jsonl")
@column_option
def label_command(file: Path, columns: dict[str, str]) -> None:
    """Label the responses in FILE by one keystroke each, the most informative one first. Saves at once; resumes."""
    from conscience.optimizers.data.labeling import LabelFile

    with locked_file(file):
        _label(file, LabelFile(file, columns, on_reading=telling()))


def _label(file: Path, work: LabelFile) -> None:
    from conscience.messages.rendering import request_text

    history: list[Case] = []
    while (case := work.next()) is not None:
        click.echo(f"\n{len(work.open)} to go, {HELP}")
        click.echo(click.style("request: ", bold=True) + printable_lines(request_text(case.request)))
        if case.reasoning:
            click.echo(click.style("reasoning: ", bold=True) + printable_lines(case.reasoning))
        click.echo(click.style("response: ", bold=True) + printable_lines(case.response or ""))
        proposed = f" [{case.label}]" if case.label else ""
        click.echo(f"{case.group or 'label'}{proposed}? ", nl=False)
        try:
            key = (click.getchar() or "q").lower()  # nothing comes where the terminal has gone
        except OSError:
            raise InputError("labels are given by keystrokes, and there is no terminal", hint="run it in one") from None
        label = KEYS.get(key) or (case.label if key in "\r\n" else None)
        click.echo(label or key if key.isprintable() else label or "")
        if key == "q":
            break
        if key == "s":
            work.skip(case)
        elif key == "u" and history:
            work.reopen(history.pop())
        elif label is not None:
            work.label(case, "aligned" if label == "aligned" else "misaligned")
            history.append(case)
    done = len(work.cases) - len(work.open)
    click.echo(f"{done} of {len(work.cases)} cases in {file} are labelled")
    kinds = KindCount()
    kinds.count(work.cases.values())
    kinds.tell()


def printable_lines(text: str) -> str:
    """Model text without what a terminal would obey, its lines kept."""
    return "\n".join(printable(line) for line in text.splitlines())
