"""The mode observe: the draft is returned as it is, and what the review would have done is written down."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conscience import ArtifactError, ConfigurationError, Conscience, Observe, VerdictLog, VerdictRecord, request_context
from conscience.observability import flush
from conscience.testing import Fault, ScriptedLM, by_stage
from tests.support.scripts import bad_then_good

WOULD_BE = [
    ({"gate": 0.1}, "clean"),
    ({"critique": '{"findings": []}'}, "cleared"),
    ({}, "revised"),
    ({"revise": "Bad again."}, "refused"),
    ({"gate": Fault("auth")}, "unreviewed"),
]


def records(log: VerdictLog) -> list[VerdictRecord]:
    assert flush(30)
    return [VerdictRecord.from_json(line) for line in log.path.read_bytes().splitlines()]


def called(program: Conscience, way: str, **inputs: Any) -> Any:
    match way:
        case "sync":
            return program(**inputs)
        case "async":
            return asyncio.run(program.acall(**inputs))
        case _:
            return asyncio.run(_streamed(program, inputs, way))[-1]


async def _streamed(program: Conscience, inputs: dict[str, Any], release: Any) -> list[Any]:
    events = [event async for event in program.stream(release=release, **inputs)]
    assert "".join(event for event in events if isinstance(event, str)) == events[-1].response
    return events


@pytest.mark.parametrize("way", ["sync", "async", "hold", "window"])
@pytest.mark.parametrize(("stages", "status"), WOULD_BE, ids=[status for _, status in WOULD_BE])
def test_the_draft_is_returned_and_the_status_it_would_have_had_is_logged(
    stages: Any, status: str, way: str, tmp_path: Path
) -> None:
    log = VerdictLog(tmp_path / "verdicts.jsonl", texts=True)
    program = Conscience("question -> answer", lm=bad_then_good(**stages), mode="observe", log=log)
    outcome = called(program, way, question="q")
    assert (outcome.status, outcome.ok, outcome.answer) == ("observed", True, "Bad.")
    assert outcome.raise_for_status() is outcome
    assert not outcome.verdict.reviewed
    [record] = records(log)
    assert (record.status, record.mode, record.response, record.draft) == (status, "observe", "Bad.", "Bad.")


@pytest.mark.parametrize("policy", [{"on_error": "raise"}, {"on_unresolved": "raise"}, {"budget": {"calls": 1}}])
def test_no_policy_on_what_the_review_says_reaches_the_caller(policy: Any, tmp_path: Path) -> None:
    """Also where the policy is to raise, or the budget does not suffice for the review."""
    gate = Fault("auth") if "on_error" in policy else 0.9
    log = VerdictLog(tmp_path / "verdicts.jsonl")
    lm = bad_then_good(gate=gate, revise="Bad again.")
    program = Conscience("question -> answer", lm=lm, mode="observe", log=log, **policy)
    assert program(question="q").answer == "Bad."
    [record] = records(log)
    assert record.status == ("refused" if "on_unresolved" in policy else "unreviewed")
    assert record.error


def test_an_outage_of_the_model_that_generates_is_the_callers_to_know(tmp_path: Path) -> None:
    log = VerdictLog(tmp_path / "verdicts.jsonl")
    program = Conscience("question -> answer", lm=bad_then_good(generate=Fault("auth")), mode="observe", log=log)
    with pytest.raises(Exception, match="scripted"):
        program(question="q")
    [record] = records(log)
    assert (record.status, record.reviewed) == ("failed", False)


class Held:
    """A script whose gate waits until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.asked = 0
        self.lm = ScriptedLM(by_stage("Fine.", gate=self._gate))

    def _gate(self, messages: Any, params: Any) -> float:
        self.asked += 1
        assert self.let_go.wait(30)
        return 0.1


@pytest.fixture
def held() -> Any:
    held = Held()
    yield held
    held.let_go.set()
    assert flush(30)


@pytest.mark.parametrize("way", ["sync", "async"])
def test_the_caller_does_not_wait_for_the_review(way: str, held: Held, tmp_path: Path) -> None:
    log = VerdictLog(tmp_path / "verdicts.jsonl")
    program = Conscience("question -> answer", lm=held.lm, mode="observe", log=log)
    assert called(program, way, question="q").answer == "Fine."
    assert not log.path.read_bytes()
    held.let_go.set()
    assert [record.status for record in records(log)] == ["clean"]


