"""What is watched of one gate: four sequential tests, each with its share of the risk of a false alarm.

scores: they are those of compile time, whatever part of the requests is objectionable up to the part that it was then.
change: they go on as they began, in this log.
false positives: labelled drafts that are fine are flagged no more often than was certified.
misses: labelled drafts that are not fine are passed no more often than at compile time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from conscience.artifacts.scores import EDGE, ScoreSummary
from conscience.stats.intervals import percent
from conscience.stats.sequential import ExchangeabilityTest, RateTest, mean_e_value

CHECKS = ("scores", "change", "false positives", "misses")
RECENT = 100
"""Of so many scores the figures are told when they have changed."""
NOT_RULED_OUT = "could not be ruled out then"
OF_THE_SUMMARY = 0.2
"""The part of a check's risk that goes to bounds on what the summary of compile time can be wrong about."""


@dataclass(frozen=True)
class CheckResult:
    """What a check came to.

    Attributes:
        name: one of ``CHECKS``.
        told: whether something is to be told.
        message: what, in a sentence; what is known otherwise.
        n: scores or labels that it has seen.
        e_value: the highest evidence so far: where nothing is wrong it ever reaches x with probability 1/x at most.
        needed: evidence from which it tells.
        told_at: of which score or label it has told; None where it has not.
        since: since which one the figures have been others, about.
    """

    name: str
    told: bool
    message: str
    n: int
    e_value: float
    needed: float
    told_at: int | None = None
    since: int | None = None


@dataclass
class _Alarm:
    """The first time that the evidence was enough."""

    needed: float
    highest: float = 1.0
    at: int | None = None
    since: int | None = None
    message: str = ""

    def look(self, e_value: float, at: int, told: Callable[[], tuple[int, str]]) -> None:
        self.highest = max(self.highest, e_value)
        if self.at is None and e_value >= self.needed:
            self.at = at
            self.since, self.message = told()

    def result(self, name: str, n: int, otherwise: str) -> CheckResult:
        message = self.message or otherwise
        return CheckResult(name, self.at is not None, message, n, self.highest, self.needed, self.at, self.since)


@dataclass
class _Share:
    """A share of the scores that compile time bounds."""

    cut: float
    above: bool
    expected: float
    test: RateTest

    def observe(self, score: float) -> None:
        self.test.observe((score >= self.cut) is self.above)

    def told(self, recent: Sequence[float]) -> str:
        side = "at or above" if self.above else "below"
        share = sum((score >= self.cut) is self.above for score in recent) / len(recent)
        return (
            f"{percent(share)} of the last {len(recent)} scores are {side} {self.cut:.3g}; at compile time "
            f"{percent(self.expected)} were, and at most {percent(self.test.rate)} {NOT_RULED_OUT}"
        )


class ScoreChecks:
    """The checks that need no labels.

    Args:
        summary: of compile time; without one only changes in the log are found.
        risk: of a false alarm of each check, for ever.
    """

    def __init__(self, summary: ScoreSummary | None, risk: float) -> None:
        self.n = 0
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._first: list[float] = []
        self._shares = [] if summary is None else _shares(summary, OF_THE_SUMMARY * risk)
        self._compared = summary is not None
        self._scores = _Alarm(1 / ((1 - OF_THE_SUMMARY) * risk))
        self._exchangeable = ExchangeabilityTest()
        self._change = _Alarm(1 / risk)

    def observe(self, score: float, tie: float) -> None:
        """Takes the next score.

        Args:
            score: a probability.
            tie: see ``ExchangeabilityTest``.
        """
        self.n += 1
        self._recent.append(score)
        if len(self._first) < RECENT:
            self._first.append(score)
        for share in self._shares:
            share.observe(score)
        if self._shares:
            tests = [share.test for share in self._shares]
            self._scores.look(mean_e_value(tests), self.n, self._told_scores)
        clipped = min(max(score, EDGE), 1 - EDGE)
        self._exchangeable.observe(math.log(clipped / (1 - clipped)), tie)
        self._change.look(self._exchangeable.e_value, self.n, self._told_change)

    def _told_scores(self) -> tuple[int, str]:
        share = max(self._shares, key=lambda share: share.test.e_value)
        return share.test.onset, share.told(self._since(share.test.onset))

    def _told_change(self) -> tuple[int, str]:
        tests = [*self._exchangeable.high, *self._exchangeable.low]
        test = max(tests, key=lambda test: test.e_value)
        higher = any(test is high for high in self._exchangeable.high)
        begin = test.onset if test.onset > 1 else self.n // 2 + 1  # there is nothing before the first
        recent, first = self._since(begin), self._first[: begin - 1]
        return test.onset, (
            f"the scores are {'higher' if higher else 'lower'} than before: half of the last {len(recent)} are above "
            f"{_median(recent):.3g}, of the first {len(first)} half were above {_median(first):.3g}"
        )

    def _since(self, number: int) -> list[float]:
        """The scores from a number on, the latest of them."""
        return list(self._recent)[-max(1, self.n - number + 1) :]

    def results(self) -> list[CheckResult]:
        compared = "as at compile time" if self._compared else "the program does not say what they were at compile time"
        return [
            self._scores.result("scores", self.n if self._compared else 0, compared if self.n else "none yet"),
            self._change.result("change", self.n, "as they began" if self.n else "none yet"),
        ]


