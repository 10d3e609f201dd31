"""docs/signatures.md: every kind of signature and module, and what of it reaches generation, review and revision."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import dspy
import pydantic
import pytest

from conscience import Conscience
from conscience.messages.rendering import content_text
from conscience.testing import ScriptedLM, is_revision
from tests.conftest import ROOT

BAD = "BADWORD"
PIXEL = dspy.Image(url="data:image/png;base64," + "QUJD" * 200)


class Route(pydantic.BaseModel):
    stops: list[str]


class Summary(dspy.Signature):
    """Summarise for lawyers."""

    memo: str = dspy.InputField(desc="privileged material")
    gist: str = dspy.OutputField(desc="ten words")


class History(dspy.Signature):
    """Answer in Latin."""

    history: dspy.History = dspy.InputField()
    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


class Steps(dspy.Module):  # type: ignore[misc]
    """Two predictors, and a field that neither wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.search = dspy.Predict("question -> query")
        self.answer = dspy.Predict("passages: list[str], question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        query = self.search(question=question).query
        found = self.answer(passages=[f"atlas on {query}"], question=question)
        return dspy.Prediction(answer=found.answer, sources=[f"atlas, {query}"])


def shelf(title: str) -> str:
    """Finds a book."""
    return f"{title}: third shelf"


@dataclass(frozen=True)
class Kind:
    """A row of the table.

    Attributes:
        name: as the docs have it.
        build: makes what generates.
        inputs: of the call.
        task: what has to reach the model.
        context: what has to reach critique and revision.
        outputs: output fields and a clean value of each; the draft carries the mark in one of them at a time.
        steps: what the model says before its answer, by a word of the prompt.
    """

    name: str
    build: Callable[[], Any]
    inputs: Mapping[str, Any]
    task: tuple[str, ...]
    context: tuple[str, ...]
    outputs: Mapping[str, Any]
    steps: Mapping[str, str] = ()  # type: ignore[assignment]


def marked(fields: Mapping[str, Any]) -> str:
    written = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    return "\n\n".join(f"[[ ## {n} ## ]]\n{v}" for n, v in written.items()) + "\n\n[[ ## completed ## ]]"


def acted(tool: str, **arguments: str) -> str:
    return marked({"next_thought": "t", "next_tool_name": tool, "next_tool_args": arguments})


KINDS = [
    Kind("text to text, `question -> answer`", lambda: "question -> answer", {"question": "Who?"}, ("Who?",), ("Who?",),
         {"answer": "ok"}),
    Kind("names that are the task, `english -> french`", lambda: "english -> french", {"english": "Hi"},
         ("english", "french", "Hi"), ("english", "french", "Hi"), {"french": "ok"}),
    Kind("descriptions and instructions", lambda: Summary, {"memo": "Dear Sir"},
         ("lawyers", "privileged material", "ten words", "Dear Sir"), ("lawyers", "privileged material", "Dear Sir"),
         {"gist": "ok"}),
    Kind("several inputs, `context, question -> answer`", lambda: "context: list[str], question -> answer",
         {"context": ["p one", "p two"], "question": "Who?"}, ("context", "p two", "Who?"), ("p one", "p two", "Who?"),
         {"answer": "ok"}),
    Kind("several texts", lambda: "topic -> title, body", {"topic": "tea"}, ("title", "body", "tea"), ("tea",),
         {"title": "a", "body": "b"}),
    Kind("numbers, choices, lists, mappings", lambda: dspy.Signature({
         "topic": (str, dspy.InputField()), "answer": (str, dspy.OutputField()), "score": (float, dspy.OutputField()),
         "tone": (Literal["kind", "dry"], dspy.OutputField()), "steps": (list[str], dspy.OutputField()),
         "notes": (dict[str, str], dspy.OutputField())}),
         {"topic": "tea"}, ("score", "dry", "steps", "notes", "tea"), ("tea",),
         {"answer": "ok", "score": 0.5, "tone": "dry", "steps": ["one"], "notes": {"k": "v"}}),
    Kind("pydantic models", lambda: dspy.Signature({"city": (str, dspy.InputField()), "route": (Route, dspy.OutputField())}),
         {"city": "Oslo"}, ("route", "stops", "Oslo"), ("Oslo",), {"route": {"stops": ["one"]}}),
    Kind("optional fields",
         lambda: dspy.Signature({"city": (str, dspy.InputField()), "note": (str | None, dspy.OutputField())}),
         {"city": "Oslo"}, ("note", "Oslo"), ("Oslo",), {"note": "ok"}),
    Kind("`dspy.History`", lambda: History,
         {"history": dspy.History(messages=[{"question": "Hi", "answer": "Ave"}]), "question": "Who?"},
         ("Latin", "Ave", "Who?"), ("Latin", "Ave", "Who?"), {"answer": "ok"}),
    Kind("`dspy.Image`", lambda: "picture: dspy.Image, question -> animal", {"picture": PIXEL, "question": "Who?"},
         ("picture", "(image_url)", "Who?"), ("(image", "Who?"), {"animal": "ok"}),
    Kind("`dspy.Tool`", lambda: "tools: list[dspy.Tool], question -> plan",
         {"tools": [dspy.Tool(shelf)], "question": "Who?"},
         ("shelf", "Finds a book", "Who?"), ("shelf", "Finds a book", "Who?"), {"plan": "ok"}),
    Kind("`dspy.Predict`", lambda: dspy.Predict("english -> french"), {"english": "Hi"}, ("french", "Hi"),
         ("french", "Hi"), {"french": "ok"}),
    Kind("`dspy.ChainOfThought`", lambda: dspy.ChainOfThought("context, question -> answer"),
         {"context": "p one", "question": "Who?"},
         ("reasoning", "p one", "Who?"), ("p one", "Who?"), {"reasoning": "r", "answer": "ok"}),
    Kind("`dspy.ReAct`", lambda: dspy.ReAct("question -> answer", tools=[shelf]), {"question": "Where is Emma?"},
         ("Where is Emma?", "shelf"), ("Where is Emma?", "Emma: third shelf"), {"reasoning": "r", "answer": "ok"},
         {"(?s)next_tool_name.*third shelf": acted("finish"), "next_tool_name": acted("shelf", title="Emma")}),
    Kind("a module of several steps", Steps, {"question": "Where is Quito?"}, ("Where is Quito?",),
         ("Where is Quito?", "atlas on quito maps"), {"answer": "ok", "sources": ["atlas, quito maps"]},
         {"fields `query`": marked({"query": "quito maps"})}),
    Kind("a function with a model of its own", lambda: None, {"question": "Who?", "context": "p one"},
         ("Who?", "p one"), ("Who?", "p one"),
         {"answer": "ok", "steps": ["one"]}),
]  # fmt: skip


def planted(value: Any) -> Any:
    """The value with the mark in it; None where it can hold no text."""
    if isinstance(value, str):
        return f"{value} {BAD}"
    if isinstance(value, list):
        return [planted(value[0])]
    if isinstance(value, dict):
        name = next(iter(value))
        return {**value, name: planted(value[name])}
    return None


def run(kind: Kind, draft: Mapping[str, Any]) -> tuple[Any, dict[str, list[str]]]:
    """The outcome, and what each step of the program was told."""
    told: dict[str, list[str]] = {"generate": [], "gate": [], "critique": [], "revise": []}

    def answer(messages: Any, params: Any) -> Any:
        said = "\n".join(content_text(message["content"]) for message in messages)
        last = content_text(messages[-1]["content"])
        step = "critique" if "Answer with JSON only" in last else "revise" if is_revision(messages) else "generate"
        told["gate" if params.get("logprobs") else step].append(said)
        if params.get("logprobs"):
            about = content_text(messages[-2]["content"]) + last
            return 0.9 if BAD in about else 0.1
        if step == "critique":
            found = [{"principle": "honesty", "quote": BAD, "why": "w", "change": "c"}] if BAD in last else []
            return json.dumps({"findings": found})
        if step == "generate":
            for pattern, text in dict(kind.steps).items():
                if re.search(pattern, said):
                    return text
        written = draft if step == "generate" else kind.outputs
        plain = kind.name.startswith("text to text")
        return written["answer"] if plain else marked(written)

    def own(question: str, context: str) -> Any:
        told["generate"].append(f"{question} {context}")
        return dict(draft)

    generate = kind.build() or own
    return Conscience(generate, lm=ScriptedLM(answer))(**kind.inputs), told


def ids(kind: Kind) -> str:
    return kind.name


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_the_task_reaches_the_model(kind: Kind) -> None:
    """Column 1: names, descriptions, instructions and inputs."""
    outcome, told = run(kind, kind.outputs)
    assert outcome.status == "clean"
    assert all(piece in "\n".join(told["generate"]) for piece in kind.task)
    assert "QUJDQUJD" not in str(told)


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_all_fields_are_reviewed(kind: Kind) -> None:
    """Column 2: a mark in any field is before gate and critique, and gone from what is returned."""
    for name, value in kind.outputs.items():
        if (bad := planted(value)) is None or name in ("tone",) or (name == "sources" and kind.build is Steps):
            continue
        outcome, told = run(kind, {**kind.outputs, name: bad})
        assert outcome.status == "revised", (name, outcome)
        assert BAD in told["gate"][0]
        assert BAD in told["critique"][0]
        assert BAD not in str(dict(outcome.items()))
        assert set(outcome.keys()) >= set(kind.outputs)
        assert [type(outcome[n]) for n in kind.outputs] == [
            type(outcome.draft.outputs.get(n, outcome[n])) for n in kind.outputs
        ]


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_context_reaches_critique_and_revision(kind: Kind) -> None:
    """Column 3: what generation saw."""
    name = list(kind.outputs)[-1] if kind.build is not Steps else "answer"
    outcome, told = run(kind, {**kind.outputs, name: planted(kind.outputs[name])})
    assert outcome.status == "revised"
    for step in ("gate", "critique", "revise"):
        assert told[step]
        for said in told[step]:
            assert all(piece in said for piece in kind.context), (step, said)


def test_the_table_in_the_docs_is_this_one() -> None:
    """A row for each kind, in order; a cell is a tick because the tests above ran it."""
    page = (ROOT / "docs" / "signatures.md").read_text()
    rows = re.findall(r"^\| (.+?) \| yes \| yes \| yes \|$", page, re.MULTILINE)
    assert rows == [kind.name for kind in KINDS]
