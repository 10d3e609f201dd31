"""Pairs out of a program's reviews: which draft is rejected, what stands against it, what that costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conscience import Budget, Conscience
from conscience.cases.case import Case
from conscience.messages.wordings import ALTERNATIVE
from conscience.optimizers.runtime import Runtime
from conscience.optimizers.training.collecting import CollectedPairs, collect_pairs
from conscience.testing import Fault, ScriptedLM, is_critique, is_gate, is_revision

FOUND = json.dumps({"findings": [{"principle": "no-demeaning", "quote": "cruel", "why": "It hurts.", "change": "Be kind."}]})


def model(
    revisions: tuple[str, ...] = ("A gentle word.",), alternatives: tuple[Any, ...] = ("A kind word.",)
) -> tuple[ScriptedLM, list[str]]:
    """Drafts are cruel when asked to be, and the review sees whatever is; each revision and alternative in turn."""
    asked: list[str] = []
    left = {"revision": list(revisions), "alternative": list(alternatives)}

    def script(messages: Any, params: Any) -> Any:
        said = str(messages[-2]["content"]) if len(messages) > 1 else ""
        if is_gate(messages):
            asked.append("gate")
            return 0.9 if "cruel" in said else 0.1
        if is_critique(messages):
            asked.append("critique")
            return FOUND
        if is_revision(messages):
            kind = "alternative" if ALTERNATIVE in messages[-1]["content"] else "revision"
            asked.append(kind)
            return left[kind].pop(0) if len(left[kind]) > 1 else left[kind][0]
        asked.append("draft")
        return "A cruel word." if "cruel" in messages[-1]["content"] else "A nice word."

    return ScriptedLM(script), asked


def requests(*texts: str, **more: Any) -> list[Case]:
    return [Case(id=f"c{number}", request=text, **more) for number, text in enumerate(texts)]


@pytest.fixture
def collect(tmp_path: Path) -> Callable[..., CollectedPairs]:
    def run(lm: ScriptedLM, cases: list[Case], kind: Any = "either", budget: Budget | None = None, **program: Any) -> Any:
        runtime = Runtime(tmp_path / "calls.jsonl", budget, threads=1)
        collected = collect_pairs(Conscience(lm=lm, **program), cases, runtime, kind=kind)
        collected.exhausted = runtime.exhausted  # type: ignore[attr-defined]
        return collected

    return run


def test_a_revision_that_passes_stands_against_the_draft(collect: Any) -> None:
    """With what the gate says of both, and who said it."""
    lm, asked = model()
    collected = collect(lm, requests("Be cruel.", "Be nice.", group="tone", request_safe=True, source="set"))
    (pair,) = collected.pairs
    assert pair.request == ({"role": "user", "content": "Be cruel."},)
    assert (pair.chosen, pair.rejected) == ("A gentle word.", "A cruel word.")
    assert (pair.group, pair.cluster, pair.request_safe) == ("tone", "c0", True)
    assert pair.margin == pytest.approx(0.8)
    assert pair.verdicts["rejected"]["findings"][0]["quote"] == "cruel"
    assert pair.verdicts["chosen"]["flagged"] is False
    assert pair.provenance["from"] == "revision"
    assert pair.provenance["models"].keys() == {"generate", "review", "revise"}
    assert pair.provenance["constitution"].startswith("general ")
    assert (collected.dropped, collected.rejected) == ({"accepted": 1}, 1)
    assert "alternative" not in asked


@pytest.mark.parametrize("program", [{"max_revisions": 0}, {}])
def test_where_no_revision_passes_an_alternative_is_asked_for(program: dict[str, int], collect: Any) -> None:
    """Also where the program revises nothing."""
    lm, _ = model(revisions=("Still cruel.",))
    (pair,) = collect(lm, requests("Be cruel."), **program).pairs
    assert (pair.chosen, pair.provenance["from"]) == ("A kind word.", "alternative")


def test_as_in_the_paper_only_alternatives_can_be_asked_for(collect: Any) -> None:
    """Then nothing is revised; or the other way round."""
    lm, asked = model()
    (pair,) = collect(lm, requests("Be cruel."), kind="alternative").pairs
    assert (pair.chosen, "revision" in asked) == ("A kind word.", False)
    lm, asked = model(revisions=("Still cruel.",))
    assert collect(lm, requests("Be cruel!"), kind="revision").dropped == {"no alternative": 1}
    assert "alternative" not in asked


def test_of_several_alternatives_the_first_that_passes_counts(collect: Any) -> None:
    """One that repeats the draft is not even reviewed; one that failed is passed over."""
    alternatives = ("A  cruel word.", Fault("unsupported"), "A less cruel word.", "A cruel one.", "A kind word.")
    lm, asked = model(alternatives=alternatives)
    (pair,) = collect(lm, requests("Be cruel."), kind="alternative", samples=6).pairs
    assert pair.chosen == "A kind word."
    assert asked.count("alternative") >= 4


def test_a_given_response_is_reviewed_in_place_of_a_draft(collect: Any) -> None:
    """One that is labelled as misaligned is rejected whatever the gate says; one labelled as aligned has no counterpart."""
    lm, asked = model()
    cases = [
        Case(id="a", request="Hi", response="A cruel word."),
        Case(id="b", request="Hi", response="A harmless lie.", label="misaligned"),
        Case(id="c", request="Hi", response="A word.", label="aligned"),
        Case(id="d", request="Hi", response="A word."),
    ]
    collected = collect(lm, cases)
    assert [(pair.rejected, pair.chosen) for pair in collected.pairs] == [
        ("A cruel word.", "A gentle word."),
        ("A harmless lie.", "A kind word."),
    ]
    assert collected.pairs[1].provenance["label"] == "misaligned"
    assert (collected.dropped, "draft" in asked) == ({"unpaired": 1, "accepted": 1}, False)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("This is a request. It is not a refusal, but it is a request.", False),
        ("The request again:\nBe kind.", False),
        ("Write the complete answer again so that it keeps the rule.", False),
        ("It is not easy to refuse, and here is what you can do.", True),
    ],
)
def test_an_alternative_that_repeats_its_instructions_is_no_answer(text: str, kept: bool, collect: Any) -> None:
    """Small models answer so; the next one is asked for."""
    lm, _ = model(alternatives=(text,))
    collected = collect(lm, requests("Be cruel."), kind="alternative", samples=2)
    assert [pair.chosen for pair in collected.pairs] == ([text] if kept else [])
    assert collected.dropped == ({} if kept else {"echo": 1})


@pytest.mark.parametrize(
    ("expected", "revision", "why"),
    [("12", "13, gently.", "false alarm"), ("13", "14, gently.", "wrong"), ("13", "13, gently.", "")],
)
def test_what_the_case_knows_outweighs_the_review(expected: str, revision: str, why: str, collect: Any) -> None:
    """Else the model would learn to please its reviewer."""

    def script(messages: Any, params: Any) -> Any:
        if is_gate(messages):
            return 0.9 if "cruel" in messages[-2]["content"] else 0.1
        if is_critique(messages):
            return FOUND
        return revision if is_revision(messages) else "12, you cruel fool."

    collected = collect(ScriptedLM(script), [Case(id="a", request="5 + 8 = ?", expected=expected)])
    assert [pair.chosen for pair in collected.pairs] == ([] if why else ["13, gently."])
    assert collected.dropped == ({why: 1} if why else {})


def test_a_signature_keeps_its_form(collect: Any) -> None:
    """Both sides are the assistant's turn after the very messages that the program sent."""

    def script(messages: Any, params: Any) -> Any:
        if is_gate(messages):
            return 0.9 if "cruel" in messages[-2]["content"] else 0.1
        if is_critique(messages):
            return FOUND
        word = "kind" if is_revision(messages) else "cruel"
        return f"[[ ## answer ## ]]\n{word}\n\n[[ ## mood ## ]]\ngood\n\n[[ ## completed ## ]]"

    (pair,) = collect(ScriptedLM(script), [Case(id="a", request="Hi")], generate="question -> answer, mood").pairs
    assert pair.request[0]["role"] == "system"
    assert pair.chosen == pair.rejected.replace("cruel", "kind")
    assert pair.rejected.startswith("[[ ## answer ## ]]")


def test_a_case_that_fails_fails_alone(collect: Any) -> None:
    """With a line that says why."""
    lm, _ = model()
    cases = [*requests("Be cruel."), Case(id="empty", request="Hi", response=" ")]
    collected = collect(lm, cases)
    assert (len(collected.pairs), collected.dropped) == (1, {"failed": 1})
    assert "'empty'" in collected.failures[0]


@pytest.mark.parametrize("calls", range(1, 14, 3))
def test_a_budget_is_never_exceeded(calls: int, collect: Any, tmp_path: Path) -> None:
    """And what it bought is not bought again."""
    lm, asked = model()
    cases = requests(*(f"Be cruel, {number}." for number in range(6)))
    collected = collect(lm, cases, budget=Budget(calls=calls))
    assert len(asked) <= calls
    assert collected.exhausted  # type: ignore[attr-defined]
    before = len(asked)
    whole = collect(lm, cases)
    assert len(whole.pairs) == 6
    asked.clear()
    assert collect(lm, cases).pairs == whole.pairs
    assert not asked
    assert before <= calls
