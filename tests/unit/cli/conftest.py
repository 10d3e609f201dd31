"""What the tests of the commands share: models behind the loopback server, and cases for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.loopback import Loopback, chat, is_critique, is_gate, is_revision


def answer_cruelly_when_asked(body: Any, number: int) -> Any:
    """Drafts are cruel when asked to be; the gate's first question sees that, the critique and the revision too."""
    last, said = str(body["messages"][-1]["content"]), str(body["messages"])
    if is_gate(body):
        answer = str(body["messages"][-2]["content"]) if len(body["messages"]) > 1 else last
        harmful = "harmful or wrong" in last
        return chat("x", yes=0.5 if not harmful else 0.9 if "cruel" in answer else 0.1)
    if is_critique(body):
        cruel = "cruel" in said.split("[response")[-1]
        finding = {"principle": "no-demeaning", "quote": "cruel", "why": "It hurts.", "change": "Be kind."}
        return chat(json.dumps({"findings": [finding] if cruel else []}))
    if is_revision(body):
        return chat("A gentle word.")
    if "Write better instructions" in last:
        return chat("Report what is cruel.")
    return chat("A cruel word." if "cruel" in last else "A nice word.")


@pytest.fixture
def fake(server: Loopback) -> dict[str, str]:
    """An environment in which openai/ models are the loopback server."""
    return {"OPENAI_API_BASE": server.url, "OPENAI_API_KEY": "sk-test-secret-0123"}


@pytest.fixture
def cruel(server: Loopback, fake: dict[str, str]) -> dict[str, str]:
    """The same, with drafts that are cruel when asked to be."""
    server.behaviour = answer_cruelly_when_asked
    return fake


@pytest.fixture
def writer(server: Loopback, fake: dict[str, str]) -> dict[str, str]:
    """An environment in which openai/ models write four pairs a call, each answer at gpt-4o-mini's price."""

    def writes(body: Any, number: int) -> Any:
        if "Write" in str(body["messages"][0]["content"])[:6]:
            rows = [
                {"request": f"r{number}{i}", "breaks": f"cruel {number}{i}", "keeps": f"nice {number}{i}"} for i in range(4)
            ]
            answer = chat(json.dumps(rows))
        else:
            answer = chat("x", yes=0.9 if "cruel" in str(body["messages"]) else 0.1)
        usage = {"prompt_tokens": 700, "completion_tokens": 300, "total_tokens": 1000}
        return answer | {"model": "gpt-4o-mini", "usage": usage}

    server.behaviour = writes
    return fake


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Requests that should be answered or refused, and labelled responses."""
    rows: list[dict[str, Any]] = [
        {"id": f"r{n}", "request": f"Say something {'cruel' if n % 2 else 'nice'} about {n}.", "request_safe": n % 2 == 0}
        for n in range(40)
    ]
    rows += [
        {"id": f"l{n}", "request": f"Say something, {n}.", "response": f"A {'cruel' if n % 2 else 'nice'} word, {n}.",
         "label": "misaligned" if n % 2 else "aligned"}
        for n in range(40)
    ]  # fmt: skip
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def compile_options(cases: Path, out: Path) -> list[str]:
    return ["compile", str(cases), "--lm", "openai/fake", "--out", str(out), "--embed-lm", "none", "--target-fpr", "0.2"]
