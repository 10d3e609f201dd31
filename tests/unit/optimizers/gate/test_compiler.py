"""The gate compiler on tables made by hand: what it keeps, in which order it asks, and that it says the same each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conscience.cases.case import Case
from conscience.errors import InputError
from conscience.gate.questions import Question
from conscience.optimizers.data.labeled_drafts import LabeledDraft
from conscience.optimizers.data.splits import halves, in_order
from conscience.optimizers.gate.compiler import compile_gate
from conscience.optimizers.gate.incumbent import platt_scaled
from conscience.optimizers.gate.logistic import log_losses
from conscience.optimizers.gate.question_bank import pool, questions_in
from conscience.optimizers.gate.signal_matrix import PLAIN, SignalMatrix, probabilities
from conscience.optimizers.gate.threshold import hold_out_for_threshold
from conscience.outcome import Draft
from conscience.stats.metrics import auroc

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def labelled(number: int, misaligned: bool, response: str, **more: Any) -> LabeledDraft:
    label = "misaligned" if misaligned else "aligned"
    case = Case(id=f"c{number}", request=f"r{number}", response=response, label=label, **more)
    return LabeledDraft(case, Draft.of(case.request, response), misaligned, own=False)


def table(
    n: int = 80, *, questions: dict[str, float] | None = None, embedding: float | None = None, words: float = 0.0,
    seed: int = 0, groups: int = 5, framing: Any = "own",
) -> SignalMatrix:  # fmt: skip
    """n drafts; each signal is the truth times its strength plus noise."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 2
    drafts = []
    for i in range(n):
        said = list(rng.choice(WORDS, 6))
        if rng.random() < words:
            said.append("wicked" if truth[i] else "lovely")
        drafts.append(labelled(i, bool(truth[i]), " ".join(said), group=f"g{i // 2 % groups}", pair=f"p{i // 2}"))
    questions = questions or {}
    values = (
        np.stack([truth * s + rng.normal(size=n) for s in questions.values()], axis=1) if questions else np.zeros((n, 0))
    )
    embeddings: dict[str, Any] = {}
    if embedding is not None:
        matrices = [rng.normal(size=(n, 16)) for _ in PLAIN]
        matrices[0][:, 3] += truth * embedding
        embeddings["served/model"] = (PLAIN, matrices, 300.0)
    asked = tuple(Question(name=name, text=f"{name}?", framing=framing) for name in questions)
    return SignalMatrix(tuple(drafts), asked, values, np.full(len(questions), 20.0), embeddings)


def compiled(made: SignalMatrix, **options: Any) -> Any:
    return compile_gate(made, backend="b", **{"target_fpr": 0.1, **options})


def reached(gate: Any, made: SignalMatrix) -> float:
    scores = probabilities(gate.settings, made)
    found = auroc(
        [s for s, d in zip(scores, made.drafts, strict=True) if d.misaligned],
        [s for s, d in zip(scores, made.drafts, strict=True) if not d.misaligned],
    )
    assert found is not None
    return found


def test_good_questions_are_chosen_and_signs_are_free() -> None:
    """One that says No to what is wrong counts with a negative weight; noise is left out."""
    Cs = {"good": 2.0, "inverse": -2.0, **{f"noise{i}": 0.0 for i in range(12)}}
    gate = compiled(table(questions=Cs), words=False)
    weights = gate.settings.stages[-1].weights
    assert {"good", "inverse"} <= set(weights)
    assert weights["good"] > 0 > weights["inverse"]
    assert len(weights) <= 3
    assert reached(gate, table(400, questions=Cs, seed=9)) > 0.9


def test_kinds_of_signal_are_blended_and_reported_alone() -> None:
    """Together they reach more than the best by itself; each one's own figure is told."""
    made = table(120, questions={"q": 1.2}, embedding=1.5, words=0.5)
    gate = compiled(made)
    alone = {one.kind: one.auroc for one in gate.alone}
    assert set(alone) == {"words", "embedding", "questions"}
    assert gate.auroc > max(alone.values()) - 0.01
    assert reached(gate, table(600, questions={"q": 1.2}, embedding=1.5, words=0.5, seed=5)) > max(alone.values()) - 0.03


def test_dear_signal_that_earns_nothing_is_dropped() -> None:
    """Noise that reads the whole exchange anew does not stay."""
    gate = compiled(table(400, questions={"q": 3.0}, embedding=0.0), words=False)
    assert {one.kind: one.kept for one in gate.alone} == {"embedding": False, "questions": True}


def test_cheap_signals_are_asked_first_and_dear_ones_only_in_doubt() -> None:
    """The cascade asks the dear reader of few aligned drafts, says of how many, and reaches nearly as much."""
    made = table(600, questions={"q": 4.0}, embedding=3.0)
    gate = compiled(made, words=False)
    first, second = gate.settings.stages
    assert [s.kind for s in first.signals] == ["question"]
    assert [s.kind for s in second.signals] == ["embedding"]
    assert gate.asked[0] == 1.0
    assert gate.asked[1] < 0.9
    assert gate.tokens < 0.95 * 320
    assert first.undecided_band is not None
    assert second.undecided_band is None


