"""A program under watch: what has changed is told soon, and what has not is not told, however often one looks."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from conscience import Case, Conscience
from conscience.artifacts.schema import Artifact
from conscience.cases.case import Label
from conscience.errors import ArtifactError, ConfigurationError
from conscience.gate.settings import one_question
from conscience.monitoring import Watch, WatchReport, sample_cases, watch
from conscience.monitoring.reference import FittedGate
from conscience.monitoring.sampling import case_rows
from conscience.monitoring.watching import load_labelled
from conscience.observability.record import VerdictRecord
from tests.unit.monitoring.traffic import BACKEND, compiled, probability, record, traffic

Labelled = Sequence[tuple[VerdictRecord, Label]]


def watched(program: Artifact, logged: Labelled, *, labels: bool = True) -> WatchReport:
    watching = Watch(program)
    for one, label in logged:
        watching.add(one, label if labels else None)
    return watching.report()


def threshold(program: Artifact) -> float:
    return program.calibrations[0].threshold


def told(report: WatchReport) -> dict[str, int]:
    """Check → the call or label at which it told."""
    return {check.name: check.told_at or 0 for check in report.told}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shift", [2.5, -2.5])
def test_a_drift_planted_at_request_600_is_told_within_100_labelled_requests(seed: int, shift: float) -> None:
    """In either direction, and not before; since when is told too."""
    rng = random.Random(seed)
    program = compiled(rng)
    report = watched(program, traffic(rng, threshold(program), count=700, drift_at=600, shift=shift))
    first = min(report.told, key=lambda check: check.told_at or 0)
    assert 600 < (first.told_at or 0) <= 700
    assert abs((first.since or 0) - 600) <= 60
    if shift > 0:
        assert 600 < told(report)["false positives"] <= 700
        assert "were certified" in next(check.message for check in report.told if check.name == "false positives")


def false_alarms(seeds: range, *, aligned: int = 150, misaligned: int = 50, wrong: float = 0.05) -> int:
    alarms = 0
    for seed in seeds:
        rng = random.Random(seed)
        program = compiled(rng, aligned, misaligned)
        alarms += bool(watched(program, traffic(rng, threshold(program), count=600, wrong=wrong)).told)
    return alarms


@pytest.mark.parametrize("wrong", [0.0, 0.25])
def test_without_drift_there_is_no_alarm(wrong: float) -> None:
    """Whatever part of the requests is objectionable, up to the part that it was at compile time."""
    assert false_alarms(range(8), wrong=wrong) == 0


@pytest.mark.long
def test_at_most_one_run_in_twenty_without_drift_ends_in_a_false_alarm() -> None:
    """200 runs of 600 labelled requests, looked at after each."""
    assert false_alarms(range(200)) <= 10


def test_more_objectionable_requests_than_at_compile_time_are_told() -> None:
    """As the scores show it, without labels."""
    rng = random.Random(0)
    program = compiled(rng)
    logged = traffic(rng, threshold(program), count=300, drift_at=300, wrong=0.7)
    report = watched(program, logged, labels=False)
    assert set(told(report)) == {"scores"}
    assert "at compile time" in report.told[0].message


def test_a_gate_that_passes_what_it_caught_is_told_by_labels() -> None:
    """As misses."""
    rng = random.Random(0)
    program = compiled(rng, misaligned=100)
    watching = Watch(program)
    for number in range(120):
        watching.add(record(number, probability(rng.gauss(-3, 1)), threshold(program)), "misaligned")
    assert "misses" in told(watching.report())


@pytest.mark.parametrize("look", [1, 7, 100])
def test_a_look_changes_nothing(look: int) -> None:
    """The same records give the same report, however often it was asked for in between."""
    rng = random.Random(3)
    program = compiled(rng)
    logged = traffic(rng, threshold(program), count=300, drift_at=200, shift=2.0)
    looking, plain = Watch(program), Watch(program)
    for number, (one, label) in enumerate(logged):
        looking.add(one, label)
        plain.add(one, label)
        if number % look == 0:
            looking.report()
    assert looking.report() == plain.report()


# Labels that come later -------------------------------------------------------------------------------------------------


def sampled(program: Artifact, shift: float, count: int = 60) -> tuple[list[VerdictRecord], list[Case]]:
    rng = random.Random(1)
    logged = traffic(rng, threshold(program), count=400, drift_at=0, shift=shift)
    labels = {one.id: label for one, label in logged}
    records = [one for one, _ in logged]
    cases = [case.model_copy(update={"label": labels[case.id]}) for case in sample_cases(records, count).cases]
    return records, cases


def of_labels(program: Artifact, records: Sequence[VerdictRecord], *batches: Sequence[Case]) -> WatchReport:
    watching = Watch(program, labelled=batches)
    for one in records:
        watching.add(one)
    return watching.report()


def test_labels_of_a_weighted_sample_tell_false_positives() -> None:
    """And tell none where the doubtful drafts, which are half of the sample, are flagged as they always were."""
    program = compiled(random.Random(1))
    assert "false positives" in told(of_labels(program, *sampled(program, 3.0)))
    assert "false positives" not in told(of_labels(program, *sampled(program, 0.0)))


def test_a_case_without_a_label_counts_against_an_alarm() -> None:
    """Who labels the flagged ones first sees no alarm of that; the labels to come can only raise the evidence."""
    program = compiled(random.Random(1))
    records, cases = sampled(program, 0.0, 100)
    first = [case if case.meta["gated"] else case.model_copy(update={"label": None}) for case in cases]

    def evidence(report: WatchReport) -> float:
        return next(check.e_value for check in report.checks if check.name == "false positives")

    partly, whole = of_labels(program, records, first), of_labels(program, records, cases)
    assert evidence(partly) <= evidence(whole)
    assert any("no label yet" in note for note in partly.notes)
    assert partly.labelled < whole.labelled == 100


def test_labels_outlive_the_log() -> None:
    """A sampled case knows what the gate made of it; a case that knows nothing is counted."""
    program = compiled(random.Random(1))
    records, cases = sampled(program, 3.0)
    report = of_labels(program, records[:1], cases, [Case(id="x", request="?", response="!", label="aligned")])
    assert "false positives" in told(report)
    assert any(note.startswith("1 labelled cases belong to no record") for note in report.notes)


def test_labels_of_other_calls_and_of_another_gate_say_nothing(tmp_path: Path) -> None:
    """Before the time, for another tenant, of another program, or flagged by another threshold."""
    program = compiled(random.Random(1))
    records, cases = sampled(program, 3.0)
    old = [case.model_copy(update={"meta": {**case.meta, "threshold": 0.123}}) for case in cases]
    assert of_labels(program, records[:1], old).labelled <= 1
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in case_rows(cases)))
    assert load_labelled([path]) == [cases]
    for meant in ({"tenant": "acme"}, {"program": "support"}, {"since": datetime(2027, 1, 1, tzinfo=UTC)}):
        assert load_labelled([path], **meant) == [[]]


# What is compared with what ----------------------------------------------------------------------------------------------


def test_a_refitted_gate_reads_the_signals_of_its_old_log() -> None:
    """The scores are those that it would give, not those of the gate that wrote them."""
    rng = random.Random(0)
    program = compiled(rng)
    logged = traffic(rng, threshold(program), count=200, drift_at=200)
    moved = [
        (
            replace(
                one,
                probability=0.9,
                threshold=0.77,
                gated=True,
                signals={"introspection": log_odds(one.probability or 0.5)},
            ),
            label,
        )
        for one, label in logged
    ]
    assert watched(program, moved).told == ()
    assert told(watched(program, [(replace(one, signals={}), label) for one, label in moved]))


def log_odds(p: float) -> float:
    return math.log(p / (1 - p))


def test_records_that_say_nothing_about_the_gate_are_counted() -> None:
    """Of another model, unreviewed, or with a score that is none."""
    program = compiled(random.Random(0))
    watching = Watch(program)
    odd = [record(2, None), replace(record(3, 0.1), probability=7.0), replace(record(4, 1.0), method="checks")]
    for one in (replace(record(1, 0.1), backend="other/model"), *odd):
        watching.add(one)
    report = watching.report()
    assert (report.records, report.scored) == (4, 0)
    assert any("1 records are of other/model" in note for note in report.notes)
    assert any("3 records have no score" in note for note in report.notes)


def test_a_program_without_a_summary_is_watched_for_changes() -> None:
    """And says what is missing. An uncompiled gate is for any model."""
    program = Conscience(review=one_question("Is that wrong?"))
    report = watched(program, traffic(random.Random(0), 0.5, count=300, drift_at=200, shift=4.0))  # type: ignore[arg-type]
    assert set(told(report)) == {"change"}
    assert any("no summary" in note for note in report.notes)


def test_the_report_is_json(tmp_path: Path) -> None:
    """Of a log and a program in files."""
    rng = random.Random(0)
    program = compiled(rng)
    program.write(tmp_path / "program.json")
    log = tmp_path / "verdicts.jsonl"
    logged = traffic(rng, threshold(program), count=300, drift_at=150, shift=3.0)
    log.write_text("".join(json.dumps(one.to_json()) + "\n" for one, _ in logged))
    data = json.loads(json.dumps(watch(log, tmp_path / "program.json").to_json()))
    assert data["told"]
    assert data["backends"] == [BACKEND]
    assert {check["name"] for check in data["checks"]} == {"scores", "change", "false positives", "misses"}
    with pytest.raises(ArtifactError):
        watch(log, log)
    with pytest.raises(ConfigurationError, match="risk=0"):
        watch(log, tmp_path / "program.json", risk=0)


@pytest.mark.parametrize("method", ["checks", "linter", "critique"])
def test_what_no_gate_scored_is_no_score(method: str) -> None:
    """A check's certainty is no drift of the gate's."""
    seen = VerdictRecord(
        at="2026-11-26T09:00:00.000+00:00",
        id="1",
        status="refused",
        flagged=True,
        probability=1.0,
        gated=True,
        method=method,
    )
    assert FittedGate(one_question("Is it harmful?")).score(seen) is None
