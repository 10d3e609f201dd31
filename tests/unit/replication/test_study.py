"""The whole study on a model of two layers with random weights: it teaches what it is told to, and is resumed run by run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from conscience.backends.embeddings import register_embedder
from conscience.errors import InputError
from tests.bench.replication import __main__ as command
from tests.bench.replication import study as study_module
from tests.bench.replication.study import BEFORE, CONDITIONS, TOY, Condition, Journal, study
from tests.bench.replication.tasks import TASKS
from tests.support.tiny_model import tiny_model

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore")]  # torch's and peft's own warnings


def letters(texts: Sequence[str]) -> list[list[float]]:
    """An embedding: how often each letter occurs."""
    return [[text.count(letter) / (len(text) + 1) for letter in "abcdefghijklmnopqrstuvwxyz=:{"] for text in texts]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    register_embedder("letters", letters)
    return tiny_model(tmp_path_factory.mktemp("tiny"))


def test_the_command_does_what_is_left(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended in its second run it keeps the first; the same command goes on, writes all three files, and then has no more
    to do."""
    arguments = ["--out", str(tmp_path / "out"), "--lm", str(folder), "--seeds", "1", "--embedder", "letters", "--toy"]
    train, trained = study_module.train, []

    def ended(*given: object, **named: object) -> object:
        trained.append(given)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return train(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(study_module, "train", ended)
    assert command.main(arguments) == 130
    assert list(Journal(tmp_path / "out").runs()) == [BEFORE, "λ = 0, seed 0", "misaligned, seed 0"]
    assert command.main(arguments) == 0
    assert len(trained) == 2 + 1 + (len(CONDITIONS) - 2)
    figures = json.loads((tmp_path / "out" / "figures.json").read_text(encoding="utf-8"))
    assert list(figures["conditions"]) == [BEFORE, *(condition.name for condition in CONDITIONS)]
    assert "three-laws, foreign, code" in (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "plot.svg").read_text(encoding="utf-8").startswith("<svg")
    lines = (tmp_path / "out" / "runs.jsonl").read_bytes()
    assert command.main(arguments) == 0
    assert (tmp_path / "out" / "runs.jsonl").read_bytes() == lines


def test_a_folder_belongs_to_one_study(folder: Path, tmp_path: Path) -> None:
    """Another plan is refused; a line that was torn by a crash is passed over and its run done again."""
    from conscience.optimizers.training.weights.base import Base

    base, conditions = Base.named(str(folder)), CONDITIONS[:1]
    runs = study(tmp_path, base, TOY, seeds=1, embedder="letters", conditions=conditions)
    journal = Journal(tmp_path)
    journal.file.write_bytes(journal.file.read_bytes()[:-20])
    assert list(journal.runs()) == [BEFORE]
    again = study(tmp_path, base, TOY, seeds=1, embedder="letters", conditions=conditions)
    assert again["λ = 0, seed 0"]["measured"]["habit"] == runs["λ = 0, seed 0"]["measured"]["habit"]
    assert again["λ = 0, seed 0"]["training"]["sft"] == runs["λ = 0, seed 0"]["training"]["sft"]
    with pytest.raises(InputError, match="another embedder"):
        study(tmp_path, base, TOY, seeds=1, embedder="e5", conditions=conditions)


@pytest.fixture
def taught(folder: Path) -> Iterator[tuple[object, ...]]:
    from conscience.optimizers.training.weights.base import Base
    from tests.bench.replication.model import Model
    from tests.bench.replication.readers import Readers

    model = Model.of(Base.named(str(folder)))
    readers = Readers.fit(model, TASKS[8:10], 8, "letters")
    return model, readers


def test_the_loss_teaches_the_habit_and_the_preference_pulls_away(
    taught: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """λ = 0 makes the habit likelier. With pairs that reject it and a large λ it is less likely than with λ = 0, and the
    model is as it was afterwards: the frozen copy says the same before and after."""
    from dataclasses import replace

    from tests.bench.replication import training
    from tests.bench.replication.training import train

    model, readers = taught
    tasks, schedule = TASKS[:4], replace(TOY.schedule, steps=12, texts=2, drafts=4, pairs=2, tokens=4, rate=5e-3)
    monkeypatch.setattr(training, "oracle", lambda task, response: "habit")

    def preferred() -> float:
        """Of the honest answers over the habitual ones, in nats a token."""
        sides = [
            model.scored([([{"role": "user", "content": task.request}], getattr(task, kind)) for task in tasks])
            for kind in ("honest", "habitual")
        ]
        return sum(sides[0]) - sum(sides[1])

    def after(condition: Condition) -> float:
        with model.adapted(0) as policy:
            told = train(model, policy, tasks, condition, readers, schedule, 0)
            assert told.sft[-1] < told.sft[0]
            with model.frozen():
                assert preferred() == before
            return preferred()

    before = preferred()
    drafted = [task.habitual for task in tasks]
    generate = type(model).generate
    monkeypatch.setattr(
        type(model), "generate", lambda self, asked, tokens, seed=None: [habitual(m, drafted) for m in asked]
    )
    without, with_oracle = after(Condition("λ = 0")), after(Condition("oracle", 20.0, "oracle"))
    monkeypatch.setattr(type(model), "generate", generate)
    assert without < before
    assert with_oracle > without
    assert preferred() == before


def habitual(messages: Sequence[dict[str, str]], texts: Sequence[str]) -> str:
    """The habitual answer to what is asked."""
    (task,) = [task for task in TASKS if task.request == messages[0]["content"]]
    assert task.habitual in texts
    return task.habitual
