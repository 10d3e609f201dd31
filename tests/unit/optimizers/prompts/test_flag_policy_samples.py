"""Policies that choose the critique, and draw several revisions."""

from __future__ import annotations

from conscience import Conscience
from conscience.optimizers.prompts.flag_policy import SAMPLES, flag_policies
from conscience.testing import ScriptedLM


def test_a_chosen_critique_and_several_revisions_are_tried() -> None:
    """On a copy of the program; where a policy says nothing of samples, the program's stay."""
    program = Conscience(lm=ScriptedLM([]), samples=2)
    tried = [(p.on(program).gate_settings.critique, p.on(program).samples) for p in flag_policies(1, 1.0)]
    assert ("chooses", 2) in tried
    assert ("chooses", SAMPLES) in tried
    assert all(samples == 2 for critique, samples in tried if critique != "chooses")
    assert program.samples == 2
