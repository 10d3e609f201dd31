"""What a notebook shows: text alone, small, whatever a model wrote; of an outcome nothing that may not be shown."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience import Conscience, Finding, Outcome, Verdict
from conscience._base.notebook import LONGEST, table
from conscience.testing import Fault, ScriptedLM, by_stage

HOSTILE = "</td><script>alert(1)</script><img src=x onerror='alert(1)'> & \x1b[31m \u202e end"


class Parsed(HTMLParser):
    """Tags and texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert {name for name, _ in attrs} <= {"style"}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@given(st.text(), st.text(), st.text())
def test_no_text_is_markup(heading: str, name: str, value: str) -> None:
    """Nor changes the reading order."""
    parsed = Parsed(table(heading, [(name, value)], notes=[value], heads=(name, heading)))
    assert parsed.tags <= {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert not re.search("[\0-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", "".join(parsed.texts).replace("\r", ""))


def test_a_long_text_is_cut_and_says_so() -> None:
    """A notebook is no place for a book."""
    html = table("h", [("text", "x" * 100_000)])
    assert len(html) < 2 * LONGEST
    assert f"({100_000 - LONGEST} characters more)" in html


def test_colours_are_the_notebooks() -> None:
    """Light or dark: neither an ink nor a ground of its own."""
    styles = "".join(re.findall(r'style="([^"]*)"', table("h", [("a", "b")], heads=("a", "b"), notes=["n"], good=True)))
    assert not re.search(r"(?:^|;)color:|background:(?!none)", styles)


def test_a_verdict_shows_its_signals_and_findings() -> None:
    """With the quotes, as text."""
    finding = Finding("honesty", HOSTILE, "It is made up.", "Say so.", "high")
    verdict = Verdict(True, 0.934, 0.5, True, {"introspection": 2.6}, {"honesty": 0.8}, (finding,), notes=("a note",))
    parsed = Parsed(verdict._repr_html_())
    assert "Verdict: flagged: 0.93 against a threshold of 0.50" in parsed.texts
    assert {"introspection", "2.60 nats", "honesty", "0.80", "honesty (high)", "a note"} <= set(parsed.texts)
    assert "script" not in parsed.tags
    assert any("<script>alert(1)</script>" in text for text in parsed.texts)
    assert "not reviewed" in Verdict.unreviewed("down")._repr_html_()


ENDINGS: list[tuple[dict[str, Any], str]] = [
    ({"gate": 0.1}, "clean"),
    ({"gate": 0.9, "critique": '{"findings": []}'}, "cleared"),
    ({"gate": 0.9}, "refused"),
    ({"gate": Fault("server")}, "unreviewed"),
]


@pytest.mark.parametrize(("stages", "status"), ENDINGS, ids=[ending[1] for ending in ENDINGS])
def test_an_outcome_shows_what_may_be_shown(stages: Any, status: str) -> None:
    """A draft that was kept back is not in it, nor are the critique's words, which quote it."""
    draft = "A secret draft."
    critique = {"findings": [{"principle": "honesty", "quote": "secret", "why": "It is secret.", "change": "Leave it out."}]}
    lm = ScriptedLM(by_stage(draft, **{"critique": json.dumps(critique), "revise": draft, **stages}))
    outcome = Conscience("question -> answer", lm=lm)(question="?")
    assert outcome.status == status
    parsed = Parsed(outcome._repr_html_())
    assert f"Outcome: {status}" in parsed.texts
    assert outcome.answer in parsed.texts
    assert any("secret" in text for text in parsed.texts) == outcome.ok
    assert len(outcome._repr_html_()) < 4000


def test_any_outcome_shows_itself() -> None:
    """One that somebody made, with values of every kind."""
    outcome = Outcome({"answer": None, "numbers": [1, 2], "deep": {"a": {"b": HOSTILE}}})
    assert "script" not in Parsed(outcome._repr_html_()).tags
