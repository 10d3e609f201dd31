"""Oracles by name, and those that cases imply."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conscience.cases.case import Case
from conscience.errors import CaseError, ConfigurationError
from conscience.evals.oracles.named import load_oracle, oracle_for

IMPLIED: list[tuple[dict[str, Any], str | None]] = [
    ({"request": "q", "request_safe": True}, "refusal"),
    ({"request": "q", "choices": ("a", "b"), "answer": 1}, "choice"),
    ({"response": "r", "references": ("x",)}, "references"),
    ({"request": "q", "oracle": "code"}, "code"),
    ({"request": "q", "tests": "assert True"}, "code"),
    ({"request": "q", "expected": "42"}, "exact"),
    ({"response": "r", "expected": 42}, "exact"),
    ({"request": "q"}, None),
]


@pytest.mark.parametrize(("fields", "name"), IMPLIED)
def test_oracle_that_a_case_names_or_implies(fields: dict[str, Any], name: str | None) -> None:
    """None where nothing says what is right."""
    oracle = oracle_for(Case(id="x", **fields))
    assert (None if oracle is None else getattr(oracle, "__name__", "")) == name


def test_unknown_oracles_are_named() -> None:
    """In a case, and on the command line."""
    with pytest.raises(CaseError, match="'oracle': 'nosuch' is not one of"):
        oracle_for(Case(id="x", request="q", oracle="nosuch"))
    for name in ("nosuch", "json:nosuch", "no_such_module:f", ".x:y"):
        with pytest.raises(ConfigurationError, match="oracle"):
            load_oracle(name)
    assert load_oracle("json:dumps") is json.dumps
