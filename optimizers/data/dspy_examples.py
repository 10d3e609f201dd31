"""Cases for DSPy's optimizers, and DSPy's examples as cases; the objective as a metric that all of DSPy takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import dspy

from conscience._base.files import digest
from conscience._base.flow import run_sync
from conscience.cases.case import Case, read_case
from conscience.cases.columns import Reading
from conscience.cases.rows import BadRow
from conscience.cases.values import kept
from conscience.errors import InputError
from conscience.evals.grading import case_inputs, grade_outcome
from conscience.evals.oracles.grade import Oracle
from conscience.evals.oracles.named import oracle_for
from conscience.modules.outputs import text_field
from conscience.optimizers.objective import feedback, value
from conscience.outcome import Outcome
from conscience.program import Conscience


def examples_of(cases: Iterable[Case], program: Conscience) -> list[dspy.Example]:
    """Cases as examples whose inputs are the program's; each has its case beside them, for ``metric``."""
    examples = []
    for case in cases:
        inputs = case_inputs(program, case)
        examples.append(dspy.Example(case=case, **inputs).with_inputs(*inputs))
    return examples


def cases_of(rows: Iterable[Any], program: Conscience) -> list[Case]:
    """Cases from cases, or from examples: those of ``examples_of``, or any with the program's inputs and fields of a case.

    The program's outputs in an example are what should come of it: the answer's text is a reference, the others are kept
    in ``meta``. Beside a label or an oracle, ``response`` is one to judge; beside ``choices``, a number ``answer`` is the
    right one.

    Raises:
        InputError: a row is neither, and which.
    """
    return [_case(row, number, program) for number, row in enumerate(rows)]


def metric(oracle: Oracle | None = None) -> Callable[..., Any]:
    """The objective as a metric over ``examples_of``, for ``dspy.Evaluate`` and any DSPy optimizer; GEPA gets feedback too.

    Args:
        oracle: decides in place of each case's own.
    """

    def measure(
        gold: dspy.Example, outcome: Any, trace: Any = None, pred_name: str | None = None, pred_trace: Any = None
    ) -> Any:
        decides = oracle or oracle_for(gold.case)
        if decides is None:
            raise InputError(f"case {gold.case.id!r}: nothing says what is right")
        if not isinstance(outcome, Outcome):  # a program that failed
            return 0.0
        record = run_sync(grade_outcome(gold.case, outcome, decides))
        score = max(0.0, min(1.0, value(record, overhead=False)))
        if pred_name is None:
            return score
        if pred_name.startswith("generate"):
            return dspy.Prediction(score=score, feedback=record.draft.reason if record.draft else "")
        return dspy.Prediction(
            score=score, feedback=feedback("revise" if pred_name.startswith("revise") else "critique", record)
        )

    return measure


def _case(row: Any, number: int, program: Conscience) -> Case:
    if isinstance(row, Case):
        return row
    if not isinstance(row, dspy.Example):
        raise InputError(f"row {number} is {type(row).__name__}, neither a Case nor a dspy.Example")
    if isinstance(row.get("case"), Case):
        case: Case = row.case
        return case
    fields = dict(row.items())
    signature = program.generate.signature
    outputs = set() if signature is None else set(signature.output_fields) - _own(fields)
    known = {name: fields.pop(name) for name in list(fields) if name in Case.model_fields and name not in outputs}
    names = [name for name in program.generate.inputs if name in fields]
    if "request" not in known and len(names) == 1:
        known["request"] = fields.pop(names[0])
    answer = text_field(signature) if outputs else None
    if answer in outputs and isinstance(fields.get(answer), str) and "references" not in known:
        known["references"] = (fields.pop(answer),)
    try:
        case = read_case(known | fields, Reading({name: name for name in known}), say=lambda line: None)
    except BadRow as bad:
        raise InputError(f"row {number} is no case: {bad}", hint=bad.hint) from None
    return case if case.id else case.model_copy(update={"id": digest(kept({**known, **fields}), 16)})


def _own(fields: Mapping[str, Any]) -> set[str]:
    """Names that mean what they mean in a case, whatever the program's outputs are called."""
    judged = {"response", "reasoning"} if {"label", "oracle"} & fields.keys() else set()
    return judged | ({"answer"} if "choices" in fields and isinstance(fields.get("answer"), int) else set())
