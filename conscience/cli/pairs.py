"""The command that makes preference pairs: pairs."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conscience._base.locks import locked_folder
from conscience.cli._shared.cases import column_option, skip_bad_option, tell_skipped, telling
from conscience.cli._shared.options import FILE, Amount, Setup, concurrency_option, setup_options, spend_options
from conscience.cli._shared.output import bar, print_json, printable, resumable, write
from conscience.errors import BudgetExceeded, InputError

if TYPE_CHECKING:
    from conscience.cases.case import Case
    from conscience.optimizers.runtime import CompileProgress
    from conscience.optimizers.training.collecting import AlternativeKind
    from conscience.optimizers.training.making import PairSet
    from conscience.optimizers.training.shapes import Shape
    from conscience.program import Conscience

SHOWN = 3
"""Failures that are named; all are counted."""


@click.command("pairs")
@click.argument("sources", nargs=-1, required=True, metavar="CASES...")
@click.option("--out", type=FILE, required=True, metavar="FILE.jsonl", help="Where the pairs go.")
@click.option("--trl", type=FILE, metavar="FILE.jsonl", help="Write them as TRL's preferences, too.")
@click.option("--openai", type=FILE, metavar="FILE.jsonl", help="Write them as OpenAI's preferences, too.")
@click.option("--sft", type=FILE, metavar="FILE.jsonl", help="Write the chosen sides as chats, too.")
@click.option("--given", is_flag=True, help="Pair labelled responses only; no model is asked.")
@click.option(
    "--alternative",
    type=click.Choice(["either", "revision", "alternative"]),
    default="either",
    show_default=True,
    help="What stands against a rejected draft: a revision, an alternative that is no refusal, or whichever passes.",
)
@click.option("--samples", type=click.IntRange(1, 64), metavar="N", help="Revisions or alternatives to draw, at most.")
@click.option("--min-margin", type=Amount(-1, 1), metavar="P", help="Leave out pairs whose probabilities differ by less.")
@click.option(
    "--per-group", type=click.IntRange(1), metavar="N", help="Pairs of a group at most.  [default: twice its share]"
)
@click.option("--limit", type=click.IntRange(1), help="Draw so many cases at random.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn.")
@spend_options
@concurrency_option
@column_option
@skip_bad_option
@setup_options
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def pairs_command(
    sources: tuple[str, ...],
    out: Path,
    trl: Path | None,
    openai: Path | None,
    sft: Path | None,
    given: bool,
    alternative: AlternativeKind,
    samples: int | None,
    min_margin: float | None,
    per_group: int | None,
    limit: int | None,
    seed: int,
    max_calls: int | None,
    max_cost: float | None,
    concurrency: int,
    columns: dict[str, str],
    skip_bad: bool,
    setup: Setup,
    as_json: bool,
) -> None:
    """Make preference pairs of CASES, to train a model on: a response that the review rejects, and one that it accepts.

    Requests are answered by the program. Labelled responses to one request are paired without a call. Files of pairs are
    joined. Interrupted, the same command goes on where it stopped and pays for nothing twice.
    """
    from conscience.optimizers.runtime import Runtime
    from conscience.optimizers.training.making import make_pairs
    from conscience.optimizers.training.pairs import write_lines, write_pairs
    from conscience.optimizers.training.shapes import SHAPES
    from conscience.optimizers.training.sources import read_material
    from conscience.usage import Budget

    folder = out.with_name(out.stem + ".work")
    if out.exists() and not folder.exists():
        raise InputError(f"{out} exists, and this command did not make it", hint="choose another --out, or delete it")
    exports: Sequence[tuple[Shape, Path | None]] = (("trl", trl), ("openai", openai), ("sft", sft))
    _check_exports(out, [path for _, path in exports if path is not None], folder)
    material = read_material(sources, columns=columns, skip_bad=skip_bad, on_reading=telling())
    tell_skipped(material.skipped)
    with locked_folder(folder), bar("reviewing") as progress_bar:
        task = progress_bar.add_task("", total=None, cost="")

        def watch(now: CompileProgress) -> None:
            cost = f"{now.usage.calls} calls, ${now.usage.dollars:.4f}"
            progress_bar.update(task, completed=now.done, total=now.total or None, cost=cost)

        def program() -> Conscience:
            built = setup.built()
            built.samples = samples or built.samples
            return built

        runtime = Runtime(
            folder / "calls.jsonl", Budget(calls=max_calls, dollars=max_cost), threads=concurrency, watch=watch
        )
        with resumable():
            made = make_pairs(
                _drawn(material.cases, limit, seed),
                None if given else program,
                pairs=material.pairs,
                kind=alternative,
                min_margin=min_margin,
                per_group=per_group,
                seed=seed,
                runtime=runtime,
            )
        _check(made)
        write_pairs(made.pairs, out)
        for shape, path in exports:
            if path is not None:
                write_lines(map(SHAPES[shape], made.pairs), path)
        exported = [str(path) for _, path in exports if path is not None]
        counts = {**made.counts(), "spent": runtime.costs.to_json(), "exported": exported}
        write(folder / "counts.json", json.dumps(counts, indent=1))
    if made.exhausted:
        click.echo("conscience: the budget ended first; the same command with a larger one goes on from here", err=True)
    if as_json:
        print_json({**counts, "out": str(out)})
    else:
        _show(made, out)
    if made.dropped["failed"]:
        raise click.exceptions.Exit(1)


def _check_exports(out: Path, paths: Sequence[Path], folder: Path) -> None:
    """Nothing is written over but what this command wrote the last time."""
    if len({path.resolve() for path in (out, *paths)}) <= len(paths):
        raise InputError("two of the files to write are one", hint="give --out and each export a name of its own")
    try:
        ours = json.loads((folder / "counts.json").read_text(encoding="utf-8")).get("exported", [])
    except (OSError, ValueError):
        ours = []
    for path in paths:
        if path.exists() and str(path) not in ours:
            raise InputError(f"{path} exists, and this command did not make it", hint="choose another file, or delete it")


def _drawn(cases: Sequence[Case], limit: int | None, seed: int) -> Sequence[Case]:
    """The cases, or so many of them at random; those of one pair, or request, stay together."""
    from conscience.messages.rendering import request_text

    if limit is None or limit >= len(cases):
        return cases
    clusters: dict[str, list[Case]] = {}
    for case in cases:
        clusters.setdefault(case.pair or request_text(case.request), []).append(case)
    drawn: list[Case] = []
    for name in random.Random(seed).sample(sorted(clusters), len(clusters)):
        if len(drawn) >= limit:
            break
        drawn += clusters[name]
    return drawn


def _check(made: PairSet) -> None:
    for line in made.failures[:SHOWN]:
        click.echo(f"conscience: failed: {printable(line)}", err=True)
    if made.pairs:
        return
    why = made.why or "there are no cases"
    if made.exhausted:
        said = f": {made.why}" if made.why else ""
        raise BudgetExceeded(f"the budget ended before there was a pair{said}", hint="raise it")
    raise InputError(f"no pair came of {made.cases} cases: {why}")


def _show(made: PairSet, out: Path) -> None:
    sources = ", ".join(f"{count} by {name}" for name, count in made.sources.items())
    click.echo(f"{len(made.pairs)} pairs → {out} ({sources})")
    if made.groups:
        sizes = made.groups.values()
        click.echo(f"{len(made.groups)} groups of {min(sizes)} to {max(sizes)} pairs")
    if made.why:
        click.echo(f"in no pair: {made.why}")
