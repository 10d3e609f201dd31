"""Where the cases of a command are done: here, on a Ray cluster, or by a provider's batch files, which show themselves in
lines and in the bar."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from conscience.cli._shared.output import printable
from conscience.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from conscience.distributed.tasks import Executor

_ADDRESS = re.compile(r"auto|local|ray://\S+|[\w.-]+:\d+|\[[0-9a-fA-F:]+\]:\d+")


def _address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """What follows the option may be meant for the command."""
    if value and not _ADDRESS.fullmatch(value):
        hint = "end the command with --ray, or write --ray=auto, --ray=HOST:PORT or --ray=ray://HOST:PORT"
        raise InputError(f"--ray: {value} is no address of a cluster", hint=hint)
    return value


batch_option = click.option(
    "--batch", is_flag=True, help="Ask by the provider's batch files: within a day, at half the price."
)

ray_option = click.option(
    "--ray",
    is_flag=False,
    flag_value="",
    metavar="[ADDRESS]",
    callback=_address,
    help="Work on a Ray cluster; without an address, RAY_ADDRESS's or one on this machine. --concurrency is each worker's.",
)


@contextmanager
def _executor_by(ray: str | None) -> Iterator[Executor]:
    """This process, or the cluster that ``--ray`` means, which is left or ended at the end.

    Raises:
        ConfigurationError: Ray is not installed.
    """
    if ray is None:
        from conscience.evals.executor import LOCAL

        yield LOCAL
        return
    from conscience.distributed.ray_executor import RayExecutor

    with RayExecutor(ray or None) as executor:
        yield executor


@contextmanager
def chosen_executor(ray: str | None, batch: bool, shown: Progress, task: TaskID | None = None) -> Iterator[Executor]:
    """The same, or batch files.

    Args:
        shown: the bar above which a line is told.
        task: the part of the bar that shows how far the batches are.

    Raises:
        InputError: both are asked for.
        ConfigurationError: Ray is not installed.
    """
    if batch and ray is not None:
        raise InputError("--batch and --ray do not go together", hint="batches are done at the provider: leave --ray out")
    if not batch:
        with _executor_by(ray) as executor:
            yield executor
        return
    from conscience.distributed.batch_files import BatchExecutor
    from conscience.evals.executor import LOCAL

    def tell(line: str) -> None:
        shown.console.print(f"conscience: {printable(line)}", markup=False, soft_wrap=True)

    def show(line: str) -> None:
        if task is not None:
            shown.update(task, cost=printable(line))

    yield BatchExecutor(LOCAL, tell=tell, show=show)
