"""A program whose reviewer flags BADWORD, and mends it: what the integrations are tried with."""

from __future__ import annotations

import json
from typing import Any

from dspy import lm15

from conscience import Conscience
from conscience.testing import Fault, ScriptedLM, by_stage

BAD = "BADWORD"
MENDED = "A kind word."
REFUSED = "would rather not"
"""In the words of the refusal text."""

DOWN = Fault("auth")
"""A reviewer that cannot be reached."""


def flags(messages: list[dict[str, Any]], params: dict[str, Any]) -> float:
    """The gate: looks for BADWORD in what it judges, the assistant's last turn and what stands with the question."""
    return 0.97 if BAD in json.dumps(messages[-2:]) else 0.03


def finds(messages: list[dict[str, Any]], params: dict[str, Any]) -> str:
    """The critique."""
    finding = {"principle": "no-serious-harm", "quote": BAD, "why": f"It says {BAD}.", "change": "Leave it out."}
    return json.dumps({"findings": [finding] if BAD in json.dumps(messages) else []})


def mends(*, call: str = "act", **arguments: Any) -> lm15.Response:
    """A revision that calls a tool with these arguments."""
    part = lm15.ToolCallPart(id="call_1", name=call, input=arguments)
    usage = lm15.Usage(input_tokens=3, output_tokens=2)
    message = lm15.Message.assistant(part)
    return lm15.Response(id="x", model="m", message=message, finish_reason="tool_call", usage=usage)


def scripted(revise: Any = MENDED, *, generate: Any = "An answer.", gate: Any = flags) -> ScriptedLM:
    return ScriptedLM(by_stage(generate, gate=gate, critique=finds, revise=revise))


def program(revise: Any = MENDED, *, lm: ScriptedLM | None = None, gate: Any = flags, **options: Any) -> Conscience:
    return Conscience("request -> response", lm=lm or scripted(revise, gate=gate), **options)
