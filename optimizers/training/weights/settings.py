"""What may be chosen about a training."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from conscience.errors import ConfigurationError

_UNCOUNTED = ("rounds", "device")
"""What does not make it another training: it may go on for more rounds, and on another machine."""


@dataclass(frozen=True)
class TrainingSettings:
    """Numbers of a training; the defaults suit a model of some hundred million parameters and a few hundred pairs.

    Attributes:
        rounds: times that answers are generated, judged and trained on; the first takes the pairs that are there already.
        epochs: passes over a round's pairs.
        dpo_weight: λ, the weight of the preference beside the supervised loss; 0 leaves it out.
        beta: of the preference: how hard it pulls away from the reference.
        learning_rate: the highest, after a warm-up; it falls to nothing by the end of each round.
        rank: of the LoRA.
        batch_size: pairs a step.
        max_length: tokens of a request with its response.
        requests: the most for which answers are generated a round.
        replay: the most pairs of earlier rounds that a round trains on again, so that their rejected sides stay rejected.
        patience: epochs without a lower held-out loss that end a round; a whole round without one ends the training.
        seed: of the LoRA's first values and of everything that is drawn.
        device: as torch names it; ``auto`` is a GPU where there is one.

    Raises:
        ConfigurationError: a number is out of its range.
    """

    rounds: int = 1
    epochs: int = 2
    dpo_weight: float = 0.1
    beta: float = 0.1
    learning_rate: float = 1e-3
    rank: int = 8
    batch_size: int = 4
    max_length: int = 1024
    requests: int = 100
    replay: int = 256
    patience: int = 2
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("rounds", "epochs", "rank", "batch_size", "requests", "patience"):
            self._check(name, 1)
        self._check("max_length", 32)
        self._check("replay", 0)
        for name, least in (("dpo_weight", True), ("beta", False), ("learning_rate", False)):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (value == 0 and not least):
                raise ConfigurationError(f"{name}={value!r} is not a number above 0" + (", or 0" if least else ""))

    def _check(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigurationError(f"{name}={value!r} is not a whole number of {least} or more")

    def to_json(self) -> dict[str, Any]:
        """All of them."""
        return asdict(self)

    def identity(self) -> dict[str, Any]:
        """Those that make it this training and no other."""
        return {name: value for name, value in asdict(self).items() if name not in _UNCOUNTED}
