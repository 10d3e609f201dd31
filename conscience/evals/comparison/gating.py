"""A comparison as a gate of a build: which conditions fail it, and what a CI system reads of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any
from xml.etree import ElementTree

from conscience.evals.comparison.conditions import CheckedCondition, Condition
from conscience.evals.results import Comparison


@dataclass(frozen=True)
class Regression:
    """One condition that fails a build, on one comparison.

    Attributes:
        checked: the condition and what was measured.
        failed: whether it was met; a figure that is missing fails too.
    """

    checked: CheckedCondition
    failed: bool

    @property
    def line(self) -> str:
        """One line for people."""
        return f"{'regression' if self.failed else 'ok'}: {self.checked}"

    def to_dict(self) -> dict[str, Any]:
        """JSON form: the condition as it was written, what was measured with its interval, and whether it failed. A share of
        nothing is no number there, and null."""
        measured = self.checked.measured
        return {
            "condition": self.checked.condition.text,
            "failed": self.failed,
            "measured": None if measured is None else {n: v if isfinite(v) else None for n, v in vars(measured).items()},
            "p_value": self.checked.p_value,
        }


def regressions(comparison: Comparison, conditions: Sequence[Condition], *, certain: bool = False) -> list[Regression]:
    """What each condition says of the second run.

    Args:
        comparison: of the run that is the measure and the one that is judged, in this order.
        conditions: any of them fails the build where it is met, or where no case has its figure.
        certain: a condition counts as met only where it is at both ends of the interval.
    """
    checked = [condition.on(comparison) for condition in conditions]
    return [Regression(check, check.measured is None or check.holds(certain=certain)) for check in checked]


def junit(comparison: Comparison, found: Sequence[Regression]) -> str:
    """JUnit's XML: a test case for each condition."""
    name = f"{comparison.second.title} against {comparison.first.title}"
    suite = ElementTree.Element(
        "testsuite", name=_xml(name), tests=str(len(found)), failures=str(sum(r.failed for r in found)), errors="0"
    )
    for regression in found:
        text = regression.checked.condition.text
        case = ElementTree.SubElement(suite, "testcase", classname="conscience.compare", name=_xml(text))
        if regression.failed:
            ElementTree.SubElement(case, "failure", message=_xml(str(regression.checked)), type="regression")
        else:
            ElementTree.SubElement(case, "system-out").text = _xml(str(regression.checked))
    if comparison.left_out:
        ElementTree.SubElement(suite, "system-err").text = _xml(comparison.left_out)
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def markdown(comparison: Comparison, found: Sequence[Regression]) -> str:
    """A GitHub step summary: what failed, then the table of figures."""
    first, second = (_cell(run.title) for run in (comparison.first, comparison.second))
    failed = sum(regression.failed for regression in found)
    lines = [f"### {second} against {first}", "", comparison.heading, ""]
    lines += [_cell(comparison.left_out), ""] if comparison.left_out else []
    if found:
        lines += [f"**{'1 regression' if failed == 1 else f'{failed} regressions'}**" if failed else "**no regression**", ""]
        lines += [f"- {'❌' if regression.failed else '✅'} `{regression.checked}`" for regression in found] + [""]
    heads = ("figure", first, second, "difference", "p")
    lines += [_row(heads), _row(["---"] * len(heads))]
    lines += [_row([_cell(cell) for cell in row]) for row in comparison.table()]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """A text that is no markup in a table's cell."""
    text = "".join(character if character.isprintable() else " " for character in text)
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return text


def _xml(text: str) -> str:
    """A text without the characters that XML has no way to write."""
    return "".join(character if character.isprintable() else " " for character in text)
