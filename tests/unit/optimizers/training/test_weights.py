"""The loss, the LoRA, the tokens and the files, on a model of two layers with random weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from conscience.errors import ConfigurationError, InputError
from conscience.optimizers.training.pairs import PreferencePair
from conscience.optimizers.training.weights.settings import TrainingSettings
from tests.support.tiny_model import tiny_model, training_packages

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny") / "tiny")


def pairs(count: int, held_out: bool = False) -> list[PreferencePair]:
    """Helping is right, hurting is not."""
    return [
        PreferencePair(
            request=({"role": "user", "content": f"{'Say' if held_out else 'Tell'} {n}" * (1 + n % 3)},),
            chosen=f"the kind word {n}",
            rejected=f"a cruel one, {n}",
        )
        for n in range(count)
    ]


def policy_of(folder: Path, **more: Any) -> tuple[Any, Any]:
    from conscience.optimizers.training.weights.base import Base
    from conscience.optimizers.training.weights.policy import Policy
    from conscience.optimizers.training.weights.tokens import Encoder

    base = Base.named(str(folder))
    return Policy(base.model(), rank=4, seed=0, device="cpu"), Encoder(base.tokenizer(), more.get("max_length", 128))


def trained(
    folder: Path, path: Path, *, rounds: int = 2, stop_at: int | None = None, **settings: Any
) -> tuple[Any, list[tuple[int, int, int]]]:
    """Trains; with ``stop_at``, Ctrl-C comes after so many steps. Returns the trainer and the steps that were taken."""
    from conscience.optimizers.training.weights.trainer import StepProgress, Trainer

    steps: list[tuple[int, int, int]] = []

    def watch(now: StepProgress) -> None:
        if now.stage == "training":
            steps.append((now.round, now.epoch, now.done))
            if len(steps) == stop_at:
                raise KeyboardInterrupt

    policy, encoder = policy_of(folder)
    chosen = TrainingSettings(**{"epochs": 2, "learning_rate": 1e-2, "patience": 9, "batch_size": 3, **settings})
    trainer = Trainer(policy, chosen, encoder.pairs(pairs(4, held_out=True)), path, watch)
    while trainer.position.round <= rounds and not trainer.position.stopped:
        trainer.train_round(encoder.pairs(pairs(8 + trainer.position.round)))
        trainer.end_round({"round": trainer.position.round})
    return trainer, steps


def test_the_loss_is_what_the_formula_says() -> None:
    torch = training_packages()
    from conscience.optimizers.training.weights.loss import Scores, preference_loss

    chosen, rejected = torch.tensor([-4.0, -6.0]), torch.tensor([-5.0, -3.0])
    policy = Scores(chosen, rejected, torch.tensor([2.0, 3.0]))
    reference = Scores(torch.tensor([-5.0, -6.0]), torch.tensor([-4.0, -5.0]), policy.tokens)
    loss = preference_loss(policy, reference, dpo_weight=0.1, beta=0.5)
    margins = [0.5 * (1 + 1), 0.5 * (0 - 2)]
    dpo = sum(math.log1p(math.exp(-margin)) for margin in margins) / 2
    assert loss.margins.tolist() == margins
    assert float(loss.sft) == 2.0
    assert float(loss.dpo) == pytest.approx(dpo)
    assert float(loss.total) == pytest.approx(2.0 + 0.1 * dpo)


def test_scores_are_those_of_one_response_at_a_time(folder: Path) -> None:
    """Padding and what is left out of the logits change nothing; a new LoRA is the reference."""
    torch = training_packages()
    policy, encoder = policy_of(folder)
    batch = encoder.pairs(pairs(3))
    with torch.no_grad():
        found = policy.scores(batch)
        for number, pair in enumerate(batch):
            for side in ("chosen", "rejected"):
                ids = torch.tensor([[*pair.prompt, *getattr(pair, side)]])
                told = policy.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
                single = told.gather(-1, ids[0, 1:, None]).squeeze(-1)[len(pair.prompt) - 1 :].sum()
                assert float(getattr(found, side)[number]) == pytest.approx(float(single), abs=1e-3)
        with policy.frozen():
            reference = policy.scores(batch)
    assert torch.equal(found.chosen, reference.chosen)
    assert found.tokens.tolist() == [len(pair.chosen) for pair in batch]


def test_a_training_prefers_what_it_was_told(folder: Path, tmp_path: Path) -> None:
    """On requests that it was not trained on; without the preference the margin stays smaller."""
    trainer, _ = trained(folder, tmp_path / "a.safetensors")
    first, last = trainer.position.epochs[0], trainer.position.epochs[-1]
    assert last["held_out"]["loss"] < first["held_out"]["loss"]
    assert last["held_out"]["margin"] > 0
    plain, _ = trained(folder, tmp_path / "b.safetensors", dpo_weight=0.0)
    assert plain.position.epochs[-1]["held_out"]["margin"] < last["held_out"]["margin"]


@pytest.mark.parametrize("stop_at", [2, 5, 9])
def test_an_interrupted_training_ends_with_the_same_weights(
    stop_at: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first epoch, in the second, in the second round; no step is taken twice after its checkpoint."""
    torch = training_packages()
    monkeypatch.setattr("conscience.optimizers.training.weights.trainer.SAVE_SECONDS", 0.0)
    whole, steps = trained(folder, tmp_path / "whole.safetensors")
    with pytest.raises(KeyboardInterrupt):
        trained(folder, tmp_path / "parts.safetensors", stop_at=stop_at)
    again, rest = trained(folder, tmp_path / "parts.safetensors")
    assert rest == steps[stop_at - 1 :]  # Ctrl-C came before the last step's checkpoint
    assert all(torch.equal(whole.policy.trained[name], tensor) for name, tensor in again.policy.trained.items())
    assert again.position.epochs == whole.position.epochs


