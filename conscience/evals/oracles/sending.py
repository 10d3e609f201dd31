"""Oracles as data, for workers in other processes: a name to import, or what a judge is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conscience.constitution.schema import Constitution
from conscience.distributed.models import backend_data, backend_from_data
from conscience.distributed.names import name_of, named
from conscience.distributed.tasks import Shared
from conscience.errors import ConfigurationError
from conscience.evals.oracles.grade import Oracle
from conscience.evals.oracles.judge import Judge


def oracle_data(oracle: Oracle | None) -> dict[str, Any] | None:
    """An oracle as JSON types; None where each case says its own.

    Raises:
        ConfigurationError: no module has it under a name.
    """
    if oracle is None:
        return None
    if type(oracle) is Judge:
        return {
            "constitution": oracle.constitution.model_dump(mode="json"),
            "backend": backend_data(oracle.backend),
            "repeats": oracle.repeats,
        }
    if (name := name_of(oracle)) is None:
        what = getattr(oracle, "__qualname__", type(oracle).__name__)
        raise ConfigurationError(
            f"the oracle {what} exists in this process only, and cannot be sent to workers",
            hint="give it a name in a module that they can import, other than __main__",
        )
    return {"name": name}


def oracle_on(data: Mapping[str, Any] | None, shared: Shared) -> Oracle | None:
    """The same, on what the calls of a run have in common."""
    oracle = oracle_from_data(data)
    if not isinstance(oracle, Judge) or shared.journal is None:
        return oracle
    return oracle.for_run(shared.journal, shared.rate_limiter, shared.meter)


def oracle_from_data(data: Mapping[str, Any] | None) -> Oracle | None:
    """The oracle that ``oracle_data`` wrote.

    Raises:
        ConfigurationError: it cannot be imported in this process.
    """
    if data is None:
        return None
    if "name" in data:
        oracle: Oracle = named(data["name"])
        return oracle
    constitution = Constitution.model_validate(data["constitution"])
    return Judge(constitution, backend_from_data(data["backend"]), repeats=data["repeats"])
