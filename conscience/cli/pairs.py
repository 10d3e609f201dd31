"""The command that makes preference pairs: pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conscience._base.locks import locked_folder
from conscience.cli._shared.cases import column_option, tell_skipped, telling
from conscience.cli._shared.options import FILE, Amount, Setup, setup_options
from conscience.cli._shared.output import bar, print_json, printable, resumable, write
from conscience.errors import BudgetExceeded, InputError

if TYPE_CHECKING:
    from conscience.cases.case import Case
    from conscience.optimizers.runtime import CompileProgress
    from conscience.optimizers.training.collecting import AlternativeKind, CollectedPairs
    from conscience.optimizers.training.pairs import PreferencePair

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
    help="What stands against a rejected draft: a revision that passes, an alternative that is no refusal, or whichever passes.",
)
@click.option("--samples", type=click.IntRange(1, 64), metavar="N", help="Revisions or alternatives to draw, at most.")
@click.option("--min-margin", type=Amount(-1, 1), metavar="P", help="Leave out pairs whose probabilities differ by less.")
@click.option("--per-group", type=click.IntRange(1), metavar="N", help="Pairs of a group at most.  [default: twice its share]")
@click.option("--limit", type=click.IntRange(1), help="Draw so many cases at random.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn.")
@click.option("--max-calls", type=click.IntRange(1), metavar="N", help="The most calls to models.")
@click.option("--max-cost", type=Amount(0, min_open=True), metavar="DOLLARS", help="The most to spend.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=4, show_default=True, help="Cases under way at once.")
@column_option
@click.option("--skip-bad", is_flag=True, help="Go on without rows that cannot be read.")
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
    from conscience.optimizers.training.labelled import is_labelled, pair_labels
    from conscience.optimizers.training.pairs import write_lines, write_pairs
    from conscience.optimizers.training.selection import REASONS, select
    from conscience.optimizers.training.shapes import SHAPES
    from conscience.optimizers.training.sources import read_material
    from conscience.optimizers.training.collecting import CollectedPairs

    folder = out.with_name(out.stem + ".work")
    if out.exists() and not folder.exists():
        raise InputError(f"{out} exists, and is not of this command", hint="choose another --out, or delete it")
    material = read_material(sources, columns=columns, skip_bad=skip_bad, on_reading=telling())
    tell_skipped(material.skipped)
    cases = _drawn(material.cases, limit, seed)
    labelled = pair_labels(case for case in cases if is_labelled(case))
    left = [*(case for case in cases if not is_labelled(case)), *labelled.left]
    with locked_folder(folder):
        collected, exhausted = CollectedPairs(), False
        if left and not given:
            collected, exhausted = _collected(
                setup, left, folder, alternative, samples, max_calls, max_cost, concurrency
            )
        else:
            collected.dropped["unpaired"] += len(left)
        selected = select(
            [*material.pairs, *labelled.pairs, *collected.pairs], min_margin=min_margin, per_group=per_group, seed=seed
        )
        dropped = labelled.dropped + collected.dropped + selected.dropped
        counts = _counts(selected.pairs, dropped, len(cases), collected.rejected)
        for line in collected.failures[:SHOWN]:
            click.echo(f"conscience: failed: {printable(line)}", err=True)
        if not selected.pairs:
            why = ", ".join(f"{count} {REASONS[reason]}" for reason, count in dropped.items()) or "there are no cases"
            if exhausted:
                raise BudgetExceeded(f"the budget ended before there was a pair: {why}", hint="raise it")
            raise InputError(f"no pair came of {len(cases)} cases: {why}")
        write_pairs(selected.pairs, out)
        for shape, path in (("trl", trl), ("openai", openai), ("sft", sft)):
            if path is not None:
                write_lines(map(SHAPES[shape], selected.pairs), path)
        write(folder / "counts.json", _json(counts))
    if exhausted:
        click.echo("conscience: the budget ended first; the same command with a larger one goes on from here", err=True)
    if as_json:
        print_json({**counts, "out": str(out), "exhausted": exhausted})
    else:
        _show(counts, out)
    if dropped["failed"]:
        raise click.exceptions.Exit(1)
