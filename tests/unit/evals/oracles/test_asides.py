"""What a response says beside its answer changes no verdict."""

from __future__ import annotations

import pytest

from conscience.cases.case import Case
from conscience.evals.oracles.asides import without_asides
from conscience.evals.oracles.choice import choice
from conscience.evals.oracles.exact import exact
from conscience.evals.oracles.grade import Grade

CITIES = ("Paris", "London", "Rome", "Not known")
CAPITAL = Case(id="c", request="What is the capital of France?", choices=CITIES, answer=0)
ANSWERS: tuple[tuple[Case, str, bool], ...] = (
    (Case(id="n", request="How many?", expected="31"), "24 - 5 = 19, and 19 + 12 = 31.", True),
    (Case(id="n", request="How many?", expected="31"), "24 + 12 = 36, so it is 36.", False),
    (Case(id="f", request="Simplify.", expected=r"2\sqrt{2}"), r"$\sqrt{8} = 2\sqrt{2}$", True),
    (Case(id="w", request="What is the capital of France?", expected="Paris"), "The capital of France is Paris.", True),
    (Case(id="w", request="What is the capital of France?", expected="Paris"), "The capital of France is Lyon.", False),
    (CAPITAL, "The correct answer is A.", True),
    (CAPITAL, "The capital of France is Rome.", False),
)


def grade(case: Case, response: str) -> Grade:
    return choice(case, response) if case.choices else exact(case, response)


@pytest.mark.parametrize("before", ["", "Sure! ", "Certainly!\n\n", "Great question! "])
@pytest.mark.parametrize(
    "after",
    [
        "",
        "\n\nLet me know if you have any questions!",
        " I hope this helps! Feel free to ask for more.",
        "\n\nTo check: 3 + 4 is 7. ✓",
        "\nYou can verify this by hand: 10 pairs of 7.",
    ],
)
@pytest.mark.parametrize(("case", "response", "right"), ANSWERS, ids=range(len(ANSWERS)))
def test_they_change_no_verdict(case: Case, response: str, right: bool, before: str, after: str) -> None:
    assert grade(case, f"{before}{response}{after}").acceptable is right


@pytest.mark.parametrize(
    "text",
    [
        "To check whether 7 is prime, divide it by 2 and 3. So the answer is yes.",
        "To verify the claim, add them: 3 + 4 = 7.",
        "It is 5.\n\nTo check: 2 + 2 = 4. Wait, so it is 4.",
        "It is 5.\n\nLet's verify: 2 + 2 = 4, so the answer is 4.",
    ],
)
def test_work_is_no_aside(text: str) -> None:
    """Nor is a check that comes to another answer."""
    assert without_asides(text) == text


def test_wide_signs_are_read() -> None:
    number = Case(id="n", request="还剩几个？", expected="31")
    assert exact(number, "答案：31个苹果。原来有24个。").acceptable
    animals = Case(id="c", request="?", choices=("鲨鱼属于鱼类", "鲸鱼属于哺乳动物"), answer=1)
    assert choice(animals, "A. 鲨鱼属于鱼类\nB. 鲸鱼属于哺乳动物\n因此，正确答案是：B. 鲸鱼").acceptable
