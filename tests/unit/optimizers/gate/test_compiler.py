"""The gate compiler on tables matrix by hand: what it keeps, in which order it asks, and that it says the same each time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from conscience.errors import InputError
from conscience.gate.questions import Question
from conscience.optimizers.gate.compiler import compile_gate
from conscience.optimizers.gate.signal_matrix import SignalMatrix, probabilities
from conscience.optimizers.gate.threshold import hold_out_for_threshold
from conscience.stats.metrics import auroc
from tests.unit.optimizers.matrices import signal_matrix


def compiled(matrix: SignalMatrix, **options: Any) -> Any:
    return compile_gate(matrix, backend="b", **{"target_fpr": 0.1, **options})


def reached(gate: Any, matrix: SignalMatrix) -> float:
    scores = probabilities(gate.settings, matrix)
    found = auroc(
        [s for s, d in zip(scores, matrix.drafts, strict=True) if d.misaligned],
        [s for s, d in zip(scores, matrix.drafts, strict=True) if not d.misaligned],
    )
    assert found is not None
    return found


def test_good_questions_are_chosen_and_signs_are_free() -> None:
    """One that says No to what is wrong counts with a negative weight; noise is left out."""
    strengths = {"good": 2.0, "inverse": -2.0, **{f"noise{i}": 0.0 for i in range(12)}}
    gate = compiled(signal_matrix(questions=strengths), words=False)
    weights = gate.settings.stages[-1].weights
    assert {"good", "inverse"} <= set(weights)
    assert weights["good"] > 0 > weights["inverse"]
    assert len(weights) <= 3
    assert reached(gate, signal_matrix(400, questions=strengths, seed=9)) > 0.9


def test_kinds_of_signal_are_blended_and_reported_alone() -> None:
    """Together they reach more than the best by itself; each one's own figure is told."""
    matrix = signal_matrix(120, questions={"q": 1.2}, embedding=1.5, words=0.5)
    gate = compiled(matrix)
    alone = {one.kind: one.auroc for one in gate.alone}
    assert set(alone) == {"words", "embedding", "questions"}
    assert gate.auroc > max(alone.values()) - 0.01
    assert (
        reached(gate, signal_matrix(600, questions={"q": 1.2}, embedding=1.5, words=0.5, seed=5))
        > max(alone.values()) - 0.03
    )


def test_dear_signal_that_earns_nothing_is_dropped() -> None:
    """Noise that reads the whole exchange anew does not stay."""
    gate = compiled(signal_matrix(400, questions={"q": 3.0}, embedding=0.0), words=False)
    assert {one.kind: one.kept for one in gate.alone} == {"embedding": False, "questions": True}


@pytest.mark.parametrize(("tokens", "kept"), [(60.0, True), (800.0, False)])
def test_a_signal_as_dear_as_the_call_gets_no_benefit_of_the_doubt(tokens: float, kept: bool) -> None:
    """A weak one stays where it is cheap, as few labels cannot tell; read at the price of another answer, it has to show."""
    matrix = signal_matrix(64, questions={"q": 2.0}, embedding=0.5)
    wordings, vectors, _ = matrix.embeddings["served/model"]
    gate = compiled(replace(matrix, embeddings={"served/model": (wordings, vectors, tokens)}), words=False)
    assert {one.kind: one.kept for one in gate.alone} == {"embedding": kept, "questions": True}


def test_cheap_signals_are_asked_first_and_dear_ones_only_in_doubt() -> None:
    """The cascade asks the dear estimator of few aligned drafts, says of how many, and reaches nearly as much."""
    matrix = signal_matrix(600, questions={"q": 4.0}, embedding=3.0)
    gate = compiled(matrix, words=False)
    first, second = gate.settings.stages
    assert [s.kind for s in first.signals] == ["question"]
    assert [s.kind for s in second.signals] == ["embedding"]
    assert gate.shares[0] == 1.0
    assert gate.shares[1] < 0.9
    assert gate.tokens < 0.95 * 320
    assert first.undecided_band is not None
    assert second.undecided_band is None


def test_it_is_deterministic() -> None:
    """The same matrix, the same gate, to the last digit."""
    matrix = signal_matrix(90, questions={"a": 1.0, "b": 0.5}, embedding=1.0)
    assert compiled(matrix).settings == compiled(matrix).settings


def test_threshold_comes_from_drafts_that_chose_nothing_else() -> None:
    """With enough of them set aside it is certified; without it says how many are missing."""
    matrix = signal_matrix(400, questions={"q": 2.0})
    calibration_set = hold_out_for_threshold(list(matrix.drafts), 0.1, seed=0)
    gate = compiled(matrix, calibration_set=calibration_set)
    assert gate.threshold.certified
    assert not {d.case.id for d in gate.drafts} & {d.case.id for d in calibration_set}
    few = signal_matrix(40, questions={"q": 2.0})
    assert hold_out_for_threshold(list(few.drafts), 0.1, seed=0) == []
    assert compiled(few).threshold.missing > 0


def test_too_few_labels_are_refused() -> None:
    """And it is said how many it takes."""
    with pytest.raises(InputError, match="at least 4 of either kind"):
        compiled(signal_matrix(6, questions={"q": 1.0}))
    matrix = signal_matrix(40, questions={"q": 1.0})
    same = [replace(draft, case=draft.case.model_copy(update={"pair": "one"})) for draft in matrix.drafts]
    with pytest.raises(InputError, match="too few to learn from"):
        compiled(replace(matrix, drafts=tuple(same)))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.long
def test_what_questions_cost_is_what_they_cost_in_the_gate(seed: int) -> None:
    """Folds may choose other questions than all rows do: the cascade goes by the latter."""
    names = {f"q{i}": 0.3 for i in range(6)}
    matrix = signal_matrix(40, questions=names, embedding=0.5, seed=seed)
    mixed = tuple(q.model_copy(update={"framing": "foreign" if i % 2 else "own"}) for i, q in enumerate(matrix.questions))
    gate = compiled(replace(matrix, questions=mixed))
    asked = [signal for stage in gate.settings.stages for signal in stage.signals if isinstance(signal, Question)]
    told = next(one for one in gate.alone if one.kind == "questions")
    if told.kept:
        assert told.tokens == 20.0 * len(asked)


def test_the_threshold_allows_for_the_windows_of_long_answers() -> None:
    """A long aligned answer is as doubtful as its worst window, and no window is a draft of its own in any figure."""
    matrix = signal_matrix(questions={"q": 3.0})
    rng = np.random.default_rng(1)
    aligned = [i for i, draft in enumerate(matrix.drafts) if not draft.misaligned]
    parts = tuple(replace(matrix.drafts[i], window=True) for i in aligned for _ in range(8))
    values = np.vstack([matrix.values, rng.normal(size=(len(parts), 1))])
    long = replace(matrix, drafts=(*matrix.drafts, *parts), values=values)
    before, after = compiled(matrix, words=False), compiled(long, words=False)
    assert [draft.window for draft in after.drafts] == [False] * len(matrix.drafts)
    assert len(after.probabilities) == len(after.sample_weight) == len(matrix.drafts)
    scores = dict.fromkeys((draft.case.id for draft in after.drafts), 0.0)
    for draft, score in zip(long.drafts, probabilities(after.settings, long), strict=True):
        scores[draft.case.id] = max(scores[draft.case.id], score)
    flagged = [scores[matrix.drafts[i].case.id] >= after.settings.threshold for i in aligned]
    assert sum(flagged) / len(flagged) <= 0.15
    assert after.settings.threshold > before.settings.threshold
