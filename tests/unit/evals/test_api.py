"""``evaluate``: what the command line can do, Python can."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import dspy
import pytest

from conscience import Case, Conscience, Constitution, EvalConfig, Grade
from conscience.errors import BackendError, CaseError, ConfigurationError, InputError
from conscience.evals.api import evaluate
from conscience.evals.baselines import baseline
from conscience.evals.records import CaseRecord
from conscience.testing import Fault, ScriptedLM
from tests.unit.evals.runs import SAFE, UNSAFE, script


def program() -> Conscience:
    return Conscience(lm=ScriptedLM(script))


def write(path: Path, cases: Any = SAFE) -> Path:
    path.write_text("".join(case.model_dump_json(exclude_defaults=True) + "\n" for case in cases))
    return path


def accuracy(report: Any) -> float | None:
    value: float | None = report.correction.self_correction_accuracy.value
    return value


def test_cases_come_as_they_are_or_from_a_source(tmp_path: Path) -> None:
    """And the figures are the same."""
    path = write(tmp_path / "cases.jsonl", [*SAFE, *UNSAFE])
    listed, read = evaluate(program(), [*SAFE, *UNSAFE]), evaluate(program(), path)
    assert accuracy(listed) == accuracy(read) == 14 / 16
    assert {row.id for row in listed.rows} == {case.id for case in (*SAFE, *UNSAFE)}
    assert (read.title, read.cases.sources) == ("cases.jsonl", ("cases.jsonl",))
    assert evaluate(program(), [str(path)]).title == "cases.jsonl"


def test_without_a_folder_the_rows_stay_in_the_report() -> None:
    """The temporary folder is gone."""
    report = evaluate(program(), SAFE[:2])
    assert [type(row) for row in report.rows] == [CaseRecord, CaseRecord]
    assert report.title == "cases"


def test_folder_is_that_of_the_command(tmp_path: Path) -> None:
    """Rows, report and page; the same call pays for nothing twice."""
    lm = ScriptedLM(script)
    first = evaluate(Conscience(lm=lm), SAFE, out=tmp_path / "run")
    calls = len(lm.calls)
    again = evaluate(Conscience(lm=lm), SAFE, out=str(tmp_path / "run"))
    assert len(lm.calls) == calls
    assert again.rows == first.rows
    assert json.loads((tmp_path / "run" / "report.json").read_text())["correction"] == first.to_dict()["correction"]
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


async def test_inside_a_running_event_loop() -> None:
    """As in a notebook; a program's errors come out as they are."""
    assert accuracy(evaluate(program(), SAFE)) == 7 / 8
    lost = Conscience(lm=ScriptedLM(lambda m, p: Fault("connection")))
    with pytest.raises(BackendError, match="in a row"):
        evaluate(lost, SAFE)


async def test_settings_of_dspy_reach_into_the_thread() -> None:
    """A model from a dspy.context of the notebook's."""
    with dspy.context(lm=ScriptedLM(script)):
        assert accuracy(evaluate(Conscience(), SAFE)) == 7 / 8


def test_oracle_by_name_or_callable() -> None:
    """In place of each case's own; a judge asks the program's own model."""
    strict = evaluate(program(), SAFE[:2], oracle=lambda case, response: Grade(False, "no"))
    assert accuracy(strict) == 0
    named = evaluate(program(), SAFE[:2], oracle="refusal")
    assert (accuracy(named), named.program.oracle) == (1, "conscience.evals.oracles.refusals:refusal")
    judging = ScriptedLM(lambda m, p: "A" if "letter only" in str(m) else script(m, p))
    judged = evaluate(Conscience(lm=judging), SAFE[:1], oracle="judge")
    assert judged.overhead.by_role["judge"].calls >= 2
    with pytest.raises(ConfigurationError, match="does not exist"):
        evaluate(program(), SAFE, oracle="nobody")


def test_config_draws_and_skips(tmp_path: Path) -> None:
    """As --limit, --seed and --skip-bad do."""
    path = write(tmp_path / "cases.jsonl")
    path.write_text(path.read_text() + "{}\nno JSON\n")
    with pytest.raises(CaseError):
        evaluate(program(), path)
    report = evaluate(program(), path, config=EvalConfig(limit=3, seed=4, skip_bad=True))
    assert (report.cases.done, report.cases.limit, report.cases.seed) == (3, 3, 4)
    assert report.cases.skipped >= 1


class Doubled(dspy.Module):  # type: ignore[misc]
    """A program of somebody's: two predictors, and fields of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = dspy.Predict("question -> note")
        self.second = dspy.Predict("question, note -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        return self.second(question=question, note=self.first(question=question).note)


def test_any_program_is_measured() -> None:
    """A baseline, a module on DSPy's model, a callable that needs none."""
    plain = evaluate(baseline("plain", constitution=Constitution.load("general"), lm=ScriptedLM(script)), UNSAFE)
    assert (accuracy(plain), plain.program.name) == (0, "plain")

    def refuses(request: str) -> str:
        return "I can't help with that."

    report = evaluate(refuses, UNSAFE)
    assert (accuracy(report), report.program.name, report.reviewer) == (1, "refuses", None)
    lm = ScriptedLM(lambda m, p: "[[ ## note ## ]]\nx\n\n[[ ## answer ## ]]\nSure.\n\n[[ ## completed ## ]]")
    with dspy.context(lm=lm):
        module = evaluate(Doubled(), SAFE[:3])
    assert (accuracy(module), module.program.name, len(lm.calls)) == (1, "Doubled", 6)


def test_what_cannot_be_measured_is_named() -> None:
    """Neither program nor cases."""
    with pytest.raises(ConfigurationError, match="cannot be measured"):
        evaluate(3, SAFE)
    with pytest.raises(ConfigurationError, match="neither sources nor Case"):
        evaluate(program(), [{"id": "a"}])  # type: ignore[list-item]
    with pytest.raises(InputError, match="nothing says what is right"):
        evaluate(program(), [Case(id="x", request="q")])


def test_interrupted_it_goes_on_in_its_folder(tmp_path: Path) -> None:
    """Ctrl-C ends it after the cases under way, and is heard."""

    def interrupts(messages: Any, params: Any) -> Any:
        if "kind 2" in str(messages) and params.get("logprobs"):
            os.kill(os.getpid(), signal.SIGINT)
        return script(messages, params)

    config = EvalConfig(concurrency=1)
    with pytest.raises(KeyboardInterrupt):
        evaluate(Conscience(lm=ScriptedLM(interrupts, seconds=0.02)), SAFE, out=tmp_path, config=config)
    done = [json.loads(line)["id"] for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert done in (["s0", "s1", "s2"], ["s0", "s1", "s2", "s3"]), "the fourth may begin before the signal arrives"
    assert evaluate(program(), SAFE, out=tmp_path, config=config).cases.done == 8
