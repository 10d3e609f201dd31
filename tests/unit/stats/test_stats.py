"""Figures and intervals against scipy, scikit-learn, published values, and their own definitions."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from conscience.stats.bootstrap import bootstrap, bootstrap_mean, quantile
from conscience.stats.intervals import Rate, binomial_cdf, cases_needed, clopper_pearson, design_effect, upper_bound, wilson
from conscience.stats.metrics import Corrected, Reviewed, auroc, brier, correction, ece, recall_at, reviewer, worst, worth_it
from conscience.stats.paired import compare, mcnemar, sign_flip
from conscience.stats.tfidf import fit, lexical_baseline_auroc, stratified_group_folds

counts = st.integers(0, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
scores = st.lists(st.floats(0, 1), min_size=1, max_size=60)


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


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=80))
def test_mcnemar_is_the_exact_binomial_test(pairs: list[tuple[bool, bool]]) -> None:
    """On the cases that changed."""
    gained = sum(b and not a for a, b in pairs)
    lost = sum(a and not b for a, b in pairs)
    expected = scipy.stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar([a for a, _ in pairs], [b for _, b in pairs]) == pytest.approx(expected, rel=1e-6)


@given(st.lists(st.integers(-3, 3), max_size=9))
def test_sign_flip_counts_all_signs(totals: list[int]) -> None:
    """Against plain enumeration."""
    bar, extreme = abs(sum(totals)), 0
    for mask in range(1 << len(totals)):
        flipped = sum(-t if mask >> i & 1 else t for i, t in enumerate(totals))
        extreme += abs(flipped) >= bar
    assert sign_flip(totals) == pytest.approx(extreme / (1 << len(totals)))


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


def test_pairs_are_not_two_witnesses() -> None:
    """Cases of a pair that always agree halve the evidence; the comparison says so too."""
    values = [float(i // 2 % 2) for i in range(80)]
    pairs = [i // 2 for i in range(80)]
    assert design_effect(values, pairs) == pytest.approx(2, rel=0.06)
    alone, paired = Rate.of([v > 0 for v in values]), Rate.of([v > 0 for v in values], clusters=pairs)
    assert paired.high - paired.low > 1.3 * (alone.high - alone.low)
    better = [True] * 12 + [False] * 4
    worse = [False] * 16
    assert compare(worse, better).p_value == pytest.approx(2 * 0.5**12)
    assert compare(worse, better, clusters=[i // 2 for i in range(16)]).p_value == pytest.approx(2 * 0.5**6)


def test_weights_count_as_repeated_cases_do() -> None:
    """In the rates of a comparison, in their difference and in the floor; the cells count cases."""
    first, second, weights = [True, False, False, True], [True, True, False, False], [3, 2, 1, 2]
    often = [i for i, weight in enumerate(weights) for _ in range(weight)]
    told = compare(first, second, weights=weights)
    repeated = compare([first[i] for i in often], [second[i] for i in often])
    assert told.first.value == pytest.approx(repeated.first.value)
    assert told.second.value == pytest.approx(repeated.second.value)
    assert told.difference is not None
    assert repeated.difference is not None
    assert told.difference.value == pytest.approx(repeated.difference.value)
    assert (told.gained, told.lost) == (1, 1)
    alike = [compare([False] * 4, [True] * 4, weights=given).difference for given in (None, weights)]
    assert alike[0] == alike[1]
    texts = [f"common {'bad' if i % 2 and i % 7 else 'good'} number{i}" for i in range(60)]
    labels = [i % 2 for i in range(60)]
    plain = lexical_baseline_auroc(texts, labels, range(60))
    without = lexical_baseline_auroc(
        texts, labels, range(60), weights=[1e-9 if i % 2 and not i % 7 else 1.0 for i in range(60)]
    )
    assert plain is not None
    assert plain < 0.95
    assert without == pytest.approx(1.0)


def test_quantile_is_numpys() -> None:
    """Linear between neighbours."""
    values = [3.0, 1.0, 2.0, 10.0]
    for share in (0, 0.5, 0.95, 1):
        assert quantile(values, share) == pytest.approx(np.quantile(values, share))


@given(scores, scores)
def test_auroc_brier_agree_with_scikit_learn(positives: list[float], negatives: list[float]) -> None:
    """Ties counted half."""
    labels, values = [1] * len(positives) + [0] * len(negatives), [*positives, *negatives]
    assert auroc(positives, negatives) == pytest.approx(sklearn.metrics.roc_auc_score(labels, values))
    assert brier(positives, negatives) == pytest.approx(sklearn.metrics.brier_score_loss(labels, values, pos_label=1))


@given(scores, scores, st.sampled_from([0.0, 0.01, 0.05, 0.3, 1.0]))
def test_recall_at_a_false_positive_rate_by_enumeration(positives: list[float], negatives: list[float], fpr: float) -> None:
    """Over every threshold; one above all scores flags nothing."""
    best = 0.0
    for threshold in {*positives, *negatives}:
        if sum(s >= threshold for s in negatives) / len(negatives) <= fpr:
            best = max(best, sum(s >= threshold for s in positives) / len(positives))
    assert recall_at(positives, negatives, fpr) == pytest.approx(best)


@settings(max_examples=30)
@given(scores, scores)
def test_calibration_error_by_definition(positives: list[float], negatives: list[float]) -> None:
    """Ten bins, the last one closed."""
    values = np.array([*positives, *negatives])
    labels = np.array([1] * len(positives) + [0] * len(negatives))
    bins = np.minimum(9, (values * 10).astype(int))
    expected = sum(
        abs(values[bins == b].mean() - labels[bins == b].mean()) * (bins == b).mean() for b in range(10) if (bins == b).any()
    )
    assert ece(positives, negatives) == pytest.approx(expected)


def test_no_cases_no_figures() -> None:
    """None, never 0."""
    told, corrected = reviewer([]), correction([])
    assert told["auroc"] is told["recall"]["value"] is told["brier"] is told["ece"] is None
    assert corrected["net_benefit"] is corrected["ecr"]["value"] is corrected["worth_it"] is None
    assert worst([{"n": 3, "x": 0.1}], lambda g: g["x"]) is None


def test_figures_of_correction_by_hand() -> None:
    """4 right drafts of which 1 is spoiled, 6 wrong ones of which 3 are corrected."""
    rows = [Corrected(True, i > 0, safe=True, outcome_refused=i == 0) for i in range(4)]
    rows += [Corrected(False, i < 3, safe=False, outcome_refused=i < 3) for i in range(6)]
    found = correction(rows)
    assert found["draft_accuracy"]["value"] == 0.4
    assert found["self_correction_accuracy"]["value"] == 0.6
    assert (found["ecr"]["value"], found["eir"]["value"]) == (0.5, 0.25)
    assert found["net_benefit"] == pytest.approx(0.2)
    assert found["worth_it"] is True
    assert worth_it(3, 1, 6, 4) is ((3 / 6) / (1 / 4) > 0.4 / 0.6)
    assert found["refusals"]["safe"]["after"]["value"] == 0.25
    assert found["refusals"]["unsafe"]["before"]["value"] == 0


def test_weights_count() -> None:
    """A case of weight 3 counts three times."""
    rows = [Reviewed(0.9, True, True, weight=3.0), Reviewed(0.1, False, True)]
    assert reviewer(rows)["recall"]["value"] == pytest.approx(0.75)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.floats(0.1, 9)), min_size=1, max_size=40))
def test_weighted_auroc_agrees_with_scikit_learn(cases: list[tuple[float, bool, float]]) -> None:
    """As its sample weights do."""
    found = reviewer([Reviewed(score, True, bad, weight=weight) for score, bad, weight in cases])["auroc"]
    scores, labels, weights = zip(*cases, strict=True)
    if len(set(labels)) < 2:
        assert found is None
        return
    assert found == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores, sample_weight=weights))


def test_weighted_correction_by_hand() -> None:
    """One spoiled case of weight 9 outweighs two corrected ones of weight 1; what is drawn are numbers of cases."""
    found = correction([Corrected(True, False, weight=9.0), Corrected(False, True), Corrected(False, True)])
    accuracy = found["self_correction_accuracy"]["value"] - found["draft_accuracy"]["value"]
    assert found["net_benefit"] == pytest.approx(accuracy) == pytest.approx(-7 / 11)
    low, high = found["net_benefit_interval"]
    assert -1 <= low <= found["net_benefit"] <= high <= 1
    assert found["worth_it"] is False
    assert (found["flips"]["right_wrong"], found["flips"]["wrong_right"]) == (1, 2)


def test_words_tell_what_words_can_tell() -> None:
    """A telling word is found, cross-validated; without one the floor is near one half; pairs stay whole."""
    rng = random.Random(1)
    filler = [" ".join(rng.choices(["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta"], k=9)) for _ in range(120)]
    labels = [i % 2 for i in range(120)]
    telling = [f"{text} {'poison' if y else 'flowers'}" for text, y in zip(filler, labels, strict=True)]
    assert lexical_baseline_auroc(telling, labels, range(120)) == 1.0
    silent = lexical_baseline_auroc(filler, labels, range(120))
    assert silent is not None
    assert 0.3 < silent < 0.7
    parts = stratified_group_folds(labels, [i // 2 for i in range(120)], 5, 0)
    assert sorted(i for part in parts for i in part) == list(range(120))
    assert all(set(part) == {j for i in part for j in (i - i % 2, i - i % 2 + 1)} for part in parts)
    with pytest.raises(ValueError, match="both labels"):
        fit(["a b"], [1])


def test_words_fit_is_logistic_regression() -> None:
    """The optimum of the same objective as scikit-learn's, seen in the scores."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    rng = random.Random(2)
    words = [f"w{i}" for i in range(40)]
    texts = [" ".join(rng.choices(words[: 25 + 15 * (i % 2)], k=14)) for i in range(60)]
    labels = [i % 2 for i in range(60)]
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    x = vectors.fit_transform(texts)
    x = np.hstack([x.toarray(), np.ones((60, 1))])  # the bias is penalised with the rest
    model = LogisticRegression(C=10, fit_intercept=False, class_weight="balanced", max_iter=5000).fit(x, labels)
    ours = fit(texts, labels)
    assert [ours.score(text) for text in texts] == pytest.approx(list(model.decision_function(x)), abs=0.05)
    assert math.isfinite(ours.score("never seen"))
