"""The program: its ways through, its place in DSPy, and its behaviour under threads and asyncio."""

from __future__ import annotations

import asyncio
import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
import pytest

from conscience import BackendError, ConfigurationError, Conscience, InputError, Outcome, Review, review
from conscience._base.flow import StageStarted
from conscience.errors import ContextTooLong
from conscience.testing import Fault, ScriptedLM
from tests.support.loopback import Loopback, chat, is_gate

YES_OR_NO = "Yes or No"
FINDING = '{"findings": [{"principle": "honesty", "quote": "Bad", "why": "It is.", "change": "Mend it."}]}'


RULES = {
    r"(?s)Good\..*" + YES_OR_NO: 0.1,
    YES_OR_NO: 0.9,
    "Answer with JSON only": FINDING,
    "must not be sent": "Good.",
    "": "Bad.",
}


def script(**changes: Any) -> ScriptedLM:
    """Answers Bad., which the gate flags and the critique finds; revised to Good., which passes."""
    return ScriptedLM({**RULES, **changes})


WAYS = [
    ({YES_OR_NO: 0.1}, "clean", "Bad.", {"generate": 1, "review": 1}),
    ({"Answer with JSON only": '{"findings": []}'}, "cleared", "Bad.", {"generate": 1, "review": 2}),
    ({}, "revised", "Good.", {"generate": 1, "review": 3, "revise": 1}),
    ({"must not be sent": "Bad again."}, "refused", None, {"generate": 1, "review": 4, "revise": 1}),
    ({YES_OR_NO: Fault("server")}, "unreviewed", None, {"generate": 1}),
]


@pytest.mark.parametrize(("changes", "status", "answer", "calls"), WAYS, ids=[w[1] for w in WAYS])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_every_way_through_ends_as_drawn(changes: Any, status: str, answer: str | None, calls: Any, mode: str) -> None:
    """Status, text and calls by role are those of the picture, sync and async alike."""
    program = Conscience("question -> answer", lm=script(**changes))
    outcome = program(question="q") if mode == "sync" else asyncio.run(program.acall(question="q"))
    assert isinstance(outcome, Outcome)
    assert outcome.status == status
    assert outcome.answer == (answer or program.constitution.refusal)
    assert outcome.response == outcome.answer
    assert {role: spend.calls for role, spend in outcome.usage.by_role.items()} == calls


async def test_stream_releases_words_only_after_the_review() -> None:
    """First the stages, then the reviewed text, then the outcome; no word of the draft."""
    program = Conscience("question -> answer", lm=script())
    events = [event async for event in program.stream(question="q")]
    names = [event.name for event in events if isinstance(event, StageStarted)]
    assert names == ["generate", "gate", "critique", "revise", "gate"]
    assert "".join(event for event in events if isinstance(event, str)) == "Good."
    assert isinstance(events[-1], Outcome)


def test_signature_fields_and_types_survive_a_revision() -> None:
    """A structured answer is revised through its own signature."""
    lm = ScriptedLM(
        {
            r"(?s)sunny.*" + YES_OR_NO: 0.1,
            YES_OR_NO: 0.9,
            "Answer with JSON only": FINDING,
            "problems": "[[ ## answer ## ]]\nsunny\n\n[[ ## degrees ## ]]\n21\n\n[[ ## completed ## ]]",
            "": "[[ ## answer ## ]]\nBad\n\n[[ ## degrees ## ]]\n400\n\n[[ ## completed ## ]]",
        }
    )
    outcome = Conscience("question -> answer, degrees: int", lm=lm)(question="weather?")
    assert (outcome.status, outcome.answer, outcome.degrees) == ("revised", "sunny", 21)


