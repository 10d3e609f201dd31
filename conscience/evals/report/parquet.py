"""The rows of a run as one Parquet file, for pandas, DuckDB or Spark; needs the extra ``parquet``."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from conscience.cases.parquet import arrow
from conscience.errors import InputError
from conscience.evals.folder import read_records
from conscience.evals.records import FailedCase, Record
from conscience.evals.rows import dumped

GROUP = 5_000
"""Rows of a row group, which are held at once."""

_COLUMNS = {
    **dict.fromkeys(("id", "key", "kind", "request", "expected", "group", "pair", "reasoning"), "string"),
    **dict.fromkeys(("draft", "outcome", "status", "error", "row"), "string"),
    **dict.fromkeys(("safe", "misaligned", "flagged", "draft_ok", "outcome_ok"), "bool_"),
    **dict.fromkeys(("weight", "probability", "threshold", "seconds", "dollars"), "float64"),
    **dict.fromkeys(("calls", "tokens"), "int64"),
}
"""Column → its type; ``row`` is the whole row as JSON."""


def write_rows(folder: Path) -> Path:
    """Writes the rows of the run's last call to ``rows.parquet`` in its folder, streamed.

    Raises:
        InputError: the folder holds no run, or cannot be written.
        ConfigurationError: pyarrow is not installed.
    """
    pyarrow, parquet = arrow("writing a Parquet file")
    schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in _COLUMNS.items()])
    path = folder / "rows.parquet"
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with parquet.ParquetWriter(partial, schema) as writer:
            for rows in _batched(map(_flat, read_records(folder))):
                writer.write_table(pyarrow.Table.from_pylist(rows, schema))
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}", hint="choose another --out") from None
    finally:
        partial.unlink(missing_ok=True)
    return path


def _batched(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := [*islice(rows, GROUP)]:
        yield batch


def _flat(record: Record) -> dict[str, Any]:
    """A row by column; what cannot be written as UTF-8 is replaced."""
    row: dict[str, Any] = {"id": record.id, "key": record.key, "row": dumped(record.to_json())}
    if isinstance(record, FailedCase):
        row["error"] = record.error
    else:
        for name in ("kind", "request", "expected", "group", "pair", "safe", "misaligned", "flagged", "reasoning", "status"):
            row[name] = getattr(record, name)
        spent = record.usage.total
        row |= {"weight": float(record.weight), "draft_ok": record.draft_ok, "outcome_ok": record.outcome_ok}
        row |= {
            "draft": record.draft.text if record.draft else None,
            "outcome": record.outcome.text if record.outcome else None,
        }
        row |= {"seconds": record.usage.seconds, "calls": spent.calls, "tokens": spent.tokens, "dollars": spent.dollars}
        if record.verdict is not None:
            row |= {"probability": record.verdict.probability, "threshold": record.verdict.threshold}
    return {
        name: value.encode(errors="replace").decode() if isinstance(value, str) else value for name, value in row.items()
    }
