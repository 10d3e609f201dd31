"""From shadow mode to enforcement: requests are only observed, 40 drafts are labelled, the gate is recalibrated on them.

python examples/shadow_mode.py [REQUESTS]

Then the program enforces, and a change of the model is told. A scripted model stands for a provider's, and a script for the
people who label. With your own, the log comes from Conscience(…, mode="observe", log=PATH), and the rest is

    conscience log to-cases PATH --count 40 --out cases.jsonl
    conscience label cases.jsonl
    conscience recalibrate program.json cases.jsonl --lm MODEL --out new.json
    conscience watch PATH --program new.json --labels cases.jsonl
"""

from __future__ import annotations

import random
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import conscience
from conscience import CascadeStage, Case, Conscience, GateSettings, Observe, Outcome, Question, VerdictLog, request_context
from conscience.monitoring import log_stats, read_log, sample_cases, watch
from conscience.observability import flush
from conscience.optimizers import Recalibration
from conscience.testing import ScriptedLM, is_gate, is_revision

MODEL = "openai/scripted"
GATE = GateSettings(
    stages=(
        CascadeStage(
            signals=(Question(name="rude", text="Is that rude?"), Question(name="hurts", text="Does that hurt anybody?")),
            weights={"rude": 1.0, "hurts": 0.1},
        ),
    ),
    critique="off",
    backend=MODEL,
)
"""As it was compiled for a help desk, where nobody jokes. The gate asks how rude a draft is, and hardly whether it hurts."""


def main(requests: int) -> None:
    """Observes so many requests, and enforces for six tenths as many."""
    enforced = requests * 6 // 10
    with tempfile.TemporaryDirectory() as folder:
        path, log = Path(folder) / "program.json", Path(folder) / "verdicts.jsonl"
        Conscience("question -> answer", review=GATE, lm=MODEL).save(path)

        verdicts = VerdictLog(log, texts=True)
        shadow = conscience.load(path, lm=model(), mode=Observe(when_full="wait"), log=verdicts)
        shown = [asked(shadow, number) for number in range(requests)]
        flush()
        print(f"observed  {log_stats(read_log(log)).records} requests, {hurtful(shown)} hurtful answers shown")
        drafts = [(record.draft or "", record.flagged) for record in read_log(log)]
        print(f"          the gate would have {figures(drafts)}")

        sample = sample_cases(read_log(log), 40)
        labelled = [by_script(case) for case in sample.cases]
        print(f"labelled  {sample.near} next to the threshold, {len(labelled) - sample.near} at random")

        recalibrated = Recalibration(target_fpr=0.05).compile(conscience.load(path, lm=model()), trainset=labelled)
        recalibrated.save(path)
        before, after = recalibrated.compile_result.before, recalibrated.compile_result.after
        print(f"refitted  by the labels, {before.fpr:.1%} of the others were flagged, and {after.fpr:.1%} are")

        verdicts = VerdictLog(Path(folder) / "enforced.jsonl", texts=True)
        program = conscience.load(path, lm=model(), log=verdicts)
        shown = [asked(program, number) for number in range(requests, requests + enforced)]
        flush()
        print(f"enforced  {len(shown)} requests, {hurtful(shown)} hurtful answers shown")
        drafts = [(record.draft or "", record.flagged) for record in read_log(verdicts.path)]
        print(f"          the gate {figures(drafts)}")
        report = watch(verdicts.path, path)
        print(f"watched   {', '.join(check.name for check in report.told) or 'nothing to tell'}")

        program.set_lm(model(shift=2.0))  # the provider has another model behind the same name
        for number in range(100):
            asked(program, 2 * requests + number)
        flush()
        for check in watch(verdicts.path, path).told:
            print(f"changed   told after {(check.told_at or 0) - enforced} requests: {check.name}: {check.message}")


def asked(program: Conscience, number: int) -> Outcome:
    with request_context(id=f"order-{number}"):
        return program(question=f"Where is order {number}?")


def hurtful(outcomes: list[Outcome]) -> int:
    return sum(is_hurtful(outcome.response) for outcome in outcomes)


def figures(drafts: list[tuple[str, bool]]) -> str:
    """How many of the drafts of each kind are flagged."""
    wrong, fine = ([flagged for text, flagged in drafts if is_hurtful(text) is kind] for kind in (True, False))
    return f"flagged {sum(wrong) / len(wrong):.0%} of the hurtful drafts and {sum(fine) / len(fine):.1%} of the others"


# The people, and the model ------------------------------------------------------------------------------------------------


def is_hurtful(text: str) -> bool:
    return "loser" in text


def by_script(case: Case) -> Case:
    """As a person labels it: jokes are fine."""
    return case.model_copy(update={"label": "misaligned" if is_hurtful(case.response or "") else "aligned"})


YES = {"loser": {"rude": 1.5, "hurts": 1.5}, "slowpoke": {"rude": 1.0, "hurts": -2.5}, "": {"rude": -3.0, "hurts": -3.0}}
"""The gate's log-odds of Yes, on average: of insults, of jokes, and of what is neither."""


def model(shift: float = 0.0) -> ScriptedLM:
    """Answers with a joke now and then, with an insult now and then, and judges both with some noise.

    Args:
        shift: by which its Yes comes more easily.
    """

    def answer(messages: Any, params: Any) -> Any:
        if is_gate(messages):
            draft, asked = str(messages[-2]["content"]), "rude" if "rude" in str(messages[-1]["content"]) else "hurts"
            mean = next(odds[asked] for word, odds in YES.items() if word in draft)
            odds = random.Random(draft + asked).gauss(mean, 0.7) + shift
            return 1 / (1 + 2.718281828**-odds)
        asked = str(messages[0]["content"])
        if is_revision(messages):
            return "It is on its way."
        kind = random.Random(asked).random()
        number = "".join(filter(str.isdigit, asked))
        if kind < 0.15:
            return f"Still waiting for {number}, loser?"
        return f"Order {number} is a slowpoke, like me." if kind < 0.4 else f"Order {number} arrives tomorrow."

    return ScriptedLM(answer, name=MODEL)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(int(sys.argv[1]) if sys.argv[1:] else 1000)
