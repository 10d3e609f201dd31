"""Cases that are counted: the same figures as of cases one by one, exact or within what is said."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience.stats.bootstrap import quantile
from conscience.stats.cases import Corrected, Reviewed
from conscience.stats.figures import correction_figures, reviewer_figures
from conscience.stats.intervals import Interval, Rate
from conscience.stats.streaming import scores
from conscience.stats.streaming.counted import CountedCorrections, CountedTexts
from conscience.stats.streaming.quantiles import WIDTH, Quantiles
from conscience.stats.streaming.sample import Sample
from conscience.stats.streaming.sums import ExactSum

PROBABILITIES = st.floats(0, 1) | st.sampled_from([0.0, 0.5, 1.0, 1e-300])
TEXTS = st.lists(
    st.builds(
        Reviewed,
        st.none() | PROBABILITIES,
        st.booleans(),
        st.booleans(),
        st.none() | st.sampled_from("ab"),
        st.sampled_from([1.0, 2.0, 0.25]),
    )
)
CHANGES = st.lists(
    st.builds(
        Corrected,
        st.booleans(),
        st.booleans(),
        st.sampled_from([None, True, False]),
        st.booleans(),
        st.booleans(),
        st.none(),
        st.sampled_from([1.0, 0.1]),
    )
)


def texts_of(cases: list[Reviewed]) -> CountedTexts:
    counted = CountedTexts()
    for case in cases:
        counted.append(case)
    return counted


def changes_of(cases: list[Corrected]) -> CountedCorrections:
    counted = CountedCorrections()
    for case in cases:
        counted.append(case)
    return counted


def many(n: int, *, pairs: bool, seed: int = 0) -> list[Reviewed]:
    """Texts of a reviewer that is right more often than not; those of a pair have much in common."""
    rng, cases = random.Random(seed), []
    for number in range(n):
        if not (pairs and number % 2):
            wrong, shift = rng.random() < 0.3, rng.gauss(0, 1)
        score = 1 / (1 + math.exp(-(shift + rng.gauss(0, 0.5) + wrong)))
        cases.append(Reviewed(score, score > 0.6, wrong, f"p{number // 2}" if pairs else None))
    return cases


@given(st.lists(st.floats(-1e300, 1e300)))
def test_a_sum_is_rounded_once(values: list[float]) -> None:
    """As with fractions, in any order."""
    total = ExactSum()
    for value in values:
        total.add(value)
    assert float(total) == math.fsum(values) == float(sum(map(Fraction, values)))


@given(TEXTS)
def test_texts_that_are_counted_have_the_same_figures(cases: list[Reviewed]) -> None:
    """All but intervals: those of clusters are from blocks, and the bootstrap's are drawn."""
    listed, counted = reviewer_figures(cases, bootstrapped=False), reviewer_figures(texts_of(cases))
    for name in ("n", "misaligned", "roc", "recall_at_fpr_1", "recall_at_fpr_5"):
        assert getattr(counted, name) == getattr(listed, name), name
    for name in ("auroc", "brier", "ece"):
        assert getattr(counted, name) == pytest.approx(getattr(listed, name), abs=1e-9), name
    for name in ("recall", "fpr", "precision", "accuracy"):
        mine, theirs = getattr(counted, name), getattr(listed, name)
        assert (mine.k, mine.n, mine.value) == (theirs.k, theirs.n, theirs.value), name
    assert [b.count for b in counted.reliability] == [b.count for b in listed.reliability]


@given(CHANGES)
def test_corrections_that_are_counted_have_the_same_figures(cases: list[Corrected]) -> None:
    """Rates with their intervals, flips and refusals to the last bit where every case stands alone."""
    listed, counted = correction_figures(cases, bootstrapped=False), correction_figures(changes_of(cases))
    assert counted.net_benefit == pytest.approx(listed.net_benefit, abs=1e-12)
    same = {"net_benefit": None, "net_benefit_interval": None}
    assert replace(counted, **same) == replace(listed, **same)


