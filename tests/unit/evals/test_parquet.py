"""A run's rows as a Parquet file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conscience import Conscience, EvalConfig, Shard, evaluate
from conscience.evals.records import FailedCase
from conscience.evals.report import parquet
from conscience.evals.rows import LineFile, dumped
from conscience.testing import ScriptedLM
from tests.support.commands import run
from tests.unit.evals.runs import SAFE, UNSAFE, go, records, script


@pytest.mark.long
def test_rows_are_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the last call, in row groups; failed cases and halves of surrogate pairs among them."""
    reader = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: install the extra 'parquet'")
    monkeypatch.setattr(parquet, "GROUP", 5)
    go(tmp_path, [*SAFE, *UNSAFE])
    done = records(tmp_path)
    with LineFile(tmp_path / "rows.jsonl", "ab") as file, (tmp_path / "keys.txt").open("a") as keys:
        file.add(dumped(FailedCase("failed", "k", "broke \ud800").to_json()))
        keys.write("k\n")
    table = reader.read_table(parquet.write_rows(tmp_path)).to_pylist()
    by_id = {row["id"]: row for row in table}
    assert len(table) == len(by_id) == 17
    assert reader.ParquetFile(tmp_path / "rows.parquet").num_row_groups == 4
    assert by_id["failed"]["error"] == "broke ?"
    for record in done:
        row = by_id[record.id]
        assert (row["flagged"], row["outcome_ok"], row["status"]) == (record.flagged, record.outcome_ok, record.status)
        assert json.loads(row["row"])["key"] == record.key
    assert not [*tmp_path.glob("*.partial")]


@pytest.mark.long
def test_merged_rows_are_columns_too(tmp_path: Path) -> None:
    """As eval writes them."""
    reader = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: install the extra 'parquet'")
    evaluate(Conscience(lm=ScriptedLM(script)), SAFE, out=tmp_path / "s1", config=EvalConfig(shard=Shard(1, 1)))
    done = run("merge", str(tmp_path / "s1"), "--out", str(tmp_path / "all"), "--parquet")
    assert done.returncode == 0, done.stderr
    assert reader.read_table(tmp_path / "all" / "rows.parquet").num_rows == len(SAFE)
