"""The one rule by which a proposal is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from conscience import Conscience
from conscience.optimizers.runtime import Runtime
from conscience.optimizers.stages.state import EFFORTS, CompileOptions, CompileState, Proposal, accept_if_better
from conscience.testing import ScriptedLM


@pytest.fixture
def state(tmp_path: Path) -> CompileState:
    program = Conscience(lm=ScriptedLM({"": "x"}))
    return CompileState(program, Runtime(tmp_path / "calls.jsonl"), CompileOptions(EFFORTS["light"]))


def proposal(values: list[float], incumbent: list[float], *, lead: float = 1.0) -> Proposal:
    clusters = [str(number) for number in range(len(values))]
    return Proposal(Conscience(lm=ScriptedLM({"": "y"})), values, incumbent, clusters, lead)


CASES = {
    "clearly better": (proposal([1.0] * 20, [0.0] * 10 + [1.0] * 10), True),
    "the same": (proposal([0.5] * 20, [0.5] * 20), False),
    "worse": (proposal([0.0] * 20, [1.0] * 20), False),
    "better by chance": (proposal([1.0, 0.0] * 10 + [1.0], [0.0, 1.0] * 10 + [0.0]), False),
    "better than the incumbent, but not ahead": (proposal([1.0] * 20, [0.0] * 20, lead=0.0), False),
    "nothing measured": (proposal([], []), False),
}


@pytest.mark.parametrize("name", CASES)
def test_only_what_wins_beyond_chance_is_taken(name: str, state: CompileState) -> None:
    """The program of the state is the proposal's, or the one that was there."""
    offered, taken = CASES[name]
    before = state.program
    assert accept_if_better(offered, state) is taken
    assert state.program is (offered.program if taken else before)
