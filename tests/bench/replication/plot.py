"""The study as one picture: a panel a figure, a line a condition, a dot with its interval, and a tick for each seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from tests.bench.replication.study import BEFORE, WITHOUT
from tests.bench.replication.table import FIGURES

PANELS = ("habit", "probe", "likelier", "honest", "choices", "unsafe_refused", "safe_refused", "plain")
COLUMNS = 4
LABELS, WIDTH, LINE, TOP, GAP = 110, 150, 22, 34, 26
COLOURS = {BEFORE: "#777777", WITHOUT: "#c0392b", "oracle": "#2e7d32"}
WITH = "#1f5fa8"


def svg(figures: Mapping[str, Any]) -> str:
    """The picture as an SVG document."""
    names = list(figures["conditions"])
    height = TOP + LINE * len(names) + GAP
    rows = -(-len(PANELS) // COLUMNS)
    whole = LABELS + COLUMNS * (WIDTH + GAP), rows * height + 30
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole[0]} {whole[1]}" width="{whole[0]}" '
        'font-family="sans-serif" font-size="11" role="img" aria-label="Figures before, without and with the conscience">',
        f'<rect width="{whole[0]}" height="{whole[1]}" fill="white"/>',
    ]
    for row in range(rows):
        for number, name in enumerate(names):
            y = row * height + TOP + LINE * number + LINE / 2
            lines.append(f'<text x="{LABELS - 8}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
    for place, panel in enumerate(PANELS):
        x, y = LABELS + place % COLUMNS * (WIDTH + GAP), place // COLUMNS * height
        lines += _panel(figures["conditions"], panel, x, y)
    key = "dot: all seeds; line: 95 % interval over items; ticks: seeds"
    lines.append(f'<text x="{LABELS}" y="{whole[1] - 10}" fill="#555">{key}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _panel(conditions: Mapping[str, Any], panel: str, left: float, top: float) -> Iterator[str]:
    title = next(figure.title for figure in FIGURES if figure.name == panel)
    bottom = top + TOP + LINE * len(conditions)
    yield f'<text x="{left}" y="{top + 18}" font-weight="bold">{escape(title)}</text>'
    for share in (0, 0.5, 1):
        x = left + share * WIDTH
        yield f'<line x1="{x}" y1="{top + TOP}" x2="{x}" y2="{bottom}" stroke="#ddd"/>'
        yield f'<text x="{x}" y="{bottom + 13}" text-anchor="middle" fill="#555">{share:g}</text>'
    for number, (name, row) in enumerate(conditions.items()):
        entry = row[panel]
        if entry["n"]:
            yield from _mark(entry, left, top + TOP + LINE * number + LINE / 2, COLOURS.get(name, WITH))


def _mark(entry: Mapping[str, Any], left: float, y: float, colour: str) -> Iterator[str]:
    value, low, high = (left + WIDTH * entry[name] for name in ("value", "low", "high"))
    yield f'<line x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}" stroke="{colour}" stroke-width="2" opacity=".5"/>'
    for share in entry["by_seed"]:
        x = left + WIDTH * share
        yield f'<line x1="{x:.1f}" y1="{y - 5}" x2="{x:.1f}" y2="{y + 5}" stroke="{colour}"/>'
    yield f'<circle cx="{value:.1f}" cy="{y}" r="4" fill="{colour}"/>'
