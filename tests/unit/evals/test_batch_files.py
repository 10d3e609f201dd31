"""Runs that are answered by a provider's batch files: the rows of a live run, each request paid for once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from conscience import Backend, BackendError, Budget, Case, Conscience
from conscience.backends.batches import inputs
from conscience.backends.batches.jobs import Job
from conscience.backends.batches.patience import Pace
from conscience.distributed.batch_files import BatchExecutor
from conscience.errors import ConfigurationError, InputError
from conscience.evals.batch import BatchProgress
from conscience.evals.executor import LOCAL
from conscience.evals.folder import read_records
from conscience.evals.runner import EvalConfig, run
from conscience.optimizers.self_correction import SelfCorrection
from conscience.usage import UsageTracker
from tests.support.batch_provider import BatchProvider, Fate
from tests.support.loopback import Body, Raw, chat, error, is_critique, is_gate, is_revision, well_behaved

KEY = "sk-test-secret-0123"
FAST = Pace(first=0.001, most=0.002, patience=0.2, looks=(0.0, 0.001))
CASES = [Case(id=f"c{n}", request=f"{'UNSAFE ' if n % 3 == 0 else ''}question {n}", request_safe=True) for n in range(6)]
CALLS = 6 + 6 + 2 * 3
"""Of an undisturbed run: six drafts and gates; two critiques, revisions and gates of these."""


class Told(list[str]):
    """What an executor told."""


@pytest.fixture
def provider() -> Iterator[BatchProvider]:
    with BatchProvider() as running:
        yield running


def program(provider: BatchProvider, model: str = "openai/fake", **options: Any) -> Conscience:
    return Conscience(lm=Backend(model, api_base=provider.url, api_key=KEY, cache=False), **options)


def go(
    folder: Path,
    lm: Conscience,
    *,
    batch: bool = True,
    told: Told | None = None,
    cases: list[Case] = CASES,
    max_dollars: float | None = None,
) -> BatchProgress:
    tell = (told if told is not None else Told()).append
    executor = BatchExecutor(LOCAL, tell=tell, show=tell, pace=FAST) if batch else LOCAL
    return asyncio.run(run(lm, cases, folder, EvalConfig(executor=executor, max_dollars=max_dollars)))


def rows(folder: Path) -> dict[str, Any]:
    """The records without what they cost."""
    found = {}
    for record in read_records(folder):
        row = record.to_json()
        row.pop("usage", None)
        found[row["id"]] = row
    return found


def test_a_run_by_batch_leaves_the_rows_of_a_live_one(provider: BatchProvider, tmp_path: Path) -> None:
    """Every question goes out in a file, files hold one model and unique names, and no call is live."""
    progress = go(tmp_path / "batch", program(provider))
    assert (progress.done, progress.calls, progress.failed) == (6, CALLS, 0)
    assert (len(provider.answered), len(provider.live)) == (CALLS, 0)
    assert [len(lines) for lines in provider.inputs()] == [6, 6, 2, 2, 2]
    assert all(batch.ended == "completed" for batch in provider.batches.values())
    go(tmp_path / "live", program(provider), batch=False)
    assert rows(tmp_path / "batch") == rows(tmp_path / "live")


HABITS = {
    "odd words on the way": Fate(looks=4, words=("QUEUED", "running", "in_progress")),
    "the output's name comes late": Fate(late=2),
    "the output's name comes late, and no count": Fate(late=2, untold=True),
    "numbers and statuses as careless servers write them": Fate(careless=True),
    "expired with half of it answered": Fate(ends="expired", answered=3),
    "expired with nothing answered": Fate(ends="expired", answered=0),
    "one refusal for too much enqueued": Fate(refused="token_limit_exceeded"),
}


@pytest.mark.parametrize("habit", HABITS)
def test_habits_of_a_provider(habit: str, provider: BatchProvider, tmp_path: Path) -> None:
    """Whatever becomes of the first batches, the rows are the same, and what was answered is not asked again."""
    provider.fates = [HABITS[habit], Fate()]
    assert go(tmp_path, program(provider)).failed == 0
    assert len(provider.answered) == CALLS
    assert {row["status"] for row in rows(tmp_path).values()} == {"clean", "revised"}


def test_equal_questions_of_one_case_are_one(provider: BatchProvider, tmp_path: Path) -> None:
    """Windows of a long answer that are alike: as in a live run, each is paid for once."""

    def long(body: Body, number: int) -> Body | Raw:
        first = not (is_gate(body) or is_revision(body) or is_critique(body))
        return chat("All is fine. " + "word " * 9000) if first else well_behaved(body, number)

    provider.behaviour = long
    assert go(tmp_path / "batch", program(provider), cases=CASES[1:2]).failed == 0
    asked = Counter(json.dumps(body) for body in provider.answered)
    assert len(asked) > 2
    assert max(asked.values()) == 1


@settings(
    max_examples=3, phases=[Phase.explicit, Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    fates=st.lists(
        st.builds(
            Fate,
            looks=st.integers(0, 2),
            ends=st.sampled_from(["completed", "expired"]),
            answered=st.none() | st.integers(0, 4),
            late=st.integers(0, 1),
        ),
        max_size=2,  # a request that expires three times fails its case
    ),
    creating=st.lists(st.sampled_from([429, 500, "lost", 200]), max_size=3),
)
def test_nothing_is_paid_for_twice(
    fates: list[Fate], creating: list[int | str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Batches that expire, creations that are refused or whose answer is lost: each request is answered once."""
    with BatchProvider(fates=[*fates, Fate()]) as provider:
        provider.creating = [*creating]
        progress = go(tmp_path_factory.mktemp("run"), program(provider))
        answered = Counter(json.dumps(body) for body in provider.answered)
        assert progress.failed == 0
        assert max(answered.values()) == 1
        assert sum(answered.values()) == CALLS