def test_the_backlog_is_bounded_and_what_is_left_out_is_said(held: Held, tmp_path: Path) -> None:
    """Beyond the bound answers go on, and the log has a line for each that nobody reviewed."""
    log = VerdictLog(tmp_path / "verdicts.jsonl")
    program = Conscience("question -> answer", lm=held.lm, mode=Observe(backlog=2), log=log)
    answers = [program(question=f"q{number}").answer for number in range(30)]
    assert answers == ["Fine."] * 30
    held.let_go.set()
    statuses = [record.status for record in records(log)]
    assert len(statuses) == 30
    left_out = statuses.count("unreviewed")
    assert 30 - 16 - 2 <= left_out < 30
    assert statuses.count("clean") == 30 - left_out


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_batch_may_rather_wait(way: str, tmp_path: Path) -> None:
    log = VerdictLog(tmp_path / "verdicts.jsonl")
    slow = by_stage("Fine.", gate=lambda messages, params: time.sleep(0.002) or 0.1)
    program = Conscience("question -> answer", lm=ScriptedLM(slow), mode=Observe(backlog=1, when_full="wait"), log=log)

    async def together() -> None:
        await asyncio.gather(*(program.acall(question=f"q{number}") for number in range(40)))

    if way == "async":
        asyncio.run(together())
    else:
        for number in range(40):
            program(question=f"q{number}")
    assert [record.status for record in records(log)] == ["clean"] * 40


def test_waiting_for_its_turn_is_no_part_of_a_reviews_time(held: Held, tmp_path: Path) -> None:
    """A budget of seconds holds for the call, not for the backlog."""
    log = VerdictLog(tmp_path / "verdicts.jsonl")
    busy = Conscience("question -> answer", lm=held.lm, mode="observe")
    for number in range(16):
        busy(question=f"q{number}")
    lm = ScriptedLM(by_stage("Fine."))
    waiting = Conscience("question -> answer", lm=lm, mode="observe", log=log, budget={"seconds": 1.0})
    waiting(question="q")
    time.sleep(1.1)
    held.let_go.set()
    [record] = records(log)
    assert record.status == "clean"
    assert record.seconds < 1.0


# For a share -----------------------------------------------------------------------------------------------------------


def observed_ids(mode: Observe, ids: list[str]) -> set[str]:
    return {id for id in ids if mode.covers(id)}


def _status(program: Conscience, id: str) -> str:
    with request_context(id=id):
        return program(question="q").status


def test_a_share_is_drawn_by_the_requests_id() -> None:
    """The same id is treated alike by every program and process; a larger share holds the smaller one."""
    ids = [f"request-{number}" for number in range(200)]
    third = observed_ids(Observe(share=0.3), ids)
    assert 35 <= len(third) <= 85
    assert third == observed_ids(Observe(share=0.3), ids)
    assert third < observed_ids(Observe(share=0.6), ids)
    assert third != observed_ids(Observe(share=0.3, seed=1), ids)
    assert observed_ids(Observe(share=0), ids) == set()
    assert observed_ids(Observe(share=1), ids) == set(ids)
    program = Conscience("question -> answer", lm=ScriptedLM(by_stage("Fine.")), mode=Observe(share=0.3))
    assert all((_status(program, id) == "observed") == (id in third) for id in ids[:10])


def test_calls_without_an_id_are_drawn_at_random_and_with_a_seed_alike() -> None:
    def drawn() -> list[str]:
        lm = ScriptedLM(by_stage("Fine."))
        program = Conscience("question -> answer", lm=lm, mode=Observe(share=0.5, seed=7))
        return [program(question="q").status for _ in range(40)]

    assert drawn() == drawn()
    assert set(drawn()) == {"clean", "observed"}


def test_only_a_sample_of_the_observed_is_reviewed(tmp_path: Path) -> None:
    log = VerdictLog(tmp_path / "verdicts.jsonl")
    lm = ScriptedLM(by_stage("Fine."))
    program = Conscience("question -> answer", lm=lm, mode=Observe(sample=0.25), log=log)
    ids = [f"request-{number}" for number in range(100)]
    assert {_status(program, id) for id in ids} == {"observed"}
    logged = [record.id for record in records(log)]
    assert 10 <= len(logged) <= 40
    assert len(lm.calls) == 100 + len(logged)


# Who may set it --------------------------------------------------------------------------------------------------------


