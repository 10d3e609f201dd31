"""The command that looks at a backend: doctor."""

from __future__ import annotations

import click

from conscience.cli._options import LOCAL, Amount
from conscience.cli._output import console, print_json


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
    from conscience.cli._render import show_checks

    show_checks(console(), checks)
