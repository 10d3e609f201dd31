"""The memory of what one model at one address was seen to do: traits that its answers show, parameters that it refuses.

One answer proves little. A trait is taken as known once it showed, or was missing, ``FEW`` times in a row, and once more
often than the opposite was ever seen, ``MANY`` times at most: a faulty answer among good ones changes nothing. What is known
is forgotten after a while and found out again by the next call; what proves right again is known for twice as long.

    habits = habits_of("openai/x", "http://host/v1")
    habits.saw("logprobs", False)                       after each answer that was to have some
    habits.knows("logprobs")                            True, False, or None: ask the table of models
    habits.refused("temperature", Legal())              after a call that went through without it
    habits.legal()                                      {"temperature": Legal()}: what the next call is to mind

It lasts as long as the process, which all backends of the same model and address share it in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from conscience._base.forks import ForkLock
from conscience.backends.habits.legal import Legal

FEW = 2
"""Answers in a row that settle a trait of which nothing else was ever seen."""

MANY = 8
"""Answers in a row that settle it whatever was seen before: of a server that leaves something out of every fifth answer at
random, eight in a row are 3 in a million."""

SHORTEST = 600.0
"""Seconds for which something is known at first."""

LONGEST = 86_400.0
"""Seconds for which it is known at last, as it proves right again and again."""

Clock = Callable[[], float]

_lock = ForkLock()


@dataclass(frozen=True, slots=True)
class _Known:
    """How long something is known, on the memory's clock; until 0 it is not."""

    until: float = 0.0
    seconds: float = SHORTEST

    def again(self, now: float) -> _Known:
        """Known from now on: twice as long, where it had to prove right once more."""
        proved = 0 < self.until <= now
        seconds = min(2 * self.seconds, LONGEST) if proved else self.seconds
        return _Known(now + seconds, seconds)


@dataclass(frozen=True, slots=True)
class _Trait:
    """Answers in a row that show a trait, or do not; and how many of either kind there ever were, ``MANY`` at most."""

    shown: bool
    answers: int = 1
    ever: int = 1
    against: int = 0
    known: _Known = _Known()

    @property
    def is_settled(self) -> bool:
        return self.answers >= max(FEW, min(self.against + 1, MANY))

    def and_one(self, shown: bool, answers: int) -> _Trait:
        """After so many more answers of a kind."""
        if shown != self.shown:
            return _Trait(shown, answers, min(self.against + answers, MANY), self.ever)
        return replace(self, answers=min(self.answers + answers, MANY), ever=min(self.ever + answers, MANY))


class Habits:
    """What one model at one address was seen to do. Threads may share it; readers never wait.

    Args:
        clock: seconds, as ``time.monotonic`` counts them.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.clock = clock
        self._traits: Mapping[str, _Trait] = {}
        self._refused: Mapping[str, tuple[Legal, _Known]] = {}

    # Traits ------------------------------------------------------------------------------------------------------------

    def saw(self, trait: str, shown: bool, *, certain: bool = False) -> None:
        """Counts a fresh answer that shows a trait, or lacks it.

        Args:
            trait: such as "logprobs" or "thinking".
            shown: which of both.
            certain: whether this one answer settles it.
        """
        old, now = self._traits.get(trait), self.clock()
        if old is not None and old.shown == shown and old.ever == MANY and now < old.known.until - old.known.seconds / 2:
            return  # nothing new, as nearly always
        with _lock:
            old = self._traits.get(trait)
            many = MANY if certain else 1
            new = _Trait(shown, many, many) if old is None else old.and_one(shown, many)
            if new.is_settled:
                new = replace(new, known=new.known.again(now))
            self._traits = {**self._traits, trait: new}

    def knows(self, trait: str) -> bool | None:
        """Whether the model shows a trait; None where nothing was settled, or not lately."""
        trait_ = self._traits.get(trait)
        return trait_.shown if trait_ is not None and self.clock() < trait_.known.until else None

    # Copies in other processes of this machine -------------------------------------------------------------------------

    @property
    def state(self) -> tuple[Mapping[str, object], Mapping[str, object]]:
        """All that is known; another object as soon as anything changes."""
        return self._traits, self._refused

    def adopt(self, state: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
        """Knows what another one's ``state`` says, and no more."""
        self._traits, self._refused = state

    # Parameters --------------------------------------------------------------------------------------------------------

    def refused(self, name: str, legal: Legal) -> None:
        """Learns that a parameter is refused, and what was taken in its place."""
        with _lock:
            _, known = self._refused.get(name, (legal, _Known()))
            self._refused = {**self._refused, name: (legal, known.again(self.clock()))}

    def took(self, name: str) -> None:
        """Learns that a parameter is taken, which was refused once; forgets that."""
        if name in self._refused:
            with _lock:
                self._refused = {other: kept for other, kept in self._refused.items() if other != name}

    def legal(self) -> Mapping[str, Legal]:
        """Parameter → what is taken in its place, of those that were refused lately."""
        if not self._refused:
            return _NOTHING
        now = self.clock()
        return {name: legal for name, (legal, known) in self._refused.items() if now < known.until}

    def leaves_out(self, name: str) -> bool:
        """Whether a parameter is not to be sent at all."""
        legal = self._refused.get(name)
        return legal is not None and legal[0].name is None and self.clock() < legal[1].until

    def describe(self) -> list[str]:
        """What is known now and no table says, a line each, for people to read."""
        known = (line for (trait, shown), line in _LINES.items() if self.knows(trait) is shown)
        return [*known, *(f"{name}: {legal}" for name, legal in self.legal().items())]


_LINES = {
    ("logprobs", False): "gives no log-probabilities",
    ("thinking", True): "thinks before it answers",
    ("thinking first", True): "its first token is thinking",
    ("thinking aloud", True): "its thinking stands in its answer's text",
}
_NOTHING: Mapping[str, Legal] = MappingProxyType({})
_habits: dict[tuple[str, str], Habits] = {}


def habits_of(model: str, address: str) -> Habits:
    """The memory of a model at an address, one for the process.

    Args:
        model: its LiteLLM model string.
        address: where it is served; empty for its provider's own.
    """
    found = _habits.get((model, address))
    if found is None:
        with _lock:
            found = _habits.setdefault((model, address), Habits())
    return found
