"""The memory of what models do: settled by evidence, forgotten after a while."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience.backends.habits.legal import Legal, adapted
from conscience.backends.habits.memory import FEW, LONGEST, MANY, SHORTEST, Habits, habits_of


class Clock:
    """A clock that stands until it is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def settled(shown: bool) -> tuple[Habits, Clock]:
    clock = Clock()
    habits = Habits(clock)
    for _ in range(FEW):
        habits.saw("logprobs", shown)
    return habits, clock


@given(st.lists(st.booleans(), max_size=60))
def test_a_trait_is_settled_by_answers_in_a_row(answers: list[bool]) -> None:
    """FEW at least, one more than there ever were of the other kind, MANY at most."""
    habits = Habits(Clock())
    for position, shown in enumerate(answers):
        habits.saw("logprobs", shown)
        before = answers[: position + 1]
        row = next((i for i, other in enumerate(reversed(before)) if other != shown), len(before))
        settled = row >= max(FEW, min(before.count(not shown) + 1, MANY))
        assert habits.knows("logprobs") == (shown if settled else None)


def test_one_faulty_answer_among_good_ones_changes_nothing() -> None:
    """Nor do several, as long as good ones come between."""
    habits, _ = settled(True)
    for _ in range(MANY):
        habits.saw("logprobs", True)
    for _ in range(200):
        for shown in (False, False, False, True):
            habits.saw("logprobs", shown)
            assert habits.knows("logprobs") is not False


def test_a_certain_answer_settles_at_once() -> None:
    """Such as a refusal in so many words."""
    habits = Habits(Clock())
    habits.saw("logprobs", True)
    habits.saw("logprobs", False, certain=True)
    assert habits.knows("logprobs") is False


def test_what_is_known_is_forgotten_and_known_for_longer_once_it_proves_right() -> None:
    """One answer then confirms it, and one of the other kind ends it."""
    habits, clock = settled(False)
    seconds = SHORTEST
    for _ in range(12):
        clock.now += seconds - 1
        assert habits.knows("logprobs") is False
        clock.now += 2
        assert habits.knows("logprobs") is None
        habits.saw("logprobs", False)
        assert habits.knows("logprobs") is False
        seconds = min(2 * seconds, LONGEST)
    clock.now += LONGEST + 1
    habits.saw("logprobs", True)
    assert habits.knows("logprobs") is None


def test_refused_parameters_are_tried_again() -> None:
    """What is refused again is remembered for longer; what is taken is forgotten."""
    clock = Clock()
    habits = Habits(clock)
    habits.refused("seed", Legal())
    clock.now += SHORTEST + 1
    assert not habits.legal()
    habits.refused("seed", Legal())
    clock.now += 1.5 * SHORTEST
    assert habits.legal() == {"seed": Legal()}
    clock.now += SHORTEST
    habits.took("seed")
    habits.refused("seed", Legal())
    clock.now += SHORTEST + 1
    assert not habits.legal()


def test_a_memory_is_one_for_model_and_address() -> None:
    """Two servers of one name do not share it."""
    assert habits_of("openai/x", "http://a") is habits_of("openai/x", "http://a")
    assert habits_of("openai/x", "http://a") is not habits_of("openai/x", "http://b")
    assert habits_of("openai/x", "") is not habits_of("openai/y", "")


def test_threads_share_a_memory() -> None:
    """Nothing is lost, nothing raises."""
    habits = Habits()

    def work(number: int) -> None:
        for _ in range(200):
            habits.saw("logprobs", number % 2 == 0)
            habits.refused(f"p{number}", Legal())
            habits.knows("logprobs"), habits.legal(), habits.describe()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(habits.legal()) == 8


RULES = {
    "left out": (Legal(), {"seed": 1, "stop": "x"}, {"stop": "x"}),
    "raised": (Legal("seed", least=16), {"seed": 1}, {"seed": 16}),
    "lowered": (Legal("seed", most=5), {"seed": 20}, {"seed": 5}),
    "within": (Legal("seed", least=1, most=5), {"seed": 3}, {"seed": 3}),
    "just above 0": (Legal("seed", least=0.01), {"seed": 0.0}, {"seed": 0.01}),
    "shortened": (Legal("seed", most=2), {"seed": ["a", "b", "c"]}, {"seed": ["a", "b"]}),
    "only this": (Legal("seed", value=1), {"seed": 0}, {"seed": 1}),
    "renamed": (Legal("other"), {"seed": 1}, {"other": 1}),
    "renamed, and there": (Legal("other"), {"seed": 1, "other": 2}, {"other": 2}),
    "not asked for": (Legal("other"), {"stop": "x"}, {"stop": "x"}),
    "null": (Legal("other"), {"seed": None}, {}),
}


@pytest.mark.parametrize(("legal", "asked", "sent"), RULES.values(), ids=RULES)
def test_parameters_are_sent_as_they_are_taken(legal: Legal, asked: dict[str, Any], sent: dict[str, Any]) -> None:
    """Twice as well as once."""
    assert adapted(asked, {"seed": legal}) == sent
    assert adapted(sent, {"seed": legal}) == sent
    assert asked == dict(asked)


def test_candidates_go_with_log_probabilities() -> None:
    """A provider that takes no logprobs takes no number of them."""
    assert adapted({"logprobs": True, "top_logprobs": 20}, {"logprobs": Legal()}) == {}
