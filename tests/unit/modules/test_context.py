"""Invariant: critique and revision see what generation saw, and the revision keeps its limits and its fields."""

from __future__ import annotations

import json
from typing import Any

import dspy
import pytest

from conscience import Backend, Conscience, InputError
from conscience.testing import ScriptedLM, is_revision
from tests.support.loopback import Loopback, chat, is_gate

BAD, GOOD = "BADWORD", "Gut."


def marked(**fields: Any) -> str:
    values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    return "\n\n".join(f"[[ ## {n} ## ]]\n{v}" for n, v in values.items()) + "\n\n[[ ## completed ## ]]"


def stage(messages: Any, params: Any) -> str:
    """Which step of the program asks."""
    last = str(messages[-1])
    if params.get("logprobs"):
        return "gate"
    return "critique" if "Answer with JSON only" in last else "revise" if is_revision(messages) else "generate"


def script(draft: Any, revision: Any) -> ScriptedLM:
    """Flags what holds BADWORD; a draft may be a function of the messages."""

    def answer(messages: Any, params: Any) -> Any:
        kind = stage(messages, params)
        if kind == "gate":
            return 0.9 if BAD in str(messages[-2]) + str(messages[-1]) else 0.1
        if kind == "critique":
            finding = {"principle": "honesty", "quote": BAD, "why": "w", "change": "c"}
            return json.dumps({"findings": [finding] if BAD in str(messages) else []})
        made = revision if kind == "revise" else draft
        return made(messages) if callable(made) else made

    return ScriptedLM(answer)


def asked(lm: ScriptedLM, kind: str) -> list[str]:
    return [str(messages) for messages, params in lm.calls if stage(messages, params) == kind]


class Rag(dspy.Module):  # type: ignore[misc]
    """Retrieves, answers in German from what it found, and adds where it found it."""

    def __init__(self, adds: bool = False, steps: bool = False) -> None:
        super().__init__()
        self.adds = adds
        if steps:
            self.search = dspy.Predict("question -> query")
        signature = dspy.Signature("context: list[str], question -> answer", "Antworte auf Deutsch, nur aus dem Kontext.")
        self.answer = dspy.ChainOfThought(signature)

    def forward(self, question: str) -> dspy.Prediction:
        if hasattr(self, "search"):
            question = f"{question} ({self.search(question=question).query})"
        found = self.answer(context=["Quito hat 1,9 Millionen Einwohner."], question=question)
        if self.adds:
            return dspy.Prediction(reply=found.answer.upper(), sources=["Atlas, S. 7"])
        return dspy.Prediction(answer=found.answer)


SEEN = ("Quito hat 1,9 Millionen", "Antworte auf Deutsch", "How many?")


@pytest.mark.parametrize("steps", [False, True], ids=["one step", "two steps"])
@pytest.mark.parametrize("adds", [False, True], ids=["returned as written", "changed and added to"])
def test_a_rag_answer_is_criticised_and_revised_in_the_light_of_its_documents(adds: bool, steps: bool) -> None:
    """Whatever the module does with the answer afterwards."""

    def draft(messages: Any) -> str:
        return marked(query="Quito") if "fields `query`" in str(messages) else marked(reasoning="r", answer=BAD)

    revision = marked(reply=GOOD, sources=["Atlas"]) if adds else marked(reasoning="neu", answer=GOOD)
    lm = script(draft, revision)
    outcome = Conscience(Rag(adds, steps), lm=lm)("How many?")
    assert outcome.status == "revised", outcome
    assert dict(outcome.items()).get("reply" if adds else "answer") == GOOD
    for prompt in (*asked(lm, "critique"), *asked(lm, "revise"), *asked(lm, "gate")):
        assert all(piece in prompt for piece in SEEN), prompt
    if adds:
        assert outcome.sources == ["Atlas"]
        assert all("Atlas" in prompt for prompt in (*asked(lm, "critique"), *asked(lm, "gate")))


def test_inputs_of_a_signature_are_seen_with_their_descriptions() -> None:
    """The critique reads them as data; the revision is asked after the very messages of the draft."""

    class Answer(dspy.Signature):
        """Stay in the persona of a librarian."""

        context: list[str] = dspy.InputField(desc="passages that were retrieved")
        question: str = dspy.InputField()
        answer: str = dspy.OutputField(desc="at most one sentence")
        sources: list[str] = dspy.OutputField()

    lm = script(marked(answer="ok", sources=[BAD]), marked(answer=GOOD, sources=["p1"]))
    outcome = Conscience(Answer, lm=lm)(context=["p1", "p2"], question="q?")
    assert (outcome.status, outcome.answer, outcome.sources) == ("revised", GOOD, ["p1"])
    pieces = ("librarian", "passages that were retrieved", "at most one sentence", "p2", "q?")
    for prompt in (*asked(lm, "critique"), *asked(lm, "revise")):
        assert all(piece in prompt for piece in pieces)
    assert lm.calls[0][0] == next(m for m, p in lm.calls if stage(m, p) == "revise")[:2]


def test_a_chats_system_turn_and_tool_results_are_seen() -> None:
    """Chat messages are the request, whole."""
    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "You speak Latin."},
        {"role": "user", "content": "Look it up."},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "42 hits"},
        {"role": "user", "content": "So?"},
    ]
    lm = script(BAD, GOOD)
    assert Conscience(lm=lm)(messages).response == GOOD
    for prompt in (*asked(lm, "critique"), *asked(lm, "revise"), *asked(lm, "gate")):
        assert all(piece in prompt for piece in ("Latin", "find", "42 hits", "So?")), prompt


