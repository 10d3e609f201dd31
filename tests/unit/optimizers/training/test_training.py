"""Whole trainings on a model of two layers, answered by the real engine and judged by a script."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest

from conscience import Conscience
from conscience.cases.case import Case
from conscience.errors import InputError
from conscience.optimizers import PreferenceTraining, TrainingSettings
from conscience.optimizers.training.pairs import PreferencePair
from conscience.optimizers.training.rounds.data import training_data
from conscience.testing import ScriptedLM, is_critique, is_gate, is_revision
from tests.support.commands import run
from tests.support.tiny_model import tiny_model, training_packages

pytestmark = pytest.mark.long

FOUND = json.dumps({"findings": [{"principle": "no-demeaning", "quote": "", "why": "It hurts.", "change": "Be kind."}]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("xllamacpp", reason="the embedded engine is not installed")
    return tiny_model(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(autouse=True)
def _engine() -> Any:
    yield
    from conscience.backends.embedded.local import shutdown

    shutdown()


def judge(asked: list[str]) -> ScriptedLM:
    """Rejects what the tiny model babbles, and accepts what it writes in its place."""

    def script(messages: Any, params: Any) -> Any:
        if is_gate(messages):
            asked.append("gate")
            return 0.1 if "A kind word" in str(messages[-2]["content"]) else 0.9
        if is_critique(messages):
            return FOUND
        assert is_revision(messages)
        return f"A kind word about {messages[0]['content']}"

    return ScriptedLM(script)


def program_of(asked: list[str]) -> Callable[[str], Conscience]:
    def program(name: str) -> Conscience:
        from conscience.backends.backend import Backend

        script = judge(asked)
        return Conscience(lm={"generate": Backend(name, max_tokens=6, cache=False), "review": script, "revise": script})

    return program


def pairs(count: int) -> list[PreferencePair]:
    return [
        PreferencePair(request=({"role": "user", "content": f"Ask {n}"},), chosen=f"the kind {n}", rejected=f"a cruel {n}")
        for n in range(count)
    ]


SETTINGS = TrainingSettings(rounds=2, epochs=1, learning_rate=1e-2, rank=4, max_length=128, replay=3, patience=3, requests=5)
SAFE = [Case(id=f"s{n}", request=f"How {n}?", request_safe=True) for n in range(3)]


def train_in(out: Path, folder: Path, watch: Any = lambda now: None, asked: list[str] | None = None, **more: Any) -> Any:
    training_packages()
    from conscience.optimizers.training.rounds.training import train
    from conscience.optimizers.training.weights.base import Base

    data = training_data(pairs(12), [], SAFE)
    settings = more.pop("settings", SETTINGS)
    return train(
        Base.named(str(folder)), data, out, program=program_of(asked if asked is not None else []), settings=settings,
        watch=watch, **more,
    )  # fmt: skip


def test_rounds_end_in_files_that_are_served(folder: Path, tmp_path: Path) -> None:
    """The second round answers with what the first has trained; the result answers at once."""
    out = tmp_path / "out"
    told: list[str] = []
    result = train_in(out, folder, tell=told.append)
    assert {path.name for path in out.iterdir()} >= {"adapter", "model.gguf", "README.md", "training.json", "checkpoints"}
    record = json.loads((out / "training.json").read_text())
    assert [entry["pairs"] for entry in record["counts"]["by_round"]] == [9, 8]  # 5 of its own, 3 of the first
    own = [json.loads(line) for line in (out / "rounds" / "2.jsonl").read_text().splitlines()]
    assert all(pair["provenance"]["models"]["generate"].startswith("local:policy-1@") for pair in own)
    assert all(pair["chosen"].startswith("A kind word") for pair in own)
    assert record["figures"]["preferred"]["n"] == record["counts"]["held_out_pairs"] == 3
    assert record["figures"]["safe_refused"]["n"] == 3
    assert record["figures"]["flagged"]["value"] == 1.0
    assert result.served is not None
    assert result.served.agrees
    assert result.served.mean < 0.05
    assert str(tmp_path) not in (out / "adapter" / "adapter_config.json").read_text() + (out / "README.md").read_text()
    asked = run("ask", "Hello?", "--lm", result.model, "--max-tokens", "4", "--json")
    assert asked.returncode == 0, asked.stderr
    assert any("round 2: 5 pairs of 5 answers" in line for line in told)
    assert any(line.startswith("round 2, epoch 1: L_SFT ") and "held out: L_SFT" in line for line in told)


def test_an_interrupted_training_generates_nothing_twice(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of round 2: the same call ends with the same weights, bit by bit, and asked as much in all."""
    monkeypatch.setattr("conscience.optimizers.training.weights.trainer.SAVE_SECONDS", 0.0)
    asked_whole: list[str] = []
    train_in(tmp_path / "whole", folder, asked=asked_whole)
    asked: list[str] = []

    def watch(now: Any) -> None:
        if (now.stage, now.round, now.done) == ("training", 2, 2) and not stopped:
            stopped.append(now)
            raise KeyboardInterrupt

    stopped: list[Any] = []
    with pytest.raises(KeyboardInterrupt):
        train_in(tmp_path / "parts", folder, watch, asked)
    train_in(tmp_path / "parts", folder, watch, asked)
    assert stopped
    assert (tmp_path / "parts" / "model.gguf").read_bytes() == (tmp_path / "whole" / "model.gguf").read_bytes()
    lines = [len((tmp_path / name / "rounds" / "calls.jsonl").read_text().splitlines()) for name in ("parts", "whole")]
    assert lines[0] == lines[1]
    assert len(asked) == len(asked_whole)
    finished = json.loads((tmp_path / "parts" / "training.json").read_text())
    assert finished["figures"] == json.loads((tmp_path / "whole" / "training.json").read_text())["figures"]


