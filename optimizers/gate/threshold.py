"""The threshold: the lowest one whose false positive rate is certified to be at most what the user chose.

The scores of n aligned cases that chose nothing else are exchangeable with those to come. Let k be the most alarms with
P(Bin(n, target) <= k) <= 1 - confidence. Just above the (k+1)-th highest score the true rate exceeds the target only if at
most k of n scores lie above the (1 - target) quantile, which has at most that probability: the one-sided bound of Clopper
and Pearson (1934), read as a tolerance limit; also one step of learn-then-test (Angelopoulos et al., arXiv 2110.01052).

Where cases weigh unequally, or many of them share a pair, that bound is of no use or gives away what the pair's other cases
tell. Then thresholds are tested from the highest down by a betting bound on the weighted share of alarms in each pair, until
one fails: in a fixed order no test has to pay for another. Which of the two it is follows from weights and pairs alone.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace
from importlib.util import find_spec

from conscience.errors import ConfigurationError
from conscience.optimizers.data.labeled_drafts import LabeledDraft
from conscience.optimizers.data.splits import in_order
from conscience.optimizers.figures import Threshold
from conscience.stats.betting import betting_bound, e_value
from conscience.stats.intervals import Interval, cases_needed, members, upper_bound

CONFIDENCE = 0.95
ALARMS = 1
"""False alarms that a certificate has to leave room for: without any, the threshold lies above every aligned draft that was
set aside, and most of the recall is lost to the certificate."""
SHARE = 1 / 3
"""Of the aligned drafts that are set aside at most, where a certificate takes more than the least."""
SHARED = 1 / 4
"""The share of cases beyond each pair's first from which the cases of a pair are weighed, not represented by the highest."""


def certified(
    scores: Sequence[float],
    target: float,
    *,
    pairs: Sequence[Hashable | None] | None = None,
    weights: Sequence[float] | None = None,
    confidence: float = CONFIDENCE,
) -> Threshold:
    """The lowest threshold certified for a target, from aligned cases that were set aside; ties fall on the safe side.

    With too few cases nothing is certified, and the threshold is that of ``estimated``.

    Args:
        scores: probabilities of aligned cases.
        target: highest false positive rate, between 0 and 1.
        pairs: cases of a pair are no independent witnesses: together they count once.
        weights: how much each case counts in the rate; by default alike.
        confidence: of the certificate.
    """
    if _bets(len(scores), pairs, weights):
        return _certified_by_betting(scores, target, pairs, weights, confidence)
    scores = _independent(scores, pairs)
    n, risk = len(scores), 1 - confidence
    most = _most_alarms(n, target, risk)
    if most < 0:
        return estimated(scores, target, confidence=confidence)
    value, alarms = _above(scores, most)
    if alarms > most:  # flagged whatever the threshold is
        return estimated(scores, target, confidence=confidence)
    return Threshold(value, target, confidence, n, alarms, upper_bound(alarms, n, risk), True, 0)


def _bets(n: int, pairs: Sequence[Hashable | None] | None, weights: Sequence[float] | None) -> bool:
    """Whether Clopper and Pearson's bound does not apply, or would give away what the cases of a pair tell."""
    shared = n - len(members(pairs, n))
    return shared > SHARED * n or (weights is not None and len(set(weights)) > 1)


def _certified_by_betting(
    scores: Sequence[float],
    target: float,
    pairs: Sequence[Hashable | None] | None,
    weights: Sequence[float] | None,
    confidence: float,
) -> Threshold:
    weights = weights or [1.0] * len(scores)
    clusters = members(pairs, len(scores))
    totals = [math.fsum(weights[i] for i in cluster) for cluster in clusters]
    best: tuple[float, list[float]] | None = None
    for most in (0, *(number for number, _ in enumerate(scores, 1))):
        value, _ = _above(scores, most)
        if best is not None and value >= best[0]:
            continue  # ties: this threshold was tested
        losses = [
            math.fsum(weights[i] for i in cluster if scores[i] >= value) / total
            for cluster, total in zip(clusters, totals, strict=True)
        ]
        if e_value(losses, target, totals) < 1 / (1 - confidence):
            break
        best = value, losses
    if best is None:
        return estimated(scores, target, pairs=pairs, weights=weights, confidence=confidence)
    value, losses = best
    bound = min(target, betting_bound(losses, 1 - confidence, totals))
    return Threshold(value, target, confidence, len(clusters), sum(loss > 0 for loss in losses), bound, True, 0)