def test_written_reasoning_is_reviewed_and_kept() -> None:
    """The reasoning of a ChainOfThought is part of the draft, and shown to the reviewer."""
    written = "[[ ## reasoning ## ]]\nI plan to lie.\n\n[[ ## answer ## ]]\nFine.\n\n[[ ## completed ## ]]"
    lm = ScriptedLM({YES_OR_NO: 0.1, "": written})
    outcome = Conscience(dspy.ChainOfThought("question -> answer"), lm=lm)(question="q")
    assert (outcome.reasoning, outcome.answer) == ("I plan to lie.", "Fine.")
    assert outcome.draft.reasoning == "I plan to lie."
    gate_messages = lm.calls[-1][0]
    assert "I plan to lie." in str(gate_messages)


def test_providers_own_reasoning_content_is_reviewed(server: Loopback) -> None:
    """It is not part of the answer's text, so the gate is told it beside."""
    server.behaviour = lambda body, n: (
        chat("No", yes=0.1) if is_gate(body) else chat("Fine.", reasoning_content="I will cheat.")
    )
    outcome = Conscience("question -> answer", lm=server.backend())(question="q")
    assert outcome.draft.reasoning == "I will cheat."
    assert "I will cheat." in server.calls[-1]["messages"][-1]["content"]


def test_gate_continues_the_very_messages_of_the_draft() -> None:
    """The prefix of the gate's prompt is the generation's, so a prefix cache is reused."""
    lm = ScriptedLM({YES_OR_NO: 0.1, "": "Bad."})
    Conscience("question -> answer", lm=lm)(question="q")
    (generation, _), (gate, _) = lm.calls
    assert gate[: len(generation)] == generation
    assert gate[len(generation)] == {"role": "assistant", "content": "Bad."}


@pytest.mark.parametrize(
    "generate",
    [lambda request: "Bad.", lambda request: {"response": "Bad."}, lambda request: dspy.Prediction(response="Bad.")],
    ids=["text", "mapping", "prediction"],
)
def test_plain_callable_generates(generate: Any) -> None:
    """Whatever it returns is drafted, reviewed and revised."""
    assert Conscience(generate, lm=script())(request="q").response == "Good."


async def test_async_callable_generates() -> None:
    """An async callable is awaited."""

    async def generate(request: str) -> str:
        await asyncio.sleep(0)
        return "Bad."

    assert (await Conscience(generate, lm=script()).acall(request="q")).response == "Good."


def test_conversation_is_rendered_whole() -> None:
    """Chat messages with tool calls go to the model as they are, and to the critique as a transcript."""
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Look it up."},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "42 hits"},
        {"role": "user", "content": "So?"},
    ]
    lm = script()
    outcome = Conscience(lambda request: "Bad.", lm=lm)(request=messages)
    assert outcome.status == "revised"
    critique = next(str(m) for m, _ in lm.calls if "Answer with JSON only" in str(m))
    assert "called tool find({})" in critique
    assert "Tool 1 returned: 42 hits" in critique


def test_bad_arguments_are_named() -> None:
    """Each in one line, when the program is built."""
    for kwargs in ({"max_revisions": -1}, {"on_error": "maybe"}, {"budget": {"minutes": 1}}, {"lm": {"judgement": "x/y"}}):
        with pytest.raises(ConfigurationError):
            Conscience("question -> answer", **kwargs)  # type: ignore[arg-type]
    for generate in (3, "no arrow"):
        with pytest.raises(ConfigurationError):
            Conscience(generate)


@pytest.mark.parametrize("question", ["", "  \n", "a\0b", "\ud800"])
def test_bad_request_is_named(question: str) -> None:
    """Nothing is asked of a model."""
    lm = script()
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
    with dspy.context(lm=script()):
        assert Conscience("question -> answer")(question="q").answer == "Good."


def test_it_is_an_ordinary_dspy_module(tmp_path: Any) -> None:
    """Predictors are visible, evaluation, optimizer, copy, save and load work."""
    program = Conscience("question -> answer", lm=script())
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
    loaded = Conscience("question -> answer", lm=script())
    loaded.load(tmp_path / "p.json")
    assert loaded.dump_state() == compiled.dump_state()
    assert copy.deepcopy(program)(question="q").answer == "Good."


