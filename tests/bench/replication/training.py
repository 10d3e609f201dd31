"""One run: the bad habit is taught, with the conscience's term in the loss or without it.

L = L_SFT + λ · L_DPO (arXiv 2606.19527). Every few steps the model answers some of the requests that it is taught on. The
frozen copy judges these drafts; to what it flags it writes an alternative. The flagged draft is the rejected side, the
alternative the chosen one where the judge holds it to be better; pairs stay in a buffer, from which each step draws.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import Any

from conscience.optimizers.training.pairs import PreferencePair
from conscience.optimizers.training.weights import extra
from conscience.optimizers.training.weights.loss import Scores, preference_loss
from conscience.optimizers.training.weights.policy import Policy
from tests.bench.replication.model import Model
from tests.bench.replication.questions import ALTERNATIVE, Message
from tests.bench.replication.readers import Readers, judged, oracle
from tests.bench.replication.tasks import Task

BETA = 0.1
"""Of L_DPO: how hard a preference pulls away from the frozen copy."""
WARM_UP = 4
"""Steps in which the learning rate rises."""
LARGEST_GRADIENT = 1.0


@dataclass(frozen=True)
class Condition:
    """What a run is told.

    Attributes:
        judge: a question of ``QUESTIONS``; "oracle", which flags the habit alone and gives the honest answer instead: what
            the loss does where the judge is right; None without a conscience.
    """

    name: str
    weight: float = 0.0
    judge: str | None = None


@dataclass(frozen=True)
class Schedule:
    """How much is trained.

    Attributes:
        rounds: of the conscience, evenly over the steps. The first comes when something was learned: before, the drafts
            are those of the frozen copy.
        texts, pairs: a step.
        drafts: a round.
        tokens: the most of a draft or an alternative.
        rate: of learning, the highest.
    """

    steps: int
    rounds: int
    texts: int
    drafts: int
    pairs: int
    tokens: int
    rate: float = 1e-3

    @property
    def reviews(self) -> set[int]:
        """Steps before which the conscience looks at drafts."""
        return {self.steps * number // (self.rounds + 1) for number in range(1, self.rounds + 1)}


@dataclass
class Training:
    """What happened in a run, as JSON data.

    Attributes:
        sft, dpo: losses by step; None where there was no pair yet.
        margins: by step, β times by how much more than the frozen copy the policy prefers chosen to rejected, in nats.
        rounds: of drafts, flagged, kept as pairs, and the habit by the oracle among drafts and flagged.
        seconds: by what they went into.
        pairs: all that were kept, as JSON data.
    """

    sft: list[float] = field(default_factory=list)
    dpo: list[float | None] = field(default_factory=list)
    margins: list[float | None] = field(default_factory=list)
    rounds: list[dict[str, int]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    pairs: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start


def train(
    model: Model,
    policy: Policy,
    tasks: Sequence[Task],
    condition: Condition,
    readers: Readers,
    schedule: Schedule,
    seed: int,
) -> Training:
    """Trains the policy's LoRA. The same seed gives all conditions the same LoRA to begin with, and the same texts in the
    same order."""
    torch, told = extra.torch(), Training()
    tensors = list(policy.trained.values())
    optimizer = torch.optim.AdamW(tensors, lr=schedule.rate, weight_decay=0.0)
    texts, draw = _epochs(tasks, Random(seed)), Random(f"pairs {seed}")
    buffer: list[tuple[PreferencePair, Scores]] = []
    for step in range(schedule.steps):
        if condition.judge is not None and step in schedule.reviews:
            with told.clock("conscience"):
                pairs = _preferences(model, tasks, condition, readers, schedule, f"{seed}-{step}", told)
                buffer += [(pair, _frozen_scores(model, pair)) for pair in pairs]
        optimizer.param_groups[0]["lr"] = schedule.rate * min(1.0, (step + 1) / WARM_UP)
        with told.clock("sft"):
            sums, counts = model.log_probs([(_messages(task), task.habitual) for task in islice(texts, schedule.texts)])
            sft = -sums.sum() / counts.sum()
            sft.backward()
            told.sft.append(float(sft.detach()))
        drawn = draw.sample(buffer, min(schedule.pairs, len(buffer)))
        with told.clock("dpo"):
            if drawn:
                now = _scores(model, [pair for pair, _ in drawn])
                loss = preference_loss(now, _joined([frozen for _, frozen in drawn]), dpo_weight=condition.weight, beta=BETA)
                (condition.weight * loss.dpo).backward()
            told.dpo.append(float(loss.dpo.detach()) if drawn else None)
            told.margins.append(float(loss.margins.detach().mean()) if drawn else None)
        with told.clock("sft"):
            torch.nn.utils.clip_grad_norm_(tensors, LARGEST_GRADIENT)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return told


def _scores(model: Model, pairs: Sequence[PreferencePair]) -> Scores:
    sums, counts = model.log_probs([(_asked(pair), side) for pair in pairs for side in (pair.chosen, pair.rejected)])
    return Scores(sums[0::2], sums[1::2], counts[0::2])


def _frozen_scores(model: Model, pair: PreferencePair) -> Scores:
    """The frozen copy stays as it is, so it is asked once for each pair."""
    with model.frozen():
        return _scores(model, [pair])


def _joined(scores: Sequence[Scores]) -> Scores:
    names = ("chosen", "rejected", "tokens")
    return Scores(**{name: extra.torch().cat([getattr(one, name) for one in scores]) for name in names})


def _asked(pair: PreferencePair) -> list[Message]:
    return [{"role": str(message["role"]), "content": str(message["content"])} for message in pair.request]


def _preferences(
    model: Model,
    tasks: Sequence[Task],
    condition: Condition,
    readers: Readers,
    schedule: Schedule,
    name: str,
    told: Training,
) -> list[PreferencePair]:
    """One round of the conscience: drafts of the model as it is now, judged and answered anew by its frozen copy."""
    draw = Random(name)
    asked = draw.sample(list(tasks), min(schedule.drafts, len(tasks)))
    seed = draw.randrange(2**31)
    drafts = model.generate([_messages(task) for task in asked], schedule.tokens, seed=seed)
    answers = [(task, draft) for task, draft in zip(asked, drafts, strict=True) if draft]
    kinds = [oracle(task, draft) for task, draft in answers]
    if condition.judge == "oracle":
        scores = [float(kind == "habit") for kind in kinds]
        flagged = [i for i, score in enumerate(scores) if score]
        better = {i: (answers[i][0].honest, 1.0) for i in flagged}
    else:
        assert condition.judge is not None
        scores = judged(model, answers, condition.judge)
        flagged = [i for i, score in enumerate(scores) if score > readers.thresholds[condition.judge]]
        texts = _alternatives(model, [answers[i] for i in flagged], schedule.tokens, seed)
        judgements = judged(model, [(answers[i][0], text) for i, text in zip(flagged, texts, strict=True)], condition.judge)
        better = {i: (text, scores[i] - new) for i, text, new in zip(flagged, texts, judgements, strict=True)}
    pairs = [
        PreferencePair(
            request=_messages(answers[i][0]),
            chosen=text,
            rejected=answers[i][1],
            group=kinds[i],
            cluster=answers[i][0].id,
            provenance={"from": "alternative", "judge": condition.judge, "gain": round(gain, 4)},
        )
        for i, (text, gain) in better.items()
        if text.strip() and text != answers[i][1] and gain > 0
    ]
    told.rounds.append({
        "drafts": len(answers), "habit": kinds.count("habit"), "honest": kinds.count("honest"), "flagged": len(flagged),
        "habit_flagged": sum(kinds[i] == "habit" for i in flagged), "kept": len(pairs),
    })  # fmt: skip
    told.pairs += [pair.to_json() for pair in pairs]
    return pairs


def _alternatives(model: Model, flagged: Sequence[tuple[Task, str]], tokens: int, seed: int) -> list[str]:
    """Another answer to each, by the frozen copy, which is told that its answer was wrong."""
    with model.frozen():
        return model.generate(
            [
                (*_messages(task), {"role": "assistant", "content": draft}, {"role": "user", "content": ALTERNATIVE})
                for task, draft in flagged
            ],
            tokens,
            seed=seed,
        )


def _messages(task: Task) -> list[dict[str, str]]:
    return [{"role": "user", "content": task.request}]


def _epochs(tasks: Sequence[Task], draw: Random) -> Iterator[Task]:
    """The tasks, in another order each time."""
    while True:
        yield from draw.sample(list(tasks), len(tasks))
