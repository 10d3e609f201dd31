"""DSPy's examples as cases."""

from __future__ import annotations

from typing import Any

from conscience import Case


def test_rows_with_an_answer_are_cases() -> None:
    """As DSPy's optimizers take them: what should come out is a reference; a case's own fields stay what they are."""
    import dspy

    from conscience import Conscience
    from conscience.optimizers.data.dspy_examples import cases_of
    from conscience.testing import ScriptedLM

    def read(signature: str, **fields: Any) -> Case:
        program = Conscience(dspy.ChainOfThought(signature), lm=ScriptedLM({"": "x"}))
        return cases_of([dspy.Example(**fields).with_inputs("question")], program)[0]

    case = read("question -> answer", question="q", answer="good", reasoning="because", topic="t")
    assert (case.request, case.references, case.answer) == ("q", ("good",), None)
    assert (case.response, case.reasoning) == (None, "")
    assert case.meta == {"reasoning": "because", "topic": "t"}
    assert read("question -> answer: int", question="q", answer=4).meta == {"answer": 4}
    assert read("question -> answer", question="q", answer="good", references=["mine"]).references == ("mine",)
    assert read("question -> answer", question="q", answer=1, choices=["a", "b"]).answer == 1
    assert read("question -> response", question="q", response="r").references == ("r",)
    judged = read("question -> response", question="q", response="r", label="aligned")
    assert (judged.response, judged.label, judged.references) == ("r", "aligned", ())
