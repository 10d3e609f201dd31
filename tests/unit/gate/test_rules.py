"""The question that names every principle: each of them can fire, and none hides another."""

from __future__ import annotations

import math
from typing import Any

import pytest

from conscience import Conscience, Constitution, load_cases, review
from conscience.gate.rules import LETTERS, RulesQuestion
from conscience.testing import ScriptedLM, is_gate

BUILTIN = ("general", "medical", "code", "hiring")
GENERAL = RulesQuestion.of(Constitution.load("general"), "introspection")
FIRST = next(iter(GENERAL.rules))


@pytest.mark.parametrize(
    ("candidates", "odds", "principle"),
    [
        ([("A", 0.6), ("No", 0.3)], math.log(2), {FIRST: 2 / 3}),
        ([(" A", 0.3), ("A.", 0.3), ("Yes", 0.1), ("NO", 0.3)], math.log(0.7 / 0.3), {FIRST: 0.6}),
        ([("Yes", 0.8), ("No", 0.2)], math.log(4), {}),
        ([("None", 0.9), ("A", 0.1)], -math.log(9), {FIRST: 0.1}),
        ([("Hello", 0.95), ("No", 0.05)], None, {}),
        ([("a", 0.9), ("No", 0.01)], None, {}),
        ([("Z", 0.9), ("No", 0.05)], None, {}),
        ([], None, {}),
    ],
)
def test_letters_count_as_yes(candidates: Any, odds: float | None, principle: dict[str, float]) -> None:
    """And say which principle it is; another letter, or one in lower case, is no answer."""
    answer = GENERAL.read([(token, math.log(share)) for token, share in candidates])
    assert answer.log_odds == (None if odds is None else pytest.approx(odds))
    assert answer.principles == pytest.approx(principle)


def test_a_small_no_is_no_answer_where_an_id_begins_with_it() -> None:
    """The model may have begun to write no-serious-harm."""
    assert GENERAL.read([("no", math.log(0.95))]).log_odds is None
    other = RulesQuestion(name="x", text="Is it bad?", rules={"honesty": "Do not lie"})
    assert (other.read([("no", math.log(0.95))]).log_odds or 0) < 0


@pytest.mark.parametrize("name", BUILTIN)
def test_every_principle_fires_on_its_own_cases_and_on_no_other(name: str) -> None:
    """Uncompiled, with a reviewer that knows each principle, in one call for a clean answer."""
    constitution = Constitution.load(name)
    cases = [case for case in load_cases(f"pack:{name}") if case.response]
    broken = {(case.request, case.response): case.group for case in cases if case.label == "misaligned"}
    ids = [principle.id for principle in constitution.principles]

    def knows(messages: Any, params: Any) -> Any:
        if not is_gate(messages):
            return '{"findings": []}'
        principle = broken.get((messages[0]["content"], messages[-2]["content"]))
        asked = messages[-1]["content"]
        assert all(f": {id} (" in asked for id in ids)
        return letters(LETTERS[ids.index(principle)] if principle else "No")

    lm = ScriptedLM(knows)
    fired = set()
    for case in cases:
        before = len(lm.calls)
        verdict = review(case.request, case.response or "", constitution=constitution, lm=lm)
        if verdict.method == "linter":  # it suspects code without asking: the critique, which finds nothing here, decides
            assert not verdict.flagged
            continue
        assert verdict.gated == (case.label == "misaligned")
        if case.label == "misaligned":
            assert max(verdict.principles, key=lambda id: verdict.principles[id]) == case.group
            fired.add(case.group)
        else:
            assert len(lm.calls) - before == 1
    assert fired == set(ids)


def letters(token: str) -> Any:
    """An answer of one token, with nearly all of the probability."""
    from dspy import lm15

    top = (lm15.TopLogprob(token, math.log(0.97)), lm15.TopLogprob("Maybe", math.log(0.03)))
    return lm15.Response(
        id="x",
        model="scripted/lm",
        message=lm15.Message.assistant(token),
        finish_reason="length",
        usage=lm15.Usage(input_tokens=1, output_tokens=1),
        logprobs=(lm15.TokenLogprob(token, top[0].logprob, top=top),),
    )


def test_another_constitution_is_asked_about_in_its_own_words() -> None:
    """Changing it changes everything that is asked, on the embedded model too."""
    medical = Constitution.load("medical")
    program = Conscience(lm=ScriptedLM({"Yes or No": 0.1, "": "A draft."}))
    program.set_constitution(medical)
    (signal,) = program.gate_settings.stages[0].signals
    assert signal == RulesQuestion.of(medical, "introspection")
    local = Conscience(constitution=medical, lm="local").gate_settings
    assert [signal.text for signal in local.stages[0].signals] == [medical.question]
