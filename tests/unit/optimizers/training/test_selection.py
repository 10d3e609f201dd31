"""What is left out of a set of pairs, and why."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience.optimizers.training.pairs import PreferencePair
from conscience.optimizers.training.selection import REASONS, select

REFUSAL = "I'm sorry, but I can't help with that."
LONG = "Take the first road to the left, go on to the old bridge, and ask there for the miller who knows the way. " * 3


def pair(
    request: str = "How?", chosen: str = "So.", rejected: str = "Thus.", source: str = "revision", **more: Any
) -> PreferencePair:
    return PreferencePair(request=request, chosen=chosen, rejected=rejected, provenance={"from": source}, **more)


def reasons(*pairs: PreferencePair, **options: Any) -> dict[str, int]:
    return dict(select(pairs, **options).dropped)


@pytest.mark.parametrize(
    ("safe", "source", "kept"),
    [
        (True, "revision", False),
        (True, "labels", False),
        (True, "file", False),
        (None, "revision", False),  # nobody said that it should be refused
        (None, "alternative", False),
        (None, "labels", True),  # a person said so
        (False, "alternative", True),
    ],
)
def test_a_chosen_side_that_only_refuses_has_to_be_known_to_be_right(safe: bool | None, source: str, kept: bool) -> None:
    """Else the model would learn to refuse."""
    result = select([pair(chosen=REFUSAL, request_safe=safe, source=source)])
    assert bool(result.pairs) is kept
    assert result.dropped == ({} if kept else {"refuses": 1})


def test_sides_that_say_the_same_are_no_pair() -> None:
    """White space apart; a word makes the difference."""
    assert reasons(pair(chosen="Give 5 mg.", rejected=" Give  5 mg.\n")) == {"same": 1}
    assert reasons(pair(chosen="Give 5 mg.", rejected="Give 50 mg.")) == {}
    assert reasons(pair(chosen="Café", rejected="Cafe\u0301\u200b")) == {"same": 1}  # one letter in two forms, and nothing


def test_a_text_on_both_sides_is_on_none() -> None:
    """In the place of one request; another request may have another right answer."""
    first, second = pair(chosen="A", rejected="B"), pair(chosen="C", rejected="A")
    assert reasons(first, second) == {"contradictory": 2}
    assert reasons(first, pair("Why?", chosen="C", rejected="A")) == {}


def test_nearly_equal_pairs_are_kept_once() -> None:
    """Request and both texts have to be nearly the same."""
    first = pair("How do I get there?", LONG, LONG.replace("left", "right"))
    again = pair("How do I get there!", LONG + "Truly.", LONG.replace("left", "right"))
    other = pair("How do I get there?", LONG, "No idea.")
    another = pair("When do I get there?", LONG, LONG.replace("left", "right"))
    result = select([first, again, other, another])
    assert result.pairs == [first, other, another]
    assert result.dropped == {"duplicate": 1}


def test_digits_and_signs_tell_pairs_apart() -> None:
    """Where there is nothing else."""
    assert reasons(pair("What is 2 + 2?"), pair("What is 3 + 3?")) == {}
    assert reasons(pair("1 + 1 = ?", "!", "?"), pair("1 + 1 = ?", "!", ".")) == {}


def test_a_small_margin_is_left_out_where_one_is_asked_for() -> None:
    """Labels have none, and stay."""
    pairs = [pair("1", margin=0.1), pair("2", margin=0.5), pair("3")]
    assert [p.margin for p in select(pairs, min_margin=0.3).pairs] == [0.5, None]
    assert len(select(pairs).pairs) == 3


def groups(**sizes: int) -> list[PreferencePair]:
    return [pair(f"{group} {n}", group=group) for group, size in sizes.items() for n in range(size)]


def test_a_group_has_at_most_twice_its_equal_share() -> None:
    """Or the number that is asked for; what has no group is not counted as one."""
    pairs = [*groups(a=17, b=2, c=2), *(pair(f"none {n}") for n in range(9))]
    kept = select(pairs)
    assert Counter(p.group for p in kept.pairs) == {"a": 14, "b": 2, "c": 2, None: 9}
    assert kept.dropped == {"balance": 3}
    assert Counter(p.group for p in select(pairs, per_group=1).pairs) == {"a": 1, "b": 1, "c": 1, None: 9}
    assert select(groups(a=30)).dropped == {}


def test_the_draw_follows_the_seed() -> None:
    """And nothing else."""
    pairs = groups(a=40, b=2)
    assert select(pairs, per_group=5).pairs == select(pairs, per_group=5).pairs
    assert select(pairs, per_group=5).pairs != select(pairs, per_group=5, seed=1).pairs


texts = st.sampled_from(["So.", "Thus.", REFUSAL, "so!", "Give 5 mg.", LONG])


@given(
    st.lists(
        st.builds(
            pair, texts, texts, texts, group=st.sampled_from([None, "a", "b"]), margin=st.sampled_from([None, 0.0, 0.4])
        )
    )
)
def test_every_pair_is_kept_or_counted(pairs: list[PreferencePair]) -> None:
    """Under a reason that can be told, and selecting once more changes nothing."""
    result = select(pairs, min_margin=0.2, per_group=2)
    assert len(result.pairs) + result.dropped.total() == len(pairs)
    assert set(result.dropped) <= set(REASONS)
    assert select(result.pairs, min_margin=0.2, per_group=2).pairs == result.pairs
