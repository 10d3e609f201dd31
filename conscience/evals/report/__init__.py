"""One self-contained page for a run, or for two side by side: data in, HTML out.

The page draws itself with one script, which its content security policy names by digest, so nothing that a model wrote can
run. Data are embedded as JSON without a character that could end the element they stand in.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from conscience.errors import InputError
from conscience.evals.runner import read_rows
from conscience.evals.summary import FORMAT

_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def render(report: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> str:
    """The page of one run."""
    return _page(str(report["title"]), {"report": report, "rows": list(rows)})


def render_comparison(comparison: Mapping[str, Any]) -> str:
    """The page of two runs, see ``conscience.summary.comparison``."""
    title = f"{comparison['first']['title']} and {comparison['second']['title']}"
    return _page(title, {"comparison": comparison})


def write(folder: Path) -> Path:
    """Reads ``report.json`` and ``rows.jsonl`` in a folder and writes ``report.html`` beside them.

    Raises:
        InputError: there is no report, or it is of another format.
    """
    path = folder / "report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no report that can be read: {error}", hint="make one with: conscience eval") from None
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise InputError(f"{path}: not a report of format {FORMAT}", hint="make it anew with: conscience eval")
    page, partial = folder / "report.html", folder / "report.html.partial"
    try:
        partial.write_text(render(report, read_rows(folder)), encoding="utf-8")
        os.replace(partial, page)
    except OSError as error:
        raise InputError(f"{page}: cannot be written: {error.strerror}") from None
    return page


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
    shown = "".join(c if c.isprintable() else " " for c in title)
    before = before.replace("{{digest}}", digest).replace("{{title}}", html.escape(shown))
    return "".join([before, text, middle, script, after])
