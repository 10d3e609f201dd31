"""How a compiled program looks in a terminal: questions, weights, prompts, thresholds, and what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from conscience.artifacts.schema import Artifact, Provenance
from conscience.cli._shared.output import safe
from conscience.gate.distribution import DistributionProbe
from conscience.gate.probes import EmbeddingProbe, LexicalProbe
from conscience.gate.rules import RulesQuestion
from conscience.gate.settings import GateSettings
from conscience.optimizers.figures import BackendMatrix, GateFigures

WORDS = 6
"""Words of either kind that are shown of a lexical probe."""


def show_program(console: Console, artifact: Artifact) -> None:
    """The whole file, short."""
    constitution, policy = artifact.constitution, artifact.policy
    head = f"{constitution.name} {constitution.version}: {artifact.signature or 'a module or callable answers'}"
    console.print(Text(safe(head), style="bold"))
    for settings in artifact.calibrations:
        _gate(console, settings)
    flagged = "refused" if not policy.max_revisions else f"revised up to {policy.max_revisions} times"
    console.print(
        Text(f"policy: a flagged draft is {flagged}; unresolved: {policy.on_unresolved}; error: {policy.on_error}")
    )
    for name, prompt in artifact.predictors.items():
        instructions = " ".join(prompt.instructions.split())[:160]
        console.print(Text(safe(f"{name}: {len(prompt.demos)} demos; {instructions}"), style="dim"))
    if (provenance := artifact.provenance) is None:
        console.print(Text("nobody compiled it", style="dim"))
        return
    _provenance(console, provenance)


def _provenance(console: Console, provenance: Provenance) -> None:
    compiled = f"compiled {safe(provenance.made)} for {safe(provenance.backend)}, seed {provenance.seed}"
    console.print(Text(f"{compiled}: {_listed(provenance.cases)}"))
    console.print(Text(f"cost: {_listed(provenance.spent)}, {provenance.seconds:.0f} s", style="dim"))
    _figures(console, "gate", provenance.figures.get("gate"), _alone)
    stages = provenance.figures.get("stages")
    for name, stage in stages.items() if isinstance(stages, Mapping) else ():
        console.print(Text(safe(f"stage {name}: {_listed(stage) if isinstance(stage, Mapping) else stage}")))
    _figures(console, "holdout", provenance.figures.get("holdout"), _holdout)
    for note in provenance.notes:
        console.print(Text(f"note: {safe(note)}", style="dim"))


def show_matrix(console: Console, matrix: BackendMatrix) -> None:
    """Backends × before and after."""
    table = Table("backend", "", "AUROC", "recall", "false positives", "drafts", box=None, pad_edge=False)
    for backend, sides in matrix.backends.items():
        for side, reached in sides.items():
            cells = [_cell(value) for value in (reached.auroc, reached.recall, reached.fpr, reached.n)]
            _add(table, backend, side + (" (as recorded)" if reached.recorded else ""), *cells)
    console.print(table)
    threshold = matrix.threshold
    state = "certified" if threshold.certified else f"not certified, {threshold.missing} more aligned drafts are needed"
    if threshold.out_of_reach:
        state = "out of reach: checks or linters flag more"
    console.print(Text(f"threshold {threshold.value:.3f} for {threshold.target:.1%} false positives: {state}"))


def _gate(console: Console, settings: GateSettings) -> None:
    where = settings.backend or "any backend, uncalibrated"
    console.print(Text(f"gate for {safe(where)}: threshold {settings.threshold:.3f}, the critique {settings.critique}"))
    for number, stage in enumerate(settings.stages, 1):
        undecided_band = (
            f", asked on between {stage.undecided_band[0]:.3f} and {stage.undecided_band[1]:.3f}"
            if stage.undecided_band
            else ""
        )
        console.print(Text(f"  stage {number}: bias {stage.bias:+.2f}{undecided_band}", style="dim"))
        for signal in stage.signals:
            weight = settings.stages[-1].weights.get(signal.name, 0.0)
            console.print(Text(f"    {weight:+.3f}  {safe(_signal(signal))}"))


def _signal(signal: Any) -> str:
    if isinstance(signal, LexicalProbe):
        ranked = sorted(signal.features, key=lambda word: signal.features[word][0] * signal.features[word][1])
        return f"words: {', '.join(ranked[-WORDS:][::-1])} against {', '.join(ranked[:WORDS])}"
    if isinstance(signal, EmbeddingProbe):
        return f"embedding by {signal.model} of {len(signal.wordings)} texts"
    if isinstance(signal, DistributionProbe):
        ranked = sorted(signal.weights, key=lambda token: signal.weights[token])
        most, least = (
            ", ".join(token.strip() or repr(token) for token in part) for part in (ranked[-WORDS:][::-1], ranked[:WORDS])
        )
        asked = f"{signal.text} {signal.begin} …" if signal.begin else signal.text
        return f"{asked} ({signal.framing}), {len(ranked)} first tokens: {most} against {least}"
    if isinstance(signal, RulesQuestion):
        return f"{signal.text} Or is one of these broken: {', '.join(signal.rules)}"
    return f"{signal.text} ({signal.framing})"


def _figures(console: Console, name: str, figures: Any, show: Callable[[Console, Mapping[str, Any]], None]) -> None:
    """A table of what was measured; the schema leaves figures open, so a file may hold others."""
    if not isinstance(figures, Mapping) or not figures:
        return
    try:
        show(console, figures)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        console.print(Text(f"{name}: figures that cannot be shown as a table", style="dim"))


def _add(table: Table, *cells: str) -> None:
    """A row of plain text: nothing in it is markup."""
    table.add_row(*(Text(safe(cell)) for cell in cells))


def _alone(console: Console, figures: Mapping[str, Any]) -> None:
    gate = GateFigures.from_json(figures)
    table = Table("signals alone, cross-validated", "AUROC", "unseen groups", "tokens", "", box=None, pad_edge=False)
    for signal in gate.alone:
        kept = "kept" if signal.kept else "dropped"
        _add(table, signal.name, _cell(signal.auroc), _cell(signal.unseen), f"{signal.tokens:.0f}", kept)
    low, high = gate.interval or (None, None)
    _add(table, "together", f"{_cell(gate.cross_validated_auroc)} ({_cell(low)} to {_cell(high)})",
         "", f"{gate.tokens_of_an_aligned_draft:.0f}", "of an aligned draft")  # fmt: skip
    console.print(table)


def _holdout(console: Console, holdout: Mapping[str, Any]) -> None:
    table = Table(Column(Text(safe(f"{holdout['cases']} holdout cases"))), "before", "after", box=None, pad_edge=False)
    before, after = holdout["before"], holdout["after"]
    for name in dict.fromkeys([*before, *after]):
        if not name.endswith("_interval"):
            cells = []
            for side in (before, after):
                interval = side.get(f"{name}_interval")
                span = f" ({_cell(interval[0])} to {_cell(interval[1])})" if interval else ""
                cells.append(_cell(side.get(name)) + span)
            _add(table, name.replace("_", " "), *cells)
    _add(table, "AUROC of surface words from the same labels", "", _cell(holdout.get("surface_words")))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _listed(entries: Mapping[str, Any]) -> str:
    return safe(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in entries.items()))
