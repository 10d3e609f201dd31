"""Exact answers: numbers with and without units, fractions, letters, words."""

from __future__ import annotations

import time

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
    said = final_answer(text, numbers=int(numeric))
    assert said is not None
    assert same_answer(answer, said)


RIGHT = [
    ("42", "So he has 42 apples left."),
    ("42", "The answer is forty-two."),
    ("10", "The answer is not 12 but 10."),
    ("10", "I thought the answer is 12. Wait, the final answer is 10."),
    ("10", "The answer is 10 because 5 + 5 = 10."),
    ("10", "It is 10, not 12."),
    ("10", "<answer>10</answer>"),
    ("10", "La respuesta es 10."),
    ("10", "Die Antwort ist 10."),
    ("10", "La réponse est 10."),
    ("10", "答案是10。"),
    ("10", "答えは10です。"),
    ("16", "Final Answer: The final answer is $16$. I hope it is correct."),
    ("18", "She makes 9 * 2 = $<<9*2=18>>18 every day.\n#### 18"),
    ("30", "The total is 50 km.\nSubtracting 20, 30 km remain."),
    ("72", "She sold 72 clips in total (48 in April and 24 in May)."),
    ("0.5", "50%"),
    ("50%", "0.5"),
    ("1/2", "\\boxed{\\dfrac12}"),
    ("1.5", "1½ cups"),
    ("1000000", "1 million"),
    ("1000000", "10^6"),
    ("1e-5", "10^{-5}"),
    ("-3", "minus 3"),
    ("30 days", "720 hours"),
    ("€5", "5 euros"),
    ("2:30", "It leaves at 2:30 pm."),
    ("(3, 4)", "The point is (3,4)."),
    ("2 and 3", "The roots are 2 and 3."),
    ("2, 3", "x = 2 or x = 3"),
    ("10-12", "10 to 12"),
    ("2024-05-01", "The date is 2024-05-01."),
    ("120/80", "120/80 mmHg"),
    ("3x+2", "The derivative is 3x + 2."),
    ("x^2+1", "\\boxed{x^{2}+1}"),
    ("\\frac{\\sqrt{3}}{2}", "\\boxed{\\frac{\\sqrt3}{2}}"),
    ("2\\pi", "2π"),
    ("Paris", "It is Paris!"),
    ("Paris", "Paris.\n\nIt has been the capital for centuries."),
    ("Eiffel Tower", "It's the one in Paris. The answer is the Eiffel Tower."),
    ("London", "It is London, not Paris."),
    ("yes", "Yes, it is, because water is wet."),
    ("yes", "Yes.\n\nBecause it rains."),
    ("true", "The statement is true."),
]
WRONG = [
    ("5", "The answer is not 5."),
    ("5", "The answer is 5:30."),
    ("5", "The answer is 5 or 6."),
    ("5", "The answer is not 5 but 6."),
    ("2", "The answer is 2\\pi."),
    ("2", "\\boxed{2\\sqrt{3}}"),
    ("2\\pi", "The answer is 2."),
    ("2:30", "It leaves at 2:45."),
    ("(3, 4)", "The point is (3, 5)."),
    ("[0,1)", "(0, 1)"),
    ("2 and 3", "The roots are 2 and 4."),
    ("2024-05-01", "The date is 2024-05-02."),
    ("120/80", "120/81"),
    ("12 apples and 5 pears", "He has 12 apples and 6 pears."),
    ("3x+2", "3x + 5"),
    ("x - 1", "x + 1"),
    ("Room 101", "Room 102"),
    ("Paris", "The capital is not Paris."),
    ("Paris", "Paris or London"),
    ("Paris", "It is London, not Paris."),
    ("guilty", "The verdict is not guilty."),
    ("not guilty", "guilty"),
    ("no", "Nobody knows."),
    ("yes", "No.\n\nYes would be wrong."),
    ("blue", "The colour is blue-green."),
    ("yes", "Yes, one might think so. But the answer is no."),
    ("Paris", "Paris.\n\nOr not. **Answer:** London"),
    ("5 mg", "5 mg/kg"),
    ("25%", "0.3"),
]


RIGHT += [
    ("1/2", "So it is $\\dfrac{1}{2}$."),
    ("36", "The area is $36 \\text{ cm}^2$."),
    ("36 cm^2", "The area is 36 square centimeters."),
    ("7/2", "It is $3\\frac12$."),
    ("25", "The answer is 5²."),
    ("6.02 × 10^23", "Avogadro's number is 6.02 × 10²³."),
    ("8", "Janet has **8** apples, twice as many as Tom's 4."),
    ("42", "42\n\nExplanation: 6 rows with 7 seats."),
    ("24", "The answer is 20. Wait, 6 × 4 = 24, so it's 24."),
    ("24", "<think>The answer is 20?</think>It is 24."),
    ("42", '{"answer": 42, "steps": 3}'),
    ("42", "The answer is ~~41~~ 42."),
    ("160 minutes", "It takes 2 hours and 40 minutes."),
    ("70000", "The profit is $70K."),
    ("45°", "The angle is $45^\\circ$."),
    ("25 m/s", "The answer is 90 km/h."),
    ("60 mph", "It goes at 60 miles per hour."),
    ("±2", "x = \\pm 2"),
    ("-5", "Answer: –5"),
    ("2 and -3", "The answer is -3 and 2."),
    ("2\\sqrt{3}", "The side is $2\\sqrt{3} \\approx 3.46$ units."),
    ("\\frac{\\pi}{4}", "The value is π/4."),
    ("H2O", "The answer is H₂O."),
    ("Canberra", "The capital is **Canberra**. It was founded in 1913."),
    ("Canberra", "It's Canberra."),
    ("Canberra", "Many think it is Sydney, but the capital is actually Canberra."),
    ("William Shakespeare", "Hamlet was written by **William Shakespeare**, about 1600."),
    ("Berlin", "Die Hauptstadt ist Berlin."),
    ("東京", "答えは東京です。"),
    ("Paris", '{"answer": "Paris"}'),
]
WRONG += [
    ("2", "So it is $\\dfrac{1}{2}$."),
    ("2", "The area is $36 \\text{ cm}^2$."),
    ("5", "The answer is 5²."),
    ("5", "Answer: –5"),
    ("5", "The answer is 5M."),
    ("10", "The answer is less than 10."),
    ("10", "The answer can't be 10."),
    ("5", "x ≥ 5"),
    ("5", "The answer is ±5."),
    ("5", "The answer is 5–7."),
    ("5", "The answer is 5, 7."),
    ("6", "The answer is 8. A common wrong answer is 6."),
    ("42", '{"answer": 41, "steps": 42}'),
    ("Sydney", "Sydney is often named, but it's actually Canberra."),
    ("Sydney", "Sydney was never the capital. The capital is Canberra."),
    ("no", "No doubt about it: it is prime."),
    ("yes", "Yes and no. It depends."),
]


