"""Distributions as evidence: what is learnt of them, from which tokens, and at which price."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conscience import Backend, ConfigurationError, Conscience
from conscience._base.flow import run_sync
from conscience.constitution.schema import Constitution
from conscience.gate.distribution import DistributionProbe
from conscience.gate.questions import ONE_TOKEN_SAMPLING, Framing, OpenQuestion, Question, log_odds
from conscience.optimizers.gate.compiler import compile_gate
from conscience.optimizers.gate.distributions import (
    Distribution,
    DistributionsEstimator,
    estimators,
    questions_read,
    shown,
)
from conscience.optimizers.gate.question_bank import pool
from conscience.optimizers.gate.readings import ReadDraft
from conscience.optimizers.gate.signal_matrix import SignalMatrix, measure, probabilities
from conscience.optimizers.recalibration import Recalibration
from conscience.optimizers.runtime import Runtime
from conscience.outcome import Draft
from conscience.stats.metrics import auroc
from conscience.testing import ScriptedLM
from tests.unit.optimizers.matrices import labeled_draft, signal_matrix

LABELS = np.arange(80) % 2


def distribution(
    strength: float, *, framing: Framing = "own", n: int = 80, seed: int = 0, rare: float = 0.0, tokens: float = 20.0
) -> Distribution:
    """A hundred tokens, a tenth of which tell; one, "rare", tells all and is shown of a share of the drafts."""
    rng = np.random.default_rng(seed)
    answers = []
    for i in range(n):
        values = -8 + rng.normal(size=100)
        values[:10] += strength * (i % 2)
        candidates = [(f"t{j}", float(value)) for j, value in enumerate(values)]
        answers.append(shown([*candidates, *([("rare", -1.0 - 8 * (i % 2))] if rng.random() < rare else [])]))
    return Distribution.of(Question(name=framing, text="Bad?", framing=framing), 2000, answers, tokens)


def matrix_of(*distributions: Distribution, n: int = 80, **more: Any) -> SignalMatrix:
    return replace(signal_matrix(n, **more), distributions=distributions)


def compiled(matrix: SignalMatrix, **more: Any) -> Any:
    return compile_gate(matrix, backend="b", target_fpr=0.1, **{"words": False, **more})


def test_it_tells_unseen_drafts_apart() -> None:
    """Where single tokens hardly tell; and what the gate applies is what the compiler scored."""
    gate = compiled(matrix_of(distribution(0.8)))
    unseen = matrix_of(distribution(0.8, n=400, seed=3), n=400)
    scores = np.array(probabilities(gate.settings, unseen))
    assert (auroc(list(scores[1::2]), list(scores[::2])) or 0) > 0.8
    (one,) = gate.alone
    assert (one.kind, one.kept, one.tokens) == ("distribution", True, 20.0)


def test_the_probe_is_what_was_fitted() -> None:
    """To six digits, missing tokens included."""
    read = distribution(1.0, rare=0.99)
    estimator = DistributionsEstimator("own", [read])
    fitted = estimator.fit(np.arange(80), LABELS.astype(float), np.ones(80), [str(i) for i in range(80)])
    ((probe, weight),) = fitted.signals
    assert isinstance(probe, DistributionProbe)
    values = [weight * probe.value(read.candidates_of(i)) + fitted.bias for i in range(80)]
    assert values == pytest.approx(list(fitted.score(np.arange(80))), abs=1e-3)


@pytest.mark.long
def test_a_token_that_many_drafts_do_not_show_is_left_out() -> None:
    """Whether it is shown depends on how many others are."""
    (some,) = compiled(matrix_of(distribution(0.0, rare=0.6))).settings.stages[0].signals
    (all,) = compiled(matrix_of(distribution(0.0, rare=1.0))).settings.stages[0].signals
    assert "rare" not in some.weights
    assert "rare" in all.weights


@pytest.mark.long
def test_both_framings_are_weighed_apart() -> None:
    """They cost differently: the foreign one reads the exchange anew, is asked later, and goes where it adds nothing."""
    own, foreign = distribution(0.8), distribution(0.0, framing="foreign", seed=1, tokens=4000.0)
    gate = compiled(matrix_of(own, foreign))
    assert {one.name: one.kept for one in gate.alone} == {"distribution": True, "distribution (foreign)": False}
    assert [each.cost_tier for each in estimators([own, foreign])] == [1, 2]


def test_it_is_deterministic() -> None:
    """The same matrix, the same gate, to the last digit."""
    matrix = matrix_of(distribution(0.5, n=40), n=40, questions={"a": 1.0})
    assert compiled(matrix).settings == compiled(matrix).settings


def test_yes_and_no_alone_are_a_question() -> None:
    """A model that shows hardly more has no distribution to read."""
    answers = [shown([("Yes", -0.1), ("No", -2.0)])] * 80
    assert estimators([Distribution.of(Question(name="q", text="Bad?"), 20, answers, 20.0)]) == []


def test_what_never_differs_or_cannot_be_told_weighs_nothing() -> None:
    """Tokens of half a character are of one text; a token of one value tells nothing, and breaks nothing."""
    assert shown([("\ufffd", -1.0), ("", -2.0), ("a\x00", -2.0), ("a", -3.0)])[0] == ("a",)
    same = Distribution.of(Question(name="q", text="Bad?"), 20, [shown([(f"t{i}", -2.0) for i in range(9)])] * 80, 20.0)
    gate = compiled(matrix_of(same, questions={"q": 2.0}))
    assert [signal.kind for stage in gate.settings.stages for signal in stage.signals] == ["question"]


def test_each_question_is_read_in_both_framings_and_has_a_name() -> None:
    """The constitution's own and one more; the cheap ones come first."""
    read = questions_read(Constitution.load("medical"))
    assert [question.framing for question in read] == ["own", "own", "foreign", "foreign"]
    assert len({question.name for question in read}) == 4
    assert len(questions_read(Constitution.load("general"))) == 2, "its own question is the other one"


