"""The command that trains a model on what its conscience prefers: train."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from conscience.cli._shared.cases import column_option, skip_bad_option, tell_skipped, telling
from conscience.cli._shared.options import LOCAL, Amount, Setup, setup_options, spend_options
from conscience.cli._shared.output import bar, console, print_json, resumable

if TYPE_CHECKING:
    from rich.console import Console

    from conscience.cases.case import Case
    from conscience.optimizers.runtime import CompileProgress
    from conscience.optimizers.training.pairs import PreferencePair
    from conscience.optimizers.training.rounds.training import TrainingResult
    from conscience.optimizers.training.weights.trainer import StepProgress
    from conscience.program import Conscience

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("train")
@click.argument("sources", nargs=-1, required=True, metavar="PAIRS|CASES...")
@click.option("--out", type=FOLDER, required=True, metavar="FOLDER", help="Where LoRA, GGUF file, card and figures go.")
@click.option("--rounds", type=click.IntRange(1), default=1, show_default=True,
              help="Times to answer, judge and train; the first takes the pairs that are given.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), default=2, show_default=True, help="Passes over a round's pairs.")
@click.option("--dpo-weight", type=Amount(0), default=0.1, show_default=True, metavar="λ",
              help="The weight of the preference beside the supervised loss.")  # fmt: skip
@click.option("--beta", type=Amount(0, min_open=True), default=0.1, show_default=True,
              help="How hard the preference pulls away from the frozen copy.")  # fmt: skip
@click.option("--learning-rate", type=Amount(0, min_open=True), default=1e-3, show_default=True, help="The highest one.")
@click.option("--rank", type=click.IntRange(1), default=8, show_default=True, help="Of the LoRA.")
@click.option("--batch-size", type=click.IntRange(1), default=4, show_default=True, metavar="N", help="Pairs a step.")
@click.option("--max-length", type=click.IntRange(32), default=1024, show_default=True, metavar="N",
              help="Tokens of a request with its response.")  # fmt: skip
@click.option("--requests", type=click.IntRange(1), default=100, show_default=True, metavar="N",
              help="Requests to answer in a round, at most.")  # fmt: skip
@click.option("--replay", type=click.IntRange(0), default=256, show_default=True, metavar="N",
              help="Pairs of earlier rounds to train on again, at most.")  # fmt: skip
@click.option("--patience", type=click.IntRange(1), default=2, show_default=True, metavar="N",
              help="Epochs without a lower held-out loss that end a round.")  # fmt: skip
@click.option("--holdout", multiple=True, metavar="PAIRS|CASES", help="Measure on these, and never train on them.")
@click.option("--holdout-share", type=Amount(0, 1, max_open=True), default=0.2, show_default=True,
              help="Of the pairs, where --holdout has none.")  # fmt: skip
@click.option("--holdout-by", type=click.Choice(["cluster", "group"]), default="cluster", show_default=True,
              help="What is held out whole.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="cpu, cuda, mps; auto is a GPU, if any.")
@spend_options
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything that is drawn.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=4, show_default=True, help="Answers under way at once.")
@column_option
@skip_bad_option
@setup_options
@click.option("--json", "as_json", is_flag=True, help="Print what training.json holds.")
def train_command(
    sources: tuple[str, ...],
    out: Path,
    holdout: tuple[str, ...],
    holdout_share: float,
    holdout_by: Literal["cluster", "group"],
    max_calls: int | None,
    max_cost: float | None,
    concurrency: int,
    columns: dict[str, str],
    skip_bad: bool,
    setup: Setup,
    as_json: bool,
    **numbers: Any,
) -> None:
    """Train a model on this machine on preference PAIRS, as conscience pairs makes them, or on labelled CASES.

    --lm is the model: local, local:NAME, local:FILE.gguf or a folder of Hugging Face's. A frozen copy of it judges, by the
    program's gate. Interrupted, the same command goes on where it stopped and generates nothing twice.
    """
    from conscience.optimizers.training.weights import extra

    extra.check_installed()
    from conscience.backends.embedded.catalogue import is_local
    from conscience.optimizers.runtime import Runtime
    from conscience.optimizers.training.rounds.data import training_data
    from conscience.optimizers.training.rounds.training import frozen_weights, journal_of, train
    from conscience.optimizers.training.weights.base import Base
    from conscience.optimizers.training.weights.settings import TrainingSettings
    from conscience.usage import Budget

    settings = TrainingSettings(**numbers)
    pairs, cases = _read(sources, columns, skip_bad)
    held_pairs, held_cases = _read(holdout, columns, skip_bad)
    data = training_data(pairs, cases, [*held_pairs, *held_cases], share=holdout_share, by=holdout_by, seed=settings.seed)
    base = Base.named(LOCAL if setup.lm is None else setup.lm)

    def program(name: str) -> Conscience:
        return replace(setup, lm=name).built()

    with bar("training") as progress_bar, resumable():
        task = progress_bar.add_task("", total=None, cost="")

        def steps(now: StepProgress) -> None:
            losses = {"L_SFT": now.sft, "L_DPO": now.dpo, "margin": now.margin}
            shown = ", ".join(f"{name} {value:.3f}" for name, value in losses.items() if value is not None)
            status = f"{now.stage}, round {now.round}, epoch {now.epoch}" + (f": {shown}" if shown else "")
            progress_bar.update(task, completed=now.done, total=now.total, cost=status)

        def answers(now: CompileProgress) -> None:
            status = f"{now.stage}, {now.usage.total.calls} calls"
            progress_bar.update(task, completed=now.done, total=now.total or None, cost=status)

        def tell(line: str) -> None:
            progress_bar.console.print(f"conscience: {line}", markup=False, highlight=False, soft_wrap=True)

        budget = Budget(calls=max_calls, dollars=max_cost)
        runtime = Runtime(journal_of(out), budget, threads=concurrency, watch=answers)
        result = train(base, data, out, program=program, settings=settings, runtime=runtime, watch=steps, tell=tell)
    if as_json:
        import json

        print_json(json.loads((out / "training.json").read_text(encoding="utf-8")))
    else:
        _show(console(), result)
        trained = LOCAL if setup.lm is None else setup.lm
        reviewer = setup.review_lm or (trained if is_local(trained) else f"{LOCAL}:{frozen_weights(base, out)}")
        click.echo(f"trained: {out}; try: conscience ask --lm {result.model} --review-lm {reviewer}")


def _read(sources: tuple[str, ...], columns: dict[str, str], skip_bad: bool) -> tuple[list[PreferencePair], list[Case]]:
    from conscience.optimizers.training.sources import read_material

    material = read_material(sources, columns=columns, skip_bad=skip_bad, on_reading=telling())
    tell_skipped(material.skipped)
    return material.pairs, material.cases


def _show(out: Console, result: TrainingResult) -> None:
    from rich.table import Table

    from conscience.optimizers.training.rounds.card import FIGURES, row

    if result.figures:
        table = Table("share of", "n", "before", "after", "change, 95 % interval", box=None)
        for name, figure in result.figures.items():
            table.add_row(FIGURES[name], *row(figure))
        out.print(table)
    for note in result.notes:
        click.echo(f"conscience: {note}", err=True)
