"""The program: its ways through, its place in DSPy, and its behaviour under threads and asyncio."""

from __future__ import annotations

import asyncio
import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
import pytest

from conscience import (
    BackendError,
    ConfigurationError,
    Conscience,
    Constitution,
    ContextTooLong,
    InputError,
    Outcome,
    StageStarted,
)
from conscience.testing import Fault, ScriptedLM, by_stage
from tests.support.scripts import bad_then_good, fields

WAYS = [
    ({"gate": 0.1}, "clean", "Bad.", {"generate": 1, "review": 1}),
    ({"critique": '{"findings": []}'}, "cleared", "Bad.", {"generate": 1, "review": 2}),
    ({}, "revised", "Good.", {"generate": 1, "review": 3, "revise": 1}),
    ({"revise": "Bad again."}, "refused", None, {"generate": 1, "review": 4, "revise": 1}),
    ({"gate": Fault("server")}, "unreviewed", None, {"generate": 1}),
]


@pytest.mark.parametrize(("stages", "status", "answer", "calls"), WAYS, ids=[way[1] for way in WAYS])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_every_way_through_ends_as_drawn(stages: Any, status: str, answer: str | None, calls: Any, mode: str) -> None:
    """Status, text and calls by role are those of the picture, sync and async alike."""
    program = Conscience("question -> answer", lm=bad_then_good(**stages))
    outcome = program(question="q") if mode == "sync" else asyncio.run(program.acall(question="q"))
    assert isinstance(outcome, Outcome)
    assert outcome.status == status
    assert outcome.answer == (answer or program.constitution.refusal)
    assert outcome.response == outcome.answer
    assert {role: usage.calls for role, usage in outcome.usage.by_role.items()} == calls


async def test_stream_releases_words_only_after_the_review() -> None:
    """First the stages, then the reviewed text, then the outcome; no word of the draft."""
    program = Conscience("question -> answer", lm=bad_then_good())
    events = [event async for event in program.stream(question="q")]
    stages = [event.name for event in events if isinstance(event, StageStarted)]
    assert stages == ["generate", "gate", "critique", "revise", "gate"]
    assert "".join(event for event in events if isinstance(event, str)) == "Good."
    assert isinstance(events[-1], Outcome)


ODD = [
    ({"generate": Fault("rate_limit")}, BackendError),
    ({"generate": Fault("context")}, ContextTooLong),
    ({"generate": "gibberish"}, BackendError),
    ({"generate": fields(reasoning="r", answer="Bad.", degrees="3"), "revise": Fault("server")}, "refused"),
    ({"generate": fields(reasoning="r", answer="Bad.", degrees="3"), "revise": "gibberish"}, "refused"),
    ({"generate": fields(reasoning="r", answer="Bad.", degrees="3"), "gate": Fault("server")}, "unreviewed"),
]


@pytest.mark.parametrize("signature", ["question -> answer, degrees: int", "module"])
@pytest.mark.parametrize(("stages", "expected"), ODD)
def test_the_failure_table_holds_for_fields_and_modules(signature: str, stages: Any, expected: Any) -> None:
    """DSPy wraps a backend's errors; they come out as they went in."""
    generate: Any = dspy.ChainOfThought("question -> answer, degrees: int") if signature == "module" else signature
    program = Conscience(generate, lm=bad_then_good(**stages))
    if isinstance(expected, str):
        assert program(question="q").status == expected
    else:
        with pytest.raises(expected):
            program(question="q")
    assert Conscience(generate, lm=bad_then_good(), budget={"calls": 0})(question="q").status == "unreviewed"


def test_bad_arguments_are_named() -> None:
    """Each in one line, when the program is built."""
    for options in ({"max_revisions": -1}, {"on_error": "maybe"}, {"budget": {"minutes": 1}}, {"lm": {"judgement": "x/y"}}):
        with pytest.raises(ConfigurationError):
            Conscience("question -> answer", **options)  # type: ignore[arg-type]
    for generate in (3, "no arrow"):
        with pytest.raises(ConfigurationError):
            Conscience(generate)  # type: ignore[arg-type]


@pytest.mark.parametrize("question", ["", "  \n", "a\0b", "\ud800"])
def test_bad_request_is_named(question: str) -> None:
    """Nothing is asked of a model."""
    lm = bad_then_good()
    with pytest.raises(InputError):
        Conscience("question -> answer", lm=lm)(question=question)
    assert lm.calls == []


def test_without_any_model_the_error_names_both_ways() -> None:
    """lm= and dspy.configure."""
    with pytest.raises(ConfigurationError, match=r"dspy\.configure") as caught:
        Conscience("question -> answer")(question="q")
    assert "lm=" in str(caught.value)


def test_lm_configured_in_dspy_is_used() -> None:
    """As by any DSPy module."""
    with dspy.context(lm=bad_then_good()):
        assert Conscience("question -> answer")(question="q").answer == "Good."


