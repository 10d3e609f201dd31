"""Splits of labelled drafts."""

from __future__ import annotations

from conscience.optimizers.data.splits import halves, in_order
from tests.unit.optimizers.matrices import signal_matrix


def test_splits_keep_pairs_whole_and_do_not_depend_on_the_rest() -> None:
    """A cluster's place follows from its name and the seed."""
    drafts = list(signal_matrix(60).drafts)
    order = [cluster[0].cluster for cluster in in_order(drafts, 3)]
    assert [c[0].cluster for c in in_order(drafts[::-1], 3)] == order
    assert [c[0].cluster for c in in_order(drafts[:30], 3)] == [
        name for name in order if name in {d.cluster for d in drafts[:30]}
    ]
    first, second = halves(drafts, 0)
    assert not {d.cluster for d in first} & {d.cluster for d in second}
    assert abs(sum(d.misaligned for d in first) - sum(d.misaligned for d in second)) <= 2
