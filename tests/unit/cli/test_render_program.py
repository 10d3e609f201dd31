"""What ``conscience show`` prints of a program from anywhere."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from conscience import CascadeStage, Conscience, DistributionProbe, GateSettings
from conscience.artifacts.io import to_artifact
from conscience.artifacts.schema import Provenance
from conscience.cli._shared.render_program import show_program
from conscience.testing import ScriptedLM

ODD = [
    {"gate": {"alone": [1]}},
    {"gate": {"alone": 3}},
    {"gate": {"alone": [{"name": "[/x]\x1b[2J", "kept": True, "auroc": 0.5, "unseen": None, "tokens": 3}]}},
    {"gate": {"interval": "x"}},
    {"gate": {"tokens_of_an_aligned_draft": "x"}},
    {"gate": {"cross_validated_auroc": "0.9"}},
    {"holdout": {"x": 1}},
    {"holdout": {"cases": 3, "before": [1], "after": {}}},
    {"stages": {"\x1b[2J": "\x1b[2J"}},
]


@pytest.mark.parametrize("figures", ODD, ids=str)
def test_odd_figures_are_shown_as_far_as_they_go(figures: Any) -> None:
    """Nobody's table, nothing that a terminal obeys, and no traceback."""
    program = Conscience("question -> answer", lm=ScriptedLM([]))
    program.provenance = Provenance(figures=figures, notes=("a note",))
    screen = StringIO()
    show_program(Console(file=screen, width=200), to_artifact(program))
    assert "a note" in screen.getvalue()
    assert "\x1b[2J" not in screen.getvalue()


def test_a_distribution_is_shown_by_its_heaviest_tokens() -> None:
    """The question, the framing, how many tokens are read, and which say what; a token that a terminal obeys does not."""
    weights = {" theft": 2.0, "Yes": 1.0, "\n": 0.5, "\x1b[2J": 0.1, "Ja": -1.0}
    signal = DistributionProbe(name="d", text="Is it bad?", weights=weights, floor=-9.0)
    program = Conscience("question -> answer", lm=ScriptedLM([]))
    program.review.gate_settings = GateSettings(stages=(CascadeStage(signals=(signal,), weights={"d": 1.0}),))
    screen = StringIO()
    show_program(Console(file=screen, width=200), to_artifact(program))
    assert "Is it bad? (own), 5 first tokens: theft, Yes, '\\n'" in screen.getvalue()
    assert "\x1b[2J" not in screen.getvalue()