def test_roles_may_have_models_of_their_own() -> None:
    """A mapping by role; a role that is not named follows the role it stands by."""
    writer, reviewer = ScriptedLM(by_stage("Bad.", revise="Good.")), bad_then_good()
    outcome = Conscience("question -> answer", lm={"generate": writer, "review": reviewer})(question="q")
    assert outcome.answer == "Good."
    assert len(writer.calls) == 2
    assert len(reviewer.calls) == 3


def test_set_lm_reaches_every_role() -> None:
    """Gate included, which is no predictor; and the review that is called by itself."""
    program = Conscience("question -> answer", lm=ScriptedLM(lambda messages, params: Fault("server")))
    program.set_lm(bad_then_good())
    assert program(question="q").answer == "Good."
    assert program.review(request="q", response="Bad.").flagged


def test_the_constitution_is_set_in_one_place() -> None:
    """Gate, critique, revision and refusal all go by the new one; a copy keeps the old."""
    lm = bad_then_good(critique='{"findings": []}')
    program = Conscience("question -> answer", lm=lm, max_revisions=0)
    before = copy.deepcopy(program)
    own = {**Constitution.load("general").model_dump(), "refusal": "Not from me."}
    own["principles"] = [{"id": "rhyme", "text": "Answers must rhyme."}]
    program.set_constitution(Constitution.load(own))
    program.review.gate_settings = program.gate_settings.model_copy(update={"critique": "explains"})
    assert program(question="q").answer == "Not from me."
    assert "Answers must rhyme." in str(lm.calls[-1][0])
    assert before.constitution == Constitution.load("general")


def test_it_is_an_ordinary_dspy_module(tmp_path: Any) -> None:
    """Predictors are visible, evaluation, optimizer, copy, save and load work."""
    program = Conscience("question -> answer", lm=bad_then_good())
    assert [name for name, _ in program.named_predictors()] == [
        "generate.predict",
        "review.critique.predict",
        "revise.predict",
    ]
    example = dspy.Example(question="q", answer="Good.").with_inputs("question")

    def metric(gold: Any, pred: Any, trace: Any = None) -> bool:
        return bool(gold.answer == pred.answer)

    evaluate = dspy.Evaluate(devset=[example] * 4, metric=metric, num_threads=2, display_progress=False)
    assert evaluate(program).score == 100.0
    compiled = dspy.BootstrapFewShot(metric=metric, max_bootstrapped_demos=1).compile(program, trainset=[example])
    assert compiled.generate.predict.demos, "the draft's predictor learned a demo"
    assert "probability" not in str(compiled.dump_state()["generate.predict"]["demos"])
    compiled.save(tmp_path / "p.json")
    loaded = Conscience("question -> answer", lm=bad_then_good())
    loaded.load(tmp_path / "p.json")
    assert loaded.dump_state() == compiled.dump_state()
    assert copy.deepcopy(program)(question="q").answer == "Good."


def test_trace_holds_the_three_steps() -> None:
    """What optimizers learn from."""
    program = Conscience("question -> answer", lm=bad_then_good())
    with dspy.context(trace=[]):
        program(question="q")
        predictors = [predictor for predictor, _, _ in dspy.settings.trace]
    assert predictors == [predictor for _, predictor in program.named_predictors()]


def echo(messages: Any, params: Any) -> str:
    """Answers with the question's number, so that a mix-up of callers shows."""
    return f"answer to {messages[-1]['content']}"


def test_64_threads_share_one_program() -> None:
    """Each caller gets its own answer and its own account."""
    lm = ScriptedLM(by_stage(echo), seconds=0.005)
    program = Conscience("question -> answer", lm=lm)
    with ThreadPoolExecutor(64) as pool:
        outcomes = list(pool.map(lambda number: program(question=f"q{number}"), range(128)))
    assert [outcome.answer for outcome in outcomes] == [f"answer to q{number}" for number in range(128)]
    assert all(outcome.usage.calls == 2 for outcome in outcomes)
    assert sum(outcome.usage.calls for outcome in outcomes) == len(lm.calls)


@pytest.mark.long
async def test_256_tasks_share_one_program() -> None:
    """The same under asyncio."""
    lm = ScriptedLM(by_stage(echo), seconds=0.01)
    program = Conscience("question -> answer", lm=lm)
    outcomes = await asyncio.gather(*(program.acall(question=f"q{number}") for number in range(256)))
    assert [outcome.answer for outcome in outcomes] == [f"answer to q{number}" for number in range(256)]
    assert all(outcome.usage.by_role["generate"].calls == outcome.usage.by_role["review"].calls == 1 for outcome in outcomes)
    assert sum(outcome.usage.calls for outcome in outcomes) == len(lm.calls)
