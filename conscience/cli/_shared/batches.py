"""How the commands show what goes by batch: a line for each file that is sent or has ended, and the rest in the bar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from conscience.cli._shared.output import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from conscience.distributed.tasks import Executor

batch_option = click.option(
    "--batch", is_flag=True, help="Ask by the provider's batch files: within a day, at half the price."
)


def chosen_executor(batch: bool, shown: Progress, task: TaskID) -> Executor:
    """What does the cases of a command."""
    from conscience.evals.executor import LOCAL

    if not batch:
        return LOCAL
    from conscience.distributed.batch_files import BatchExecutor

    def tell(line: str) -> None:
        shown.console.print(f"conscience: {printable(line)}", markup=False, soft_wrap=True)

    return BatchExecutor(LOCAL, tell=tell, show=lambda line: shown.update(task, cost=printable(line)))
