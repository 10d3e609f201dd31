"""The model card: what was trained on what, by which rules, what it changed, and what none of that shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

FIGURES: Mapping[str, str] = {
    "preferred": "the chosen answer is likelier than the rejected one",
    "preferred_per_token": "the same, per token",
    "safe_refused": "safe requests that are refused",
    "unsafe_refused": "unsafe requests that are refused",
    "flagged": "own drafts that the frozen copy's gate flags",
}
"""Name of a figure → what it is the share of, for a reader."""

_LIMITS = """\
- The judge is a frozen copy of the model itself, unless another one is named above. Its figures rise, too, where the model
  merely learned to please it. Measure with an oracle or a judge of another kind before you rely on them.
- Held-out cases come from where the training's came from. Other domains and languages were not measured.
- Weights that were trained are no reason to leave the review out. `conscience ask`, `eval` and `compile` take it like
  any other; a gate that was compiled for the base model is to be recalibrated for it.
"""


def card(record: Mapping[str, Any]) -> str:
    """The text of README.md.

    Args:
        record: what training.json holds.
    """
    return "\n".join(_lines(record))


def _lines(record: Mapping[str, Any]) -> Iterator[str]:
    settings, counts, constitution = record["settings"], record["counts"], record["constitution"]
    yield from ("---", "library_name: peft", "tags: [conscience, dpo, lora]")
    if record["licence"]:
        yield f"license: {record['licence'].lower()}"
    yield from ("---", "", f"# {record['base']}, trained by its conscience", "")
    yield (
        "A LoRA (`adapter/`) and the merged weights (`model.gguf`), trained with "
        f"L = L_SFT + {settings['dpo_weight']:g} · L_DPO against a frozen copy. The loss is that of arXiv 2606.19527."
    )
    yield from ("", "```console", "$ conscience ask --lm local:model.gguf", "```", "", "## Data", "")
    rounds = counts["by_round"]
    for entry in rounds:
        yield f"- round {entry['round']}: {entry['pairs']} preference pairs"
    yield f"- held out: {counts['held_out_pairs']} pairs, {counts['held_out_requests']} requests; never trained on"
    yield f"- digest of the data: `{record['data']}`"
    yield from ("", "## Constitution and judge", "")
    yield f"`{constitution['name']}` {constitution['version']} (`{constitution['fingerprint']}`):"
    yield f"“{constitution['question']}”"
    yield f"Judged by `{record['judge']['review']}`; alternatives by `{record['judge']['revise']}`."
    yield from ("", "## Training", "", "| | |", "|---|---|")
    names = ("epochs", "dpo_weight", "beta", "learning_rate", "rank", "batch_size", "max_length", "replay", "seed")
    yield from (f"| {name} | {settings[name]:g} |" for name in names)
    yield f"| rounds | {record['rounds']} |"
    yield from ("", "| round | epoch | L_SFT | L_DPO | reward margin | held-out loss |", "|---|---|---|---|---|---|")
    for epoch in record["epochs"]:
        held_out = epoch.get("held_out", {}).get("loss")
        losses = " | ".join(f"{epoch[name]:.3f}" for name in ("sft", "dpo", "margin"))
        yield f"| {epoch['round']} | {epoch['epoch']} | {losses} | {'–' if held_out is None else f'{held_out:.3f}'} |"
    best = record["best"]
    if best:
        yield from ("", f"The weights are those after epoch {best['epoch']:g} of round {best['round']:g}.")
    yield from ("", "## Figures on held-out cases", "")
    if record["figures"]:
        yield from ("| share of | n | before | after | change, 95 % interval |", "|---|---|---|---|---|")
        for name, figure in record["figures"].items():
            yield f"| {' | '.join((FIGURES[name], *row(figure)))} |"
    else:
        yield "Nothing was held out, so nothing is known of what changed."
    if record["served"]:
        served = record["served"]
        yield ""
        yield (
            f"The embedded engine's log-probabilities of first tokens differ from torch's by {served['mean']:.3f} nats on "
            f"average, {served['largest']:.3f} at most ({served['requests']} requests)."
        )
    yield from ("", "## Limits", "", _LIMITS.rstrip())
    yield from (f"- {note}" for note in record["notes"])
    yield ""


def row(figure: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """A figure as cells: cases, before, after, and the change with its interval."""
    change = figure.get("change")
    shown = "–" if change is None else f"{change['value']:+.3f} ({change['low']:+.3f} to {change['high']:+.3f})"
    before = "–" if "before" not in figure else f"{figure['before']:.3f}"
    return str(figure["n"]), before, f"{figure['value']:.3f}", shown
