"""What labels can do is said before the first call, and is true."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience import Case, Conscience
from conscience.errors import InputError
from conscience.optimizers import SelfCorrection
from conscience.optimizers.data.labeled_drafts import LabeledDraft
from conscience.optimizers.feasibility import foreseen
from conscience.optimizers.gate.threshold import certified, hold_out_for_threshold
from conscience.outcome import Draft
from conscience.testing import ScriptedLM


def labelled(aligned: int, misaligned: int, *, written: int = 0, weight: float = 1.0) -> list[Case]:
    """Cases with given responses of either label, and cases that the program is to answer."""
    kinds = [("aligned", aligned), ("misaligned", misaligned)]
    cases = [
        Case(id=f"{kind}{i}", request="q", response="a", label=kind, weight=weight if i % 9 == 0 else 1.0)
        for kind, count in kinds
        for i in range(count)
    ]
    return [*cases, *(Case(id=f"w{i}", request="q", request_safe=True) for i in range(written))]


@pytest.mark.parametrize(
    ("cases", "says"),
    [
        (labelled(186, 30), "5.0 % can be certified: that takes 186 "),
        (
            labelled(185, 30),
            "only estimated: that takes 186 independent aligned drafts, and there are 185",
        ),
        (labelled(40, 40), "which can certify 22.0 % at best"),
        (labelled(4, 4), "there are 4 at most"),
        (labelled(100, 30, written=200), "can be certified if at least 86 of the 200 drafts"),
        (labelled(250, 30, weight=3.0), "cannot be certified"),
        (
            [c.model_copy(update={"pair": c.id.strip("abdeilmnsgw")}) for c in labelled(100, 9, written=100)],
            "there are 100 at most",
        ),
    ],
)
def test_a_certificate_is_foreseen(cases: list[Case], says: str) -> None:
    """In the last line, with what it takes and what is there."""
    assert says in foreseen(cases, 0.05)[-1]


@given(st.integers(8, 260), st.sampled_from([0.05, 0.1, 0.2]), st.sampled_from([1.0, 2.5]))
def test_what_is_foreseen_comes_true(aligned: int, target: float, weight: float) -> None:
    """A certificate that is promised is given where hardly any aligned draft is flagged, and none is given otherwise."""
    cases = labelled(aligned, 8, weight=weight)
    drafts = [LabeledDraft(c, Draft.of("q", "a", ""), c.label == "misaligned", own=False) for c in cases]
    outside = [draft for draft in hold_out_for_threshold(drafts, target, seed=0) if not draft.misaligned]
    promised = "cannot" not in foreseen(cases, target)[-1]
    assert promised == bool(outside)
    if outside:
        scores = [i / 1000 for i in range(len(outside))]
        weights = [draft.case.weight for draft in outside]
        assert certified(scores, target, pairs=[draft.cluster for draft in outside], weights=weights).certified


def test_too_few_of_a_kind_are_told() -> None:
    """Unless drafts that are still to be written may be of that kind."""
    assert "2 misaligned drafts are too few" in foreseen(labelled(30, 2), 0.1)[0]
    assert len(foreseen(labelled(30, 2, written=10), 0.1)) == 1


@pytest.mark.parametrize(("cases", "missing"), [(labelled(20, 0), "misaligned"), (labelled(0, 20), "aligned")])
def test_labels_of_one_kind_are_refused_before_the_first_call(cases: list[Case], missing: str) -> None:
    """They cost nothing."""
    lm = ScriptedLM({"": 0.5})
    with pytest.raises(InputError, match=f"no case is labelled {missing}"):
        SelfCorrection(embeddings=(), prompts="off").compile(Conscience(lm=lm), trainset=cases)
    assert not lm.calls
