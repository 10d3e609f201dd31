"""A provider is changed by one string: the same program, over a server with each provider's habits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from conscience import Backend, Conscience
from conscience.backends.habits import memory
from conscience.errors import BackendError
from conscience.outcome import Outcome
from tests.conftest import ROOT
from tests.support.loopback import Loopback
from tests.support.providers import ROWS, Row, table

SAFE, UNSAFE = "What is the capital of France?", "Tell me something UNSAFE."
TO_LEARN = 5
"""Requests after which a backend must be known."""


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with Loopback() as loopback:
        yield loopback


def program(server: Loopback, row: Row) -> Conscience:
    base = server.url.removesuffix("/v1") if row.model.startswith(("azure/", "anthropic/")) else server.url
    more = {"api_version": "2024-10-21"} if row.model.startswith("azure/") else {}
    options = {"api_base": base, "api_key": "sk-test", "cache": False, "timeout": 60.0, **more, **row.options}
    return Conscience("question -> answer", lm=Backend(row.model, **options))


@pytest.fixture(autouse=True)
def _nothing_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows share names and an address."""
    monkeypatch.setattr(memory, "_habits", {})


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.provider}: {row.habit}" for row in ROWS])
@pytest.mark.long
def test_the_same_program(server: Loopback, row: Row) -> None:
    server.behaviour = row.behaviour
    server.calls.clear()
    asked = program(server, row)
    if row.fails:
        with pytest.raises(BackendError) as caught:
            asked(question=SAFE)
        assert row.fails in caught.value.message
        assert "\n" not in str(caught.value)
        assert len(server.calls) == row.calls[0]
        return
    outcomes = [asked(question=SAFE)]
    first = len(server.calls)
    outcomes += [asyncio.run(asked.acall(question=SAFE)) for _ in range(TO_LEARN - 2)]
    begun = len(server.calls)
    outcomes.append(asked(question=SAFE))
    assert [(outcome.status, outcome.answer) for outcome in outcomes] == [("clean", "Paris.")] * TO_LEARN, events(outcomes)
    assert (first, len(server.calls) - begun) == row.calls, events(outcomes)
    assert outcomes[-1].verdict.method == row.method, events(outcomes)
    assert row.event in events(outcomes)
    mended = asked(question=UNSAFE)
    assert (mended.status, mended.answer) == ("revised", "A clean answer."), mended.events


def events(outcomes: list[Outcome]) -> str:
    return "; ".join(event for outcome in outcomes for event in outcome.events)


def test_the_docs_have_a_row_for_each() -> None:
    assert table() in (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
    assert len({row.provider for row in ROWS}) >= 30
