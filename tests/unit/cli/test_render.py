"""How outcomes look in a terminal: an answer once, long texts cut, nothing of a model's acted upon."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from conscience.cli._shared.render import show_comparison, show_outcome, show_verdict
from conscience.evals.results import ComparedRun, Comparison
from conscience.outcome import Draft, Finding, Outcome, Revision, Status, Verdict

PASSED = Verdict(flagged=False, probability=0.03, threshold=0.5)
FLAGGED = Verdict(
    flagged=True,
    probability=0.93,
    threshold=0.5,
    gated=True,
    findings=(Finding("no-harm", "a cruel word", "It hurts.", "Leave it out."),),
)


def draft(text: str, reasoning: str = "") -> Draft:
    return Draft("Say it.", {"response": text}, reasoning=reasoning)


def outcome(text: str, status: Status, verdict: Verdict = PASSED, first: str = "", *revised: Revision) -> Outcome:
    return Outcome({"response": text}, status=status, draft_verdict=verdict, draft=draft(first or text), revisions=revised)


def shown(answer: Outcome, *, width: int = 100, full: bool = False) -> str:
    console = Console(file=StringIO(), width=width, highlight=False)
    show_outcome(console, "Say it.", answer, full=full)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


@pytest.mark.parametrize("status", ["clean", "cleared"])
def test_an_answer_that_passed_is_shown_once(status: Status) -> None:
    """No draft beside it with the same words."""
    said = shown(outcome("A kind word.", status))
    assert said.count("A kind word.") == 1
    assert f"answer: {status}" in said
    assert "probability 0.03" in said


def test_a_revised_one_shows_draft_verdict_and_revision_side_by_side() -> None:
    """On a terminal of 80 columns too; each text once."""
    revision = Revision(draft("A kind word."), PASSED)
    said = shown(outcome("A kind word.", "revised", FLAGGED, "Quite cruel.", revision), width=80)
    (line,) = [line for line in said.splitlines() if "Quite cruel." in line]
    assert "probability 0.93" in line
    assert "A kind word." in line
    assert (said.count("Quite cruel."), said.count("A kind word.")) == (1, 1)
    assert "It hurts." in said
    assert "revision 1: probability 0.03" in said


def test_a_refused_one_shows_what_was_refused() -> None:
    """Draft, revision and the text that stands in their place."""
    said = shown(
        outcome("I can't say that.", "refused", FLAGGED, "Cruel.", Revision(draft("Still cruel."), FLAGGED)), width=160
    )
    for part in ("Cruel.", "Still cruel.", "I can't say that.", "answer: refused", "verdict on revision 1"):
        assert part in said


def test_the_draft_of_an_unreviewed_one_is_not_shown() -> None:
    """And why is said."""
    said = shown(Outcome({"response": "I can't."}, status="unreviewed", error="the judge was away"))
    assert "not shown" in said
    assert "the judge was away" in said


def test_a_long_text_is_cut_and_says_so() -> None:
    """How much is missing, and how to see it; --full shows it."""
    long = " ".join(f"word{n}" for n in range(1000))
    said = shown(outcome(long, "clean"))
    assert "word999" not in said
    assert "more characters" in said
    assert "--full" in said
    assert "--json" in said
    kept, missing = len(" ".join(f"word{n}" for n in range(1000) if f"word{n} " in said)), len(long)
    assert f"{missing - kept} more characters" in said
    whole = shown(outcome(long, "clean"), full=True)
    assert "word999" in whole
    assert "more characters" not in whole


def test_many_short_lines_are_cut_too() -> None:
    """They would push the rest off the screen."""
    said = shown(outcome("\n".join(f"line {n}" for n in range(60)), "clean"))
    assert "line 5" in said
    assert "line 59" not in said
    assert "more characters" in said


@pytest.mark.parametrize("escape", ["\x1b]0;owned\x07", "\x1b[2J", "\x9b2J", "\r", "\u202e", "\x00"])
def test_nothing_that_a_model_wrote_acts_on_the_terminal(escape: str) -> None:
    """Whatever place it stands in."""
    text = f"a{escape}b [red]x[/red]"
    finding = Finding(text, text, text, text, severity=text)
    verdict = Verdict(flagged=True, threshold=0.5, gated=True, findings=(finding,), signals={text: 1.0}, notes=(text,))
    answer = Outcome(
        {"response": text},
        status="refused",
        draft_verdict=verdict,
        draft=draft(f"other {text}", reasoning=text),
        revisions=(Revision(draft(f"third {text}"), verdict),),
        events=(text,),
        error=text,
    )
    console = Console(file=StringIO(), width=400, highlight=False)
    show_outcome(console, text, answer, full=True)
    show_verdict(console, verdict)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert not set(escape) & set("\x1b\x9b\r\u202e\x00\x07") & set(said)
    assert "[red]x[/red]" in said


def test_names_cannot_drive_the_terminal() -> None:
    """A program file names its signals, a folder its run."""
    shown = Console(file=StringIO(), width=200)
    show_verdict(shown, Verdict(flagged=False, gated=False, threshold=0.5, signals={"\x1b]0;owned\x07X": 1.0}))
    first, second = (ComparedRun(title, program=None) for title in ("a[/b]", "[red]run"))  # type: ignore[arg-type]
    show_comparison(shown, Comparison(first, second, 1, 0, 0, (), (), ()))
    said = shown.file.getvalue()  # type: ignore[attr-defined]
    assert "owned" in said
    assert "a[/b]" in said
    assert "[red]run" in said
    assert "\x1b" not in said