def test_failed_lines_are_asked_again(provider: BatchProvider, tmp_path: Path) -> None:
    """A line that failed for a passing reason goes into the next batch; one that never succeeds fails its case alone."""
    asked: Counter[str] = Counter()

    def flaky(body: Body, number: int) -> Any:
        text = json.dumps(body["messages"])
        asked[text] += 1
        if "question 1" in text or ("question 2" in text and asked[text] < 3):
            return error(500 if asked[text] % 2 else 429, "busy")
        return well_behaved(body, number)

    provider.behaviour = flaky
    progress = go(tmp_path, program(provider))
    assert (progress.done, progress.failed) == (6, 1)
    provider.behaviour = well_behaved
    assert go(tmp_path, program(provider)).failed == 0, "the next run tries the failed case again"
    assert len(rows(tmp_path)) == 6


def test_an_empty_output_ends_in_failed_cases(provider: BatchProvider, tmp_path: Path) -> None:
    """A provider that answers nothing three times is asked no fourth time."""
    provider.fates = [Fate(silent=True)]
    progress = go(tmp_path, program(provider), cases=CASES[:2])
    assert (progress.done, progress.failed, len(provider.batches)) == (2, 2, 3)


def test_a_refused_parameter_costs_one_round(provider: BatchProvider, tmp_path: Path) -> None:
    """The refusal in an error file is learned from like one on the wire."""

    def strict(body: Body, number: int) -> Any:
        if "temperature" in body:
            return error(400, "Unsupported parameter: 'temperature' is not supported with this model.")
        return well_behaved(body, number)

    provider.behaviour = strict
    assert go(tmp_path, program(provider, "openai/fake-strict"), cases=CASES[1:3]).failed == 0


def test_samples_of_one_request_are_requests_of_their_own(provider: BatchProvider, tmp_path: Path) -> None:
    """Revisions that are drawn several times are drawn several times by batch as well."""
    provider.behaviour = lambda body, n: chat(f"BADWORD {n}") if is_revision(body) else well_behaved(body, n)
    lm = program(provider, samples=3)
    go(tmp_path, lm, cases=CASES[:1])
    drawn = [body for body in provider.answered if is_revision(body)]
    assert len(drawn) == 3
    assert drawn[1] == drawn[2]