def test_a_training_that_gets_worse_ends_with_the_best_weights(folder: Path, tmp_path: Path) -> None:
    torch = training_packages()
    trainer, _ = trained(folder, tmp_path / "a.safetensors", epochs=6, learning_rate=0.2, patience=1, rounds=5)
    losses = [record["held_out"]["loss"] for record in trainer.position.epochs]
    assert trainer.position.best["loss"] == min(losses)
    assert trainer.position.stopped
    now = trainer.measure(trainer.held_out)
    with torch.no_grad():
        assert sum(now.chosen) == pytest.approx(float(trainer._scores(trainer.held_out, "").chosen.sum()), abs=1e-4)


def test_another_file_is_no_checkpoint(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "latest.safetensors"
    path.write_bytes(b"no tensors")
    with pytest.raises(InputError, match="no checkpoint"):
        trained(folder, path)


def test_what_is_too_long_is_cut_or_left_out(folder: Path) -> None:
    training_packages()
    _, encoder = policy_of(folder, max_length=60)
    asked = ({"role": "user", "content": "x"},)
    long = PreferencePair(request=asked, chosen="the " * 100, rejected="no")
    far_too_long = PreferencePair(request=({"role": "user", "content": "y" * 100},), chosen="a", rejected="b")
    (encoded,) = encoder.pairs([long, far_too_long])
    assert len(encoded.prompt) + len(encoded.chosen) == 60
    assert encoded.rejected[-1] == encoder.tokenizer.eos_token_id
    assert encoder.left_out.total() == 1


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_the_engine_serves_what_was_trained(kind: str, tmp_path: Path) -> None:
    """A folder as a GGUF file, and the LoRA in it: the engine's log-probabilities are torch's, and not the base's."""
    torch = training_packages()
    pytest.importorskip("xllamacpp", reason="the embedded engine is not installed")
    from conscience.backends.embedded.local import shutdown
    from conscience.optimizers.training.weights.base import Base
    from conscience.optimizers.training.weights.converting import convert
    from conscience.optimizers.training.weights.merging import write_merged
    from conscience.optimizers.training.weights.serving import served_difference

    folder = tiny_model(tmp_path / "tiny", kind)
    base, merged = tmp_path / "base.gguf", tmp_path / "merged.gguf"
    convert(folder, base)
    policy, encoder = policy_of(folder)
    requests = [pair.request for pair in pairs(3)]
    try:
        before = served_difference(policy, encoder, base, requests)
        with torch.no_grad():
            for tensor in policy.trained.values():
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1)))
        write_merged(base, policy.changes(), merged, "trained")
        after, past = (served_difference(policy, encoder, file, requests) for file in (merged, base))
    finally:
        shutdown()
    assert before is not None
    assert after is not None
    assert past is not None
    assert (before.same_tokens, after.same_tokens) == (True, True)
    assert max(before.mean, after.mean) < 0.05 < 0.1 < past.mean
    if kind == "qwen3":  # transformers takes the width of its heads for 128, whatever the file says
        with pytest.raises(ConfigurationError, match="transformers cannot read"):
            Base.named(str(merged)).model()
        return
    # What was written can be trained on in turn.
    model = Base.named(str(merged)).model()
    prompt = list(encoder.prompt(requests[0]))
    with torch.no_grad():
        again = model(input_ids=torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
    assert float((again - policy.next_token(prompt)).abs().max()) < 0.1


def test_a_model_of_another_kind_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    training_packages()
    import json
    import shutil

    from conscience.optimizers.training.weights.converting import convert

    other = tmp_path / "other"
    shutil.copytree(folder, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    with pytest.raises(ConfigurationError, match="kind gpt2"):
        convert(other, tmp_path / "x.gguf")
    assert not list(tmp_path.glob("*.gguf*"))
