"""Compiling is the same wherever the cases are done: drafts, readings, trials travel as data and come back in any order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dspy
import numpy as np
import pytest

from conscience import Case, Conscience
from conscience.artifacts.io import to_artifact
from conscience.backends.backend import Backend
from conscience.backends.storage.sealing import SECRET, folder_secret
from conscience.distributed.drafts import draft_data, draft_from_data
from conscience.errors import ConfigurationError
from conscience.optimizers import Recalibration, SelfCorrection
from conscience.optimizers.data.labeled_drafts import collect
from conscience.optimizers.gate.readings import Reading
from conscience.optimizers.runtime import Runtime
from conscience.outcome import Draft
from tests.support.executors import Adversary, through_text
from tests.support.loopback import Behaviour, Loopback, chat
from tests.unit.optimizers.world import CASES, World, grade

MODEL = "openai/gpt-4o-mini"


@pytest.fixture
def served(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Loopback:
    """The world of the scripted tests behind an address that the environment names."""
    server.behaviour = behaviour_of(World())
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    return server


def behaviour_of(world: World) -> Behaviour:
    """The world as a server."""

    def behaviour(body: Any, number: int) -> Any:
        said = world(body["messages"], body)
        return chat("Yes" if said > 0.5 else "No", yes=said) if isinstance(said, float) else chat(said)

    return behaviour


def compiled(server: Loopback, folder: Path, executor: Any, **options: Any) -> tuple[dict[str, Any], list[str]]:
    """The artifact, but for times, and the keys of the journal."""
    server.behaviour = behaviour_of(World())  # which counts what it is asked to propose
    folder_secret(folder.parent)
    folder.mkdir()
    (folder / SECRET).write_bytes((folder.parent / SECRET).read_bytes())
    optimizer = SelfCorrection(
        oracle=grade, folder=folder, executor=executor, **({"embeddings": (), "target_fpr": 0.9} | options)
    )
    program = optimizer.compile(Conscience(lm=Backend(MODEL, cache=False)), trainset=CASES)
    artifact = to_artifact(program).model_dump(mode="json")
    del artifact["provenance"]["made"], artifact["provenance"]["seconds"]
    return artifact, sorted(json.loads(line)["key"] for line in (folder / "calls.jsonl").open())


@pytest.mark.parametrize(
    "options",
    [
        {"prompts": "off", "budget": {"calls": 90}},
        pytest.param({"prompts": "gepa", "seed": 1}, marks=pytest.mark.long),
        pytest.param({"prompts": "random", "seed": 2}, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_the_artifact_is_the_same_wherever_the_cases_were_done(
    served: Loopback, tmp_path: Path, options: dict[str, Any]
) -> None:
    """And so is the journal; the budget holds in both."""
    here = compiled(served, tmp_path / "here", "local", **options)
    asked = len(served.calls)
    there = compiled(served, tmp_path / "there", adversary := Adversary(), **options)
    assert here == there
    assert len(served.calls) == 2 * asked
    assert adversary.sent


def test_recalibration_reads_the_same_elsewhere(served: Loopback, tmp_path: Path) -> None:
    """All signals of a gate, and its threshold."""
    student = Conscience(lm=Backend(MODEL, cache=False))
    cases = [Case(id=c.id, request=c.request, response="cruel" if i % 2 else "kind",
                  label="misaligned" if i % 2 else "aligned") for i, c in enumerate(CASES[:40])]  # fmt: skip
    gates = [
        Recalibration(folder=tmp_path / str(n), executor=executor).compile(student, trainset=cases).gate_settings
        for n, executor in enumerate(("local", Adversary()))
    ]
    assert gates[0] == gates[1]


def test_drafts_and_readings_travel_whole() -> None:
    """Messages, outputs of every type that JSON has, vectors and log-probabilities to the last bit."""
    draft = Draft(
        request=({"role": "user", "content": "q"},),
        outputs={"answer": "a", "sure": True, "n": 0.1, "tags": ["x", {"y": None}]},
        messages=({"role": "user", "content": [{"type": "text", "text": "q"}]},),
        text="t",
        written={"reasoning": "r"},
        sampling={"max_tokens": 3},
    )
    assert draft_from_data(through_text(draft_data(draft))) == draft
    reading = Reading([0.1, None], [(("a", "b"), np.array([-0.1, -1e-9 / 3]))], {"m": [[0.25, 1 / 3]]})
    again = Reading.from_data(through_text(reading.to_data()))
    assert (again.values, again.vectors) == (reading.values, reading.vectors)
    assert again.shown[0][0] == ("a", "b")
    assert again.shown[0][1].tolist() == reading.shown[0][1].tolist()


def test_drafts_that_cannot_travel_are_refused_before_the_first(served: Loopback, tmp_path: Path) -> None:
    """A field of a type that JSON cannot say."""

    class Dated(dspy.Signature):  # type: ignore[misc]
        request: str = dspy.InputField()
        days: set[int] = dspy.OutputField()

    runtime = Runtime(tmp_path / "calls.jsonl", executor=Adversary())
    program = runtime.own(Conscience(Dated, lm=MODEL))
    with pytest.raises(ConfigurationError, match="field 'days'"):
        collect(program, CASES[:4], runtime, grade)
    assert not served.calls
