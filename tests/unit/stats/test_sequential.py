"""Tests valid at any time: fair games, no matter how often one looks, and quick to find a late change."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience.stats.sequential import ExchangeabilityTest, RateTest

HITS = st.lists(st.booleans(), max_size=60)
WEIGHTS = st.sampled_from([1.0, 0.3, 0.02])


@given(st.floats(0.001, 0.999), st.lists(st.tuples(st.booleans(), WEIGHTS), max_size=40), WEIGHTS)
def test_the_next_bet_is_fair(rate: float, events: list[tuple[bool, float]], weight: float) -> None:
    """At the rate in question the evidence is as large after the next event, on average, as before it."""
    both = [RateTest(rate), RateTest(rate)]
    for hit, of_event in events:
        for test in both:
            test.observe(hit, of_event)
    before = both[0].e_value
    for hit, test in zip((True, False), both, strict=True):
        test.observe(hit, weight)
    assert rate * both[0].e_value + (1 - rate) * both[1].e_value == pytest.approx(before, rel=1e-9)
    assert both[0].e_value >= before >= both[1].e_value > 0


def test_a_rate_that_is_kept_raises_no_alarm_however_often_one_looks() -> None:
    """Looked at after each of 400 events, in 400 runs, at the rate itself: as seldom as promised."""
    alarms = 0
    for seed in range(400):
        rng, test = random.Random(seed), RateTest(0.1)
        highest = 0.0
        for _ in range(400):
            test.observe(rng.random() < 0.1)
            highest = max(highest, test.e_value)
        alarms += highest >= 10
    assert alarms / 400 <= 0.1


@pytest.mark.parametrize("before", [0, 600, 20_000])
def test_a_late_change_is_found_nearly_as_soon_as_an_early_one(before: int) -> None:
    """From 2 % to 30 % where 5 % are allowed; since when, is told to within 30 events."""
    found, onsets = [], []
    for seed in range(5):
        rng, test = random.Random(seed), RateTest(0.05)
        for _ in range(before):
            test.observe(rng.random() < 0.02)
        assert test.e_value < 20
        while test.e_value < 80:
            test.observe(rng.random() < 0.3)
        found.append(test.n - before)
        onsets.append(test.onset - before)
    assert sorted(found)[2] <= 80
    assert abs(sorted(onsets)[2]) <= 30


def test_evidence_has_an_end() -> None:
    """No overflow, whatever comes."""
    test = RateTest(0.001)
    for _ in range(2000):
        test.observe(True)
    assert test.e_value < float("inf")
    with pytest.raises(ValueError, match="between 0 and 1"):
        RateTest(1.0)


@pytest.mark.parametrize("scores", ["one", "two", "normal", "whole numbers"])
def test_what_goes_on_as_it_began_raises_no_alarm(scores: str) -> None:
    """Whatever the distribution, ties included."""
    draw = {
        "one": lambda rng, n: 0.5,
        "two": lambda rng, n: rng.choice([-3.0, 2.0]),
        "normal": lambda rng, n: rng.gauss(0, 2),
        "whole numbers": lambda rng, n: round(rng.expovariate(1)) / 1.0,
    }[scores]
    alarms = 0
    for seed in range(40):
        rng, test = random.Random(seed), ExchangeabilityTest()
        highest = 0.0
        for n in range(300):
            test.observe(draw(rng, n), rng.random())
            highest = max(highest, test.e_value)
        alarms += highest >= 20
    assert alarms <= 2


@pytest.mark.parametrize("shift", [2.0, -2.0])
def test_a_shift_of_the_scores_is_found_without_knowing_what_they_were(shift: float) -> None:
    """Within 60 scores, 300 after the log began."""
    for seed in range(5):
        rng, test = random.Random(seed), ExchangeabilityTest()
        for _ in range(300):
            test.observe(rng.gauss(0, 1.5), rng.random())
        assert test.e_value < 20
        for _ in range(60):
            test.observe(rng.gauss(shift, 1.5), rng.random())
        assert test.e_value >= 80
