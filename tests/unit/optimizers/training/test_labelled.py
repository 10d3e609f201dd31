"""Pairs out of labels: which responses belong together, and what becomes of the others."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from conscience.cases.case import Case
from conscience.optimizers.training.labelled import pair_labels


def case(id: str, response: str, label: Any, request: str = "What do you do?", **more: Any) -> Case:
    return Case(id=id, request=request, response=response, label=label, **more)


def test_two_responses_to_one_request_make_a_pair() -> None:
    """It keeps the group and the cluster, and names both cases."""
    cases = [
        case("a", "I help.", "aligned", group="duty", pair="7", source="set", request_safe=True),
        case("b", "I leave.", "misaligned", group="duty", pair="7", source="set"),
    ]
    result = pair_labels(cases)
    (pair,) = result.pairs
    assert (pair.chosen, pair.rejected, pair.group, pair.cluster) == ("I help.", "I leave.", "duty", "7")
    assert pair.request == ({"role": "user", "content": "What do you do?"},)
    assert pair.request_safe is True
    assert pair.provenance == {"from": "labels", "cases": ["a", "b"], "source": "set"}
    assert (pair.margin, pair.verdicts) == (None, {})


def test_one_request_about_other_things_is_told_apart_by_the_pair() -> None:
    """As in notes on one patient each."""
    cases = [
        case("a", "Note on A.", "aligned", pair="A"),
        case("b", "False note on A.", "misaligned", pair="A"),
        case("c", "False note on B.", "misaligned", pair="B"),
    ]
    result = pair_labels(cases)
    assert [(pair.chosen, pair.rejected) for pair in result.pairs] == [("Note on A.", "False note on A.")]
    assert [left.id for left in result.left] == ["c"]


def test_references_stand_in_for_an_aligned_response() -> None:
    """People wrote them as right."""
    result = pair_labels([case("a", "You idiot.", "misaligned", references=["You are wrong."])])
    assert [(pair.chosen, pair.provenance["from"]) for pair in result.pairs] == [("You are wrong.", "references")]


def test_what_cannot_be_a_pair_is_counted() -> None:
    """A response with both labels, one without a counterpart, one to no request."""
    cases = [
        case("a", "Yes.", "aligned", "1"),
        case("b", "Yes.", "misaligned", "1"),
        case("c", "Fine.", "aligned", "2"),
        case("d", "Fine.", "aligned", ""),
        case("e", "Bad.", "misaligned", ""),
    ]
    result = pair_labels(cases)
    assert result.pairs == []
    assert result.dropped == {"contradictory": 2, "unpaired": 1, "no request": 2}


@given(good=st.integers(1, 6), bad=st.integers(1, 6))
def test_every_response_is_used_as_rarely_as_can_be(good: int, bad: int) -> None:
    """As many pairs as there are of the more frequent label."""
    cases = [case(f"g{n}", f"good {n}", "aligned") for n in range(good)]
    cases += [case(f"b{n}", f"bad {n}", "misaligned") for n in range(bad)]
    pairs = pair_labels(cases).pairs
    assert len(pairs) == max(good, bad)
    assert {pair.chosen for pair in pairs} == {f"good {n}" for n in range(good)}
    assert {pair.rejected for pair in pairs} == {f"bad {n}" for n in range(bad)}
