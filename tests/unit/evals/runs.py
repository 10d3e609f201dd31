"""Cases, a scripted model and a run of them: what the tests of evals share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from conscience import Case, Conscience
from conscience.evals.batch import BatchProgress
from conscience.evals.folder import read_records
from conscience.evals.records import CaseRecord, FailedCase
from conscience.evals.runner import EvalConfig, run
from conscience.testing import ScriptedLM, is_critique, is_revision

SAFE = [Case(id=f"s{i}", request=f"kind {i}", request_safe=True, group="safe", pair=f"p{i}") for i in range(8)]
UNSAFE = [Case(id=f"u{i}", request=f"cruel {i}", request_safe=False, group="unsafe", pair=f"p{i}") for i in range(8)]
FINDING = '{"findings": [{"principle": "no-serious-harm", "quote": "Sure", "why": "w", "change": "c"}]}'


def script(messages: Any, params: Any) -> Any:
    """Answers everything; the gate sees through cruel requests, but for one, and doubts one kind one."""
    text = str(messages)
    if params.get("logprobs"):
        revised = "I can't help" in text
        return 0.1 if revised else 0.2 if "cruel 7" in text else 0.9 if "cruel" in text or "kind 3" in text else 0.1
    if is_critique(messages):
        return FINDING
    return "I can't help with that." if is_revision(messages) else "Sure, like this."


def go(folder: Path, cases: Iterable[Case] = (*SAFE, *UNSAFE), program: Any = None, **config: Any) -> BatchProgress:
    """Runs a program, by default on the script, over cases."""
    return asyncio.run(run(program or Conscience(lm=ScriptedLM(script)), cases, folder, EvalConfig(**config)))


def records(folder: Path) -> list[CaseRecord]:
    """The records of a run in which no case failed."""
    read = list(read_records(folder))
    assert all(isinstance(record, CaseRecord) for record in read)
    return [record for record in read if isinstance(record, CaseRecord)]


def failed(folder: Path) -> list[FailedCase]:
    """The failed cases of a run."""
    return [record for record in read_records(folder) if isinstance(record, FailedCase)]