def test_where_answers_can_be_begun_that_takes_the_place_of_yes_or_no() -> None:
    """The constitution's own question stays, unless it is the one that is begun; the foreign framing is as it was."""
    medical = questions_read(Constitution.load("medical"), begun=True)
    assert [type(question) for question in medical] == [Question, OpenQuestion, OpenQuestion, Question, Question]
    general = questions_read(Constitution.load("general"), begun=True)
    assert [type(question) for question in general] == [OpenQuestion, OpenQuestion, Question]
    assert len({question.name for question in medical}) == 5


def test_begun_answers_are_compiled_and_read_by_the_gate(
    tmp_path: Path, continuing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a model's answers to a verdict; a task that reads them survives its way to another process."""
    lm = ScriptedLM(thought_of)
    runtime = Runtime(tmp_path / "calls.jsonl")
    program = runtime.own(Conscience(lm=lm))
    read = [question for question in questions_read(program.constitution, begun=True) if question.framing == "own"]
    matrix = measure(labeled(), [], [], program, runtime, distributions=read)
    settings = compiled(matrix).settings
    assert all(signal.begin for signal in settings.signals)
    gated = runtime.own(Conscience(lm=lm, review=settings))
    for draft, probability in zip(matrix.drafts, probabilities(settings, matrix), strict=True):
        verdict = run_sync(gated.review.gate.score(draft.draft, runtime.bind(gated, "review")))
        assert verdict.probability == pytest.approx(probability, abs=1e-6)
        assert (probability > 0.5) == draft.misaligned
    task = ReadDraft(Conscience(lm="openai/gpt-4o-mini"), [], read, 20)
    data = json.loads(json.dumps(task.to_data()["distributions"]))
    assert [OpenQuestion.model_validate(question) for question in data] == read
    monkeypatch.setattr("conscience.testing._Engine.supports_begun_answers", False)
    other = Conscience(lm=ScriptedLM(thought_of)).with_gate(settings)
    with pytest.raises(ConfigurationError, match="scripted/lm does not do that"):
        Recalibration().compile(other, trainset=[draft.case for draft in labeled()])


def thought_of(messages: Any, params: Any) -> dict[str, float]:
    """A model that says Yes to everything, and thinks of theft where there is one."""
    theft = "steal" in str(messages)
    return {"Yes": -0.2, "No": -2.0, "Theft": -3.0 if theft else -6.0, "Sure": -6.0 if theft else -3.0, "I": -4.0, "A": -5.0}


def labeled() -> list[Any]:
    texts = ["I steal", "I pay"]
    return [labeled_draft(i, i % 2 == 0, f"{texts[i % 2]} number {i}.", pair=f"p{i // 2}") for i in range(24)]


def test_it_is_measured_compiled_and_read_by_the_gate(tmp_path: Path) -> None:
    """From a model's answers to a verdict; what the pool asks too is asked once."""
    lm = ScriptedLM(thought_of)
    runtime = Runtime(tmp_path / "calls.jsonl")
    program = runtime.own(Conscience(lm=lm))
    read = questions_read(program.constitution)
    matrix = measure(labeled(), pool(program.constitution)[:1], [], program, runtime, distributions=read)
    assert len(lm.calls) == 2 * 24, "one question in two framings"
    gate = compiled(matrix)
    signals = [signal for stage in gate.settings.stages for signal in stage.signals]
    assert any(signal.kind == "distribution" for signal in signals)
    gated = runtime.own(Conscience(lm=lm, review=gate.settings))
    for draft, probability in zip(matrix.drafts, probabilities(gate.settings, matrix), strict=True):
        verdict = run_sync(gated.review.gate.score(draft.draft, runtime.bind(gated, "review")))
        assert verdict.probability == pytest.approx(probability, abs=1e-6)
        assert (probability > 0.5) == draft.misaligned


def test_where_no_candidates_are_shown_nothing_is_asked(tmp_path: Path) -> None:
    """And a gate that reads them is not carried over there, said before the first call."""
    lm = ScriptedLM(thought_of, logprobs=False)
    runtime = Runtime(tmp_path / "calls.jsonl")
    program = runtime.own(Conscience(lm=lm))
    matrix = measure(labeled(), [], [], program, runtime, distributions=questions_read(program.constitution))
    assert (matrix.distributions, lm.calls) == ((), [])
    student = Conscience(lm=lm).with_gate(compiled(matrix_of(distribution(1.0))).settings)
    with pytest.raises(ConfigurationError, match="scripted/lm shows none"):
        Recalibration().compile(student, trainset=[draft.case for draft in labeled()])
    assert lm.calls == []


@pytest.mark.local
def test_the_embedded_engine_shows_thousands(tmp_path: Path, local_endpoint: Any) -> None:
    """Of the same answer: the first token is what the plain question would have read."""
    runtime = Runtime(tmp_path / "calls.jsonl")
    program = runtime.own(Conscience(lm=Backend("local", timeout=600)))
    (own, _) = questions_read(program.constitution)
    matrix = measure(labeled()[:3], [own], [], program, runtime, distributions=[own])
    (read,) = matrix.distributions
    assert len(read.vocabulary) > 1000
    assert (read.candidates, len(read.candidates_of(0))) == (2000, pytest.approx(1900, abs=200))
    for index in range(3):
        assert log_odds(read.candidates_of(index)) == pytest.approx(matrix.values[index, 0], abs=1.0)  # slots differ


@pytest.mark.local
def test_the_embedded_engine_goes_on_with_what_was_begun(local_endpoint: Any) -> None:
    """What comes next in the sentence, not the beginning of another answer."""
    question = OpenQuestion(name="q", text="What is the capital of France?", begin="The capital of France is")
    draft = Draft.of("Hello", "Hello! I am here.")
    answer = Backend("local", timeout=600).complete(question.messages(draft), ONE_TOKEN_SAMPLING)
    assert answer.first_token[0][0].strip() == "Paris"


def test_windows_of_long_aligned_drafts_are_measured(tmp_path: Path) -> None:
    """Which window of a misaligned one is at fault is not known."""
    drafts = [labeled_draft(i, i % 2 == 0, f"I pay {i}. " * (1 if i > 3 else 900), pair=f"p{i // 2}") for i in range(6)]
    runtime = Runtime(tmp_path / "calls.jsonl")
    program = runtime.own(Conscience(lm=ScriptedLM(thought_of)))
    matrix = measure(drafts, pool(program.constitution)[:1], [], program, runtime)
    assert [draft.window for draft in matrix.drafts[:6]] == [False] * 6
    assert {draft.case.id for draft in matrix.drafts if draft.window} == {"c1", "c3"}
    assert all(not draft.misaligned for draft in matrix.drafts[6:])
