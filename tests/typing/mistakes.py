"""Mistakes that must not type-check. An ignore that is not needed is an error too, so each line has to stay wrong."""

from pathlib import Path

import conscience
from conscience import CaseRecord, Conscience, EvalReport, GateSettings, Generate, Outcome, Review, Revise, evaluate, review


def what_is_no_model(path: Path) -> None:
    Conscience(lm=3.5)  # type: ignore[arg-type]
    Conscience(lm=lambda prompt: "Paris.")  # type: ignore[arg-type]
    Conscience(lm=[3.5])  # type: ignore[list-item]
    Conscience(lm={"reviewer": "openai/gpt-4o-mini"})  # type: ignore[dict-item]
    Conscience(lm={"review": 3})  # type: ignore[dict-item]
    Review(lm=3.5)  # type: ignore[arg-type]
    review("What is 1 + 1?", "2", lm=3.5)  # type: ignore[arg-type]
    conscience.load(path, lm=3.5)  # type: ignore[arg-type]
    Conscience.load(path, lm=3.5)  # type: ignore[arg-type]
    Conscience.load(path, on_error="close")  # type: ignore[arg-type]


def what_cannot_generate(path: Path) -> None:
    Conscience(generate=3)  # type: ignore[arg-type]
    Generate(None)  # type: ignore[arg-type]
    conscience.load(path, generate=3)  # type: ignore[arg-type]


def what_is_no_constitution() -> None:
    Conscience(constitution=3)  # type: ignore[arg-type]
    Review(["be honest"])  # type: ignore[arg-type]


def what_no_policy_is_called() -> None:
    Conscience(on_unresolved="refusal")  # type: ignore[arg-type]
    Conscience(on_error="close")  # type: ignore[arg-type]
    Conscience(max_revisions="1")  # type: ignore[arg-type]
    Conscience(budget={"calls": "four"})  # type: ignore[dict-item]
    Conscience(treshold=0.4)  # type: ignore[call-arg]
    Conscience(threshold="0.4")  # type: ignore[arg-type]
    Conscience(refusal=3)  # type: ignore[arg-type]
    Conscience(review="general")  # type: ignore[arg-type]


def what_cannot_be_measured(program: Conscience, report: EvalReport) -> None:
    evaluate(program, 3)  # type: ignore[arg-type]
    evaluate(program, "pack:general", oracle=3)  # type: ignore[arg-type]
    evaluate(program, "pack:general", concurrency=8)  # type: ignore[call-arg]
    report.rows = ()  # type: ignore[misc]


def what_is_not_there(program: Conscience, settings: GateSettings, record: CaseRecord) -> list[object]:
    program.constitution = program.constitution  # type: ignore[misc]
    Revise(program.constitution)  # type: ignore[call-arg]
    return [
        record.draft_okay,  # type: ignore[attr-defined]
        settings.treshold,  # type: ignore[attr-defined]
        conscience.Verdikt,  # type: ignore[attr-defined]
    ]


def what_comes_back_is_known(program: Conscience, path: Path) -> list[object]:
    opened: Conscience = program.load(path)  # type: ignore[assignment]
    program.load(path, lm="local")  # type: ignore[call-arg]
    outcome: Outcome = program.stream(question="x")  # type: ignore[assignment]
    words: list[str] = program.correct("What is 1 + 1?", 2).revisions  # type: ignore[arg-type,assignment]
    return [opened, outcome, words]