@pytest.mark.parametrize("pairs", [False, True])
def test_intervals_are_as_wide_as_those_that_are_drawn(pairs: bool) -> None:
    """By cluster: pairs whose texts are alike widen them."""
    cases = many(1200, pairs=pairs)
    listed, counted = reviewer_figures(cases), reviewer_figures(texts_of(cases))
    assert width(counted.auroc_interval) == pytest.approx(width(listed.auroc_interval), rel=0.25)
    assert counted.fpr.design_effect == pytest.approx(listed.fpr.design_effect, rel=0.2)
    assert counted.recall.design_effect == pytest.approx(listed.recall.design_effect, rel=0.2)
    changes = [Corrected(not c.misaligned, c.flagged or not c.misaligned, pair=c.pair) for c in cases]
    drawn, normal = correction_figures(changes), correction_figures(changes_of(changes))
    assert width(normal.net_benefit_interval) == pytest.approx(width(drawn.net_benefit_interval), rel=0.25)


def width(interval: Interval | None) -> float:
    assert interval is not None
    return interval.high - interval.low


def test_a_rate_of_none_counts_a_cluster_once() -> None:
    """No false alarm in pairs tells as much as in half as many cases."""
    cases = [Reviewed(0.1, False, False, f"p{number // 2}") for number in range(8000)]
    assert reviewer_figures(texts_of(cases)).fpr.design_effect == pytest.approx(2, rel=0.25)


def test_auroc_of_many_probabilities_is_as_exact_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounded to log-odds; the error is small, and holds."""
    monkeypatch.setattr(scores, "MOST", 100)
    cases = many(3000, pairs=False)
    exact, counted = reviewer_figures(cases, bootstrapped=False).auroc, texts_of(cases)
    assert exact is not None
    assert counted.auroc is not None
    assert abs(counted.auroc - exact) <= counted.auroc_error < 0.002
    assert texts_of([Reviewed(0.5, True, True), Reviewed(0.5, True, False)]).auroc_error == 0


@pytest.mark.parametrize("make", [lambda: many(500, pairs=True), lambda: many(500, pairs=False)])
def test_the_order_of_cases_does_not_matter(make: Callable[[], list[Reviewed]]) -> None:
    """To the last bit, with weights that binary fractions cannot hold."""
    cases = [replace(case, weight=0.1 * (1 + n % 7)) for n, case in enumerate(make())]
    shuffled = random.Random(1).sample(cases, len(cases))
    one, other = (reviewer_figures(texts_of(listed)) for listed in (cases, shuffled))
    assert (one.auroc, one.auroc_interval, one.brier, one.fpr) == (other.auroc, other.auroc_interval, other.brier, other.fpr)


@given(st.lists(st.floats(1e-6, 1e9) | st.floats(-1e9, -1e-6) | st.just(0.0), min_size=1), st.floats(0, 1))
def test_a_quantile_is_near(values: list[float], share: float) -> None:
    """Of a value that is there, within half of a percent."""
    counted = Quantiles()
    for value in values:
        counted.append(value)
    assert len(counted) == len(values)
    below = sorted(values)[math.floor(share * (len(values) - 1))]
    assert counted.quantile(share) == pytest.approx(below, rel=WIDTH, abs=1e-9)
    assert Quantiles().quantile(share) is quantile([], share) is None


@given(st.lists(st.tuples(st.text(), st.sampled_from([0.0, 1.0])), unique_by=lambda entry: entry[0]), st.randoms())
def test_a_sample_is_the_same_in_any_order(entries: list[tuple[str, float]], rng: Any) -> None:
    """Those of a higher rank first."""

    def drawn(listed: list[tuple[str, float]]) -> list[str]:
        sample = Sample[str](5)
        for name, rank in listed:
            sample.add(name, name, rank=rank)
        return [*sample]

    kept = drawn(entries)
    assert drawn(rng.sample(entries, len(entries))) == kept
    assert len(kept) == min(5, len(entries))
    assert sum(dict(entries)[name] for name in kept) == min(5, sum(rank for _, rank in entries))


def test_rates_of_nothing_are_no_cases() -> None:
    """As of no list."""
    assert reviewer_figures(CountedTexts()).recall == Rate(0, 0)
    assert correction_figures(CountedCorrections()).net_benefit is None
