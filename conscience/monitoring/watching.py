"""Verdicts and labels of a program in use, compared with what was measured when it was compiled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from conscience._base.files import digest64
from conscience.cases.case import Case, Label, load_cases
from conscience.errors import ConfigurationError
from conscience.monitoring.checks import CHECKS, CheckResult, LabelChecks, ScoreChecks
from conscience.monitoring.files import Paths, in_utc, read_log
from conscience.monitoring.reference import FittedGate, fitted_gates
from conscience.monitoring.sampling import SOURCE
from conscience.observability.record import VerdictRecord

RISK = 0.05
"""Of a false alarm of any check, however long and often a log is looked at."""


@dataclass(frozen=True)
class WatchReport:
    """What the checks came to.

    Attributes:
        checks: one for each of ``CHECKS``, for each model that the program has a gate for; ``backends`` says which.
        backends: of each check.
        records: that were read.
        scored: of these, drafts that a gate of the program has a score for.
        labelled: drafts with a label.
        risk: of a false alarm.
        notes: what the reader should know.
    """

    checks: tuple[CheckResult, ...]
    backends: tuple[str, ...]
    records: int
    scored: int
    labelled: int
    risk: float
    notes: tuple[str, ...] = ()

    @property
    def told(self) -> tuple[CheckResult, ...]:
        """The checks that tell something; empty where all is as it was."""
        return tuple(check for check in self.checks if check.told)

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        checks = [{"backend": backend, **asdict(check)} for backend, check in zip(self.backends, self.checks, strict=True)]
        return {**asdict(self), "told": [check.name for check in self.told], "checks": checks} | {
            "backends": sorted(set(self.backends))
        }


class Watch:
    """Watches a program: takes its records one by one, and tells when they are no longer what they were.

    The same records in the same order give the same report, so a log may be read again at each look.

    Args:
        program: a ``Conscience``, its file, or its ``Artifact``.
        risk: of a false alarm, of all checks together, however long it is used.
        labelled: cases with labels, in files or lists as they were sampled together, such as ``sample_cases`` gives; each
            names its record by ``id``. A case without a label counts against an alarm until it has one.

    Raises:
        ArtifactError: the file is not a program.
        ConfigurationError: ``risk`` is none.
    """

    def __init__(self, program: Any, *, risk: float = RISK, labelled: Sequence[Sequence[Case]] = ()) -> None:
        if isinstance(risk, bool) or not isinstance(risk, int | float) or not 0 < risk < 1:
            raise ConfigurationError(f"risk={risk!r} does not lie between 0 and 1")
        gates = fitted_gates(program)
        self.risk = risk
        self.records = 0
        self._gates = {backend: _Watched(gate, risk / len(CHECKS) / len(gates)) for backend, gate in gates.items()}
        self._elsewhere: Counter[str] = Counter()
        self._unscored = 0
        self._batches = [list(batch) for batch in labelled]
        self._wanted = {case.id for batch in self._batches for case in batch}
        self._logged: dict[str, tuple[_Watched, bool]] = {}
        self._live: list[tuple[_Watched, bool, bool]] = []

    def add(self, record: VerdictRecord, label: Label | None = None) -> None:
        """Takes the next record.

        Args:
            record: a line of the log.
            label: of its draft, where it is known by now, and which drafts get one does not depend on the draft.
        """
        self.records += 1
        gate = self._gate(record.backend)
        if gate is None:
            self._elsewhere[record.backend] += 1
            return
        score = gate.fitted.score(record)
        if score is None:
            self._unscored += 1
            return
        gate.scores.observe(score, digest64(f"{self.records} {record.id}") / 2**64)
        flagged = gate.fitted.flags(record, score)
        if record.id in self._wanted:
            self._logged[record.id] = gate, flagged
        if label is not None:
            self._live.append((gate, label == "misaligned", flagged))

    def report(self) -> WatchReport:
        """What the records and labels so far come to."""
        labels, unknown = self._labels()
        results = [
            (backend, check)
            for backend, gate in self._gates.items()
            for check in (*gate.scores.results(), *labels[backend].results())
        ]
        return WatchReport(
            checks=tuple(check for _, check in results),
            backends=tuple(backend for backend, _ in results),
            records=self.records,
            scored=sum(gate.scores.n for gate in self._gates.values()),
            labelled=sum(checks.labelled for checks in labels.values()),
            risk=self.risk,
            notes=tuple(self._notes(sum(checks.open for checks in labels.values()), unknown)),
        )

    def _gate(self, backend: str) -> _Watched | None:
        if not backend and len(self._gates) == 1:
            return next(iter(self._gates.values()))
        return self._gates.get(backend) or self._gates.get("")  # a gate that nobody fitted is for any model

    def _labels(self) -> tuple[Mapping[str, LabelChecks], int]:
        """The label checks by model, and how many cases belong to no record and say no score themselves."""
        checks = {name: LabelChecks(gate.fitted.scores, gate.risk) for name, gate in self._gates.items()}
        names = {id(gate): name for name, gate in self._gates.items()}
        unknown = 0
        for gate, misaligned, flagged in self._live:
            checks[names[id(gate)]].observe(misaligned, flagged)
        for batch in self._batches:
            heaviest = max((case.weight for case in batch), default=1.0)
            for case in batch:
                sampled = self._logged.get(case.id) or self._as_sampled(case)
                if sampled is None:
                    unknown += 1
                    continue
                gate, flagged = sampled
                checks[names[id(gate)]].observe(case.misaligned, flagged, case.weight / heaviest)
        return checks, unknown

    def _as_sampled(self, case: Case) -> tuple[_Watched, bool] | None:
        """What a case says of its record, where the log does not reach back to it."""
        flagged, threshold, backend = (case.meta.get(name) for name in ("gated", "threshold", "backend"))
        gate = self._gate(backend if isinstance(backend, str) else "")
        if gate is None or not isinstance(flagged, bool) or not isinstance(threshold, float):
            return None
        return (gate, flagged) if gate.fitted.has_threshold(threshold) else None

    def _notes(self, open_cases: int, unknown: int) -> Iterable[str]:
        for backend, count in self._elsewhere.items():
            model = backend or "no model"
            yield f"{count} records are of {model}, which the program has no gate for: conscience recalibrate"
        if self._unscored:
            yield f"{self._unscored} records have no score: failed, unreviewed, or decided without the gate"
        if open_cases:
            yield f"{open_cases} sampled cases have no label yet and count against an alarm: conscience label"
        if unknown:
            yield f"{unknown} labelled cases belong to no record of the log"
        for backend, gate in self._gates.items():
            if gate.fitted.scores is None:
                whose = f"the gate for {backend}" if backend else "the gate"
                yield f"{whose} keeps no summary of its scores: compile or recalibrate it, and more can be checked"


@dataclass
class _Watched:
    """One gate under watch."""

    fitted: FittedGate
    risk: float

    def __post_init__(self) -> None:
        self.scores = ScoreChecks(self.fitted.scores, self.risk)


def load_labelled(
    files: Sequence[str | Path], *, since: datetime | None = None, program: str | None = None, tenant: str | None = None
) -> list[list[Case]]:
    """Cases with labels, of each file, for ``Watch``.

    Args:
        since, program, tenant: of the records that are meant; cases that say that theirs are others are left out.

    Raises:
        CaseError: a file cannot be read.
    """

    begin = None if since is None else in_utc(since)

    def is_meant(case: Case) -> bool:
        if case.source != SOURCE:
            return True
        late = begin is None or _began(case, begin) >= begin
        wanted = (("program", program), ("tenant", tenant))
        return late and all(name is None or case.meta.get(key, "") == name for key, name in wanted)

    return [list(filter(is_meant, load_cases(file))) for file in files]


def _began(case: Case, otherwise: datetime) -> datetime:
    """When the call of a case began."""
    try:
        return in_utc(datetime.fromisoformat(str(case.meta.get("at"))))
    except ValueError:
        return otherwise


def watch(
    log: Paths,
    program: Any,
    *,
    labels: Sequence[str | Path] = (),
    risk: float = RISK,
    since: datetime | None = None,
) -> WatchReport:
    """Compares a log with its program.

    Args:
        log: the file, with what was rotated away from it.
        program: a ``Conscience``, its file, or its ``Artifact``.
        labels: files of cases as ``sample_cases`` and ``conscience log to-cases`` give them, labelled.
        risk: of a false alarm of any check, however often one looks.
        since: the time from which on records count.

    Raises:
        InputError: there is no such log.
        ArtifactError, CaseError: the program or the labels cannot be read.
    """
    watching = Watch(program, risk=risk, labelled=load_labelled(labels, since=since))
    for record in read_log(log, since=since):
        watching.add(record)
    return watching.report()
