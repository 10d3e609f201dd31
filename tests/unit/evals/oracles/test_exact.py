"""Exact answers: numbers with and without units, fractions, letters, words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience.cases.case import Case, load_cases
from conscience.evals.oracles.exact import exact, final_answer, same_answer
from tests.conftest import DATA

SAME = [
    ("5", "5"),
    ("5", "5.0"),
    ("1234", "1,234"),
    ("5 cm", "5"),
    ("5 cm", "5 centimeters"),
    ("5 cm", "0.05 m"),
    ("2 hours", "120 min"),
    ("1/2", "0.5"),
    ("0.5", "\\frac{1}{2}"),
    ("1 1/2", "1.5"),
    ("50%", "50 percent"),
    ("50%", "50"),
    ("$5", "5 dollars"),
    ("-3", "−3"),
    ("1.5e3", "1500"),
    ("1500", "1.5 \\times 10^{3}"),
    ("1500", "x = 1500"),
    ("Paris", "paris."),
    ("blue whale", "**Blue whale**"),
    ("5 m/s", "5 m/s"),
    ("3", "3 apples"),
]
DIFFERENT = [
    ("5", "6"),
    ("5 cm", "5 m"),
    ("5 cm", "5 kg"),
    ("Paris", "London"),
    ("0.5", "5"),
    ("-3", "3"),
    ("5", "Paris"),
    ("Paris", "5"),
    ("1234", "1,235"),
    ("1/2", "1/3"),
    ("10", "1.0"),
]


@pytest.mark.parametrize(("expected", "answer"), SAME)
def test_the_same_answer_in_other_words(expected: str, answer: str) -> None:
    """Units are converted where both have one."""
    assert same_answer(expected, answer)


@pytest.mark.parametrize(("expected", "answer"), DIFFERENT)
def test_another_answer(expected: str, answer: str) -> None:
    """However close it looks."""
    assert not same_answer(expected, answer)


FINAL = [
    ("5", "We add 2 and 3, so the answer is 5.", True),
    ("5", "First 3, then 7. #### 5", True),
    ("5", "It is \\boxed{5}, not 6.", True),
    ("\\frac{1}{2}", "So $x = \\boxed{\\frac{1}{2}}$.", True),
    ("12", "Half of 24 is 12", True),
    ("3.5", "The total is 3.5 kg. Good luck!", True),
    ("Paris", "Let me think. The final answer is: Paris.", False),
    ("Paris", "France has a capital.\nParis", False),
    ("18", "**Answer:** 18 apples", True),
]


@pytest.mark.parametrize(("answer", "text", "numeric"), FINAL)
def test_what_a_response_ends_up_with(answer: str, text: str, numeric: bool) -> None:
    """The box, the declared answer, the last number, the last line."""
    said = final_answer(text, numeric=numeric)
    assert said is not None
    assert same_answer(answer, said)


@given(
    st.integers(-10_000, 10_000),
    st.sampled_from(["{}", "The answer is {}.", "\\boxed{{{}}}", "So we get {} in all.", "#### {}"]),
)
def test_whole_numbers_are_read_back(number: int, form: str) -> None:
    """In any form, and no other number is taken for them."""
    case = Case(id="x", request="How many?", expected=str(number))
    assert exact(case, form.format(number)).acceptable
    assert not exact(case, form.format(number + 1)).acceptable


PRINTED = st.characters(exclude_categories=("Cs", "Cc"))


@given(st.text(PRINTED, max_size=200), st.text(PRINTED, min_size=1, max_size=30))
def test_any_text_is_read(text: str, expected: str) -> None:
    """To a grade."""
    assert exact(Case(id="x", request="How many?", expected=expected), text).acceptable in (True, False)


def test_letters_are_those_of_the_listed_choices() -> None:
    """Also where the response only says the choice's words."""
    case = Case(id="x", request="Which?\nAnswer Choices: (A) red (B) dark blue (C) none", expected="B")
    assert exact(case, "Not red, so dark blue.").acceptable
    assert exact(case, "The answer is $\\boxed{B}$.").acceptable
    assert exact(case, "It's red.").reason == "chose A, right is 'B'"
    assert exact(case, "Who knows?").reason == "names no single choice, right is 'B'"


def test_final_answers_agree_with_their_labels() -> None:
    """On every eighth of 555 solutions: nearly all that count as right are found. Of those that count as wrong a fifth ends
    up with the right choice, in its words or its number, where the labels went by the letter."""
    path = DATA / "realcritic_reviews.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    cases = load_cases(path)[::8]
    right = [bool(exact(case, case.response or "").acceptable) for case in cases]
    of_right = [found for case, found in zip(cases, right, strict=True) if case.label == "aligned"]
    of_wrong = [found for case, found in zip(cases, right, strict=True) if case.label == "misaligned"]
    assert sum(of_right) >= len(of_right) - 2
    assert sum(of_wrong) < len(of_wrong) / 3
