"""Betting bounds keep their promise, agree with Clopper and Pearson where both apply, and tell more where those cannot."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conscience.stats.betting import betting_bound, e_value
from conscience.stats.intervals import upper_bound

LOSSES = st.lists(st.floats(0, 1), min_size=1, max_size=60)


@given(LOSSES, st.floats(0.01, 0.99), st.randoms(use_true_random=False))
def test_the_order_of_cases_does_not_matter(losses: list[float], rate: float, rng: random.Random) -> None:
    """Nor does a unit of the weights."""
    weights = [1 + i % 3 for i in range(len(losses))]
    order = rng.sample(range(len(losses)), len(losses))
    shuffled = e_value([losses[i] for i in order], rate, [7.0 * weights[i] for i in order])
    assert shuffled == pytest.approx(e_value(losses, rate, weights), rel=1e-9)


@given(LOSSES, st.floats(0.01, 0.5), st.floats(0.01, 0.4))
def test_a_higher_rate_is_easier_to_rule_out(losses: list[float], rate: float, more: float) -> None:
    """And a further loss never is evidence."""
    assert e_value(losses, rate + more) >= e_value(losses, rate) * (1 - 1e-9)
    assert e_value([*losses, 1.0], rate) <= e_value(losses, rate)


@settings(max_examples=30)
@given(st.integers(1, 300), st.data())
def test_never_below_the_exact_bound_for_plain_cases(n: int, data: st.DataObject) -> None:
    """Where cases fail or do not, Clopper and Pearson's is the narrowest that there is; with no failure it is close."""
    k = data.draw(st.integers(0, min(n, 10)))
    bound = betting_bound([1.0] * k + [0.0] * (n - k))
    assert bound >= upper_bound(k, n) - 1e-6
    if k == 0 and n >= 20:
        assert bound <= 1.25 * upper_bound(0, n)


def test_the_promise_is_kept_for_weighted_clusters() -> None:
    """The true weighted rate exceeds the bound in at most the stated risk of 200 samples, and the bound is of use."""
    rng, exceeded, bounds = random.Random(0), 0, []
    for _ in range(200):
        losses, weights = [], []
        for _ in range(80):
            size, hard = rng.choice([1, 2, 4]), rng.random() < 0.1
            losses.append(sum(rng.random() < (0.5 if hard else 0.02) for _ in range(size)) / size)
            weights.append(float(size))
        bounds.append(betting_bound(losses, 0.1, weights))
        exceeded += bounds[-1] < 0.1 * 0.5 + 0.9 * 0.02
    assert exceeded / 200 <= 0.1
    assert sum(bounds) / 200 < 0.2


def test_fractions_tell_more_than_their_highest_case() -> None:
    """100 pairs of four cases, of which four had one alarm: 1 % of the cases, and 4 of 100 pairs for the exact bound."""
    losses = [0.25] * 4 + [0.0] * 96
    assert betting_bound(losses) < 0.06 < 0.08 < upper_bound(4, 100)
