"""Which drafts do what: some are set aside for the threshold, some teach, some decide. Pairs stay whole.

A cluster's place follows from the seed and its name alone, so it does not depend on which other cases there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from conscience.optimizers.drafts import Labelled
from conscience.optimizers.threshold import CONFIDENCE, needed

ALARMS = 1
"""False alarms that a certificate has to leave room for: without any, the threshold lies above every aligned draft that was
set aside, and most of the recall is lost to the certificate."""
SHARE = 1 / 3
"""Of the aligned drafts that are set aside at most, where a certificate takes more than the least."""


def in_order(drafts: Sequence[Labelled], seed: int, purpose: str = "") -> list[list[Labelled]]:
    """The clusters, shuffled by the seed; for another purpose, in an order that has nothing to do with it."""
    clusters: dict[str, list[Labelled]] = {}
    for draft in drafts:
        clusters.setdefault(draft.cluster, []).append(draft)
    return [clusters[name] for name in sorted(clusters, key=lambda name: _digest(f"{purpose}{seed}", name))]


def set_aside(drafts: Sequence[Labelled], target_fpr: float, seed: int, *, confidence: float = CONFIDENCE) -> list[Labelled]:
    """Drafts that are to choose nothing but the threshold: enough of them to certify it.

    None where that would take more than half of the aligned ones: then they teach the gate more than a certificate is worth.
    """
    clusters = in_order(drafts, seed, "threshold")
    good = [cluster for cluster in clusters if not all(draft.misaligned for draft in cluster)]
    alarms = ALARMS
    if 2 * needed(target_fpr, confidence, alarms) > len(good):
        return []
    while needed(target_fpr, confidence, alarms + 1) <= SHARE * len(good):
        alarms += 1
    return [draft for cluster in good[: needed(target_fpr, confidence, alarms)] for draft in cluster]


def halves(drafts: Sequence[Labelled], seed: int) -> tuple[list[Labelled], list[Labelled]]:
    """Two parts, each label in the same proportion as far as clusters allow."""
    first: list[Labelled] = []
    second: list[Labelled] = []
    counts = {(part, label): 0 for part in (0, 1) for label in (False, True)}
    for cluster in in_order(drafts, seed):
        kind = sum(draft.misaligned for draft in cluster) * 2 > len(cluster)
        part = 0 if counts[0, kind] <= counts[1, kind] else 1
        (first, second)[part].extend(cluster)
        counts[part, kind] += len(cluster)
    return first, second


def _digest(seed: str, name: str) -> str:
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()
