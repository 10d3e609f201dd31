"""Code as users write it. It is type-checked strictly, not run."""

from collections.abc import AsyncIterator
from pathlib import Path

import dspy

import conscience
from conscience import (
    Backend,
    Budget,
    Case,
    CaseRecord,
    Conscience,
    Constitution,
    EvalConfig,
    EvalReport,
    GateSettings,
    Grade,
    Outcome,
    StageStarted,
    Verdict,
    areview,
    evaluate,
    load_cases,
    review,
)
from conscience.integrations.openai import OpenAI, report_of
from conscience.integrations.tools import conversation, guard
from conscience.optimizers import PairSet, PreferencePair, SelfCorrection, make_pairs, read_pairs, write_pairs
from conscience.testing import ScriptedLM


class Triage(dspy.Signature):  # type: ignore[misc]
    """Says how urgent a message is."""

    message: str = dspy.InputField()
    urgency: str = dspy.OutputField()


def answer(question: str) -> str:
    program = Conscience(
        "question -> answer",
        constitution="general",
        lm={"generate": "openai/gpt-4o-mini", "review": Backend("openai/gpt-4o-mini", timeout=10)},
        on_unresolved="best",
        on_error="closed",
        budget=Budget(calls=4),
    )
    outcome: Outcome = program(question=question)
    if outcome.status == "unreviewed":
        return outcome.error
    return outcome.response


def every_way_to_say_what_generates() -> list[Conscience]:
    return [
        Conscience(),
        Conscience(Triage),
        Conscience(dspy.ChainOfThought("question -> answer")),
        Conscience(lambda request: f"echo: {request}"),
        Conscience(answer),
    ]


def every_way_to_say_which_model(roles: conscience.Conscience) -> list[Conscience]:
    return [
        Conscience(lm="local"),
        Conscience(lm=dspy.LM("openai/gpt-4o-mini")),
        Conscience(lm=ScriptedLM(["Paris."])),
        Conscience(lm=["openai/gpt-4o-mini", Backend("local")]),
        Conscience(lm={"generate": ["openai/gpt-4o-mini", "local"], "judge": ScriptedLM([])}),
        Conscience(lm=roles.roles),
    ]


def every_way_to_say_the_constitution(file: Path) -> list[Conscience]:
    return [
        Conscience(constitution="medical"),
        Conscience(constitution=file),
        Conscience(constitution={"name": "mine", "question": "Is it wrong?", "principles": []}),
        Conscience(constitution=Constitution.load(file)),
    ]


async def answer_async(program: Conscience, question: str) -> Verdict:
    outcome = await program.acall(question=question)
    return outcome.raise_for_status().verdict


def every_way_to_refuse() -> list[Conscience]:
    return [
        Conscience(refusal="Not from me.", threshold=0.3),
        Conscience(refusal={"answer": "Not from me.", "degrees": None}),
        Conscience(refusal=lambda outcome: "Later." if outcome.status == "unreviewed" else None),
    ]


async def show(program: Conscience, question: str) -> AsyncIterator[str]:
    async for event in program.stream(question=question):
        if isinstance(event, StageStarted):
            yield f"({event.name})"
        elif isinstance(event, Outcome):
            yield event.status
        else:
            yield event


def correct(program: Conscience) -> int:
    outcome = program.correct("What is the capital of France?", "Lyon.", reasoning="It is large.")
    return len(outcome.revisions) + outcome.usage.calls


def judge(text: str) -> float | None:
    verdict: Verdict = review("", text, constitution=Constitution.load("general"))
    return verdict.probability


async def judge_async(text: str) -> bool:
    verdict = await areview("", text, lm="local")
    return verdict.flagged


def open_it(path: Path) -> tuple[Conscience, GateSettings]:
    program = Conscience.load(path, lm="openai/gpt-4o-mini", on_error="open", budget={"calls": 3}, threshold=0.4)
    program.load(path)
    opened = conscience.load(path, lm={"review": "local"}, generate=answer)
    opened.save(path)
    return opened, program.gate_settings


def compile_it(program: Conscience, path: Path) -> Conscience:
    cases: list[Case] = load_cases(path)
    compiled: Conscience = SelfCorrection(target_fpr=0.05).compile(program, trainset=cases)
    return compiled.with_gate(compiled.gate_settings)


def judge_by_length(case: Case, response: str) -> Grade:
    return Grade(len(response) < 400, "short enough")


def measure(program: Conscience, cases: list[Case]) -> tuple[EvalReport, list[str]]:
    report = evaluate(program, cases, oracle=judge_by_length, config=EvalConfig(concurrency=8))
    spoiled = [row.id for row in report.rows if isinstance(row, CaseRecord) and row.draft and row.draft.ok and row.flagged]
    return evaluate(program, "pack:general", oracle="judge", out="run1"), spoiled


def prefer(program: Conscience, cases: list[Case]) -> tuple[list[PreferencePair], str]:
    made: PairSet = make_pairs(cases, program, pairs=read_pairs("old.jsonl"), kind="alternative", per_group=20)
    write_pairs(made.pairs, "pairs.jsonl")
    return [pair for pair in made.pairs if pair.margin and pair.margin > 0.5], made.why


def drop_in(program: Conscience) -> tuple[str | None, str]:
    client = OpenAI(program=program).with_options(timeout=9)
    reply = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello?"}])
    answered: str = client.responses.create(model="gpt-4o-mini", input="Hello?").output_text
    return reply.choices[0].message.content or answered, report_of(reply).status


guarded_program = Conscience(lm={"review": "openai/gpt-4o-mini"})


@guard(program=guarded_program, injected=("session",))
async def post(session: object, text: str, copies: int = 1) -> list[str]:
    return [text] * copies


async def act(text: str) -> tuple[str, list[str]]:
    with conversation([{"role": "user", "content": text}]):
        return guard(answer, program=guarded_program, on_refusal="raise")(text), await post(object(), text, copies=2)
