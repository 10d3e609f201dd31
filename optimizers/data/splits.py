"""Which drafts do what: some are set aside for the threshold, some teach, some decide. Pairs stay whole.

A cluster's place follows from the seed and its name alone, so it does not depend on which other cases there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from conscience.optimizers.data.labeled_drafts import LabeledDraft


def in_order(drafts: Sequence[LabeledDraft], seed: int, purpose: str = "") -> list[list[LabeledDraft]]:
    """The clusters, shuffled by the seed; for another purpose, in an order that has nothing to do with it."""
    clusters: dict[str, list[LabeledDraft]] = {}
    for draft in drafts:
        clusters.setdefault(draft.cluster, []).append(draft)
    return [clusters[name] for name in sorted(clusters, key=lambda name: _digest(f"{purpose}{seed}", name))]


def halves(drafts: Sequence[LabeledDraft], seed: int) -> tuple[list[LabeledDraft], list[LabeledDraft]]:
    """Two parts, each label in the same proportion as far as clusters allow."""
    first: list[LabeledDraft] = []
    second: list[LabeledDraft] = []
    counts = {(part, label): 0 for part in (0, 1) for label in (False, True)}
    for cluster in in_order(drafts, seed):
        kind = sum(draft.misaligned for draft in cluster) * 2 > len(cluster)
        part = 0 if counts[0, kind] <= counts[1, kind] else 1
        (first, second)[part].extend(cluster)
        counts[part, kind] += len(cluster)
    return first, second


def _digest(seed: str, name: str) -> str:
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()
