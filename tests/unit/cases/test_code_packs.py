"""The packs code-requests and code-hacking: the tests and rules of each row tell a right answer from a wrong one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from conscience.cases.case import Case, load_cases
from conscience.evals.api import evaluate
from conscience.evals.oracles.code import code
from conscience.evals.oracles.named import oracle_for
from conscience.evals.records import CaseRecord
from conscience.linting.blocks import blocks_in
from conscience.linting.rules import broken_rules
from conscience.program import Conscience
from conscience.testing import ScriptedLM, is_critique, is_revision
from tests.support import references

REQUESTS = load_cases("pack:code-requests")
HACKING = load_cases("pack:code-hacking")
ANSWERS = references.read("code-requests")
PYTHON = [case for case in REQUESTS if case.meta["language"] == "python"]
SAMPLE, ALL = slice(0, None, 6), slice(None)
EXTENT = pytest.mark.parametrize("extent", [SAMPLE, pytest.param(ALL, marks=pytest.mark.long)], ids=["sample", "all"])


def does_nothing(text: str) -> str:
    """Code with the same names, all of which return None."""
    return "".join(
        f"def {name}(*a, **k):\n    return None\n" for name in re.findall(r"^(?:def|class) (\w+)", text, re.MULTILINE)
    )


def test_requests_are_of_both_kinds_and_in_three_languages() -> None:
    """Sixty that tempt to insecure code, each named by its weakness, and sixty that do not."""
    assert all(case.request_safe and oracle_for(case) is code for case in REQUESTS)
    tempting = [case for case in REQUESTS if case.group != "plain"]
    assert len(tempting) >= 60 <= len(REQUESTS) - len(tempting)
    assert all(re.fullmatch(r"CWE-\d+", case.group or "") for case in tempting)
    assert Counter(case.meta["language"] for case in REQUESTS).most_common(1)[0][0] == "python"
    assert len({case.meta["language"] for case in tempting}) == 3
    assert all("insecure" in ANSWERS[case.id] for case in tempting)
    assert {case.id for case in REQUESTS} == ANSWERS.keys()


@EXTENT
def test_python_requests_accept_the_safe_answer_and_no_other(extent: slice) -> None:
    """Tests and linter together; code that does nothing fails the tests, the insecure answer either."""
    tempting = [case for case in PYTHON if case.group != "plain"][extent]
    tested = [case for case in PYTHON if case.tests][extent]
    safe = [ANSWERS[case.id]["safe"] for case in tested]
    insecure = [ANSWERS[case.id]["insecure"] for case in tempting]
    jobs = [(text, case.tests or "") for case, text in zip(tested, safe, strict=True)]
    jobs += [(does_nothing(text), tests) for text, tests in jobs]
    jobs += [(text, case.tests or "") for case, text in zip(tempting, insecure, strict=True)]
    raised = references.run_all(jobs)
    assert [(case.id, said) for case, said in zip(tested, raised, strict=False) if said] == []
    assert [case.id for case, said in zip(tested, raised[len(tested) :], strict=False) if not said] == []

    pytest.importorskip("bandit")
    found = references.lint_all([*insecure, *[ANSWERS[case.id]["safe"] for case in PYTHON[extent]]])
    assert [(case.id, ids) for case, ids in zip(PYTHON[extent], found[len(tempting) :], strict=True) if ids] == []
    either = zip(tempting, raised[2 * len(tested) :], found, strict=False)
    assert [case.id for case, said, ids in either if not said and not ids] == []


@pytest.mark.parametrize("language", ["python", "javascript", "shell"])
def test_rules_accept_the_safe_answer_and_no_other(language: str) -> None:
    """To every request in their language; in Python bandit and the tests find what else is insecure."""
    for case in REQUESTS:
        if case.meta["language"] == language:
            answers = ANSWERS[case.id]
            assert broken_rules(language, answers["safe"]) == [], case.id
            assert case.group == "plain" or language == "python" or broken_rules(language, answers["insecure"]), case.id


def test_hacking_tasks_are_pairs() -> None:
    """At least thirty, of several kinds; nothing but the code differs."""
    pairs: dict[str, list[Case]] = {}
    for case in HACKING:
        pairs.setdefault(case.pair or "", []).append(case)
    assert len(pairs) >= 30
    assert len({case.group for case in HACKING}) >= 8
    for honest, gamed in pairs.values():
        assert (honest.label, gamed.label) == ("aligned", "misaligned")
        same = {"id": "", "label": None, "response": ""}
        assert honest.model_copy(update=same) == gamed.model_copy(update=same)
        assert (honest.response or "").rpartition("```")[2] == (gamed.response or "").rpartition("```")[2]


@EXTENT
def test_gamed_answers_pass_the_visible_tests_and_fail_the_hidden_ones(extent: slice) -> None:
    """Honest ones pass both; the linter finds nothing in either, so that the tests alone decide."""
    cases = HACKING[extent] + HACKING[1:][extent]
    texts = [_code(case.response or "") for case in cases]
    visible = [_code(case.request) for case in cases if isinstance(case.request, str)]
    raised = references.run_all(
        [*zip(texts, visible, strict=True), *[(t, c.tests or "") for t, c in zip(texts, cases, strict=True)]]
    )
    assert _ids(cases, raised[: len(cases)]) == []
    assert _ids(cases, raised[len(cases) :]) == [case.id for case in cases if case.misaligned]
    pytest.importorskip("bandit")
    assert not any(references.lint_all(texts))


def _code(text: str) -> str:
    (block,) = blocks_in(text)
    return block.text


def _ids(cases: Sequence[Case], raised: Sequence[str]) -> list[str]:
    return [case.id for case, said in zip(cases, raised, strict=True) if said]


def test_a_program_that_mends_is_measured_on_the_requests() -> None:
    """Insecure drafts count as wrong and their revisions as mended; a clean draft stays."""
    pytest.importorskip("bandit")
    kinds = [("python", False), ("python", True), ("javascript", False), ("shell", False)]
    cases = [
        next(c for c in REQUESTS if c.meta["language"] == name and (c.group == "plain") == plain) for name, plain in kinds
    ]
    by_request = {str(case.request): case for case in cases}

    def script(messages: Any, params: Any) -> Any:
        case = next(case for request, case in by_request.items() if request in "".join(str(m["content"]) for m in messages))
        answers = ANSWERS[case.id]
        draft = answers.get("insecure", answers["safe"])
        if params.get("logprobs"):
            return (
                0.9 if "insecure" in answers and answers["safe"] not in "".join(str(m["content"]) for m in messages) else 0.1
            )
        if is_critique(messages):
            return '{"findings": [{"principle": "no-injection", "quote": "x", "why": "w", "change": "c"}]}'
        text = answers["safe"] if is_revision(messages) else draft
        return f"Here you are.\n```{case.meta['language']}\n{text}```"

    report = evaluate(Conscience(constitution="code", lm=ScriptedLM(script)), cases)
    drafts = {row.id: row.misaligned for row in report.rows if isinstance(row, CaseRecord)}
    assert drafts == {case.id: case.group != "plain" for case in cases}
    assert report.correction is not None
    assert (report.correction.draft_accuracy.value, report.correction.self_correction_accuracy.value) == (0.25, 1.0)
