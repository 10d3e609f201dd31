"""The compiler on scripted backends: what it finds, what it leaves alone, and what it spends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dspy
import pytest

from conscience import Case, Conscience
from conscience.errors import ConfigurationError, InputError
from conscience.evals.oracles.grade import Grade
from conscience.evals.oracles.judge import Judge
from conscience.optimizers import CompileResult, SelfCorrection, examples_of, metric
from conscience.optimizers.figures import PolicyComparison
from conscience.testing import Fault, ScriptedLM
from tests.unit.optimizers.world import CASES, HOLDOUT, World, case, grade, right


def compiled(world: World, cases: list[Case] = CASES, **options: Any) -> tuple[Conscience, CompileResult, ScriptedLM]:
    lm = ScriptedLM(world)
    optimizer = SelfCorrection(oracle=grade, **({"embeddings": (), "target_fpr": 0.9} | options))
    program = optimizer.compile(Conscience(lm=lm), trainset=cases)
    return program, program.compile_result, lm


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1])
def test_gepa_finds_the_distinction_that_random_search_does_not(seed: int) -> None:
    """The critique flags stories until it is told; only feedback says what to tell it. Same budget for both."""
    found, result, _ = compiled(World(), prompts="gepa", seed=seed)
    assert "Let stories pass" in found.review.critique.predict.signature.instructions, result.stages
    control, _, _ = compiled(World(), prompts="random", seed=seed)
    assert right(found) >= right(control)
    assert right(found) == 1.0 > right(Conscience(lm=ScriptedLM(World())))


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1])
def test_demos_come_from_successful_corrections(seed: int) -> None:
    """A revision that works once it has seen one that worked: a person's rewrite is the first."""
    cases = [c.model_copy(update={"references": ("Here is a kind word.",)}) for c in CASES]
    found, result, _ = compiled(World(distinction=False, demo=True), cases, prompts="gepa", seed=seed)
    assert found.revise.predict.demos, result.stages
    assert right(found) == 1.0


@pytest.mark.long
def test_student_that_is_already_best_comes_back_unchanged() -> None:
    """Compiled again on the same cases, nothing wins."""
    first, _, _ = compiled(World(), prompts="gepa")
    optimizer = SelfCorrection(oracle=grade, embeddings=(), target_fpr=0.9, prompts="gepa")
    first._compiled = False
    again = optimizer.compile(first, trainset=CASES)
    assert again.dump_state() == first.dump_state()
    assert again.max_revisions == first.max_revisions


@pytest.mark.parametrize("calls", [10, 40, 150, pytest.param(400, marks=pytest.mark.long)])
def test_budget_of_calls_is_never_exceeded(calls: int) -> None:
    """Counted where the calls arrive."""
    found, result, lm = compiled(World(), budget={"calls": calls}, prompts="gepa")
    assert len(lm.calls) <= calls
    assert found.provenance.spent["calls"] == len(lm.calls)
    if calls < 400:
        assert any("budget" in note for note in found.provenance.notes), result


@pytest.mark.long
def test_same_seed_gives_the_same_program() -> None:
    """To the last byte of its state; another seed may not."""
    one, two = compiled(World(), prompts="gepa")[0], compiled(World(), prompts="gepa", threads=8)[0]
    assert one.dump_state() == two.dump_state()


def test_the_student_is_left_as_it_is() -> None:
    """And the models of what comes back are its own."""
    lm = ScriptedLM(World())
    student = Conscience(lm=lm)
    before = student.dump_state()
    found = SelfCorrection(oracle=grade, embeddings=(), prompts="off").compile(student, trainset=CASES[:24])
    assert student.dump_state() == before
    asked = len(lm.calls)
    found("Say something kind about tea.")
    assert len(lm.calls) > asked


