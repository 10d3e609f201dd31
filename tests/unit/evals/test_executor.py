"""The seam through which all work on many cases goes: order, room, ends, and what comes of errors."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import dspy
import pytest

from conscience import Case, Conscience, Constitution, Review
from conscience.backends.backend import Backend
from conscience.backends.storage.sealing import SECRET, folder_secret
from conscience.distributed.failures import error_data, error_from_data
from conscience.distributed.models import backend_data, backend_from_data
from conscience.distributed.programs import dspy_data, dspy_from_data
from conscience.distributed.tasks import Done, SentTask, Shared
from conscience.errors import (
    ArtifactError,
    BackendError,
    BudgetExceeded,
    ConfigurationError,
    ConscienceError,
    ContextTooLong,
    EmptyAnswer,
    InputError,
)
from conscience.evals.baselines import BASELINES, as_program, baseline
from conscience.evals.batch import review_cases
from conscience.evals.executor import LOCAL
from conscience.evals.oracles.grade import Grade
from conscience.evals.oracles.judge import Judge
from conscience.evals.summary import summarise
from conscience.testing import ScriptedLM
from tests.support.executors import Adversary
from tests.support.loopback import Loopback, chat, error, well_behaved
from tests.unit.evals.runs import go


class Own(BackendError):
    """An error of an application's own."""


def test_items_come_back_as_they_are_done_and_are_taken_when_there_is_room() -> None:
    """Never more items are taken than are under way, and each is told with its place."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for n in range(9):
            taken.append(n)
            yield n

    async def work(n: int) -> int:
        await asyncio.sleep(0.01 * (3 - n % 3))
        return n * n

    async def collected() -> list[Done[int, int]]:
        got: list[Done[int, int]] = []
        async for done in LOCAL.map(work, items(), shared=Shared(), concurrency=3):
            got.append(done)
            assert len(taken) <= len(got) + 2
        return got

    got = asyncio.run(collected())
    assert [done.item for done in got] != list(range(9))
    assert {(done.index, done.item, done.outcome) for done in got} == {(n, n, n * n) for n in range(9)}


def test_an_error_of_one_item_is_its_outcome_and_one_of_all_ends_the_work() -> None:
    """A backend that fails on an item fails that item; input that cannot be used ends all, and what is under way stops."""
    ended: list[int] = []

    async def work(n: int) -> int:
        if n == 0:
            raise BackendError("no answer")
        if n == 1:
            await asyncio.sleep(0)
            raise InputError("no oracle")
        try:
            await asyncio.sleep(10)
        finally:
            ended.append(n)
        return n

    got: list[Done[int, int]] = []

    async def collect() -> None:
        async with aclosing(LOCAL.map(work, range(4), shared=Shared(), concurrency=3)) as results:
            async for done in results:
                got.append(done)

    with pytest.raises(InputError, match="no oracle"):
        asyncio.run(collect())
    assert [(done.item, str(done.outcome)) for done in got] == [(0, "no answer")]
    assert sorted(ended) == [2, 3]


def test_work_that_exists_here_only_does_not_travel() -> None:
    """A plain function is refused in one line, before anything is sent."""

    async def work(n: int) -> int:
        return n

    with pytest.raises(ConfigurationError, match="exists in this process only"):
        SentTask.of(work)


@pytest.mark.parametrize(
    "error",
    [
        ConscienceError("a"),
        InputError("a", hint="b"),
        ArtifactError("a", hint="b"),
        ConfigurationError("a"),
        BackendError("a", hint="b", retryable=True),
        BackendError("a", gone=True),
        ContextTooLong("a"),
        EmptyAnswer("a", hint="b", reason="cut"),
        BudgetExceeded("a"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_travel_whole(error: ConscienceError) -> None:
    """Class, text and what a run asks of an error are the same there and here."""
    again = error_from_data(error_data(error))
    assert (type(again), str(again), again.__dict__) == (type(error), str(error), error.__dict__)


def test_an_error_of_an_applications_own_is_told_as_its_base() -> None:
    """The class may not exist there; what it is to this library does."""
    error = Own("a", hint="b", gone=True)
    error.refused = frozenset({"logprobs"})
    again = error_from_data(error_data(error))
    assert isinstance(again, BackendError)
    assert (type(again), str(again), again.gone, again.refused) == (BackendError, "a (b)", True, {"logprobs"})


CASES = [  # no two of which ask a model the same: what that costs goes to the first, whichever it is
    *(Case(id=f"s{n}", request=f"kind {n}", request_safe=True, pair=f"p{n}", meta={"n": n}) for n in range(6)),
    *(Case(id=f"u{n}", request=f"UNSAFE {n}", request_safe=False, weight=2.0, meta={"n": n}) for n in range(6)),
    *(Case(id=f"r{n}", request=f"q{n}", response="BADWORD", label="misaligned") for n in range(1, 4)),
    Case(id="m", request="q", response="BADWORD", references=("A clean answer.",)),
    Case(id="empty", request="q", response=" ", label="aligned"),
]
MODEL = "openai/gpt-4o-mini"
GENERAL = Constitution.load("general")


def answers(case: Case) -> str:
    """Generates without a model."""
    return f"{case}, BADWORD"


class Wordy(dspy.Module):  # type: ignore[misc]
    """A module of an application's own."""

    def __init__(self) -> None:
        super().__init__()
        self.step = dspy.Predict("request -> response")

    async def aforward(self, request: str) -> dspy.Prediction:
        return await self.step.acall(request=request)


