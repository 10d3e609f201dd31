"""The command about batches at a provider: what is under way, and how it is ended."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conscience._base.locks import locked_folder
from conscience.cli._shared.options import PATH
from conscience.cli._shared.output import print_json, printable
from conscience.errors import InputError

if TYPE_CHECKING:
    from conscience.backends.batches.jobs import Job


@click.command("batches")
@click.argument("folder", type=PATH)
@click.option("--cancel", is_flag=True, help="End those that are under way; what they have answered is kept.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def batches_command(folder: Path, cancel: bool, as_json: bool) -> None:
    """List the batches of a run that was begun with --batch: its FOLDER, or FILE.work beside the verdicts of a review."""
    from conscience.backends.batches.outbox import has_batches, jobs_of

    if not has_batches(folder):
        raise InputError(
            f"{folder}: holds no batches", hint="name the --out of a run with --batch, or FILE.work of a review"
        )
    if cancel:
        with locked_folder(folder):
            asyncio.run(_cancel(folder))
    jobs = jobs_of(folder)
    if as_json:
        print_json([_facts(job) for job in jobs])
        return
    for job in jobs:
        cost = "" if job.dollars is None else f", about ${job.dollars:.4f}"
        status = printable(job.status or job.state)
        name = printable(job.batch_id or "(not confirmed)")
        click.echo(f"{name} {printable(job.model)} {status}: {job.completed} of {job.requests} answered{cost}")
    left = sum(job.requests for job in jobs if job.is_open)
    click.echo(f"{left} requests are under way; the command that began them fetches them" if left else "none is under way")


async def _cancel(folder: Path) -> None:
    from conscience.backends.batches.outbox import Outbox
    from conscience.backends.batches.patience import Interrupted, Waiting
    from conscience.backends.batches.rounds import Round
    from conscience.backends.wire.transport import OpenAIWireTransport, wire_transport
    from conscience.distributed.interrupts import interruptible

    def tell(line: str) -> None:
        click.echo(f"conscience: {printable(line)}", err=True)

    outbox = Outbox(folder)
    for job in outbox.open_jobs:
        transport = wire_transport(job.model, {})
        account = transport.account() if isinstance(transport, OpenAIWireTransport) else None
        if not isinstance(transport, OpenAIWireTransport) or account is None:
            raise InputError(f"{job.model}: no way to its batches", hint="set its key and address in the environment")
        outbox.accounts[job.model] = (transport, account)
    async with interruptible() as stop:
        try:
            await Round(outbox, Waiting(stop=stop), tell, lambda line: None).end()
        except Interrupted:
            raise KeyboardInterrupt from None


def _facts(job: Job) -> dict[str, object]:
    names = ("batch_id", "model", "state", "status", "requests", "completed", "failed", "dollars", "file_id", "input_digest")
    return {"folder": str(job.folder), **{name: getattr(job, name) for name in names}}
