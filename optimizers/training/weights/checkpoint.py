"""Where a training is, in one file that is there whole or not at all: tensors and, as JSON beside them, everything else.

safetensors' format: it holds numbers and text, and runs nothing when it is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from conscience._base.files import write_atomic
from conscience.errors import InputError
from conscience.optimizers.training.weights import extra

_BEST, _NOW, _FIRST, _SECOND = "best.", "now.", "first.", "second."
"""Kinds of tensors: the best weights so far, those of now, and both moments of the optimizer."""


@dataclass
class Position:
    """Where a training is. It begins before the first step of the first epoch of round 1.

    Attributes:
        round, epoch: from 1.
        step: steps of this epoch that are done.
        steps: of this round that are done.
        waited: epochs since the held-out loss last fell.
        stopped: whether it ended early.
        best: the held-out loss of the best weights so far, with their round and epoch; empty before there are any.
        epochs: a record of each epoch that has ended.
        figures: those on held-out cases, before the first round and after each.
        sums: of the losses of this epoch so far.
        notes: what a reader of the result has to know, a line each.
    """

    round: int = 1
    epoch: int = 1
    step: int = 0
    steps: int = 0
    waited: int = 0
    stopped: bool = False
    best: dict[str, float] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class Checkpoint:
    """A position with its tensors; empty mappings where there are none yet."""

    position: Position
    now: Mapping[str, Any] = field(default_factory=dict)
    best: Mapping[str, Any] = field(default_factory=dict)
    first: Mapping[str, Any] = field(default_factory=dict)
    second: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes it in place of an older one.

        Raises:
            InputError: the disk is full or gone.
        """
        tensors = {
            kind + name: tensor.contiguous() for kind, group in self._groups().items() for name, tensor in group.items()
        }
        data = extra.safetensors().save(tensors, metadata={"position": json.dumps(vars(self.position))})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, data)
        except OSError as error:
            hint = "make room; the same command goes on from the last checkpoint"
            raise InputError(f"{path}: cannot be written: {error.strerror}", hint=hint) from None

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What was saved last; None where nothing was.

        Raises:
            InputError: the file is none of these.
        """
        if not path.exists():
            return None
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                position = Position(**json.loads(file.metadata()["position"]))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{path} is no checkpoint: {said}", hint="remove it, and this training begins anew") from None

        def group(kind: str) -> dict[str, Any]:
            return {name.removeprefix(kind): tensor for name, tensor in tensors.items() if name.startswith(kind)}

        return cls(position, *(group(kind) for kind in (_NOW, _BEST, _FIRST, _SECOND)))

    def _groups(self) -> dict[str, Mapping[str, Any]]:
        return {_NOW: self.now, _BEST: self.best, _FIRST: self.first, _SECOND: self.second}