WORDY = Wordy()


def lenient(case: Case, response: str) -> Grade:
    """An oracle of an application's own."""
    return Grade("BADWORD" not in response, "by a word")


@pytest.fixture
def served(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Loopback:
    """The server, where the environment says that OpenAI's models are: an address that workers find there too."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    return server


def rows(folder: Path) -> dict[str, Any]:
    """The rows of a run by id, but for times and the order in which models were asked."""

    def still(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: still(inner) for name, inner in value.items() if name != "seconds"}
        return [still(inner) for inner in value] if isinstance(value, list) else value

    return {row["id"]: still(row) for path in folder.glob("rows*.jsonl") for row in map(json.loads, path.open())}


def same_secret(folder: Path) -> None:
    """Lets the keys of two journals be compared: they hang on a secret of the folder."""
    folder_secret(folder.parent)
    folder.mkdir()
    shutil.copy(folder.parent / SECRET, folder)


def asked(folder: Path) -> list[str]:
    """The keys of a journal."""
    return sorted(json.loads(line)["key"] for line in (folder / "calls.jsonl").open())


def figures(folder: Path) -> dict[str, Any]:
    """The report's, but for times."""
    return {name: part for name, part in summarise(folder).to_dict().items() if name not in ("overhead", "made", "title")}


PROGRAMS: dict[str, Any] = {
    "plain": lambda: Conscience(lm=MODEL),
    "options": lambda: Conscience(
        lm={"generate": [Backend(MODEL, temperature=0.3, max_tokens=60), "openai/gpt-4o"], "review": "openai/gpt-4.1"},
        constitution="code",
        threshold=0.3,
        max_revisions=2,
        on_unresolved="best",
        refusal="Not this.",
        budget={"calls": 20},
    ),
    "signature": lambda: Conscience("request, n: int -> response: str, sure: bool", lm=MODEL),
    "chain of thought": lambda: Conscience(dspy.ChainOfThought("request -> response"), lm=MODEL),
    "module": lambda: Conscience(WORDY, lm=MODEL),
    "function": lambda: Conscience(answers, lm=MODEL),
    **{name: lambda name=name: baseline(name, constitution=GENERAL, lm=MODEL) for name in BASELINES if name != "refine"},
    "any callable": lambda: as_program(answers),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.long
def test_rows_and_journal_are_the_same_wherever_the_work_was_done(name: str, served: Loopback, tmp_path: Path) -> None:
    """Programs, oracles, cases and records come through as text, out of order, and nothing shows of it."""
    cases = CASES[:12] if name == "any callable" else CASES
    for executor in ("local", adversary := Adversary()):
        folder = tmp_path / str(getattr(executor, "name", executor))
        same_secret(folder)
        go(folder, cases, PROGRAMS[name](), executor=executor, concurrency=2, seed=3)
    assert len(adversary.sent) == 1
    assert adversary.most_under_way > 2
    here, there = tmp_path / "local", tmp_path / "adversary"
    assert rows(here) == rows(there)
    assert len(rows(here)) == len(cases)
    if (here / "calls.jsonl").exists():
        assert asked(here) == asked(there)
    assert figures(here) == figures(there)
    assert "sk-test" not in json.dumps(vars(adversary.sent[0]))
    assert served.url not in json.dumps(vars(adversary.sent[0]))


def nested() -> type:
    class Inner(Conscience):
        pass

    return Inner


def with_check() -> Conscience:
    """A program with a principle that a function checks."""
    data = GENERAL.model_dump()
    data["principles"][0]["check"] = lambda text: False
    return Conscience(lm=MODEL, constitution=Constitution.model_validate(data))


STAYS: dict[str, tuple[Any, str]] = {
    "a scripted model": (lambda: Conscience(lm=ScriptedLM({"": 0.1})), "the model .* exists in this process only"),
    "a key": (lambda: Conscience(lm=Backend(MODEL, api_key="sk-1")), "api_key= is an argument"),
    "an address": (lambda: Conscience(lm=Backend(MODEL, api_base="http://h")), "api_base= is an argument"),
    "an LM's address": (lambda: Conscience(lm=dspy.LM(MODEL, api_base="http://h")), "api_base= is an argument"),
    "a lambda": (lambda: Conscience(lambda request: "x", lm=MODEL), "what generates"),
    "a module without a name": (lambda: Conscience(Wordy(), lm=MODEL), r"what generates \(Wordy\)"),
    "a class without a name": (lambda: nested()(lm=MODEL), "a Inner exists"),
    "a function that refuses": (lambda: Conscience(lm=MODEL, refusal=lambda outcome: "No."), "refusal="),
    "a check": (with_check, "the check of"),
}


@pytest.mark.parametrize("what", STAYS)
def test_what_cannot_travel_is_refused_before_the_first_call(what: str, served: Loopback, tmp_path: Path) -> None:
    """In one line that names it; on this machine alone it goes on as ever."""
    make, says = STAYS[what]
    adversary = Adversary()
    with pytest.raises(ConfigurationError, match=says) as caught:
        go(tmp_path, CASES, make(), executor=adversary)
    assert "\n" not in str(caught.value)
    assert not served.calls
    assert not adversary.sent


def test_an_oracle_without_a_name_is_refused(served: Loopback, tmp_path: Path) -> None:
    """One with a name goes by it, and a judge by its constitution and its model."""
    with pytest.raises(ConfigurationError, match=r"the oracle .*<lambda> exists in this process only"):
        go(tmp_path / "a", CASES[:2], executor=Adversary(), program=Conscience(lm=MODEL), oracle=lambda case, text: None)
    assert not served.calls
    served.behaviour = lambda body, n: chat("A", yes=0.5) if "You grade" in str(body) else well_behaved(body, n)
    for oracle in (lenient, Judge(GENERAL, Backend(MODEL), repeats=2)):
        found = []
        for executor in ("local", Adversary()):
            folder = tmp_path / f"{type(oracle).__name__} {executor!s:.5}"
            go(folder, CASES[:12], Conscience(lm=MODEL), executor=executor, oracle=oracle)
            found.append(rows(folder))
        assert found[0] == found[1]


def test_dspys_own_lm_and_adapter_travel() -> None:
    """An LM by its state, without its key; an adapter by its class; one that somebody set up stays."""
    lm = dspy.LM(MODEL, temperature=0.5, max_tokens=30, num_retries=1)
    before = Backend(lm, timeout=7, input_cost_per_token=1e-6, output_cost_per_token=2e-6)
    after = backend_from_data(json.loads(json.dumps(backend_data(before))))
    (old,), (new,) = before.transports, after.transports
    assert (new.identity({}), new.sampling, after.timeout, new.is_priced) == (old.identity({}), old.sampling, 7, True)
    with dspy.context(adapter=dspy.JSONAdapter()):
        assert type(dspy_from_data(json.loads(json.dumps(dspy_data())))["adapter"]) is dspy.JSONAdapter
    with (
        dspy.context(adapter=dspy.JSONAdapter(callbacks=[object()])),
        pytest.raises(ConfigurationError, match="adapter JSONAdapter"),
    ):
        dspy_data()


def test_reviews_are_the_same_wherever_they_were_made(served: Loopback, tmp_path: Path) -> None:
    """``conscience review`` writes the same verdicts."""
    cases = [case for case in CASES if case.response is not None]
    for name, executor in (("here", "local"), ("there", Adversary())):
        review = Review("general", lm=Backend(MODEL, cache=False), threshold=0.4)
        progress = asyncio.run(review_cases(review, cases, tmp_path / f"{name}.jsonl", executor=executor))
        assert (progress.done, progress.failed) == (len(cases), 1)
    here, there = ({row["id"]: row for row in map(json.loads, (tmp_path / f"{n}.jsonl").open())} for n in ("here", "there"))
    assert here == there
    assert here["r1"]["flagged"]


def test_a_dead_backend_ends_the_run_as_ever(served: Loopback, tmp_path: Path) -> None:
    """Five cases in a row, then one line; what failed is in the folder, and the same call goes on."""
    served.behaviour = lambda body, n: error(401, "no such key")
    program = Conscience(lm=Backend(MODEL, retries=0))
    with pytest.raises(BackendError, match="5 cases in a row failed"):
        go(tmp_path, CASES[:12], program, executor=Adversary(held=0), concurrency=1)
    served.behaviour = well_behaved
    progress = go(tmp_path, CASES[:12], program, executor=Adversary())
    assert (progress.done, progress.failed, progress.resumed) == (12, 0, 0)
