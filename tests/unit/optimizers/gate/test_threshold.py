"""Thresholds keep what they promise, on recorded scores and on any."""

from __future__ import annotations

import json
import math
import random
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience.cases.case import Case
from conscience.optimizers.feasibility import foreseen
from conscience.optimizers.gate.threshold import certified, estimated, needed, without_idle_alarms
from conscience.stats.intervals import upper_bound
from tests.conftest import ROOT

RECORDED = json.loads((ROOT / "tests" / "recorded" / "scores.json").read_text())
SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5, 0.9, 0.999999]) | st.floats(0, 0.999999), max_size=150)


@pytest.mark.parametrize(("target", "risk"), [(0.05, 0.05), (0.1, 0.05), (0.1, 0.2)])
def test_certified_threshold_keeps_its_promise_over_200_splits(target: float, risk: float) -> None:
    """The share of splits whose false positive rate on the other half exceeds the target is at most the stated risk.

    The other half is a sample too, so a split counts as a failure only against the rate of all scores, the truth here.
    """
    aligned = RECORDED["aligned"]
    failures, flagging = 0, 0
    for seed in range(200):
        drawn = random.Random(seed).choices(aligned, k=150)
        threshold = certified(drawn, target, confidence=1 - risk)
        assert threshold.certified
        true = sum(score >= threshold.value for score in aligned) / len(aligned)
        failures += true > target
        flagging += true > target / 4
    assert failures / 200 <= risk
    assert flagging > 100, "a threshold that flags next to nothing would keep any promise"


def test_estimated_threshold_is_right_on_average() -> None:
    """Over 400 small samples, the mean true rate is at most the target, and not far below it."""
    aligned = RECORDED["aligned"]
    rates = []
    for seed in range(400):
        threshold = estimated(random.Random(seed).choices(aligned, k=59), 0.1)
        assert not threshold.certified
        rates.append(sum(score >= threshold.value for score in aligned) / len(aligned))
    assert 0.06 <= sum(rates) / len(rates) <= 0.105


def test_estimated_threshold_is_right_on_average_for_weighted_cases() -> None:
    """Doubtful cases are drawn ten times as often, and count a tenth: the rate is that of all cases, not of the sample."""
    aligned = RECORDED["aligned"]
    doubtful = sorted(aligned)[-len(aligned) // 5 :]
    rates = []
    for seed in range(80):
        rng = random.Random(seed)
        drawn = [(score, 1.0) for score in rng.choices(doubtful, k=40)]
        drawn += [(score, 10.0) for score in rng.choices(sorted(aligned)[: -len(aligned) // 5], k=16)]
        threshold = estimated([score for score, _ in drawn], 0.1, weights=[weight for _, weight in drawn])
        rates.append(sum(score >= threshold.value for score in aligned) / len(aligned))
    assert 0.06 <= sum(rates) / len(rates) <= 0.12


@given(SCORES, st.floats(0.01, 0.5))
def test_ties_fall_on_the_safe_side(scores: list[float], target: float) -> None:
    """No more alarms than the certificate counts, however many scores are the same."""
    threshold = certified(scores, target)
    assert sum(score >= threshold.value for score in scores) == threshold.alarms
    assert 0 <= threshold.value <= 1
    if threshold.certified:
        assert upper_bound(threshold.alarms, len(scores), 0.05) <= target + 1e-9
    else:
        assert threshold.missing > 0


@given(SCORES, st.floats(0.02, 0.4), st.floats(0.0, 0.3))
def test_a_laxer_target_never_raises_the_threshold(scores: list[float], target: float, more: float) -> None:
    """Monotone in the target, where both are certified."""
    strict, lax = certified(scores, target), certified(scores, target + more)
    if strict.certified:
        assert lax.certified
        assert lax.value <= strict.value


def test_needed_cases_are_those_of_the_tables() -> None:
    """ln(.05)/ln(1−target), rounded up; 93 with one alarm."""
    assert (needed(0.05), needed(0.1), needed(0.01), needed(0.05, alarms=1)) == (59, 29, 299, 93)


def test_too_few_cases_are_said_to_be() -> None:
    """And how many more it takes: 93 are set aside, and as many teach the gate. It is what is foreseen, too."""
    threshold = certified([0.1] * 40, 0.05)
    assert (threshold.certified, threshold.missing) == (False, 146)
    (said,) = foreseen([Case(id=f"c{i}", request="q", response=f"r{i}", label="aligned") for i in range(40)], 0.05)[-1:]
    assert f"that takes {40 + threshold.missing} independent aligned drafts" in said
    assert estimated([0.1] * 185, 0.05).missing == 1


def test_cases_of_a_pair_are_one_witness() -> None:
    """Whether the highest stands for it, as where pairs are rare, or their shares of alarms are weighed."""
    few = [0.1 + i / 1000 for i in range(59)]
    assert certified([*few, 0.1, 0.1], 0.05, pairs=[*range(59), 3, 4]).n == 59
    scores = [score for i in range(70) for score in (0.1, 0.1 + i / 1000)]
    assert certified(scores, 0.05, pairs=[i for i in range(70) for _ in range(2)]).n == 70


@pytest.mark.parametrize("weighted", [False, True])
def test_a_certificate_by_betting_keeps_its_promise(weighted: bool) -> None:
    """Pairs of four that share their difficulty, and cases that count unequally: the true rate of the threshold, on a large
    sample of the same kind, exceeds the target in at most the stated risk of 60 samples."""

    def drawn(count: int, rng: random.Random) -> tuple[list[float], list[int], list[float]]:
        scores, pairs, weights = [], [], []
        for pair in range(count):
            level = rng.gauss(0, 1)
            for _ in range(1 if weighted else 4):
                scores.append(1 / (1 + math.exp(-level - rng.gauss(0, 1))))
                pairs.append(pair)
                weights.append(3.0 if weighted and level > 0 else 1.0)
        return scores, pairs, weights

    everything, _, all_weights = drawn(10_000, random.Random(-1))
    rates, total = [], 0.0
    for _, weight in sorted(zip(everything, all_weights, strict=True), reverse=True):
        rates.append(total := total + weight)
    ordered = sorted(everything)
    exceeded, flagging = 0, 0
    for seed in range(60):
        scores, pairs, weights = drawn(100, random.Random(seed))
        threshold = certified(scores, 0.1, pairs=pairs, weights=weights)
        assert threshold.certified
        flagged = len(ordered) - bisect_left(ordered, threshold.value)
        true = rates[flagged - 1] / total if flagged else 0.0
        exceeded += true > 0.1
        flagging += true > 0.01
    assert exceeded / 60 <= 0.05
    assert flagging > 25


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=60), st.lists(st.floats(0.01, 0.99), max_size=60))
def test_alarms_that_catch_nothing_are_spared(aligned: list[float], misaligned: list[float]) -> None:
    """The threshold is never lower, and what it caught it still catches."""
    threshold = estimated(aligned, 0.1)
    spared = without_idle_alarms(threshold, aligned, misaligned)
    assert spared.value >= threshold.value
    assert spared.alarms <= threshold.alarms
    for score in misaligned:
        assert (score >= spared.value) == (score >= threshold.value)
    assert without_idle_alarms(estimated([0.1, 0.2] * 20, 0.1), [0.1, 0.2] * 20, [0.8, 0.9]).value == pytest.approx(0.5)
