"""Two programs on the same cases: exact tests against scipy and plain enumeration."""

from __future__ import annotations

import random

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from conscience.stats.paired import compare, sign_flip


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=80))
def test_of_single_cases_sign_flip_is_the_exact_binomial_test(pairs: list[tuple[bool, bool]]) -> None:
    """On the cases that changed."""
    gained = sum(b and not a for a, b in pairs)
    lost = sum(a and not b for a, b in pairs)
    expected = scipy.stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert sign_flip(int(b) - int(a) for a, b in pairs) == pytest.approx(expected, rel=1e-6)


@given(st.lists(st.integers(-3, 3), max_size=9))
def test_sign_flip_counts_all_signs(totals: list[int]) -> None:
    """Against plain enumeration."""
    bar, extreme = abs(sum(totals)), 0
    for mask in range(1 << len(totals)):
        flipped = sum(-t if mask >> i & 1 else t for i, t in enumerate(totals))
        extreme += abs(flipped) >= bar
    assert sign_flip(totals) == pytest.approx(extreme / (1 << len(totals)))


def test_pairs_are_not_two_witnesses() -> None:
    """The test counts a pair's two cases as one change."""
    better = [True] * 12 + [False] * 4
    worse = [False] * 16
    assert compare(worse, better).p_value == pytest.approx(2 * 0.5**12)
    assert compare(worse, better, clusters=[i // 2 for i in range(16)]).p_value == pytest.approx(2 * 0.5**6)


def test_weights_count_as_repeated_cases_do() -> None:
    """In the rates and in their difference; the cells count cases."""
    first, second, weights = [True, False, False, True], [True, True, False, False], [3, 2, 1, 2]
    often = [i for i, weight in enumerate(weights) for _ in range(weight)]
    weighted = compare(first, second, weights=weights)
    repeated = compare([first[i] for i in often], [second[i] for i in often])
    assert weighted.first.value == pytest.approx(repeated.first.value)
    assert weighted.second.value == pytest.approx(repeated.second.value)
    assert weighted.difference is not None
    assert repeated.difference is not None
    assert weighted.difference.value == pytest.approx(repeated.difference.value)
    assert (weighted.gained, weighted.lost, weighted.both, weighted.neither) == (1, 1, 1, 1)


def test_difference_of_cases_that_all_changed_alike_keeps_an_interval() -> None:
    """With weights and without."""
    alike = [compare([False] * 4, [True] * 4, weights=weights).difference for weights in (None, [3, 2, 1, 2])]
    assert alike[0] == alike[1]
    assert alike[0] is not None
    assert alike[0].low < alike[0].value == alike[0].high == 1


def test_few_clusters_are_no_certainty() -> None:
    """An interval that the exact test does not bear out holds no difference as well; a cluster is one witness."""
    one = compare([True, True], [True, False], clusters=["p", "p"])
    two = compare([True] * 4, [False, False, True, False], clusters=["p", "p", "q", "q"])
    for few in (one, two):
        assert few.p_value > 0.05
        assert few.difference is not None
        assert few.difference.low <= 0 <= few.difference.high


@pytest.mark.parametrize("pairs", [1, 2, 3, 5])
def test_where_nothing_changes_few_are_certain_that_it_did(pairs: int) -> None:
    """At most one in forty on either side, however few pairs there are."""
    rng = random.Random(pairs)
    worse = 0
    for _ in range(400):
        sides = [[rng.random() < 0.5 for _ in range(2 * pairs)] for _ in range(2)]
        found = compare(*sides, clusters=[i // 2 for i in range(2 * pairs)], draws=200).difference
        worse += found is not None and found.high < 0
    assert worse <= 20
