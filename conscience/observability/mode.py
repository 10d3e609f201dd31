"""Whether a program acts on its verdicts, or only observes: for all calls, for a share of them, or for one."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from conscience._base.files import digest64
from conscience.errors import ConfigurationError
from conscience.observability.record import Mode


@dataclass(frozen=True, kw_only=True)
class Observe:
    """The mode observe, for a share of the calls, and with reviews for a sample of them.

    Which calls these are follows from a digest of the request's id, so that every process and every retry decides alike.
    Calls without an id are drawn at random.

    Args:
        share: of the calls that are observed; the others are enforced.
        sample: of the observed calls that are reviewed at all; the others cost no review and are not logged.
        seed: other seeds choose other calls; with one, calls without an id are drawn in a sequence that repeats.
        backlog: answers that may wait for their review.
        when_full: what comes of an answer beyond those: "drop" (it is logged as unreviewed) or "wait" (the call waits for
            room before it returns, as a batch may and an application may not).

    Raises:
        ConfigurationError: an argument is not one of the above.
    """

    share: float = 1.0
    sample: float = 1.0
    seed: int | None = None
    backlog: int = 1000
    when_full: Literal["drop", "wait"] = "drop"
    _draws: random.Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("share", "sample"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ConfigurationError(f"{name}={value!r} is not a number from 0 to 1")
        if isinstance(self.backlog, bool) or not isinstance(self.backlog, int) or self.backlog < 1:
            raise ConfigurationError(f"backlog={self.backlog!r} is not a whole number of 1 or more")
        if self.when_full not in ("drop", "wait"):
            raise ConfigurationError(f"when_full={self.when_full!r} does not exist", hint="choose among drop, wait")
        object.__setattr__(self, "_draws", random.Random(self.seed))

    def covers(self, request_id: str) -> bool:
        """Whether a call is observed; the id is empty where the caller gave none."""
        return self._drawn("share", request_id) < self.share

    def reviews(self, request_id: str) -> bool:
        """Whether an observed call is reviewed."""
        return self._drawn("sample", request_id) < self.sample

    def _drawn(self, purpose: str, request_id: str) -> float:
        """A number from 0 to below 1, the same for the same id."""
        if not request_id:
            return self._draws.random()
        return digest64(f"{purpose}\n{self.seed or 0}\n{request_id}") / 2**64


ModeSpec: TypeAlias = Mode | Observe
"""What a user may pass as a mode: "enforce", "observe", or an Observe for a share of the calls."""


def check_mode(spec: ModeSpec) -> ModeSpec:
    """The mode itself.

    Raises:
        ConfigurationError: it is none.
    """
    if spec in ("enforce", "observe") or isinstance(spec, Observe):
        return spec
    raise ConfigurationError(f"mode={spec!r} does not exist", hint="choose among enforce, observe, Observe(share=…)")


def observation(spec: ModeSpec, request_id: str) -> Observe | None:
    """How one call is observed; None where it is enforced."""
    if spec == "enforce":
        return None
    how = _ALL if check_mode(spec) == "observe" else spec
    assert isinstance(how, Observe)
    return how if how.covers(request_id) else None


_ALL = Observe()