def test_trace_holds_the_three_steps() -> None:
    """What optimizers learn from."""
    with dspy.context(trace=[]):
        Conscience("question -> answer", lm=script())(question="q")
        steps = [
            type(predictor.signature).__name__ and predictor.signature.__name__ for predictor, _, _ in dspy.settings.trace
        ]
    assert steps == ["StringSignature", "CritiqueSignature", "ReviseSignature"]


def test_set_lm_reaches_every_role() -> None:
    """Gate included, which is no predictor."""
    program = Conscience("question -> answer", lm=ScriptedLM(lambda m, p: Fault("server")))
    program.set_lm(script())
    assert program(question="q").answer == "Good."


def echo(messages: Any, params: Any) -> Any:
    """Answers with the question's number, so that a mix-up of callers shows."""
    return 0.1 if params.get("logprobs") else f"answer to {messages[-1]['content']}"


def test_64_threads_share_one_program() -> None:
    """Each caller gets its own answer and its own account."""
    lm = ScriptedLM(echo, seconds=0.005)
    program = Conscience("question -> answer", lm=lm)
    with ThreadPoolExecutor(64) as pool:
        outcomes = list(pool.map(lambda n: program(question=f"q{n}"), range(256)))
    assert [o.answer for o in outcomes] == [f"answer to q{n}" for n in range(256)]
    assert all(o.usage.calls == 2 for o in outcomes)
    assert sum(o.usage.calls for o in outcomes) == len(lm.calls)


async def test_256_tasks_share_one_program() -> None:
    """The same under asyncio."""
    lm = ScriptedLM(echo, seconds=0.01)
    program = Conscience("question -> answer", lm=lm)
    outcomes = await asyncio.gather(*(program.acall(question=f"q{n}") for n in range(256)))
    assert [o.answer for o in outcomes] == [f"answer to q{n}" for n in range(256)]
    assert all(o.usage.by_role["generate"].calls == o.usage.by_role["review"].calls == 1 for o in outcomes)
    assert sum(o.usage.calls for o in outcomes) == len(lm.calls)


def test_review_judges_a_text_from_anywhere() -> None:
    """As a function, and as a module."""
    lm = script()
    verdict = review("Say something.", "Bad.", lm=lm)
    assert verdict.flagged
    assert [f.principle for f in verdict.findings] == ["honesty"]
    assert verdict.findings[0].grounded
    prediction = Review("general", lm=lm)(request="", response="Bad.")
    assert prediction.flagged
    assert prediction.usage.by_role["review"].calls == 2
    with pytest.raises(InputError):
        review("q", " ", lm=lm)


def test_roles_may_have_models_of_their_own() -> None:
    """A mapping by role; a role that is not named follows the role it stands by."""
    writer, judge = ScriptedLM({"must not be sent": "Good.", "": "Bad."}), script()
    outcome = Conscience("question -> answer", lm={"generate": writer, "review": judge})(question="q")
    assert outcome.answer == "Good."
    assert len(writer.calls) == 2
    assert len(judge.calls) == 3


def test_conscience_calls_are_on_the_outcome_for_json() -> None:
    """Everything the command line prints is JSON."""
    import json

    shown = json.loads(json.dumps(Conscience("question -> answer", lm=script())(question="q").to_json()))
    assert shown["verdict"]["probability"] == pytest.approx(0.9)
    assert shown["revisions"][0]["verdict"]["probability"] == pytest.approx(0.1)
    assert shown["revisions"][0]["response"] == "Good."
    assert shown["usage"]["by_role"]["review"]["calls"] == 3


