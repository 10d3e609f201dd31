"""Invariant: whatever ``dspy.Predict(S)`` tells the model about task, fields and parts, ``Conscience(S)`` tells it too."""

from __future__ import annotations

import base64
import json
from typing import Any, Literal

import dspy
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conscience import Conscience, ConscienceError, Constitution
from conscience.messages.rendering import content_text
from conscience.testing import ScriptedLM, is_revision
from tests.support.loopback import Loopback, chat, is_gate

PIXEL = base64.b64encode(bytes(range(256)) * 4).decode()
GENERAL = Constitution.load("general")
IMAGE = dspy.Image(url=f"data:image/png;base64,{PIXEL}")


class Passage(pydantic.BaseModel):
    title: str
    lines: list[str] = []


def look_up(city: str) -> str:
    """Finds the weather of a city."""
    return city


class Stop(Exception):
    """Ends a call once it has said what there is to hear."""


def heard(call: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The first messages that a model is sent, and their parameters."""
    calls: list[Any] = []

    def listen(messages: Any, params: Any) -> Any:
        calls.append((messages, params))
        raise Stop

    try:
        call(ScriptedLM(listen))
    except Exception as error:
        if not isinstance(error, Stop | ConscienceError | dspy.utils.exceptions.LMError):  # noqa: TID251
            raise
    return calls[0]  # type: ignore[no-any-return]


WORDS = st.text("abcdefghij éß→中", min_size=1, max_size=12).map(str.strip).filter(bool)
NAMES = st.sampled_from(["question", "request", "answer", "response", "english", "french", "context", "topic", "steps", "n"])
TYPES: dict[Any, Any] = {
    str: WORDS,
    int: st.integers(-99, 99),
    float: st.floats(-9, 9).map(lambda x: round(x, 2)),
    bool: st.booleans(),
    list[str]: st.lists(WORDS, min_size=1, max_size=3),
    dict[str, int]: st.dictionaries(WORDS, st.integers(0, 9), min_size=1, max_size=2),
    Literal["red", "green"]: st.sampled_from(["red", "green"]),
    str | None: WORDS,
    Passage: st.builds(Passage, title=WORDS, lines=st.lists(WORDS, max_size=2)),
    list[Passage]: st.lists(st.builds(Passage, title=WORDS), min_size=1, max_size=2),
    dspy.Image: st.just(IMAGE),
    list[dspy.Image]: st.just([IMAGE, IMAGE]),
    dspy.Tool: st.just(dspy.Tool(look_up)),
    dspy.History: st.builds(
        dspy.History, messages=st.lists(st.fixed_dictionaries({"question": WORDS, "answer": WORDS}), max_size=2)),
}  # fmt: skip
OUTPUTS = [str, int, float, bool, list[str], dict[str, int], Literal["red", "green"], str | None, Passage, list[Passage]]
ADAPTERS = [None, None, dspy.ChatAdapter(), dspy.JSONAdapter(), dspy.XMLAdapter()]


@st.composite
def signatures(draw: Any) -> tuple[Any, dict[str, Any]]:
    """A signature and inputs for it."""
    names = draw(st.lists(NAMES, min_size=2, max_size=4, unique=True))
    cut = draw(st.integers(1, len(names) - 1))
    fields: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    for place, name in enumerate(names):
        described = {"desc": draw(WORDS)} if draw(st.booleans()) and draw(st.booleans()) else {}
        if place < cut:
            kind = draw(st.sampled_from([str, str, *(k for k in TYPES if k is not dspy.History or place == 0)]))
            inputs[name] = draw(TYPES[kind])
            fields[name] = (kind, dspy.InputField(**described))
        else:
            kind = draw(st.sampled_from([str, str, *OUTPUTS]))
            fields[name] = (kind, dspy.OutputField(**described))
    instructions = draw(st.none() | WORDS)
    return dspy.Signature(fields, instructions), inputs


def told(signature: Any, inputs: dict[str, Any]) -> list[str]:
    """What a plain chat turn has to say of a signature that it is used for."""
    instructions = signature.instructions
    own = [] if instructions.startswith("Given the fields") else [instructions]
    return [*own, *map(str, inputs.values())]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(signatures(), st.sampled_from(ADAPTERS))
def test_nothing_of_a_signature_is_lost(drawn: Any, adapter: Any) -> None:
    """The messages are those of ``dspy.Predict``, or a plain turn under names that say nothing, which says all the rest."""
    check_nothing_is_lost(drawn, adapter)


@pytest.mark.long
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(signatures(), st.sampled_from(ADAPTERS))
def test_nothing_of_five_hundred_signatures_is_lost(drawn: Any, adapter: Any) -> None:
    """The same, on more."""
    check_nothing_is_lost(drawn, adapter)


def check_nothing_is_lost(drawn: Any, adapter: Any) -> None:
    """One signature with its inputs, under one adapter."""
    signature, inputs = drawn
    with dspy.context(adapter=adapter, lm=None):
        theirs, their_params = heard(lambda lm: dspy.Predict(signature)(**inputs, lm=lm))
        ours, params = heard(lambda lm: Conscience(signature, constitution=GENERAL, lm=lm)(**inputs))
    if ours == theirs:
        assert params == their_params
        assert PIXEL not in "".join(text for m in ours if isinstance(text := m["content"], str))
        return
    said = "\n".join(content_text(message["content"]) for message in ours)
    assert all(piece in said for piece in told(signature, inputs))
    assert adapter is None
    assert {*signature.input_fields} <= {"question", "request"}
    assert {*signature.output_fields} <= {"answer", "response"}
    for name, field in signature.fields.items():
        assert field.annotation is str
        assert field.json_schema_extra.get("desc") in (None, f"${{{name}}}")


@pytest.mark.parametrize("signature", ["english -> french", "question -> sql", "code -> answer", "question -> answer, note"])
def test_names_that_are_the_task_reach_the_model(signature: str) -> None:
    """Every field's name is said."""
    names = [name.strip() for side in signature.split("->") for name in side.split(",")]
    messages, _ = heard(lambda lm: Conscience(signature, lm=lm)(**{names[0]: "Good morning"}))
    said = str(messages)
    assert all(f"`{name}`" in said for name in names)
    assert "Good morning" in said


def test_a_configured_adapter_is_obeyed() -> None:
    """Plain signatures included; critique and gate keep their own form."""
    lm = ScriptedLM({"Yes or No": 0.1, "JSON object": '{"answer": "Paris."}'})
    with dspy.context(adapter=dspy.JSONAdapter()):
        assert Conscience("question -> answer", lm=lm)(question="q").answer == "Paris."


def test_plain_turn_takes_text_and_chat_messages_only() -> None:
    """A picture under a plain name goes as a part, as DSPy sends it."""
    lm = ScriptedLM({"Yes or No": 0.1, r"\[\[ ##": "[[ ## answer ## ]]\nA cat.\n\n[[ ## completed ## ]]"})
    assert Conscience("question -> answer", lm=lm)(question=IMAGE).answer == "A cat."
    content = lm.calls[0][0][-1]["content"]
    assert {"type": "image_url", "image_url": {"url": IMAGE.url}} in content


def test_gate_and_reviewers_see_media_as_parts_or_by_name(server: Loopback) -> None:
    """Over the wire: parts for generation, gate and revision; the critique is told their kind. Never base64 as text."""
    said = "[[ ## animal ## ]]\nBAD\n\n[[ ## completed ## ]]"
    finding = {"principle": "honesty", "quote": "BAD", "why": "w", "change": "c"}

    def behave(body: Any, n: int) -> Any:
        last = json.dumps(body["messages"][-1])
        if is_gate(body):
            return chat("No", yes=0.9 if "BAD" in json.dumps(body["messages"]) else 0.1)
        if "Answer with JSON only" in last:
            return chat(json.dumps({"findings": [finding]}))
        return chat(said.replace("BAD", "A cat.") if is_revision(body) else said)

    server.behaviour = behave
    outcome = Conscience("picture: dspy.Image -> animal", lm=server.backend())(picture=IMAGE)
    assert (outcome.status, outcome.animal) == ("revised", "A cat.")
    for body in server.calls:
        texts = [m["content"] for m in body["messages"] if isinstance(m["content"], str)]
        parts = [p for m in body["messages"] if isinstance(m["content"], list) for p in m["content"]]
        texts += [p["text"] for p in parts if p["type"] == "text"]
        assert PIXEL[:200] not in "".join(texts)
        is_critique = any("Answer with JSON only" in text for text in texts)
        assert is_critique != any(p["type"] == "image_url" for p in parts)
        assert not is_critique or "(image/png)" in "".join(texts)


def test_history_goes_as_turns_and_the_gate_continues_them() -> None:
    """One prefix for generation, gate and revision."""

    class Chat(dspy.Signature):
        """Answer as a pirate."""

        history: dspy.History = dspy.InputField()
        question: str = dspy.InputField()
        answer: str = dspy.OutputField()

    def script(messages: Any, params: Any) -> Any:
        if params.get("logprobs"):
            return 0.9 if "BAD" in str(messages[-2]) else 0.1
        if "Answer with JSON only" in str(messages[-1]):
            return '{"findings": [{"principle": "honesty", "quote": "BAD", "why": "w", "change": "c"}]}'
        text = "Arr." if is_revision(messages) else "BAD"
        return f"[[ ## answer ## ]]\n{text}\n\n[[ ## completed ## ]]"

    lm = ScriptedLM(script)
    history = dspy.History(messages=[{"question": "Hi", "answer": "Ahoy"}])
    outcome = Conscience(Chat, lm=lm)(history=history, question="Who?")
    assert (outcome.status, outcome.answer) == ("revised", "Arr.")
    first = lm.calls[0][0]
    assert [m["role"] for m in first] == ["system", "user", "assistant", "user"]
    critiques = [m for m, _ in lm.calls if "Answer with JSON only" in str(m[-1])]
    others = [m for m, _ in lm.calls if m not in critiques]
    assert all(m[: len(first)] == first for m in others)
    assert all(word in str(m) for m in critiques for word in ("pirate", "Ahoy", "Who?"))


def test_demos_reach_both_kinds() -> None:
    """As earlier turns."""
    for signature, out in (("question -> answer", "answer"), ("english -> french", "french")):
        program = Conscience(signature)
        name = program.generate.inputs[0]
        program.generate.predict.demos = [dspy.Example(**{name: "one", out: "un"})]
        program.set_lm(lm := ScriptedLM({"Yes or No": 0.1, "": f"[[ ## {out} ## ]]\ndeux\n\n[[ ## completed ## ]]"}))
        program(**{name: "two"})
        demo = lm.calls[0][0][-3:-1]
        assert [m["role"] for m in demo] == ["user", "assistant"]
        assert "one" in demo[0]["content"]
        assert "un" in demo[1]["content"]
