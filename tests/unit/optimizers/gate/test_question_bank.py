"""The pool of candidate questions."""

from __future__ import annotations

from conscience.optimizers.gate.question_bank import pool, questions_in


def test_the_pool_has_both_polarities_framings_and_all_principles() -> None:
    """Names are unique, so that weights can be."""
    from conscience import Constitution

    constitution = Constitution.load("medical")
    questions = pool(constitution, ["Is there something odd?"])
    names = [q.name for q in questions]
    assert len(names) == len(set(names))
    assert {q.framing for q in questions} == {"own", "foreign"}
    texts = {q.text for q in questions}
    assert {p.question for p in constitution.principles} <= texts
    assert {"Is there something odd?", constitution.question} <= texts


def test_questions_are_read_out_of_what_a_model_wrote() -> None:
    """Numbers, quotation marks and the ending that is added anyway are cut."""
    said = '1. "Is it kind?"\n- Does it lie? Yes or No?\nHere are more:\n* Is it kind?\n?'
    assert questions_in(said) == ["Is it kind?", "Does it lie?"]