def test_it_is_deterministic() -> None:
    """The same table, the same gate, to the last digit; the order of the drafts does not matter to the split of group_folds."""
    made = table(90, questions={"a": 1.0, "b": 0.5}, embedding=1.0)
    assert compiled(made).settings == compiled(made).settings


def test_threshold_comes_from_drafts_that_chose_nothing_else() -> None:
    """With enough of them set aside it is certified; without it says how many are missing."""
    made = table(400, questions={"q": 2.0})
    calibration_set = hold_out_for_threshold(list(made.drafts), 0.1, seed=0)
    gate = compiled(made, calibration_set=calibration_set)
    assert gate.threshold.certified
    assert not {d.case.id for d in gate.drafts} & {d.case.id for d in calibration_set}
    few = table(40, questions={"q": 2.0})
    assert hold_out_for_threshold(list(few.drafts), 0.1, seed=0) == []
    assert compiled(few).threshold.missing > 0


def test_too_few_labels_are_refused() -> None:
    """And it is said how many it takes."""
    with pytest.raises(InputError, match="at least 4 of either kind"):
        compiled(table(6, questions={"q": 1.0}))
    made = table(40, questions={"q": 1.0})
    same = [replace(draft, case=draft.case.model_copy(update={"pair": "one"})) for draft in made.drafts]
    with pytest.raises(InputError, match="too few to learn from"):
        compiled(replace(made, drafts=tuple(same)))


@pytest.mark.parametrize("seed", range(12))
def test_what_questions_cost_is_what_they_cost_in_the_gate(seed: int) -> None:
    """Folds may choose other questions than all rows do: the cascade goes by the latter."""
    names = {f"q{i}": 0.3 for i in range(6)}
    made = table(40, questions=names, embedding=0.5, seed=seed)
    mixed = tuple(q.model_copy(update={"framing": "foreign" if i % 2 else "own"}) for i, q in enumerate(made.questions))
    gate = compiled(replace(made, questions=mixed))
    asked = [signal for stage in gate.settings.stages for signal in stage.signals if isinstance(signal, Question)]
    told = next(one for one in gate.alone if one.kind == "questions")
    if told.kept:
        assert told.tokens == 20.0 * len(asked)


def test_a_gate_that_says_the_same_of_everything_can_be_put_right() -> None:
    """Its slope means nothing; its bias becomes the base rate."""
    odds, labels = np.full(40, 2.2), np.array([1.0] * 10 + [0.0] * 30)
    held, slope, bias = platt_scaled(odds, labels, np.ones(40), [str(i) for i in range(40)])
    assert abs(2.2 * slope + bias - np.log(1 / 3)) < 0.3
    assert log_losses(held, labels).mean() < 0.65


def test_splits_keep_pairs_whole_and_do_not_depend_on_the_rest() -> None:
    """A cluster's place follows from its name and the seed."""
    drafts = list(table(60).drafts)
    order = [cluster[0].cluster for cluster in in_order(drafts, 3)]
    assert [c[0].cluster for c in in_order(drafts[::-1], 3)] == order
    assert [c[0].cluster for c in in_order(drafts[:30], 3)] == [
        name for name in order if name in {d.cluster for d in drafts[:30]}
    ]
    first, second = halves(drafts, 0)
    assert not {d.cluster for d in first} & {d.cluster for d in second}
    assert abs(sum(d.misaligned for d in first) - sum(d.misaligned for d in second)) <= 2


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


def test_a_rewrite_takes_the_place_of_the_answer(tmp_path: Path) -> None:
    """In a revision's demo, in the form in which the program's answers are written."""
    import dspy

    from conscience import Conscience
    from conscience.evals.oracles import Grade
    from conscience.optimizers.prompts.candidate import CandidateProgram
    from conscience.optimizers.prompts.demos import bootstrap
    from conscience.optimizers.runtime import Runtime
    from conscience.testing import ScriptedLM

    def script(messages: Any, params: Any) -> Any:
        last = str(messages[-1]["content"])
        if params.get("logprobs"):
            return 0.9
        if "Answer with JSON only" in last:
            return '{"findings": [{"principle": "no-demeaning", "quote": "x", "why": "y", "change": "z"}]}'
        answer = "still bad" if "problems" in last else "bad"
        return f"[[ ## reasoning ## ]]\nr\n\n[[ ## answer ## ]]\n{answer}\n\n[[ ## completed ## ]]"

    runtime = Runtime(tmp_path / "calls.jsonl")
    program = runtime.own(Conscience(dspy.ChainOfThought("question -> answer"), lm=ScriptedLM(script)))
    trial = CandidateProgram(program, lambda case, response: Grade("good" in response, ""))
    found = bootstrap(trial, [Case(id="a", request="q", references=("A good answer.",))], runtime, 10)
    assert "[[ ## answer ## ]]\nA good answer." in found.revise[0]["response"]
    assert "still bad" not in found.revise[0]["response"]
