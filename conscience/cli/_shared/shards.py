"""The option that makes a command one of many, and what it says about that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from conscience.cases.shards import Shard
from conscience.errors import InputError

if TYPE_CHECKING:
    from conscience.cases.drawing import Drawn


def _parsed(context: click.Context, option: click.Parameter, text: str | None) -> Shard | None:
    return None if text is None else Shard.parse(text)


shard_option = click.option(
    "--shard",
    metavar="I/N",
    callback=_parsed,
    help="Only the I-th of N parts, from 1; auto (or auto/N): as the scheduler's variables say. See conscience merge.",
)


def check_has_cases(drawn: Drawn, sources: Sequence[str]) -> None:
    """Refuses sources without a case; a shard may well have none.

    Raises:
        InputError: there is none.
    """
    if not drawn.count and drawn.shard is None:
        raise InputError(f"{', '.join(sources)}: there are no cases", hint="conscience cases check shows how a file is read")


def tell_shard(drawn: Drawn, *, max_cost: float | None = None, rpm: float | None = None, tpm: float | None = None) -> None:
    """Says which shard it is, how it is known, and what part of the limits is kept here.

    Args:
        max_cost, rpm, tpm: of all shards together.
    """
    if (shard := drawn.shard) is None:
        return
    told_by = f" ({shard.told_by})" if shard.told_by else ""
    click.echo(f"conscience: shard {shard}{told_by}: {drawn.count} of {drawn.whole} cases", err=True)
    limits = {"--max-cost": (max_cost, "$"), "--rpm": (rpm, ""), "--tpm": (tpm, "")}
    parts = [f"{name} {unit}{limit / shard.of:.6g}" for name, (limit, unit) in limits.items() if limit is not None]
    if parts:
        click.echo(f"conscience: the {shard.of} shards keep the limits together, this one {', '.join(parts)}", err=True)
