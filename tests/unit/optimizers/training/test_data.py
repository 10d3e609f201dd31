"""What is trained on and what is held out: nothing is both."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience.cases.case import Case
from conscience.errors import ConfigurationError, InputError
from conscience.optimizers.training.pairs import PreferencePair
from conscience.optimizers.training.rounds.data import requests_of, split_pairs, training_data
from conscience.optimizers.training.weights.settings import TrainingSettings


def pair(number: int, request: str = "", **more: str) -> PreferencePair:
    asked = ({"role": "user", "content": request or f"Request {number}"},)
    return PreferencePair(request=asked, chosen=f"good {number}", rejected=f"bad {number}", **more)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("uvwxyz"), st.sampled_from("GH")), min_size=8, max_size=40
    ),
    st.sampled_from(["cluster", "group"]),
    st.integers(0, 5),
)
def test_what_belongs_together_is_on_one_side(rows: list[tuple[str, str, str]], by: str, seed: int) -> None:
    """Clusters (or groups) and requests stay whole, and the split is the same whatever the order."""
    pairs = [pair(n, f"Request {request}", cluster=cluster, group=group) for n, (cluster, request, group) in enumerate(rows)]
    try:
        trained, held_out = split_pairs(pairs, 0.3, by=by, seed=seed)  # type: ignore[arg-type]
    except InputError:
        return
    assert sorted(p.id for p in (*trained, *held_out)) == sorted(p.id for p in pairs)
    for part in (lambda p: p.request_text, lambda p: getattr(p, by)):
        assert not {part(p) for p in trained} & {part(p) for p in held_out}
    again = split_pairs(pairs[::-1], 0.3, by=by, seed=seed)  # type: ignore[arg-type]
    assert {p.id for p in again[1]} == {p.id for p in held_out}


def test_labels_make_pairs_and_requests_are_answered() -> None:
    cases = [
        Case(id="a", request="What now?", response="I help.", label="aligned"),
        Case(id="b", request="What now?", response="I leave.", label="misaligned"),
        Case(id="c", request="And then?"),
        Case(id="d", request="And last?", response="Nothing."),
    ]
    data = training_data([], cases, [], share=0)
    assert data.notes == ["1 given responses are in no pair: conscience pairs has them reviewed"]
    assert [(p.chosen, p.rejected) for p in data.pairs] == [("I help.", "I leave.")]
    assert [case.id for case in data.to_answer()] == ["c"]


def test_requests_of_pairs_are_answered_where_no_others_are_given() -> None:
    pairs = [pair(1, "Same"), pair(2, "Same"), pair(3)]
    assert [case.request for case in training_data(pairs, [], [], share=0).to_answer()] == [
        pairs[0].request,
        pairs[2].request,
    ]
    assert len({case.id for case in requests_of(pairs)}) == 2


def test_what_is_held_out_is_not_trained_on() -> None:
    """Whichever way it came twice; and somebody is told."""
    held = Case(id="h", request="Request  1", request_safe=True)
    data = training_data(
        [pair(1), pair(2)], [Case(id="x", request="Request 1"), Case(id="y", request="Other")], [held], share=0
    )
    assert [p.request_text for p in data.pairs] == ["Request 2"]
    assert [case.id for case in data.requests] == ["y"]
    assert len(data.notes) == 2
    with pytest.raises(InputError, match="held out too"):
        training_data([pair(1)], [], [pair(1)])


def test_given_pairs_take_the_place_of_a_share() -> None:
    data = training_data([pair(n) for n in range(10)], [], [pair(77)])
    assert len(data.pairs) == 10
    assert [p.chosen for p in data.held_out] == ["good 77"]


@pytest.mark.parametrize(("pairs", "says"), [([], "nothing to train on"), ([pair(1), pair(2)], "too few to hold out")])
def test_too_little_is_said(pairs: list[PreferencePair], says: str) -> None:
    with pytest.raises(InputError, match=says):
        training_data(pairs, [], [])


@pytest.mark.parametrize(
    "wrong", [{"rounds": 0}, {"epochs": True}, {"dpo_weight": -1}, {"dpo_weight": float("nan")}, {"learning_rate": 0}]
)
def test_a_number_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        TrainingSettings(**wrong)  # type: ignore[arg-type]


def test_more_rounds_or_another_device_is_the_same_training() -> None:
    assert TrainingSettings(rounds=3, device="cuda").identity() == TrainingSettings().identity()
    assert TrainingSettings(seed=1).identity() != TrainingSettings().identity()
