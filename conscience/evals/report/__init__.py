"""One self-contained page for a run, or for two side by side: data in, HTML out.

The page draws itself with one script, which its content security policy names by digest, so nothing that a model wrote can
run. Data are embedded as JSON without a character that could end the element they stand in.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from conscience._base.files import write_atomic
from conscience.errors import InputError
from conscience.evals.folder import read_records
from conscience.evals.records import Record
from conscience.evals.report.kept import KeptRows
from conscience.evals.results import Comparison, EvalReport

_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def render(report: EvalReport) -> str:
    """The page of one run, with its rows."""
    return _page(report.title, {"report": report.to_dict(), "rows": [row.to_json() for row in report.rows]})


def render_comparison(comparison: Comparison) -> str:
    """The page of two runs."""
    return _page(f"{comparison.first.title} and {comparison.second.title}", {"comparison": comparison.to_dict()})


def save(report: EvalReport, folder: Path) -> Path:
    """Writes ``report.json`` and ``report.html`` into a run's folder.

    Returns:
        Where the page is.

    Raises:
        InputError: they cannot be written.
    """
    page = folder / "report.html"
    texts = {"report.json": json.dumps(report.to_dict(), indent=1, ensure_ascii=False), page.name: render(report)}
    for name, text in texts.items():
        try:
            write_atomic(folder / name, text)
        except OSError as error:
            raise InputError(f"{folder / name}: cannot be written: {error.strerror}", hint="choose another --out") from None
    return page


def read(folder: Path) -> EvalReport:
    """The report that ``save`` wrote into a run's folder, with the run's rows; of a long run with those that its page shows.

    Raises:
        InputError: there is no report, or it is of another format.
    """
    path = folder / "report.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no report that can be read: {error}", hint="make one with: conscience eval") from None
    try:
        report = EvalReport.from_json(data)
    except InputError as error:
        raise InputError(f"{path}: {error.message}", hint="make it anew with: conscience eval") from None
    rows: list[Record] | KeptRows = KeptRows(report.cases.seed) if report.streamed else []
    for row in read_records(folder):
        rows.append(row)
    return replace(report, rows=tuple(rows))


def _page(title: str, data: Mapping[str, Any]) -> str:
    files = resources.files("conscience.evals.report")
    page = (files / "page.html").read_text(encoding="utf-8")
    script = (files / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    before, rest = page.split("{{data}}")
    middle, after = rest.split("{{script}}")
    printable = "".join(c if c.isprintable() else " " for c in title)
    before = before.replace("{{digest}}", digest).replace("{{title}}", html.escape(printable))
    return "".join([before, text, middle, script, after])
