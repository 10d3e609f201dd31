"""Surface words: what they can tell, and their fit against scikit-learn."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from conscience.stats.tfidf import fit, lexical_baseline_auroc, stratified_group_folds


def test_words_tell_what_words_can_tell() -> None:
    """A telling word is found, cross-validated; without one the baseline is near one half; pairs stay whole."""
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


def test_weights_count_in_the_baseline() -> None:
    """Texts of next to no weight do not lower it."""
    texts = [f"common {'bad' if i % 2 and i % 7 else 'good'} number{i}" for i in range(60)]
    labels = [i % 2 for i in range(60)]
    plain = lexical_baseline_auroc(texts, labels, range(60))
    misleading = [1e-9 if i % 2 and not i % 7 else 1.0 for i in range(60)]
    without = lexical_baseline_auroc(texts, labels, range(60), weights=misleading)
    assert plain is not None
    assert plain < 0.95
    assert without == pytest.approx(1.0)


def test_words_never_seen_say_no_more_than_the_bias() -> None:
    """A text of none of the words that were learned."""
    words = fit(["poison here", "flowers there", "poison again", "flowers again"], [1, 0, 1, 0])
    assert words.score("zzz yyy") == words.bias
    assert words.score("poison") > words.bias > words.score("flowers")
