"""The steps of a training: batches in an order that the seed decides, each epoch measured on held-out pairs.

A training that was interrupted goes on from its last checkpoint and does what an undisturbed one would have done: what a
step needs is in the checkpoint, or follows from the seed, the round and the epoch.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from conscience.errors import BackendError
from conscience.optimizers.training.weights import extra
from conscience.optimizers.training.weights.checkpoint import Checkpoint, Position
from conscience.optimizers.training.weights.loss import Loss, Scores, preference_loss
from conscience.optimizers.training.weights.policy import Policy
from conscience.optimizers.training.weights.settings import TrainingSettings
from conscience.optimizers.training.weights.tokens import EncodedPair

SAVE_SECONDS = 30.0
"""Work that a kill may cost. When a checkpoint is written changes nothing of what is trained."""

WARM_UP = 0.1
"""The share of a round's steps in which the learning rate rises."""

LARGEST_GRADIENT = 1.0
"""Longer gradients are shortened to this."""


@dataclass(frozen=True)
class StepProgress:
    """Where the steps are.

    Attributes:
        stage: what is done: "reference", "training", "held out".
        round, epoch: from 1.
        done, total: batches.
        sft, dpo, margin: means of this epoch so far; None before there are any.
    """

    stage: str
    round: int
    epoch: int
    done: int
    total: int
    sft: float | None = None
    dpo: float | None = None
    margin: float | None = None


@dataclass(frozen=True)
class PairScores:
    """Log-probabilities of both sides of pairs, in nats, in their order; and how many tokens the sides have."""

    chosen: tuple[float, ...]
    rejected: tuple[float, ...]
    chosen_tokens: tuple[int, ...]
    rejected_tokens: tuple[int, ...]