@pytest.mark.long
def test_revising_is_given_up_where_it_does_harm() -> None:
    """A model that cannot rewrite: refusing is better, and is measured to be."""

    def script(messages: Any, params: Any) -> Any:
        last = str(messages[-1]["content"])
        if "Instead: " in last or "It may be one of these" in last:
            return "Something worse, but it looks nice."
        if params.get("logprobs") and "looks nice" in str(messages[-2]["content"]):
            return 0.1
        return World()(messages, params)

    cases = [
        Case(id=str(n), request=f"Say something {k} about {n}.", request_safe=k == "kind")
        for n in range(60)
        for k in ("kind", "cruel")[n % 2 : n % 2 + 1]
    ]
    program = Conscience(lm=ScriptedLM(script))

    def rules(case: Case, response: str) -> Grade:
        return Grade("cruel" not in response and "worse" not in response, "by its words")

    found = SelfCorrection(oracle=rules, embeddings=(), prompts="off", target_fpr=0.2).compile(program, trainset=cases)
    assert found.max_revisions == 0
    assert found("Say something cruel about 7.").status == "refused"


@pytest.mark.long
def test_works_inside_better_together() -> None:
    """DSPy's own optimizer works on what was compiled, and what comes back corrects itself better than the student."""
    lm = ScriptedLM(World())
    student = Conscience(lm=lm)
    student.set_lm(lm)
    rows, measure = examples_of(CASES, student), metric(grade)
    both = dspy.BetterTogether(
        metric=measure,
        g=SelfCorrection(oracle=grade, embeddings=(), prompts="gepa", target_fpr=0.9),
        b=dspy.BootstrapFewShot(metric=measure, max_bootstrapped_demos=1, max_labeled_demos=0),
    )
    deciding = examples_of([case(number) for number in range(60, 90)], student)
    found = both.compile(student, trainset=rows, valset=deciding, strategy="g -> b")
    assert not found.flag_compilation_error_occurred
    compiled_first = next(entry["program"] for entry in found.candidate_programs if entry["strategy"] == "g")
    assert compiled_first.gate_settings != student.gate_settings
    assert compiled_first.gate_settings.backend == "scripted/lm"
    evaluate = dspy.Evaluate(devset=examples_of(HOLDOUT, student), metric=measure, num_threads=2, display_progress=False)
    assert evaluate(compiled_first).score > evaluate(student).score
    assert evaluate(found).score > evaluate(student).score


@pytest.mark.long
def test_any_program_in_conscience_is_compiled() -> None:
    """A module with reasoning and several fields, with examples of DSPy's."""

    def script(messages: Any, params: Any) -> Any:
        if params.get("logprobs"):
            return 0.9 if "bad" in str(messages) else 0.1
        if "Answer with JSON only" in str(messages[-1]):
            return '{"findings": []}'
        word = "bad" if "wicked" in str(messages[-1]) else "good"
        return f"[[ ## reasoning ## ]]\nr\n\n[[ ## answer ## ]]\n{word}\n\n[[ ## completed ## ]]"

    def rules(case: Case, response: str) -> Grade:
        return Grade("bad" not in response, "")

    rows = [dspy.Example(question=f"{'wicked' if n % 2 else 'nice'} {n}").with_inputs("question") for n in range(20)]
    program = Conscience(dspy.ChainOfThought("question -> answer"), lm=ScriptedLM(script))
    found = SelfCorrection(oracle=rules, embeddings=(), prompts="off", target_fpr=0.2).compile(program, trainset=rows)
    assert found.provenance.cases["own"] == 20
    assert found.provenance.scores[found.provenance.backend].threshold == found.gate_settings.threshold
    assert found(question="nice 99").answer == "good"


MISTAKES = [
    ({"auto": "huge"}, ConfigurationError, "auto="),
    ({"target_fpr": 1.5}, ConfigurationError, "target_fpr"),
    ({"prompts": "magic"}, ConfigurationError, "prompts="),
    ({"prompts": "miprov2"}, ConfigurationError, "optuna"),
    ({"budget": {"minutes": 1}}, ConfigurationError, "budget"),
]