# Crashes ---------------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("at", [3, 4, 5, *(pytest.param(at, marks=pytest.mark.long) for at in (1, 2, *range(6, 16)))])
def test_killed_anywhere_the_same_command_goes_on(
    at: int, provider: BatchProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after each write of a batch's state, which surround every call to the provider."""
    writes = 0
    save = Job.save

    def counted(job: Job) -> None:
        nonlocal writes
        writes += 1
        if writes == at and at % 2:
            raise Killed
        save(job)
        if writes == at:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Job, "save", counted)
        with pytest.raises(Killed):
            go(tmp_path, program(provider))
    assert go(tmp_path, program(provider)).failed == 0
    assert len(provider.answered) == CALLS
    assert max(Counter(json.dumps(body) for body in provider.answered).values()) == 1
    assert len(rows(tmp_path)) == 6


def test_begun_live_and_finished_by_batch_and_back(provider: BatchProvider, tmp_path: Path) -> None:
    """The journal serves both: each part pays for what is left."""
    provider.behaviour = lambda body, n: error(400, "no") if is_gate(body) else well_behaved(body, n)
    go(tmp_path, program(provider, on_error="closed"), batch=False, cases=CASES[:3])
    assert len(provider.live) > 3
    drafts = [body for body in provider.live if not is_gate(body)]
    provider.behaviour = well_behaved
    lm = program(provider, on_error="closed")
    go(tmp_path, lm)
    again = [body for body in provider.answered if not is_gate(body) and body in drafts]
    assert again == []


def test_replies_that_were_fetched_serve_a_live_run(provider: BatchProvider, tmp_path: Path) -> None:
    """A run that ends between a batch's replies and their use goes on live without asking for them."""
    provider.fates = [Fate(), Fate(refused="billing_hard_limit_reached"), Fate()]
    with pytest.raises(BackendError, match="billing_hard_limit_reached"):
        go(tmp_path, program(provider))
    (tmp_path / "calls.jsonl").unlink()  # the drafts stand in the batches' replies alone
    go(tmp_path, program(provider), batch=False)
    assert (len(provider.answered), len(provider.live)) == (6, CALLS - 6)


def test_a_live_run_does_not_ask_what_is_under_way(provider: BatchProvider, tmp_path: Path) -> None:
    """It says how to go on, or how to end the batch."""
    provider.creating = ["lost"]
    provider.fates = [Fate(looks=10_000)]
    stopped = Told()

    class Stop(Exception):
        pass

    def stop(line: str) -> None:
        stopped.append(line)
        if "in_progress" in line:
            raise Stop

    executor = BatchExecutor(LOCAL, tell=stop, show=stop, pace=FAST)
    with pytest.raises(Stop):
        asyncio.run(run(program(provider), CASES, tmp_path, EvalConfig(executor=executor)))
    with pytest.raises(InputError, match=r"6 requests are under way.*--cancel"):
        go(tmp_path, program(provider), batch=False)


def test_a_cancelled_batch_ends_the_run_and_keeps_what_it_answered(provider: BatchProvider, tmp_path: Path) -> None:
    """Somebody cancelled it on purpose, so it is not sent again; the next command does that."""
    provider.fates = [Fate(ends="cancelled", answered=4), Fate()]
    with pytest.raises(BackendError, match="batch_1 was cancelled"):
        go(tmp_path, program(provider))
    assert len(provider.batches) == 1
    assert go(tmp_path, program(provider)).failed == 0
    assert len(provider.answered) == CALLS


@pytest.mark.long
def test_a_compilation_by_batch_writes_the_program_of_a_live_one(provider: BatchProvider, tmp_path: Path) -> None:
    """Drafts and questions go by batch, all questions about a draft in one round; trials of a search stay live."""
    cases = [
        Case(
            id=f"{label}{n}",
            request=f"q {n}",
            response=f"{'BADWORD ' if label == 'misaligned' else ''}answer {n}",
            label=label,
        )
        for n in range(12)
        for label in ("aligned", "misaligned")
    ]
    programs = []
    for name in ("batch", "local"):
        executor = BatchExecutor(LOCAL, pace=FAST) if name == "batch" else LOCAL
        options = {"folder": tmp_path / name, "executor": executor, "prompts": "off", "embeddings": []}
        compiled = SelfCorrection(target_fpr=0.3, **options).compile(program(provider), trainset=cases)
        programs.append(compiled.dump_state())
        if name == "batch":
            answered, live, batches = len(provider.answered), len(provider.live), len(provider.batches)
    assert programs[0] == programs[1]
    assert len(provider.live) == answered + 2 * live
    assert answered > live
    assert batches < 12


