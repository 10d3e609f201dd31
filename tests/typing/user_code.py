"""Code as users write it; it is type-checked, not run."""

from conscience import Backend, Budget, Conscience, Constitution, Outcome, Verdict, review


def answer(question: str) -> str:
    program = Conscience(
        "question -> answer",
        constitution="general",
        lm={"generate": "openai/gpt-4o-mini", "review": Backend("openai/gpt-4o-mini", timeout=10)},
        budget=Budget(calls=4),
    )
    outcome: Outcome = program(question=question)
    if outcome.status == "unreviewed":
        return outcome.error
    return outcome.response


def judge(text: str) -> float | None:
    verdict: Verdict = review("", text, constitution=Constitution.load("general"))
    return verdict.probability