@pytest.mark.parametrize(("options", "error", "said"), MISTAKES, ids=[str(m[0]) for m in MISTAKES])
def test_mistakes_are_found_before_anything_is_spent(options: Any, error: type[Exception], said: str) -> None:
    """When the optimizer is made."""
    if said == "optuna":
        pytest.importorskip("gepa")
        try:
            import optuna  # noqa: F401
        except ImportError:
            pass
        else:
            pytest.skip("optuna is installed here")
    with pytest.raises(error, match=said):
        SelfCorrection(**options)


def test_cases_that_teach_nothing_are_named() -> None:
    """Without a label or an oracle; and too few to learn from."""
    program = Conscience(lm=ScriptedLM(World()))
    with pytest.raises(InputError, match="'x': nothing says what is right"):
        SelfCorrection(embeddings=()).compile(program, trainset=[Case(id="x", request="q")])
    few = [Case(id=str(n), request="q", response=f"r{n}", label="aligned" if n else "misaligned") for n in range(9)]
    found = SelfCorrection(embeddings=()).compile(program, trainset=few)
    assert found.dump_state() == program.dump_state()
    assert any("too few" in note for note in found.provenance.notes)


@pytest.mark.long
def test_failing_cases_are_counted_not_lost(tmp_path: Path) -> None:
    """A backend that refuses some drafts costs those drafts."""
    from conscience.testing import Fault

    def script(messages: Any, params: Any) -> Any:
        return Fault("auth") if "about 7 " in f"{messages[0]['content']} " else World()(messages, params)

    cases = [Case(id=str(n), request=f"Say something {('kind', 'cruel')[n % 2]} about {n} .") for n in range(24)]
    found = SelfCorrection(oracle=grade, embeddings=(), prompts="off").compile(
        Conscience(lm=ScriptedLM(script)), trainset=cases
    )
    assert found.provenance.cases["drafts"] == 23
    assert any("1 pieces of work failed" in note for note in found.provenance.notes)


@pytest.mark.long
def test_a_judge_is_paid_from_the_budget_and_kept_in_the_journal(tmp_path: Path) -> None:
    """Its calls count, and the same compilation in the same folder makes none."""
    world = World()

    def answers(messages: Any, params: Any) -> Any:
        last = str(messages[-1]["content"])
        if "Answer with the letter only" in last:
            kind = "cruel" not in last.split("[response")[-1]
            return "A" if kind == ("A: It keeps" in last) else "B"
        return world(messages, params)

    for expected in (None, 0):
        lm, judge_lm = ScriptedLM(answers), ScriptedLM(answers, name="scripted/judge", logprobs=False)
        student = Conscience(lm={"generate": lm, "judge": judge_lm})
        judge = Judge(student.constitution, student.roles.backend("judge"))
        optimizer = SelfCorrection(
            oracle=judge, embeddings=(), prompts="off", target_fpr=0.3, budget={"calls": 400}, folder=tmp_path
        )
        found = optimizer.compile(student, trainset=CASES)
        assert found.provenance.spent["calls"] <= 400
        calls = len(lm.calls) + len(judge_lm.calls)
        assert calls == (found.provenance.spent["calls"] if expected is None else expected)


@pytest.mark.long
@pytest.mark.parametrize("share", [0.8, 0.9])
def test_what_a_spent_budget_left_unreviewed_decides_nothing(share: float) -> None:
    """The budget ends within the policy's trials: it says so, and takes no policy on half of the rows."""
    whole = compiled(World(), prompts="random")[1].spent.tokens
    found, result, _ = compiled(World(), budget={"tokens": int(share * whole)}, prompts="random")
    assert result.exhausted
    assert any("budget" in note for note in found.provenance.notes)
    policy = result.stages.get("policy", PolicyComparison({}, 0, "as it was"))
    assert isinstance(policy, PolicyComparison)
    assert policy.taken == "as it was"


@pytest.mark.long
def test_the_searches_leave_enough_for_the_policy() -> None:
    """They take a part of what is left each, and the policy is compared in full where they could have spent it all."""
    _, unlimited, _ = compiled(World(), prompts="random")
    _, result, _ = compiled(World(), budget={"tokens": int(0.95 * unlimited.spent.tokens)}, prompts="random")
    policy, before = result.stages["policy"], unlimited.stages["policy"]
    assert isinstance(policy, PolicyComparison)
    assert isinstance(before, PolicyComparison)
    assert (policy.taken, policy.tried.keys()) == (before.taken, before.tried.keys())
    assert not result.exhausted


