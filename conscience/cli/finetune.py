"""The command that trains a model at OpenAI: finetune."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conscience._base.locks import locked_folder
from conscience.cli._shared.cases import skip_bad_option, tell_skipped
from conscience.cli._shared.options import PATH, Amount
from conscience.cli._shared.output import print_json, printable, resumable
from conscience.errors import InputError

if TYPE_CHECKING:
    from conscience.optimizers.training.openai.files import Method
    from conscience.optimizers.training.openai.state import FineTune


@click.command("finetune")
@click.argument("sources", nargs=-1, required=True, metavar="PAIRS...")
@click.option("--model", required=True, metavar="MODEL", help="What OpenAI is to train, as in gpt-4.1-mini.")
@click.option("--out", type=PATH, required=True, metavar="FOLDER", help="Where files and state are kept.")
@click.option(
    "--method",
    type=click.Choice(["both", "supervised", "dpo"]),
    default="both",
    show_default=True,
    help="both: supervised on the chosen sides, then dpo on that job's model.",
)
@click.option(
    "--beta", type=Amount(0, 2), default=0.1, show_default=True, help="Of dpo: how closely the model keeps to itself."
)
@click.option(
    "--epochs", type=click.IntRange(1, 50), metavar="N", help="Passes over the examples.  [default: by their number]"
)
@click.option("--suffix", default="conscience", show_default=True, metavar="NAME", help="In the model's name.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the jobs.")
@click.option("--price", type=Amount(0), metavar="DOLLARS", help="Of a million trained tokens, where it is not known.")
@click.option(
    "--poll", type=Amount(0, min_open=True), default=20.0, show_default=True, help="Seconds between looks at a job."
)
@skip_bad_option
@click.option("--yes", is_flag=True, help="Upload and pay without being asked.")
@click.option("--json", "as_json", is_flag=True, help="Print what came of it as JSON.")
def finetune_command(
    sources: tuple[str, ...],
    model: str,
    out: Path,
    method: str,
    beta: float,
    epochs: int | None,
    suffix: str,
    seed: int,
    price: float | None,
    poll: float,
    skip_bad: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Train MODEL at OpenAI on PAIRS, first on what was chosen, then by preference. Says what it costs, and asks.

    Interrupted or killed, the same command follows the jobs from where they are: nothing is uploaded or begun twice.
    """
    from conscience.optimizers.training.openai.costs import dated, suffix_fault
    from conscience.optimizers.training.openai.files import training_file, usable
    from conscience.optimizers.training.openai.jobs import FineTuning, client_from_environment
    from conscience.optimizers.training.openai.state import FineTune, resumed, save
    from conscience.optimizers.training.sources import read_material

    if fault := suffix_fault(suffix):
        raise InputError(f"--suffix {suffix}: {fault}")
    material = read_material(sources, skip_bad=skip_bad)
    tell_skipped(material.skipped)
    if material.cases:
        raise InputError(f"{', '.join(sources)}: cases, not pairs", hint="make pairs with: conscience pairs")
    fit = usable(material.pairs)
    if fit.left_out:
        click.echo(f"conscience: {fit.left_out} pairs left out, the first: {printable(fit.why)}", err=True)
    methods: tuple[Method, ...] = ("supervised", "dpo") if method == "both" else (method,)  # type: ignore[assignment]
    files = [training_file(fit.pairs, each) for each in methods]
    client = client_from_environment()
    with locked_folder(out):
        wanted = FineTune.of(files, model=dated(model), beta=beta, epochs=epochs, suffix=suffix, seed=seed, price=price)
        state = resumed(out, wanted)
        if not state.begun:
            _tell_cost(state)
            _ask(yes)
        save(out, state)
        with resumable():
            FineTuning(out, state, files, client, tell=_tell, poll=poll).run()
    if as_json:
        print_json(state.model_dump(mode="json") | {"result": state.result, "dollars": round(state.dollars, 2)})
        return
    click.echo(f"model: {state.result}\nuse it with: --lm openai/{state.result}")


def _tell_cost(state: FineTune) -> None:
    for stage in state.stages:
        click.echo(
            f"{stage.method}: {stage.examples} examples, about {stage.tokens} tokens × {stage.epochs} epochs = "
            f"${state.price * stage.dollars_a_price:.2f}",
            err=True,
        )
    click.echo(
        f"in all about ${state.dollars:.2f}, at ${state.price:g} for a million trained tokens of {state.model}", err=True
    )


def _ask(yes: bool) -> None:
    """Goes on only where somebody said so."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("nothing was uploaded: nobody can be asked whether to pay that", hint="say --yes")
    click.confirm("Upload the pairs to OpenAI and pay that?", abort=True, err=True)


def _tell(line: str) -> None:
    click.echo(printable(line), err=True)