def estimated(
    scores: Sequence[float],
    target: float,
    *,
    pairs: Sequence[Hashable | None] | None = None,
    weights: Sequence[float] | None = None,
    confidence: float = CONFIDENCE,
) -> Threshold:
    """The lowest threshold whose rate is at most the target on average over samples like this one; certifies nothing.

    Above the (k+1)-th highest of n scores lies (k+1)/(n+1) of what is to come, on average.

    Args:
        weights: how much each case counts in the rate; a pair counts as all of its cases, at the highest score.
    """
    if weights is not None and len(set(weights)) > 1:
        return _estimated_by_weight(scores, target, pairs, weights, confidence)
    scores = _independent(scores, pairs)
    n = len(scores)
    value, alarms = _above(scores, max(0, math.floor(target * (n + 1) + 1e-9) - 1))
    bound = upper_bound(alarms, n, 1 - confidence) if n else 1.0
    return Threshold(value, target, confidence, n, alarms, bound, False, _missing(n, target, confidence, pairs, weights))


def _estimated_by_weight(
    scores: Sequence[float],
    target: float,
    pairs: Sequence[Hashable | None] | None,
    weights: Sequence[float],
    confidence: float,
) -> Threshold:
    clusters = members(pairs, len(scores))
    highest = [max(scores[i] for i in cluster) for cluster in clusters]
    totals = [math.fsum(weights[i] for i in cluster) for cluster in clusters]
    coming = math.fsum(totals) / len(totals)  # what the next case weighs, on average
    left = target * (math.fsum(totals) + coming) - coming + 1e-9
    most = 0
    for _, weight in sorted(zip(highest, totals, strict=True), reverse=True):
        left -= weight
        if left < 0:
            break
        most += 1
    value, _ = _above(highest, most)
    losses = [float(score >= value) for score in highest]
    bound = betting_bound(losses, 1 - confidence, totals)
    missing = _missing(len(clusters), target, confidence, pairs, weights)
    return Threshold(value, target, confidence, len(clusters), round(sum(losses)), bound, False, missing)


def _missing(
    n: int,
    target: float,
    confidence: float,
    pairs: Sequence[Hashable | None] | None,
    weights: Sequence[float] | None,
) -> int:
    """How many aligned drafts more it takes to set half of them aside for a certificate: what ``foreseen`` says, too."""
    pairs, weights = pairs or [None] * n, weights or [1.0] * n
    return max(1, 2 * cases_to_set_aside(target, confidence, ALARMS, pairs=pairs, weights=weights) - n)


def without_idle_alarms(threshold: Threshold, aligned: Sequence[float], misaligned: Sequence[float]) -> Threshold:
    """The same without alarms that catch nothing: in the middle, in log-odds, between the lowest misaligned score that it
    flags and the highest aligned one below that. What is certified holds for every higher threshold.

    Args:
        threshold: to be raised, where that loses no misaligned draft.
        aligned: scores of the aligned drafts that it comes from.
        misaligned: scores of misaligned drafts.
    """
    caught = min((score for score in misaligned if score >= threshold.value), default=None)
    if caught is None:
        return threshold
    low = max(threshold.value, max((score for score in aligned if score < caught), default=0.0))
    if not 0 < low < caught < 1:
        return threshold
    odds = [math.log(p / (1 - p)) for p in (low, caught)]
    value = max(threshold.value, math.floor(1_000_000 / (1 + math.exp(-sum(odds) / 2))) / 1_000_000)
    return replace(threshold, value=value, alarms=min(threshold.alarms, sum(score >= value for score in aligned)))