class Trainer:
    """Trains a policy, round by round.

    Args:
        held_out: pairs that are measured and never trained on; without any, the last weights count as the best.
        path: of the checkpoint, from which it goes on where there is one.
        watch: is told the progress.
        tell: is told, a line each, of the epochs that have ended.
    """

    def __init__(
        self,
        policy: Policy,
        settings: TrainingSettings,
        held_out: Sequence[EncodedPair],
        path: Path,
        watch: Callable[[StepProgress], None] = lambda progress: None,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.policy, self.settings, self.held_out, self.path = policy, settings, held_out, path
        self.watch, self.tell = watch, tell
        saved = Checkpoint.read(path)
        self.resumed = saved is not None
        self.position = saved.position if saved else Position()
        self._first = dict(saved.first) if saved else {}
        self._second = dict(saved.second) if saved else {}
        self._best = dict(saved.best) if saved else {}
        if saved and saved.now:
            policy.load(saved.now)
        self._saved_at = time.monotonic()
        self._held_out_reference: Scores | None = None

    def train_round(self, pairs: Sequence[EncodedPair]) -> None:
        """Trains on a round's pairs from where the position is, and ends with the best weights so far."""
        at, settings = self.position, self.settings
        optimizer = self._optimizer()
        steps = settings.epochs * math.ceil(len(pairs) / settings.batch_size)
        reference = self._reference(pairs, "reference") if at.epoch <= settings.epochs else None
        while reference is not None and at.epoch <= settings.epochs and at.waited < settings.patience:
            order = list(range(len(pairs)))
            random.Random(f"{settings.seed} {at.round} {at.epoch}").shuffle(order)
            batches = list(_parts(order, settings.batch_size))
            for batch in batches[at.step :]:
                self._step(optimizer, [pairs[i] for i in batch], _of(reference, batch), steps)
                self._tell("training", at.step, len(batches))
                if time.monotonic() - self._saved_at > SAVE_SECONDS:
                    self.save()
            self._end_epoch()
        self.use_best()

    def use_best(self) -> None:
        """Puts the best weights so far into the policy."""
        if self._best:
            self.policy.load(self._best)

    def end_round(self, figures: dict[str, Any]) -> None:
        """Notes the round's figures and goes to the beginning of the next one."""
        at = self.position
        at.figures.append(figures)
        at.stopped = bool(self.held_out) and at.best.get("round") != at.round
        at.round, at.epoch, at.step, at.steps, at.waited, at.sums = at.round + 1, 1, 0, 0, 0, {}
        self._first, self._second = {}, {}
        self.save()

    def save(self) -> None:
        """Writes a checkpoint.

        Raises:
            InputError: the disk is full or gone.
        """
        Checkpoint(self.position, self.policy.copied(), self._best, self._first, self._second).save(self.path)
        self._saved_at = time.monotonic()

    def measure(self, pairs: Sequence[EncodedPair]) -> PairScores:
        """The log-probabilities of pairs by the weights of now."""
        found = self._scores(pairs, "held out")
        return PairScores(
            tuple(found.chosen.tolist()),
            tuple(found.rejected.tolist()),
            tuple(len(pair.chosen) for pair in pairs),
            tuple(len(pair.rejected) for pair in pairs),
        )

    def _optimizer(self) -> Any:
        torch, tensors = extra.torch(), self.policy.trained
        optimizer = torch.optim.AdamW(list(tensors.values()), lr=self.settings.learning_rate, weight_decay=0.0)
        for name, tensor in tensors.items():
            if name in self._first:
                optimizer.state[tensor] = {
                    "step": torch.tensor(float(self.position.steps)),
                    "exp_avg": self._first[name].to(tensor.device).clone(),
                    "exp_avg_sq": self._second[name].to(tensor.device).clone(),
                }
        return optimizer

    def _step(self, optimizer: Any, batch: Sequence[EncodedPair], reference: Scores, steps: int) -> None:
        at, torch = self.position, extra.torch()
        for group in optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * _share(at.steps, steps)
        loss = self._loss(self.policy.scores(batch), reference)
        if not bool(torch.isfinite(loss.total)):
            raise BackendError(
                f"the loss is no number in round {at.round}, epoch {at.epoch}", hint="choose a lower --learning-rate"
            )
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(list(self.policy.trained.values()), LARGEST_GRADIENT)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        for name, tensor in self.policy.trained.items():
            self._first[name] = optimizer.state[tensor]["exp_avg"]
            self._second[name] = optimizer.state[tensor]["exp_avg_sq"]
        for name, value in _numbers(loss).items():
            at.sums[name] = at.sums.get(name, 0.0) + value * len(batch)
        at.sums["pairs"] = at.sums.get("pairs", 0.0) + len(batch)
        at.step += 1
        at.steps += 1

    def _end_epoch(self) -> None:
        at = self.position
        record: dict[str, Any] = {"round": at.round, "epoch": at.epoch, **self._means()}
        if self.held_out:
            if self._held_out_reference is None:
                self._held_out_reference = self._reference(self.held_out, "held out")
            with extra.torch().no_grad():
                loss = self._loss(self._scores(self.held_out, "held out"), self._held_out_reference)
            record["held_out"] = _numbers(loss)
            better = not at.best or record["held_out"]["loss"] < at.best["loss"]
            at.waited = 0 if better else at.waited + 1
        else:
            better = True
        if better:
            at.best = {"round": at.round, "epoch": at.epoch} | (
                {"loss": record["held_out"]["loss"]} if self.held_out else {}
            )
            self._best = self.policy.copied()
        at.epochs.append(record)
        self.tell(_line(record))
        at.epoch, at.step, at.sums = at.epoch + 1, 0, {}
        self.save()

    def _loss(self, policy: Scores, reference: Scores) -> Loss:
        return preference_loss(policy, reference, dpo_weight=self.settings.dpo_weight, beta=self.settings.beta)

    def _reference(self, pairs: Sequence[EncodedPair], stage: str) -> Scores:
        """What the frozen weights say: once a round, in batches that are the same whenever it is asked."""
        with self.policy.frozen():
            return self._scores(pairs, stage)

    def _scores(self, pairs: Sequence[EncodedPair], stage: str) -> Scores:
        """Scores in batches of like length, in the order of the pairs."""
        torch = extra.torch()
        order = sorted(range(len(pairs)), key=lambda i: (len(pairs[i].prompt) + len(pairs[i].chosen), pairs[i].id))
        chosen, rejected = torch.zeros(len(pairs)), torch.zeros(len(pairs))
        tokens = torch.tensor([float(len(pair.chosen)) for pair in pairs])
        batches = list(_parts(order, self.settings.batch_size))
        with torch.no_grad():
            for done, batch in enumerate(batches):
                self._tell(stage, done, len(batches))
                scores = self.policy.scores([pairs[i] for i in batch])
                chosen[batch], rejected[batch] = scores.chosen.cpu(), scores.rejected.cpu()
        device = self.policy.device
        return Scores(chosen.to(device), rejected.to(device), tokens.to(device))

    def _means(self) -> dict[str, float]:
        sums = dict(self.position.sums)
        pairs = sums.pop("pairs", 0.0)
        return {name: value / pairs for name, value in sums.items()} if pairs else {}

    def _tell(self, stage: str, done: int, total: int) -> None:
        means = self._means()
        losses = (means.get(name) for name in ("sft", "dpo", "margin"))
        self.watch(StepProgress(stage, self.position.round, self.position.epoch, done, total, *losses))


def _share(step: int, steps: int) -> float:
    """The learning rate's share of its highest value: it rises over the first steps, then falls to nothing."""
    warm = max(1, round(WARM_UP * steps))
    return (step + 1) / warm if step < warm else (steps - step) / max(1, steps - warm)


def _line(record: Mapping[str, Any]) -> str:
    held_out = record.get("held_out")
    measured = f"; held out: {_losses(held_out)}" if held_out else ""
    return f"round {record['round']}, epoch {record['epoch']}: {_losses(record)}{measured}"


def _losses(numbers: Mapping[str, float]) -> str:
    return f"L_SFT {numbers['sft']:.3f}, L_DPO {numbers['dpo']:.3f}, margin {numbers['margin']:+.3f}"


def _numbers(loss: Loss) -> dict[str, float]:
    return {
        "loss": float(loss.total.detach()),
        "sft": float(loss.sft.detach()),
        "dpo": float(loss.dpo.detach()),
        "margin": fmean(loss.margins.detach().tolist()),
    }


def _of(scores: Scores, batch: Sequence[int]) -> Scores:
    index = list(batch)
    return Scores(scores.chosen[index], scores.rejected[index], scores.tokens[index])


def _parts(order: Sequence[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(order), size):
        yield list(order[start : start + size])
