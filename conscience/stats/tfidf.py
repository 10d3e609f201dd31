"""Surface words as a signal, and as the baseline that every reviewer has to beat: TF-IDF and a logistic regression.

Applied and fitted in plain Python, since a pass over a text's words costs next to nothing: no model, no numpy.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from conscience.stats.metrics import auroc

SHORTEST = 2
FOLDS = 5
EPOCHS = 30
STRENGTH = 10.0
"""Inverse strength of the L2 penalty (scikit-learn's C)."""


def features(text: str) -> Counter[str]:
    """Counts of words and word pairs, case folded; a word has at least two letters or digits."""
    words = [word for word in re.findall(r"\w+", text.casefold()) if len(word) >= SHORTEST]
    return Counter([*words, *(f"{a} {b}" for a, b in pairwise(words))])


@dataclass(frozen=True)
class TfidfModel:
    """A linear reading of a text's words: idf and weight of each feature in one number.

    ``score`` is the weighted sum over the text's features, each with its count times idf, scaled to unit length.
    """

    idf: Mapping[str, float]
    weights: Mapping[str, float]
    bias: float

    def score(self, text: str) -> float:
        """Log-odds (nats) that the text is misaligned, as far as words tell."""
        return self.bias + sum(self.weights[f] * v for f, v in _unit(features(text), self.idf).items() if f in self.weights)


def fit(texts: Sequence[str], labels: Sequence[int], *, strength: float = STRENGTH, seed: int = 0) -> TfidfModel:
    """Fits an L2-penalised logistic regression on TF-IDF features by dual coordinate descent (Yu, Huang and Lin, 2011).

    Args:
        texts: n texts.
        labels: n of 0 or 1, both present; the rarer one weighs as much as the other in all.
        strength: inverse strength of the penalty.
        seed: of the order in which texts are visited.

    Raises:
        ValueError: labels of one kind only.
    """
    if len(set(labels)) != 2:
        raise ValueError("both labels are needed to fit words")
    counted = [features(text) for text in texts]
    df = Counter(feature for counts in counted for feature in counts)
    n = len(texts)
    idf = {feature: math.log((1 + n) / (1 + count)) + 1 for feature, count in df.items()}
    vectors = [{**_unit(counts, idf), "": 1.0} for counts in counted]  # the empty feature is the bias
    ones = sum(labels)
    costs = [strength * n / (2 * (ones if label else n - ones)) for label in labels]
    weights: dict[str, float] = dict.fromkeys(idf, 0.0) | {"": 0.0}
    signs = [1.0 if label else -1.0 for label in labels]
    alphas = [min(1e-3 * cost, 1e-8) for cost in costs]
    for vector, sign, alpha in zip(vectors, signs, alphas, strict=True):
        for feature, value in vector.items():
            weights[feature] += sign * alpha * value
    order, rng = list(range(n)), random.Random(seed)
    for _ in range(EPOCHS):
        rng.shuffle(order)
        moved = 0.0
        for i in order:
            vector, sign = vectors[i], signs[i]
            margin = sign * sum(weights[feature] * value for feature, value in vector.items())
            alpha = _coordinate(alphas[i], costs[i], margin, sum(value * value for value in vector.values()))
            step = sign * (alpha - alphas[i])
            moved = max(moved, abs(step) / costs[i])
            if step:
                for feature, value in vector.items():
                    weights[feature] += step * value
            alphas[i] = alpha
        if moved < 1e-4:
            break
    bias = weights.pop("")
    return TfidfModel(idf, weights, bias)


def lexical_baseline_auroc(
    texts: Sequence[str],
    labels: Sequence[int],
    clusters: Sequence[Hashable],
    *,
    weights: Sequence[float] | None = None,
    seed: int = 0,
) -> float | None:
    """The AUROC that surface words reach: cross-validated on the same texts, clusters whole; None where it can't be.

    Args:
        weights: of the texts, in the AUROC; words learn from each text alike.
    """
    parts = stratified_group_folds(labels, clusters, FOLDS, seed)
    scores: list[float] = [0.0] * len(texts)
    for part in parts:
        held = set(part)
        rest = [i for i in range(len(texts)) if i not in held]
        if len({labels[i] for i in rest}) != 2:
            return None
        words = fit([texts[i] for i in rest], [labels[i] for i in rest], seed=seed)
        for i in part:
            scores[i] = words.score(texts[i])
    scored = list(zip(scores, weights or [1.0] * len(texts), labels, strict=True))
    positives, negatives = [(s, w) for s, w, label in scored if label], [(s, w) for s, w, label in scored if not label]
    return auroc(
        [s for s, _ in positives], [s for s, _ in negatives], ([w for _, w in positives], [w for _, w in negatives])
    )


def stratified_group_folds(labels: Sequence[int], clusters: Sequence[Hashable], count: int, seed: int) -> list[list[int]]:
    """Indices in ``count`` parts of like size and like share of labels, no cluster torn apart."""
    units: dict[Hashable, list[int]] = {}
    for index, cluster in enumerate(clusters):
        units.setdefault(cluster, []).append(index)
    dealt = list(units.values())
    random.Random(seed).shuffle(dealt)
    dealt.sort(key=lambda unit: (-len(unit), sum(labels[i] for i in unit) / len(unit)))
    parts: list[list[int]] = [[] for _ in range(count)]
    for unit in dealt:
        kind = round(sum(labels[i] for i in unit) / len(unit))
        parts.sort(key=lambda part: (sum(labels[i] == kind for i in part), len(part)))
        parts[0].extend(unit)
    return [part for part in parts if part]


def _unit(counts: Mapping[str, int], idf: Mapping[str, float]) -> dict[str, float]:
    values = {feature: (1 + math.log(count)) * idf[feature] for feature, count in counts.items() if feature in idf}
    length = math.sqrt(math.fsum(value * value for value in values.values()))
    return {feature: value / length for feature, value in values.items()} if length else {}


def _coordinate(alpha: float, cost: float, margin: float, square: float) -> float:
    """The best alpha in (0, cost) with all others held: Newton's method on the one-dimensional dual, kept inside."""
    low, high, z = 0.0, cost, alpha
    for _ in range(20):
        slope = square * (z - alpha) + margin + math.log(z / (cost - z))
        if abs(slope) < 1e-6:
            break
        low, high = (z, high) if slope < 0 else (low, z)
        step = z - slope / (square + cost / (z * (cost - z)))
        z = step if low < step < high else (low + high) / 2
        if not 0 < z < cost or high - low < 1e-12 * cost:
            break
    return min(max(z, 1e-12 * cost), cost * (1 - 1e-12))
