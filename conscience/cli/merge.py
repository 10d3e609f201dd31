"""The command that puts shards together: merge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from conscience._base.locks import locked_folder
from conscience.cli._shared.options import PATH
from conscience.cli._shared.output import print_json, printable
from conscience.errors import InputError

if TYPE_CHECKING:
    from conscience.evals.merging import Merged, Whole


@click.command("merge")
@click.argument("shards", nargs=-1, required=True, type=PATH, metavar="FOLDERS...")
@click.option("--out", type=PATH, required=True, metavar="FOLDER", help="Where rows and report go.")
@click.option("--partial", is_flag=True, help="Take what there is: shards and cases may be missing, or have failed.")
@click.option("--parquet", is_flag=True, help="Write the rows as rows.parquet too (extra parquet).")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def merge_command(shards: tuple[Path, ...], out: Path, partial: bool, parquet: bool, as_json: bool) -> None:
    """Put the shards of a run together: rows and report as one run over all cases would have left them.

    FOLDERS are those of conscience eval --shard; or files of conscience review --shard, and --out then a file. Exit code 1
    where a shard or a case is missing (then nothing is written), or a case failed.
    """
    from conscience.cases.parquet import arrow
    from conscience.evals.merging import gather, merge

    if parquet:
        arrow("--parquet")  # or an error, before anything is written
    whole = gather(shards)
    if parquet and not whole.places[0].is_run:
        raise InputError("--parquet goes with folders of runs", hint="verdicts are JSON Lines")
    gaps = whole.gaps()
    for gap in gaps:
        click.echo(f"conscience: {printable(gap)}", err=True)
    if gaps and not partial:
        click.echo("conscience: nothing was written; --partial takes what there is", err=True)
        raise click.exceptions.Exit(1)
    if whole.places[0].is_run:
        merged = _merge_runs(whole, out, parquet, as_json)
    else:
        merged = merge(whole, out)
        if as_json:
            print_json({**merged._asdict(), "left": whole.left, "total": whole.manifest.whole, "out": str(out)})
        else:
            click.echo(f"{merged.done} of {whole.manifest.whole} cases reviewed, {merged.failed} failed → {out}")
    if merged.failed and not partial:
        raise click.exceptions.Exit(1)


def _merge_runs(whole: Whole, out: Path, parquet: bool, as_json: bool) -> Merged:
    from conscience.cli._shared.render import tell_report
    from conscience.evals import report
    from conscience.evals.merging import merge, reported
    from conscience.evals.report.parquet import write_rows

    with locked_folder(out):
        merged = merge(whole, out)
        result = reported(whole, out)
        page = report.save(result, out)
        if parquet:
            write_rows(out)
    tell_report(result, page, as_json=as_json)
    return merged
