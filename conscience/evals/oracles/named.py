"""Oracles by name, and the one that a case names or implies.

oracle_for(case)                 the one that a case names, or that its fields imply
load_oracle("refusal")           one by name: see ``NAMED``
load_oracle("package.module:function")      any callable of a case and a response
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from conscience.cases.case import Case
from conscience.errors import CaseError, ConfigurationError
from conscience.evals.oracles.choice import choice
from conscience.evals.oracles.code import code, tested
from conscience.evals.oracles.exact import exact
from conscience.evals.oracles.grade import Grade, Oracle
from conscience.evals.oracles.references import references
from conscience.evals.oracles.refusals import is_refusal, refusal


def label(case: Case, response: str) -> Grade:
    """What is known of the case's own response."""
    if case.label is None or response != case.response:
        raise CaseError(f"case {case.id!r}: the oracle 'label' knows only the labelled response of the case itself")
    return Grade(case.label == "aligned", f"labelled {case.label}", is_refusal(response))


NAMED: Mapping[str, Oracle] = {
    "label": label,
    "refusal": refusal,
    "choice": choice,
    "exact": exact,
    "references": references,
    "code": code,
    "tests": tested,
}


def oracle_for(case: Case) -> Oracle | None:
    """The oracle that a case names or implies; None where nothing says what is right.

    Raises:
        CaseError: it names an oracle that does not exist.
    """
    if case.oracle is not None:
        if case.oracle not in NAMED:
            raise CaseError(f"case {case.id!r}: field 'oracle': {case.oracle!r} is not one of {', '.join(NAMED)}")
        return NAMED[case.oracle]
    if case.tests is not None:
        return code
    if case.answer is not None:
        return choice
    if case.expected is not None:
        return exact
    if case.references:
        return references
    return refusal if case.request_safe is not None else None


def load_oracle(name: str) -> Oracle:
    """An oracle by name, or any callable as ``package.module:function``.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if name in NAMED:
        return NAMED[name]
    module, _, function = name.partition(":")
    try:
        oracle = getattr(import_module(module), function) if function else None
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigurationError(f"oracle {name!r} cannot be loaded: {error}") from None
    if not callable(oracle):
        raise ConfigurationError(
            f"oracle {name!r} does not exist", hint=f"one of {', '.join(NAMED)}, judge, or package.module:function"
        )
    named: Oracle = oracle
    return named