def check_target(target_fpr: float) -> None:
    """Refuses a false positive rate that is none, and an installation that cannot fit anything.

    Raises:
        ConfigurationError: it does not lie between 0 and 1, or numpy is missing.
    """
    if not 0 < target_fpr < 1:
        raise ConfigurationError(f"target_fpr={target_fpr} does not lie between 0 and 1")
    if find_spec("numpy") is None:
        raise ConfigurationError("compiling needs numpy", hint="run: pip install 'dspy-conscience[compile]'")


def needed(target: float, confidence: float = CONFIDENCE, alarms: int = 0) -> int:
    """How many aligned cases certify a target when so many of them are flagged: 59 for 5 %, 29 for 10 %, without any."""
    return cases_needed(target, confidence, events=alarms, interval=_one_sided)


def _one_sided(k: int, n: int, confidence: float) -> Interval:
    return Interval(0.0, upper_bound(k, n, 1 - confidence))


def _most_alarms(n: int, target: float, risk: float) -> int:
    """The largest k whose upper bound is at most the target; -1 where there is none."""
    if not 0 < target < 1:
        raise ValueError(f"a target of {target} does not lie between 0 and 1")
    if not n or upper_bound(0, n, risk) > target:
        return -1
    low, high = 0, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if upper_bound(middle, n, risk) <= target else (low, middle)
    return low


def _above(scores: Sequence[float], most: int) -> tuple[float, int]:
    """The lowest threshold up to 1, to six decimals rounded up, that at most so many scores reach; and how many do, which is
    more where so many are 1."""
    ordered = sorted(scores, reverse=True)
    if most >= len(ordered):
        return 0.0, len(ordered)
    value = math.floor(ordered[most] * 1_000_000 + 1) / 1_000_000
    if value <= ordered[most]:  # the product was rounded
        value = math.nextafter(ordered[most], math.inf)
    value = min(1.0, value)
    return value, sum(score >= value for score in ordered)


def _independent(scores: Sequence[float], pairs: Sequence[Hashable | None] | None) -> list[float]:
    return [float(max(scores[i] for i in group)) for group in members(pairs, len(scores))]


def cases_to_set_aside(
    target: float,
    confidence: float = CONFIDENCE,
    alarms: int = 0,
    *,
    pairs: Sequence[Hashable | None],
    weights: Sequence[float],
) -> int:
    """How many pairs or single cases certify a target when so many of them are flagged. A bet takes a fifth more where one
    case of a pair is flagged, two thirds more where a whole one is, and more still where few have most of the weight.

    Args:
        pairs, weights: of the aligned cases from which they are to be taken.
    """
    least = needed(target, confidence, alarms)
    if not _bets(len(weights), pairs, weights):
        return least
    totals = [math.fsum(weights[i] for i in cluster) for cluster in members(pairs, len(weights))]
    more = 5 / 3 if len(set(weights)) > 1 else 6 / 5
    return math.ceil(more * least * max(totals) * len(totals) / math.fsum(totals))


def hold_out_for_threshold(
    drafts: Sequence[LabeledDraft], target_fpr: float, seed: int, *, confidence: float = CONFIDENCE
) -> list[LabeledDraft]:
    """Drafts that are to choose nothing but the threshold: enough of them to certify it.

    None where that would take more than half of the aligned ones: then they teach the gate more than a certificate is worth.
    """
    clusters = in_order(drafts, seed, "threshold")
    aligned = [cluster for cluster in clusters if not all(draft.misaligned for draft in cluster)]
    counted = [draft for draft in drafts if not draft.misaligned]
    pairs, weights = [draft.cluster for draft in counted], [draft.case.weight for draft in counted]

    def takes(alarms: int) -> int:
        return cases_to_set_aside(target_fpr, confidence, alarms, pairs=pairs, weights=weights)

    alarms = ALARMS
    if 2 * takes(alarms) > len(aligned):
        return []
    while takes(alarms + 1) <= SHARE * len(aligned):
        alarms += 1
    return [draft for cluster in aligned[: takes(alarms)] for draft in cluster]