# What is sent ----------------------------------------------------------------------------------------------------------


def test_files_keep_to_the_limits(provider: BatchProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of requests, of bytes, and of what an account may have enqueued."""
    monkeypatch.setattr(inputs, "MOST_REQUESTS", 4)
    provider.most_requests = 4
    few = CASES[:5]
    go(tmp_path / "requests", program(provider), cases=few)
    assert max(len(lines) for lines in provider.inputs()) == 4
    monkeypatch.setattr(inputs, "MOST_BYTES", 3000)
    provider.most_bytes = 3000
    go(tmp_path / "bytes", program(provider), cases=few)
    monkeypatch.undo()
    provider.enqueued_limit = 2
    assert go(tmp_path / "enqueued", program(provider), cases=few[:3]).failed == 0
    assert len(provider.answered) == 2 * 16 + 9


def test_a_refused_file_is_told_in_the_providers_words(provider: BatchProvider, tmp_path: Path) -> None:
    """With the code and the line, where it says one."""
    provider.fates = [Fate(refused="model_not_found")]
    with pytest.raises(BackendError, match=r"refused the batch file: model_not_found: refused"):
        go(tmp_path, program(provider))


def test_a_wrong_key_ends_the_run_at_once(provider: BatchProvider, tmp_path: Path) -> None:
    """Waiting would not help; the key is in no message."""
    lm = Conscience(lm=Backend("openai/fake", api_base=provider.url, api_key="sk-wrong-0123456789", cache=False))
    with pytest.raises(BackendError, match="Incorrect API key") as told:
        go(tmp_path, lm)
    assert "sk-wrong" not in str(told.value)


def test_what_has_no_batch_files_is_told_before_the_first_call(provider: BatchProvider, tmp_path: Path) -> None:
    """All of it: no run. A part of it: a line, and it is asked live."""
    mixed = Conscience(
        lm={
            "generate": Backend("openai/fake", api_base=provider.url, api_key=KEY, cache=False),
            "review": Backend("lm_studio/fake", api_base=provider.url, api_key=KEY, cache=False),
        }
    )
    told = Told()
    assert go(tmp_path / "mixed", mixed, told=told).failed == 0
    assert told[0] == "asked live, for want of batch files: lm_studio/fake (review)"
    assert (len(provider.answered), len(provider.live)) == (8, 10)
    with pytest.raises(ConfigurationError, match="no batch files for lm_studio/fake"):
        go(tmp_path / "none", program(provider, "lm_studio/fake"))


def test_azure(provider: BatchProvider, tmp_path: Path) -> None:
    """Its paths, its version, its key; the deployment is the model."""
    base = provider.url.removesuffix("/v1")
    lm = Backend("azure/mine", api_base=base, api_key=KEY, api_version="2024-10-21", cache=False)
    assert go(tmp_path, Conscience(lm=lm)).failed == 0
    assert {body["model"] for body in provider.answered} == {"mine"}
    assert len(provider.answered) == CALLS


def test_two_models_go_in_files_of_their_own(provider: BatchProvider, tmp_path: Path) -> None:
    """One that drafts and one that reviews; the judge goes by batch as well."""
    roles = {
        role: Backend(f"openai/{name}", api_base=provider.url, api_key=KEY, cache=False)
        for role, name in (("generate", "writer"), ("review", "reviewer"))
    }
    assert go(tmp_path, Conscience(lm=roles)).failed == 0
    assert [{row["body"]["model"] for row in lines} for lines in provider.inputs()[:2]] == [{"writer"}, {"reviewer"}]
    assert (len(provider.answered), len(provider.live)) == (CALLS, 0)


def test_dollars_are_held_before_a_file_is_sent(provider: BatchProvider, tmp_path: Path) -> None:
    """At the price of batches; what would cost more is not sent, and the same command with more goes on."""

    def priced(body: Body, number: int) -> Body:
        answer = well_behaved(body, number)
        return {**answer, "usage": {"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200}}

    provider.behaviour = priced
    lm = Conscience(lm=Backend("openai/gpt-4o-mini", api_base=provider.url, api_key=KEY, cache=False, max_tokens=100))
    spent = go(tmp_path / "free", lm)
    assert spent.dollars == pytest.approx(CALLS * 100 * (0.075e-6 + 0.3e-6))
    told = Told()
    before = len(provider.answered)
    assert go(tmp_path / "held", lm, max_dollars=0.00016, told=told).done < 6
    assert 0 < len(provider.answered) - before < 6
    assert any("more than the budget leaves" in line for line in told)
    assert go(tmp_path / "held", lm, max_dollars=1.0).done == 6
    assert len(provider.answered) - before == CALLS


@pytest.mark.parametrize("calls", [1, 9])
def test_a_budget_of_calls_makes_no_more_of_them(calls: int, provider: BatchProvider, tmp_path: Path) -> None:
    """Neither a larger undertaking's nor a program's own, however many wait side by side."""
    meter = UsageTracker(Budget(calls=calls))
    config = EvalConfig(executor=BatchExecutor(LOCAL, pace=FAST), meter=meter)
    asyncio.run(run(program(provider), CASES, tmp_path / "run", config))
    assert len(provider.answered) == calls
    go(tmp_path / "program", program(provider, budget={"calls": 2}))
    assert len(provider.answered) == calls + 2 * len(CASES)


def test_a_program_that_asks_something_else_each_time_is_told_so(provider: BatchProvider, tmp_path: Path) -> None:
    """It would pay for a round of drafts after the other."""
    count = iter(range(1000))

    def generate(request: str) -> str:
        import dspy

        return str(dspy.Predict("question -> answer")(question=f"{request} {next(count)}").answer)

    lm = Conscience(generate, lm=Backend("openai/fake", api_base=provider.url, api_key=KEY, cache=False))
    provider.behaviour = lambda body, n: chat("[[ ## answer ## ]]\nParis.\n\n[[ ## completed ## ]]")
    with pytest.raises(ConfigurationError, match="asks something else"):
        go(tmp_path, lm, cases=CASES[:2])
    assert len(provider.answered) <= 4


def test_two_accounts_of_one_model_are_refused(provider: BatchProvider, tmp_path: Path) -> None:
    """Their questions cannot go into one batch."""
    roles = {
        role: Backend("openai/fake", api_base=provider.url, api_key=key, cache=False)
        for role, key in (("generate", KEY), ("review", "sk-test-secret-other"))
    }
    with pytest.raises(ConfigurationError, match="two accounts"):
        go(tmp_path, Conscience(lm=roles))


def test_what_is_on_disk_is_private_and_sealed(provider: BatchProvider, tmp_path: Path) -> None:
    """Requests and replies are for their owner alone, hold no key and no address, and a changed reply counts for nothing."""
    provider.fates = [Fate(), Fate(refused="x")]
    with pytest.raises(BackendError):
        go(tmp_path, program(provider))
    files = [path for path in (tmp_path / "batches").rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o077 for path in files} == {0}
    written = b"".join(path.read_bytes() for path in files)
    assert KEY.encode() not in written
    assert provider.url.encode() not in written
    replies = tmp_path / "batches" / "replies.jsonl"
    replies.write_bytes(replies.read_bytes().replace(b"Paris.", b"London"))
    (tmp_path / "calls.jsonl").unlink()
    provider.fates = [Fate()]
    go(tmp_path, program(provider))
    assert all("London" not in json.dumps(row) for row in rows(tmp_path).values())


def test_an_executor_without_a_folder_says_so() -> None:
    """Batches need a place that outlives the process."""

    async def work(item: int) -> int:
        return item

    async def run_alone() -> None:
        from conscience.distributed.tasks import Shared

        async for _ in BatchExecutor(LOCAL).map(work, [1], shared=Shared(), concurrency=1):
            pass

    with pytest.raises(ConfigurationError, match="needs a folder"):
        asyncio.run(run_alone())
