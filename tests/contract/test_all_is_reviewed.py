"""All that is returned is reviewed: whatever a field's type, gate and critique read all of it, in drafts and revisions."""

from __future__ import annotations

import json
from typing import Any, Literal

import dspy
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience import Conscience
from conscience.messages.rendering import content_text
from conscience.testing import ScriptedLM, is_critique, is_gate, is_revision

DRAFT, REVISION = "4815", "1623"
"""What the marks of a draft and of a revision begin with: digits, so that a number can be one."""


class Inner(pydantic.BaseModel):
    """A model in a model."""

    note: str
    tags: list[str]


class Nested(pydantic.BaseModel):
    """Text at every depth."""

    title: str
    inner: Inner
    by_name: dict[str, Inner]


def inner(mark: str) -> dict[str, Any]:
    return {"note": f"note {mark}1", "tags": ["plain", f"tag {mark}2"]}


TYPES: dict[str, tuple[Any, Any]] = {
    "text": (str, lambda mark: f"some {mark}0 words"),
    "lines": (str, lambda mark: f'"quoted" {mark}0\n\nand {mark}1 über'),
    "texts": (list[str], lambda mark: ["plain", f"word {mark}1", f"{mark}2"]),
    "mapping": (dict[str, str], lambda mark: {"plain": f"value {mark}1", f"key {mark}2": "plain"}),
    "nested": (dict[str, list[dict[str, str]]], lambda mark: {"a": [{"b": f"{mark}1"}, {f"{mark}2": "c"}]}),
    "choice": (Literal["48150", "16230"], lambda mark: f"{mark}0"),
    "number": (int, lambda mark: int(f"{mark}77")),
    "decimal": (float, lambda mark: float(f"{mark}.25")),
    "flag": (bool, lambda mark: True),
    "maybe": (str | None, lambda mark: f"perhaps {mark}1"),
    "model": (Nested, lambda mark: {"title": f"{mark}0", "inner": inner(f"{mark}1"), "by_name": {"a": inner(f"{mark}3")}}),
    "models": (list[Inner], lambda mark: [inner(f"{mark}1"), inner(f"{mark}2")]),
}
KINDS = st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=4)


def marks(value: Any, begin: str) -> set[str]:
    """The marks in a value, by its JSON form."""
    text = json.dumps(value, default=lambda model: model.model_dump(), ensure_ascii=False)
    return {word for word in "".join(c if c.isdigit() else " " for c in text).split() if word.startswith(begin)}


class World:
    """A model that drafts and revises with marks, and a reviewer that flags drafts; what reviewers read is kept."""

    def __init__(self, kinds: list[str]) -> None:
        names = [f"f{number}_{kind}" for number, kind in enumerate(kinds)]
        self.types = {name: TYPES[kind][0] for name, kind in zip(names, kinds, strict=True)}
        self.values = {
            begin: {name: TYPES[kind][1](f"{begin}") for name, kind in zip(names, kinds, strict=True)}
            for begin in (DRAFT, REVISION)
        }
        self.gate: dict[str, list[str]] = {DRAFT: [], REVISION: []}
        self.critique: dict[str, list[str]] = {DRAFT: [], REVISION: []}
        self.revised = False
        self.lm = ScriptedLM(self.answer)

    def answer(self, messages: list[dict[str, Any]], params: dict[str, Any]) -> Any:
        prompt = "\n".join(content_text(message.get("content")) for message in messages)
        now = REVISION if self.revised else DRAFT
        if is_gate(messages):
            self.gate[now].append(prompt)
            return 0.99
        if is_critique(messages):
            self.critique[now].append(prompt)
            finding = {"principle": "honesty", "quote": "", "why": "It is not so.", "change": "Say it as it is."}
            return json.dumps({"findings": [] if self.revised else [finding]})
        self.revised = is_revision(messages)
        return self.written(REVISION if self.revised else DRAFT, prompt)

    def written(self, begin: str, prompt: str) -> str:
        values = {n: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for n, v in self.values[begin].items()}
        if "[[ ##" in prompt:
            return (
                "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in values.items()) + "\n\n[[ ## completed ## ]]"
            )
        if len(values) == 1:
            return next(iter(values.values()))
        return json.dumps(self.values[begin], ensure_ascii=False)

    def check(self, outcome: Any) -> None:
        """Every mark that was drafted, and every mark that is returned, was read by gate and critique."""
        drafted = set().union(*(marks(value, DRAFT) for value in outcome.draft.outputs.values()))
        assert drafted == set().union(*(marks(value, DRAFT) for value in self.values[DRAFT].values()))
        for asked in (self.gate[DRAFT], self.critique[DRAFT]):
            assert asked
            assert {mark for mark in drafted if mark not in "\n".join(asked)} == set()
        if outcome.status == "refused":
            return
        fields = dict(outcome.items())
        returned = set().union(*(marks(value, begin) for value in fields.values() for begin in (DRAFT, REVISION)))
        for asked in (self.gate[REVISION], self.critique[REVISION]):
            assert asked
            assert {mark for mark in returned if mark not in "\n".join(asked)} == set()


@given(KINDS)
def test_every_field_of_a_signature_is_read(kinds: list[str]) -> None:
    """By gate and critique, as it was drafted and as it was revised."""
    world = World(kinds)
    fields: dict[str, Any] = {"question": (str, dspy.InputField())}
    fields |= {name: (annotation, dspy.OutputField()) for name, annotation in world.types.items()}
    outcome = Conscience(dspy.Signature(fields), lm=world.lm)(question="How?")
    same = world.values[DRAFT] == world.values[REVISION]  # a revision that changes nothing is none
    assert outcome.status == ("refused" if same else "revised")
    world.check(outcome)


@given(KINDS, st.sampled_from(["mapping", "prediction", "models"]))
def test_every_field_that_a_callable_returns_is_read(kinds: list[str], form: str) -> None:
    """Whatever wrote it."""
    world = World([*kinds, "text"])

    def answer(question: str) -> Any:
        values = world.values[DRAFT]
        if form == "models":
            values = {n: pydantic.TypeAdapter(world.types[n]).validate_python(v) for n, v in values.items()}
        return dspy.Prediction(**values) if form == "prediction" else values

    world.check(Conscience(answer, lm=world.lm)(question="How?"))


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


@pytest.mark.parametrize("value", [
    dspy.Image(f"data:image/png;base64,{PIXEL}"), dspy.Audio(data=PIXEL * 8, audio_format="wav"),
], ids=["image", "audio"])  # fmt: skip
def test_media_are_named_never_spelled(value: Any) -> None:
    """A reviewer that takes texts alone is told that there is one, of what type; never its base64."""
    world = World(["text"])
    outcome = Conscience(lambda question: {"media": value, **world.values[DRAFT]}, lm=world.lm)(question="How?")
    for prompt in (*world.gate[DRAFT], *world.critique[DRAFT]):
        assert PIXEL not in prompt
        assert "media" in prompt
        assert type(value).__name__.lower() in prompt.lower()
    assert outcome.media is value


def test_tool_calls_are_read() -> None:
    """Name and arguments, beside a text."""
    calls = dspy.ToolCalls.from_dict_list([{"name": f"tool{DRAFT}", "args": {"to": f"somebody {DRAFT}9"}}])
    world = World(["text"])
    Conscience(lambda question: {"calls": calls, **world.values[DRAFT]}, lm=world.lm)(question="How?")
    for prompt in (*world.gate[DRAFT], *world.critique[DRAFT]):
        assert f"tool{DRAFT}" in prompt
        assert f"somebody {DRAFT}9" in prompt