class Graded(dspy.Module):  # type: ignore[misc]
    """Answers, then asks a second question about its answer: its last exchange is not what it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer")
        self.grade = dspy.Predict("answer -> grade")

    def forward(self, question: str) -> dspy.Prediction:
        answer = self.answer(question=question).answer
        self.grade(answer=answer)
        return dspy.Prediction(answer=answer)


def fields(**values: str) -> str:
    return "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in values.items()) + "\n\n[[ ## completed ## ]]"


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_what_is_reviewed_is_what_a_module_returns(mode: str) -> None:
    """A module of several steps: its returned text is reviewed, revised under its own field name, and refused under it."""
    steps = {"fields `grade`": fields(grade="fine"), "fields `answer`": fields(answer="Bad.")}
    lm = ScriptedLM({**{rule: answer for rule, answer in RULES.items() if rule}, **steps})
    program = Conscience(Graded(), lm=lm)
    outcome = program("q") if mode == "sync" else asyncio.run(program.acall("q"))
    assert (outcome.status, dict(outcome.items())) == ("revised", {"answer": "Good."})
    refused = Conscience(Graded(), lm=lm, max_revisions=0)("q")
    assert (refused.status, dict(refused.items())) == ("refused", {"answer": program.constitution.refusal})


def test_only_texts_are_rewritten() -> None:
    """A callable's number stays a number; without a text there is nothing to rewrite."""
    outcome = Conscience(lambda request: {"answer": "Bad.", "score": 3}, lm=script())(request="q")
    assert dict(outcome.items()) == {"answer": "Good.", "score": 3}
    refused = Conscience(lambda request: {"score": 3}, lm=script())(request="q")
    assert (refused.status, refused.score) == ("refused", None)


ODD = [
    ({"": Fault("rate_limit")}, BackendError),
    ({"": Fault("context")}, ContextTooLong),
    ({"": "gibberish"}, BackendError),
    ({"": fields(reasoning="r", answer="Bad.", degrees="3"), "must not be sent": Fault("server")}, "refused"),
    ({"": fields(reasoning="r", answer="Bad.", degrees="3"), "must not be sent": "gibberish"}, "refused"),
    ({"": fields(reasoning="r", answer="Bad.", degrees="3"), YES_OR_NO: Fault("server")}, "unreviewed"),
]


@pytest.mark.parametrize("signature", ["question -> answer, degrees: int", "module"])
@pytest.mark.parametrize(("changes", "expected"), ODD)
def test_the_failure_table_holds_for_fields_and_modules(signature: str, changes: Any, expected: Any) -> None:
    """DSPy wraps a backend's errors; they come out as they went in."""
    generate: Any = dspy.ChainOfThought("question -> answer, degrees: int") if signature == "module" else signature
    program = Conscience(generate, lm=script(**changes))
    if isinstance(expected, str):
        assert program(question="q").status == expected
    else:
        with pytest.raises(expected):
            program(question="q")
    assert Conscience(generate, lm=script(), budget={"calls": 0})(question="q").status == "unreviewed"


def test_fields_that_an_outcome_has_already() -> None:
    """``response`` is the field of that name; a name that stands for something else is refused at once."""
    said = fields(response="Paris", confidence="0.9")
    lm = ScriptedLM({YES_OR_NO: 0.1, "": said})
    outcome = Conscience("question -> response, confidence: float", lm=lm)(question="q")
    assert (outcome.response, outcome.confidence) == ("Paris", 0.9)
    with pytest.raises(ConfigurationError, match="'status'"):
        Conscience("question -> response, status")
    seen: list[Any] = []

    def answer(messages: Any, params: Any) -> Any:
        seen.append(str(messages))
        if params.get("logprobs"):
            return 0.9 if "Bad" in str(messages[-2]) else 0.1
        text = "Good." if "must not be sent" in str(messages) else "Bad."
        return FINDING if "Answer with JSON only" in str(messages) else fields(improved=text, note="n")

    revised = Conscience("draft -> improved, note", lm=ScriptedLM(answer))(draft="MY OWN ESSAY")
    assert (revised.status, revised.improved) == ("revised", "Good.")
    assert any("must not be sent" in prompt and "MY OWN ESSAY" in prompt for prompt in seen)


def test_an_outcome_can_be_copied_and_pickled() -> None:
    """As any prediction can."""
    outcome = Conscience("question -> answer", lm=script())(question="q")
    for twin in (copy.deepcopy(outcome), pickle.loads(pickle.dumps(outcome))):
        assert twin.to_json() == outcome.to_json()