def weather(city: str) -> str:
    """The weather in a city."""
    return f"{city}: hail, 3 degrees"


def agent(messages: Any) -> str:
    said = str(messages)
    if "next_thought" not in said:
        return marked(reasoning="r", answer=BAD)
    if "hail" in said:
        return marked(next_thought="I know now.", next_tool_name="finish", next_tool_args={})
    return marked(next_thought="I must look.", next_tool_name="weather", next_tool_args={"city": "Oslo"})


@pytest.mark.parametrize("answer", ["Hail.", BAD], ids=["clean", "revised"])
def test_react_keeps_its_trajectory(answer: str) -> None:
    """On the outcome as DSPy returns it, on the draft as reasoning, and before every reviewer."""
    lm = script(lambda m: agent(m).replace(BAD, answer), marked(reasoning="neu", answer=GOOD))
    outcome = Conscience(dspy.ReAct("question -> answer", tools=[weather]), lm=lm)(question="Weather in Oslo?")
    assert outcome.status == ("revised" if answer == BAD else "clean")
    assert outcome.answer == (GOOD if answer == BAD else answer)
    assert outcome.trajectory["observation_0"] == "Oslo: hail, 3 degrees"
    assert "hail" in outcome.draft.reasoning
    assert outcome.reasoning == ("neu" if answer == BAD else "r")
    for kind in ("gate", "critique", "revise"):
        assert all("3 degrees" in prompt for prompt in asked(lm, kind)), kind


def test_a_trajectory_that_a_finding_quotes_is_not_returned() -> None:
    """Nothing that was found wrong leaves beside a revised answer."""

    def draft(messages: Any) -> str:
        return agent(messages).replace(BAD, "Hail.").replace("I must look", f"{BAD}, I must look")

    lm = script(draft, marked(reasoning="neu", answer=GOOD))
    outcome = Conscience(dspy.ReAct("question -> answer", tools=[weather]), lm=lm)(question="Weather in Oslo?")
    assert BAD not in str(dict(outcome.items())) or outcome.status == "refused"
    assert outcome.trajectory is None


def test_a_revision_keeps_the_generations_limits(server: Loopback) -> None:
    """Those of the call, of the predictor and of the generating model; never its tools or response format."""

    def behave(body: Any, n: int) -> Any:
        said = json.dumps(body["messages"])
        if is_gate(body):
            return chat("No", yes=0.9 if BAD in json.dumps(body["messages"][-2]) else 0.1)
        if "Answer with JSON only" in said:
            return chat(json.dumps({"findings": [{"principle": "honesty", "quote": BAD, "why": "w", "change": "c"}]}))
        return chat(marked(answer=GOOD if is_revision(body) else BAD))

    server.behaviour = behave
    writer = server.backend(max_tokens=77, stop=["###"])
    reviser = Backend("openai/other", api_base=server.url, api_key="sk-test-secret-0123", cache=False, retries=1)
    module = dspy.Predict("context, question -> answer", temperature=0.3)
    for lm in ({"generate": writer}, {"generate": writer, "revise": reviser}):
        server.calls.clear()
        outcome = Conscience(module, lm=lm)(context="c", question="q", config={"top_p": 0.9})
        assert outcome.status == "revised"
        generation = server.calls[0]
        revision = next(b for b in server.calls if is_revision(b))
        limits = ("max_tokens", "stop", "temperature", "top_p")
        assert (
            [generation.get(name) for name in limits] == [revision.get(name) for name in limits] == [77, ["###"], 0.3, 0.9]
        )
        assert "config" not in json.dumps(server.calls[1]["messages"])
        assert not {"tools", "response_format"} & set(revision)


FIELDS = [
    ("question -> answer", "q", "BADWORD", {"answer": GOOD}),
    ("question -> answer", {"question": "q"}, {"answer": BAD}, {"answer": GOOD}),
    ("context: list[str], question -> answer, sources: list[str], score: float",
     {"context": ["p1"], "question": "q"}, {"answer": "ok", "sources": [BAD], "score": 0.5},
     {"answer": GOOD, "sources": ["p1"], "score": 0.5}),
    (lambda request: "never called", "q", {"reply": "ok", "steps": [BAD], "n": 1}, {"reply": GOOD, "steps": ["s"], "n": 1}),
    (Rag(), "q", BAD, {"answer": GOOD}),
]  # fmt: skip


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize(("generate", "request_", "response", "expected"), FIELDS)
async def test_an_answer_from_anywhere_is_corrected(
    generate: Any, request_: Any, response: Any, expected: Any, mode: str
) -> None:
    """Every field of it is reviewed, and keeps its name and type."""
    plain = list(expected) == ["answer"]
    lm = script("never asked", GOOD if plain else marked(**expected))
    program = Conscience(generate, lm=lm)
    outcome = program.correct(request_, response) if mode == "sync" else await program.acorrect(request_, response)
    assert (outcome.status, dict(outcome.items())) == ("revised", expected)
    assert not asked(lm, "generate")
    inputs = request_.values() if isinstance(request_, dict) else [request_]
    for kind in ("gate", "critique", "revise"):
        assert all(str(v).strip("[]'") in prompt for v in inputs for prompt in asked(lm, kind))


@pytest.mark.parametrize("response", ["", "  ", {}, {"answer": None}])
def test_an_empty_answer_is_not_corrected(response: Any) -> None:
    """It is the caller's mistake, in one line."""
    with pytest.raises(InputError, match="empty"):
        Conscience("question -> answer", lm=script("", "")).correct("q", response)