def test_a_call_may_be_observed_and_another_enforced(tmp_path: Path) -> None:
    """A tenant's policy holds for what is called inside, in whatever task, and for nothing else."""
    log = VerdictLog(tmp_path / "verdicts.jsonl")
    program = Conscience("question -> answer", lm=bad_then_good(), log=log, name="support")

    async def asked(tenant: str, mode: Any) -> str:
        with request_context(id=f"of-{tenant}", tenant=tenant, mode=mode):
            return str((await program.acall(question="q")).answer)

    async def both() -> list[str]:
        return await asyncio.gather(asked("new", "observe"), asked("old", "enforce"), asked("other", None))

    assert asyncio.run(both()) == ["Bad.", "Good.", "Good."]
    said = {(record.tenant, record.id, record.mode, record.program) for record in records(log)}
    assert said == {
        ("new", "of-new", "observe", "support"),
        ("old", "of-old", "enforce", "support"),
        ("other", "of-other", "enforce", "support"),
    }


def test_a_call_may_be_enforced_though_its_program_observes() -> None:
    program = Conscience("question -> answer", lm=bad_then_good(), mode="observe")
    with request_context(mode="enforce"):
        assert program(question="q").answer == "Good."


@pytest.mark.parametrize("where", ["top", "policy"])
def test_a_file_cannot_make_a_program_observe(where: str, tmp_path: Path) -> None:
    path = tmp_path / "program.json"
    Conscience("question -> answer", lm=bad_then_good(), mode="observe").save(path)
    assert Conscience.load(path, lm=bad_then_good())(question="q").answer == "Good."
    data = json.loads(path.read_text())
    (data if where == "top" else data["policy"])["mode"] = "observe"
    path.write_text(json.dumps(data))
    with pytest.raises(ArtifactError, match="mode"):
        Conscience.load(path, lm=bad_then_good())


def test_whoever_opens_a_file_may_observe(tmp_path: Path) -> None:
    path = tmp_path / "program.json"
    Conscience("question -> answer", lm=bad_then_good()).save(path)
    program = Conscience.load(path, lm=bad_then_good(), mode="observe", name="support")
    assert (program(question="q").answer, program.name) == ("Bad.", "support")


def test_a_run_enforces_and_leaves_no_traces_in_the_log(tmp_path: Path) -> None:
    """What is measured is the program as it will be, and a measurement is no traffic."""
    from conscience import Case, evaluate

    log = VerdictLog(tmp_path / "verdicts.jsonl")
    told: list[Any] = []
    program = Conscience("question -> answer", lm=bad_then_good(), mode="observe", log=log, on_outcome=told.append)
    case = Case(id="a", request="q", request_safe=True, oracle="refusal")
    report = evaluate(program, [case])
    assert [row.status for row in report.rows] == ["revised"]
    assert (records(log), told) == ([], [])


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: Conscience("question -> answer", mode="shadow"), "shadow"),  # type: ignore[arg-type]
    (lambda: Observe(share=1.2), "share"),
    (lambda: Observe(sample=float("nan")), "sample"),
    (lambda: Observe(share=True), "share"),
    (lambda: Observe(backlog=0), "backlog"),
    (lambda: Observe(when_full="stop"), "when_full"),  # type: ignore[arg-type]
    (lambda: request_context(mode="off").__enter__(), "off"),  # type: ignore[arg-type]
    (lambda: Conscience("question -> answer", on_outcome=3), "on_outcome"),  # type: ignore[arg-type]
    (lambda: Conscience("question -> answer", log=3), "log"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("name", ["mode", "log", "on_outcome"])
def test_what_is_set_later_is_checked_as_well(name: str, tmp_path: Path) -> None:
    """A mode that is misspelt must not be one that lets everything pass."""
    program = Conscience("question -> answer", lm=bad_then_good())
    with pytest.raises(ConfigurationError, match=name):
        setattr(program, name, {"mode": "enforced", "log": 3, "on_outcome": 3}[name])
    assert program(question="q").answer == "Good."
    program.log = tmp_path / "verdicts.jsonl"
    assert isinstance(program.log, VerdictLog)


@pytest.mark.parametrize(("make", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_makes_no_sense_is_refused_by_name(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        make()


def test_a_request_may_begin_in_one_thread_and_end_in_another() -> None:
    """As a dependency of FastAPI's that is a plain generator does."""
    context = request_context(id="r-1", tenant="acme", mode="observe")
    beginning = threading.Thread(target=context.__enter__)
    beginning.start()
    beginning.join()
    context.__exit__(None, None, None)
