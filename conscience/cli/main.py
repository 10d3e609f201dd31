"""The command line: one module for each family of commands. Heavy imports wait until a command needs them.

Exit codes: 0 done, 1 a check failed, 2 bad input, 3 backend unreachable, 130 interrupted.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import NoReturn

import click

from conscience import __version__
from conscience.cli._shared.output import printable
from conscience.cli.ask import ask_command, review_command
from conscience.cli.batches import batches_command
from conscience.cli.compile import compile_command, recalibrate_command, show_command
from conscience.cli.finetune import finetune_command
from conscience.cli.label import label_command, propose_command
from conscience.cli.log import log_command, watch_command
from conscience.cli.measure import cases_command, compare_command, eval_command
from conscience.cli.merge import merge_command
from conscience.cli.models import doctor_command, models_command, pull_command
from conscience.cli.pairs import pairs_command
from conscience.cli.serve import serve_command
from conscience.cli.train import train_command
from conscience.errors import ConscienceError


def main() -> NoReturn:
    """The console script: every known failure is one line on stderr and an exit code."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what the terminal's encoding lacks is shown as a question mark
    try:
        done = cli.main(standalone_mode=False)
        code = done if isinstance(done, int) else 0  # click returns the code of an Exit that a command raised
    except click.ClickException as error:
        error.show()
        code = 2
    except ConscienceError as error:
        click.echo(f"conscience: {printable(str(error))}", err=True)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("conscience: interrupted", err=True)
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = 0
    sys.exit(code)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="conscience")
def cli() -> None:
    """An LLM that reviews its own answer and mends it before anyone sees it."""


for command in (
    ask_command,
    review_command,
    eval_command,
    compare_command,
    merge_command,
    batches_command,
    cases_command,
    compile_command,
    recalibrate_command,
    show_command,
    propose_command,
    label_command,
    pairs_command,
    finetune_command,
    log_command,
    watch_command,
    doctor_command,
    pull_command,
    models_command,
    serve_command,
    train_command,
):
    cli.add_command(command)
