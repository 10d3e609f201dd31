"""Cases in Parquet files, a batch of rows at a time; needs the extra ``parquet``."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from conscience.cases.rows import BadRow, Rows
from conscience.errors import ConfigurationError

BATCH = 1000
"""Rows that are held at once, beside what pyarrow holds of their row group."""
_INDEX = "__index_level_"
"""How pandas begins the name of an index that it writes as a column."""


def parquet_rows(path: Path) -> Rows:
    """The rows of a Parquet file, numbered from 1.

    Raises:
        BadRow: it is none, or is damaged.
        ConfigurationError: pyarrow is not installed.
        OSError: it cannot be opened.
    """
    pyarrow, parquet = arrow("reading a Parquet file")
    number = 0
    with path.open("rb") as file:
        try:
            table = parquet.ParquetFile(file)
            columns = [name for name in table.schema_arrow.names if not name.startswith(_INDEX)]
            for batch in table.iter_batches(BATCH, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except (pyarrow.ArrowException, UnicodeDecodeError) as error:
            behind = f" behind row {number}" if number else ""
            raise BadRow(f"is no Parquet file that can be read{behind}: {str(error).partition(chr(10))[0]}") from None


def arrow(what: str) -> tuple[Any, Any]:
    """pyarrow, and its part for Parquet.

    Raises:
        ConfigurationError: it is not installed; ``what`` says what for it is needed.
    """
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        hint = "run: pip install 'dspy-conscience[parquet]'"
        raise ConfigurationError(f"{what} needs the package 'pyarrow'", hint=hint) from None