def _shares(summary: ScoreSummary, risk: float) -> list[_Share]:
    """The largest shares above and below each cut that a mixture of the drafts of compile time explains."""
    fine, wrong, part = summary.aligned, summary.misaligned or summary.aligned, summary.misaligned_share
    each = risk / (4 * len(summary.cuts))  # above and below, of either kind
    shares = []
    for index, cut in enumerate(summary.cuts):
        reached = (1 - part) * fine.at_or_above[index] + part * wrong.at_or_above[index]
        above = fine.most_above(index, each), wrong.most_above(index, each)
        below = fine.most_below(index, each), wrong.most_below(index, each)
        for is_above, expected, (of_fine, of_wrong) in ((True, reached, above), (False, 1 - reached, below)):
            bound = max(of_fine, (1 - part) * of_fine + part * of_wrong)
            if 0 < bound < 1:
                shares.append(_Share(cut, is_above, expected, RateTest(bound)))
    return shares


class LabelChecks:
    """The checks that need labels.

    Args:
        summary: of compile time; without one nothing can be said.
        risk: of a false alarm of each check, for ever.
    """

    def __init__(self, summary: ScoreSummary | None, risk: float) -> None:
        self.labelled = 0
        self.open = 0
        self._risk = risk
        self._rates: dict[bool, _Errors] = {}  # of drafts that are misaligned, or not
        if summary is None:
            return
        known = "were certified" if summary.certified else NOT_RULED_OUT
        self._rates[False] = _Errors(
            "false positives", summary.most_false_positives, risk, f"drafts that are fine are flagged; at most {{}} {known}"
        )
        if (most := _most_misses(summary, OF_THE_SUMMARY * risk)) is not None:
            self._rates[True] = _Errors(
                "misses",
                most,
                (1 - OF_THE_SUMMARY) * risk,
                f"drafts that are not fine are passed; at most {{}} {NOT_RULED_OUT}",
            )

    def observe(self, misaligned: bool | None, flagged: bool, weight: float = 1.0) -> None:
        """Takes the next draft that was sampled.

        Args:
            misaligned: its label; None where it has none yet. Then it counts against an alarm, whatever it will be: who
                labels the doubtful ones first must not be led to an alarm by that.
            flagged: by the gate.
            weight: see ``RateTest.observe``.
        """
        self.labelled += misaligned is not None
        self.open += misaligned is None
        for of_misaligned, errors in self._rates.items():
            if misaligned is None or misaligned is of_misaligned:
                wrong = None if misaligned is None else flagged is not misaligned
                errors.observe(wrong, weight, self.labelled)

    def results(self) -> list[CheckResult]:
        unknown = "the program does not say what they were at compile time"
        return [
            self._rates[kind].result() if kind in self._rates else CheckResult(name, False, unknown, 0, 1.0, 1 / self._risk)
            for kind, name in ((False, "false positives"), (True, "misses"))
        ]


class _Errors:
    """Errors among labelled drafts of one kind."""

    def __init__(self, name: str, rate: float, risk: float, words: str) -> None:
        self._name, self._words = name, words
        self._test, self._alarm = RateTest(rate), _Alarm(1 / risk)
        self._n = self._wrong = 0
        self._weights = [0.0, 0.0]

    def observe(self, wrong: bool | None, weight: float, at: int) -> None:
        self._test.observe(bool(wrong), weight)
        if wrong is not None:
            self._n += 1
            self._wrong += wrong
            self._weights[wrong] += weight
        self._alarm.look(self._test.e_value, at, lambda: (self._test.onset, self._figures()))

    def _figures(self) -> str:
        share = percent(self._weights[1] / math.fsum(self._weights))
        return f"{self._wrong} of {self._n} labelled ({share} by weight) {self._words.format(percent(self._test.rate))}"

    def result(self) -> CheckResult:
        return self._alarm.result(self._name, self._n, self._figures() if self._n else "no labels yet")


def _most_misses(summary: ScoreSummary, risk: float) -> float | None:
    """The share of misaligned drafts below the threshold that compile time cannot rule out; None where that is all."""
    if summary.misaligned is None:
        return None
    reached = [index for index, cut in enumerate(summary.cuts) if cut >= summary.threshold - EDGE]
    most = summary.misaligned.most_below(reached[0], risk) if reached else 1.0
    return most if most < 1 else None


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]
