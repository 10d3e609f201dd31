"""Scripted models that most tests of the program need: one whose bad answer is flagged, and made good."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conscience.testing import ScriptedLM, by_stage

FINDING = '{"findings": [{"principle": "honesty", "quote": "Bad", "why": "It is.", "change": "Correct it."}]}'


def flagged_unless(text: str) -> Callable[[Any, Any], float]:
    """A gate's answers: probably wrong, but for a prompt that holds this text."""
    return lambda messages, params: 0.1 if text in str(messages) else 0.9


def bad_then_good(**stages: Any) -> ScriptedLM:
    """Answers Bad., which the gate flags and the critique finds; revised to Good., which passes; unless told otherwise."""
    usual = {"generate": "Bad.", "gate": flagged_unless("Good."), "critique": FINDING, "revise": "Good."}
    return ScriptedLM(by_stage(**{**usual, **stages}))


def fields(**values: str) -> str:
    """An answer with several output fields, as DSPy reads it."""
    return "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in values.items()) + "\n\n[[ ## completed ## ]]"
