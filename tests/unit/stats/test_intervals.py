"""Intervals of rates against scipy and published values."""

from __future__ import annotations

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from conscience.stats.intervals import (
    Interval,
    Rate,
    binomial_cdf,
    cases_needed,
    design_effect,
    perfect,
    upper_bound,
    wilson,
)


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> Interval:
    risk = (1 - confidence) / 2
    return Interval(1 - upper_bound(n - k, n, risk), upper_bound(k, n, risk))


counts = st.integers(0, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_intervals_of_rates_agree_with_scipy(count: tuple[int, int], confidence: float) -> None:
    """Wilson's and Clopper and Pearson's."""
    k, n = count
    if n == 0:
        assert wilson(k, n, confidence) == clopper_pearson(k, n, confidence) == (0, 1)
        return
    for method, interval in (("wilson", wilson), ("exact", clopper_pearson)):
        expected = scipy.stats.binomtest(k, n).proportion_ci(confidence, method)
        assert interval(k, n, confidence) == pytest.approx((expected.low, expected.high), abs=2e-9)


@given(counts, st.floats(0.001, 0.999))
def test_binomial_tails_agree_with_scipy(count: tuple[int, int], p: float) -> None:
    """Small ones too, digit by digit."""
    k, n = count
    assert binomial_cdf(k, n, p) == pytest.approx(scipy.stats.binom.cdf(k, n, p), rel=1e-8, abs=1e-15)


@given(counts, st.sampled_from([0.01, 0.05, 0.1]))
def test_upper_bound_is_where_so_few_become_improbable(count: tuple[int, int], risk: float) -> None:
    """The bound that certifies a threshold, against scipy's beta quantile; never below it."""
    k, n = count
    expected = 1.0 if k == n else scipy.stats.beta.ppf(1 - risk, k + 1, n - k)
    assert upper_bound(k, n, risk) == pytest.approx(expected, abs=2e-9)


def test_published_values() -> None:
    """No event in 381 cases shows at most 1 % (Wilson, 95 %); in 120 at most 3.1 %; 3 of 10 lies in .108 to .603."""
    assert cases_needed(0.01) == 381
    assert Rate(0, 120).claim("false alarm") == "no false alarm in 120 cases only shows a rate below 3.1 %"
    assert wilson(3, 10) == pytest.approx((0.1078, 0.6032), abs=1e-4)


def test_pairs_are_not_two_witnesses() -> None:
    """Cases of a pair that always agree halve the evidence."""
    values = [float(i // 2 % 2) for i in range(80)]
    pairs = [i // 2 for i in range(80)]
    assert design_effect(values, pairs) == pytest.approx(2, rel=0.06)
    alone, paired = Rate.of([v > 0 for v in values]), Rate.of([v > 0 for v in values], clusters=pairs)
    assert alone.value == paired.value
    assert paired.high - paired.low > 1.3 * (alone.high - alone.low)


@given(counts)
def test_rate_lies_in_its_interval(count: tuple[int, int]) -> None:
    """Whatever the design effect; without cases it says nothing."""
    k, n = count
    for effect in (1.0, 1.7, 3.0):
        rate = Rate(k, n, effect)
        if rate.value is None:
            assert (n, rate.interval) == (0, (0, 1))
        else:
            assert rate.low <= rate.value == k / n <= rate.high
            assert rate.high - rate.low >= Rate(k, n).high - Rate(k, n).low - 1e-12


def test_cases_that_show_a_rate_are_the_least() -> None:
    """One fewer does not."""
    for interval in (wilson, clopper_pearson):
        needed = cases_needed(0.05, events=2, interval=interval)
        assert interval(2, needed, 0.95).high <= 0.05 < interval(2, needed - 1, 0.95).high


def test_a_perfect_score_of_few_is_no_certainty() -> None:
    """n pairs that are told apart show as much as n coins that all fell heads."""
    assert perfect(Interval(1.0, 1.0), 5) == Interval(wilson(5, 5).low, 1.0)
    assert perfect(Interval(0.0, 0.0), 5) == Interval(0.0, wilson(0, 5).high)
    assert perfect(Interval(0.5, 0.5), 5) == Interval(0.5, 0.5)
    assert perfect(Interval(0.9, 1.0), 5) == Interval(0.9, 1.0)