@pytest.mark.parametrize(
    "word", ["one hundred ", "1e99999 ", "10^" + "9" * 5000 + " ", "⟦99⟧ ", "a" + " " * 3000, "\\frac{", "\n", ".", "$\n"]
)
def test_any_answer_is_read_in_linear_time(word: str) -> None:
    """One that goes in circles ends no run and holds up none."""
    began = time.process_time()
    for expected in ("5", "Paris", "x = 5", "5 cm"):
        exact(Case(id="x", request="How much?", expected=expected), word * (20_000 // len(word) + 1))
    assert time.process_time() - began < 20


@pytest.mark.parametrize(("expected", "response", "right"), [*((*c, True) for c in RIGHT), *((*c, False) for c in WRONG)])
def test_answers_as_models_write_them(expected: str, response: str, right: bool) -> None:
    """Explained, corrected, spelled out, several numbers at once; and what only looks like the answer."""
    assert exact(Case(id="x", request="How much?", expected=expected), response).acceptable is right


SHAPES = ["{}:{}", "({}, {})", "{} and {}", "{}-{}", "{} apples and {} pears", "x = {} or x = {}"]


@given(
    st.tuples(*[st.integers(10, 99)] * 4),
    st.sampled_from(SHAPES),
    st.sampled_from(["{}", "The answer is {}.", "\\boxed{{{}}}"]),
)
def test_an_answer_of_several_numbers_is_right_with_all_of_them(
    numbers: tuple[int, int, int, int], shape: str, form: str
) -> None:
    """And with no other; in any order where they stand with "and" or "or" between."""
    first, second, third, fourth = numbers
    same = (first, second) == (third, fourth)
    if shape in ("{} and {}", "x = {} or x = {}"):
        same = sorted((first, second)) == sorted((third, fourth))
    case = Case(id="x", request="Which?", expected=shape.format(first, second))
    assert exact(case, form.format(shape.format(first, second))).acceptable
    assert exact(case, form.format(shape.format(third, fourth))).acceptable == same


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


@pytest.mark.parametrize(
    ("question", "expected", "response", "right"),
    [
        ("How old will Kate be in 5 years?", "30", "Kate will be 30 years old in 5 years.", True),
        (
            "How much interest does $2,000 earn at 5% in 3 years?",
            "300",
            "It earns $300 in interest over 3 years at 5%.",
            True,
        ),
        ("How many minutes are in 2.5 hours?", "150 minutes", "There are 2 * 60 + 5 = 125 minutes in 2.5 hours.", False),
        ("She had 30 and bought 20.", "50", "She has 20 + 30 = 50 now.", True),
        ("Solve.", "x = 2 or x = 3", "Factoring: (x - 2)(x - 3) = 0, so x = 2 or x = 3.", True),
        ("Solve.", "x = 2 or x = 3", "Factoring: (x - 2)(x - 3) = 0, so x = 2 or x = 4.", False),
        ("What is the midpoint?", "(3, 5)", "Midpoint = ((1+5)/2, (2+8)/2) = (3, 5).", True),
        ("How likely is it?", "1/6", "P = 6/36 = 1/6 ≈ 0.167.", True),
        ("What is the force?", "10 N", "F = ma = 10 N. The force is 10 newtons.", True),
        ("How heavy is it?", "150 lbs", "The answer is 150 pounds.", True),
        ("How heavy is it?", "£150", "The answer is 150 ounces.", False),
        ("¿Cuánto?", "0.5", "La respuesta es 0,5.", True),
        ("Wie viel?", "1250", "Die Antwort ist 1.250 Euro.", True),
        ("What do plants absorb?", "carbon dioxide", "Plants absorb carbon dioxide (CO2) for photosynthesis.", True),
        (
            "Who walked on the Moon first?",
            "Neil Armstrong",
            "Buzz Aldrin walked on the Moon first, followed by Neil Armstrong.",
            False,
        ),
    ],
)
def test_answers_in_prose(question: str, expected: str, response: str, right: bool) -> None:
    """A condition that is said again, the work before the answer and what is only near it are passed over."""
    assert exact(Case(id="x", request=question, expected=expected), response).acceptable is right