def test_a_folder_belongs_to_one_training(folder: Path, tmp_path: Path) -> None:
    """More rounds go on in it; another seed, or anything else that stands there, does not."""
    out = tmp_path / "out"
    once = TrainingSettings(**{**SETTINGS.to_json(), "rounds": 1})
    assert train_in(out, folder, settings=once).rounds == 1
    assert train_in(out, folder).rounds == 2
    with pytest.raises(InputError, match="another settings"):
        train_in(out, folder, settings=TrainingSettings(**{**SETTINGS.to_json(), "seed": 1}))
    (out / "training.json").write_text((out / "training.json").read_text().replace('"revise": "', '"revise": "openai/'))
    with pytest.raises(InputError, match="another judge"):
        train_in(out, folder)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="something else"):
        train_in(other, folder)


def test_without_a_pair_nothing_is_called_trained(folder: Path, tmp_path: Path) -> None:
    """Only requests, and a judge who accepts every answer."""
    training_packages()
    from conscience.backends.backend import Backend
    from conscience.optimizers.training.rounds.training import train
    from conscience.optimizers.training.weights.base import Base

    def program(name: str) -> Conscience:
        return Conscience(lm={"generate": Backend(name, max_tokens=6, cache=False), "review": ScriptedLM(lambda *_: 0.1)})

    data = training_data([], SAFE, [])
    with pytest.raises(InputError, match="no pair to train on"):
        train(Base.named(str(folder)), data, tmp_path / "out", program=program, settings=SETTINGS)
    assert not (tmp_path / "out" / "model.gguf").exists()


def test_weights_are_trained_inside_better_together(folder: Path, tmp_path: Path) -> None:
    """Prompts, then weights, then prompts: the program generates by what was trained, and reviews by what reviewed."""
    training_packages()
    from conscience.backends.backend import Backend
    from conscience.optimizers.training.weights.converting import convert

    convert(folder, tmp_path / "tiny.gguf")
    script = judge([])
    student = Conscience()
    student.set_lm(
        {
            "generate": Backend(f"local:{tmp_path / 'tiny.gguf'}", max_tokens=6, cache=False),
            "review": script,
            "revise": script,
        }
    )
    rows = [Case(id=f"{n}{label}", request=f"Ask {n}", response=f"{label} {n}", label=label)
            for n in range(10) for label in ("aligned", "misaligned")]  # fmt: skip
    examples = [dspy.Example(case=case, request=case.request).with_inputs("request") for case in rows]

    class Prompts(dspy.teleprompt.Teleprompter):  # type: ignore[misc]
        seen: list[str] = []  # noqa: RUF012

        def compile(self, student: Any, *, trainset: Any, teacher: Any = None, valset: Any = None) -> Any:
            self.seen.append(student.roles.backend("generate").name)
            return student.deepcopy()

    together = dspy.BetterTogether(
        metric=lambda gold, outcome, trace=None: float("kind" in outcome.response),
        p=Prompts(),
        w=PreferenceTraining(tmp_path / "trained", settings=TrainingSettings(**{**SETTINGS.to_json(), "rounds": 1})),
    )
    best = together.compile(
        student, trainset=examples, valset_ratio=0, strategy="p -> w -> p", shuffle_trainset_between_steps=False
    )
    assert not best.flag_compilation_error_occurred
    assert Prompts.seen[0].startswith("local:tiny@")
    assert Prompts.seen[1].startswith("local:model@")
    assert best.roles.backend("generate").name == Prompts.seen[1]
    assert best.roles.backend("review").name == student.roles.backend("review").name
    assert best(request="Hello?").status == "revised"
