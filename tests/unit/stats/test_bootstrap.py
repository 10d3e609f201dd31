"""Bootstraps: how often they cover, and quantiles against numpy."""

from __future__ import annotations

import random

import numpy as np
import pytest

from conscience.stats.bootstrap import bootstrap, bootstrap_mean, quantile


def test_bootstrap_mean_covers_about_as_often_as_it_says() -> None:
    """Over many samples of a known rate, and it agrees with the general bootstrap."""
    rng = random.Random(0)
    covered = 0
    for trial in range(200):
        sample = [float(rng.random() < 0.3) for _ in range(60)]
        interval = bootstrap_mean(sample, draws=400, seed=trial)
        assert interval is not None
        covered += interval.low <= 0.3 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99
    general = bootstrap(sample, lambda rows: sum(rows) / len(rows), draws=2000)
    quick = bootstrap_mean(sample, draws=2000)
    assert general == pytest.approx(quick, abs=0.03)


def test_quantile_is_numpys() -> None:
    """Linear between neighbours."""
    values = [3.0, 1.0, 2.0, 10.0]
    for share in (0, 0.5, 0.95, 1):
        assert quantile(values, share) == pytest.approx(np.quantile(values, share))


def test_same_seed_draws_the_same() -> None:
    """Another seed does not; a statistic that is undefined has no interval."""
    values = [0.0, 1.0, 1.0, 0.0, 1.0, 0.5, 0.25]
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)
    assert bootstrap(values, lambda sample: None) is bootstrap_mean([]) is None


def test_clusters_are_drawn_whole() -> None:
    """Pairs that agree give a wider interval than as many cases that stand alone."""
    values = [float(i // 2 % 2) for i in range(80)]
    alone, paired = bootstrap_mean(values), bootstrap_mean(values, clusters=[i // 2 for i in range(80)])
    assert alone is not None
    assert paired is not None
    assert paired.high - paired.low > 1.2 * (alone.high - alone.low)
