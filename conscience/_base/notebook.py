"""What a notebook shows of an object: a small table of texts, none of which is markup.

Ink and ground are the notebook's own, light or dark; lines are a grey that is seen on both.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

LONGEST = 1200
"""Characters of a text; of a longer one the rest is counted."""

_LINE = "1px solid rgba(128,128,128,.45)"
_CELL = (
    "text-align:left;vertical-align:top;white-space:pre-wrap;overflow-wrap:anywhere;padding:3px 14px 3px 0;"
    f"border-bottom:{_LINE}"
)
_UNSEEN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def table(
    heading: str,
    rows: Sequence[Sequence[str]],
    *,
    heads: Sequence[str] = (),
    notes: Sequence[str] = (),
    good: bool | None = None,
) -> str:
    """HTML of a heading, rows and notes.

    Args:
        heads: of the columns.
        notes: below the table.
        good: draws a green or a red edge, beside what the heading says.
    """
    edge = {None: "rgba(128,128,128,.45)", True: "#2e9e6b", False: "#d9622b"}[good]
    head = f"<thead>{_row(heads, 'th')}</thead>" if heads else ""
    body = "".join(_row(row, "td") for row in rows)
    below = "".join(f'<p style="margin:4px 0;opacity:.8">{_text(note)}</p>' for note in notes)
    grid = f'<table style="border-collapse:collapse;background:none">{head}<tbody>{body}</tbody></table>'
    title = f'<p style="margin:0 0 4px"><b>{_text(heading)}</b></p>'
    return f'<div style="border-left:4px solid {edge};padding:2px 0 2px 12px;max-width:62em">{title}{grid}{below}</div>'


def _row(cells: Sequence[str], tag: str) -> str:
    filled = "".join(f'<{tag} style="{_CELL}">{_text(cell)}</{tag}>' for cell in cells)
    return f'<tr style="background:none">{filled}</tr>'


def _text(text: str) -> str:
    """A text as text; what the reading order or a terminal would obey is made visible."""
    shown = _UNSEEN.sub(lambda found: chr(0x2400 + ord(found[0])) if found[0] < " " else "\u2423", text[:LONGEST])
    more = f" … ({len(text) - LONGEST} characters more)" if len(text) > LONGEST else ""
    return html.escape(shown + more)