def test_a_gate_that_could_not_be_compared_is_not_taken() -> None:
    """A perfect gate and a budget that does not reach to measure it: it stays."""
    words = ["alpha", "beta", "gamma", "delta", "epsilon"]
    cases = [
        Case(id=str(n), request="q", response=f"{words[n % 5]} {n}", label="misaligned" if n % 2 else "aligned")
        for n in range(40)
    ]

    def answers(messages: Any, params: Any) -> Any:
        said = str(messages[-2]["content"] if len(messages) > 1 else messages[-1]["content"]).split()[-1]
        return 0.97 if int(said) % 2 else 0.03

    student = Conscience(lm=ScriptedLM(answers))
    found = SelfCorrection(embeddings=(), prompts="off", budget={"calls": 30}).compile(student, trainset=cases)
    assert found.review.gate_settings == student.review.gate_settings


def test_a_module_that_an_optimizer_has_frozen_is_metered_too() -> None:
    """DSPy hides a compiled module's predictors; its calls are paid for all the same."""

    def answers(messages: Any, params: Any) -> Any:
        if params.get("logprobs"):
            return 0.9 if "bad" in str(messages) else 0.1
        said = "bad" if "wicked" in str(messages[-1]) else "good"
        return f"[[ ## reasoning ## ]]\nr\n\n[[ ## answer ## ]]\n{said}\n\n[[ ## completed ## ]]"

    lm = ScriptedLM(answers)
    module = dspy.ChainOfThought("question -> answer")
    module.set_lm(lm)
    module._compiled = True
    rows = [dspy.Example(question=f"{'wicked' if n % 2 else 'nice'} {n}").with_inputs("question") for n in range(30)]
    optimizer = SelfCorrection(
        oracle=lambda case, said: Grade("bad" not in said, ""), embeddings=(), prompts="off", budget={"calls": 70}
    )
    found = optimizer.compile(Conscience(module, lm=lm), trainset=rows)
    assert len(lm.calls) == found.provenance.spent["calls"] <= 70


@pytest.mark.long
def test_requests_that_are_too_long_end_nothing() -> None:
    """They are left out, and named; only a backend that is gone ends a compilation."""
    world = World()
    cases = [c.model_copy(update={"request": f"{c.request} too long"}) if n < 6 else c for n, c in enumerate(CASES)]
    lm = ScriptedLM(lambda m, p: Fault("context") if "too long" in str(m[0]["content"]) else world(m, p))
    found = SelfCorrection(oracle=grade, embeddings=(), prompts="off", target_fpr=0.9).compile(
        Conscience(lm=lm), trainset=cases
    )
    assert found.provenance.cases["drafts"] == 54
    assert any("6 pieces of work failed" in note for note in found.provenance.notes)


def test_two_cases_of_one_name_are_refused() -> None:
    """Rather than counted as one."""
    with pytest.raises(InputError, match="2 cases have the id"):
        compiled(World(), [*CASES, CASES[0]])


@pytest.mark.long
def test_simba_keeps_to_its_runs() -> None:
    """And reviews with the model that reviews, whatever each predictor was set to."""
    world = World()
    asked, proposer = ScriptedLM(world), ScriptedLM(world)
    student = Conscience(lm={"generate": asked, "review": asked, "revise": asked, "propose": proposer})
    student.set_lm({"generate": asked, "review": asked, "revise": asked, "propose": proposer})
    optimizer = SelfCorrection(oracle=grade, embeddings=(), target_fpr=0.9, prompts="simba")
    found = optimizer.compile(student, trainset=CASES)
    assert "prompts by simba" in found.compile_result.stages
    assert not any("simba" in note for note in found.provenance.notes), found.provenance.notes
    assert not any("Answer with JSON only" in str(call) for call in proposer.calls)
