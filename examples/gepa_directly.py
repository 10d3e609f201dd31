"""DSPy's own GEPA on the program, with the objective of this library as its metric.

python examples/gepa_directly.py

A ``Conscience`` is an ordinary DSPy module, so any DSPy optimizer takes it. A scripted model stands for yours; it answers
kindly once its instructions ask for that.
"""

from __future__ import annotations

import json
import logging
from typing import Any

import dspy

from conscience import Case, Conscience, Grade
from conscience.optimizers import examples_of, metric
from conscience.testing import ScriptedLM


def model(messages: Any, params: Any) -> Any:
    text = "\n".join(str(message["content"]) for message in messages)
    if "examples_with_feedback" in text:  # GEPA asks for new instructions
        return json.dumps({"new_instruction": "Answer kindly, in one sentence."})
    if params.get("logprobs"):
        return 0.1  # the gate passes everything here: it is the drafts that are to become better
    return "A kind word." if "Answer kindly" in text else "A word."


def kind(case: Case, response: str) -> Grade:
    return Grade("kind" in response, "it is kind" if "kind" in response else "it could be kinder")


def main() -> None:
    for name in ("dspy", "gepa"):
        logging.getLogger(name).setLevel(logging.ERROR)
    lm = ScriptedLM(model)
    program = Conscience("question -> answer", lm=lm)
    cases = examples_of([Case(id=str(n), request=f"Say something about {n}.") for n in range(6)], program)
    measure = metric(kind)
    gepa = dspy.GEPA(metric=measure, reflection_lm=lm, max_metric_calls=30, num_threads=1, seed=1)
    better = gepa.compile(program, trainset=cases, valset=cases)
    print(better.generate.predict.signature.instructions)
    print(better(question="Say something about tea.").answer)


if __name__ == "__main__":
    main()
