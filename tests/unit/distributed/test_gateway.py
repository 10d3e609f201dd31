"""Calls made by a gateway: as if they were made here, paid for once, within one budget and one rate, whoever is lost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any

import pytest

from conscience import Backend, BackendError, Budget, BudgetExceeded, ConfigurationError, Conscience, InputError
from conscience.backends.rate_limit import RateLimiter
from conscience.backends.storage.journal import Journal
from conscience.distributed.gateway.backend import GatewayJournal
from conscience.distributed.gateway.channel import Place
from conscience.distributed.gateway.client import GatewayClient
from conscience.distributed.gateway.process import GatewayServer
from conscience.distributed.gateway.requests import Ask, Payment, Run
from conscience.distributed.gateway.shared import GatewayRun
from conscience.distributed.tasks import Shared
from conscience.testing import Fault, ScriptedLM, by_stage
from conscience.usage import CallContext, UsageTracker
from tests.support.loopback import Loopback, Raw, chat, error, well_behaved

HELLO = [{"role": "user", "content": "hello"}]


class Gateway:
    """A gateway's server in a thread of this process; it may be ended and begun anew at its place."""

    alive = True

    def __init__(self, folder: Path) -> None:
        self.place = Place(str(folder / "g"), b"key")
        self.journal = folder / "calls.jsonl"
        self.begin()
        self.client = self.worker()

    def begin(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._server = GatewayServer(self._loop)
        self._listener = Listener(self.place.path)
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        threading.Thread(target=self._server.accept, args=(self._listener, self.place.key), daemon=True).start()

    def run(self, name: str = "r", rate: RateLimiter | None = None, meter: UsageTracker | None = None) -> None:
        self.client.request("run", Run(name, self.journal, frozenset(), rate, meter)).result(5)

    def worker(self) -> GatewayClient:
        """The line of one more worker."""
        return GatewayClient(self.place)

    def end(self) -> None:
        """As when whoever started it has ended."""
        asyncio.run_coroutine_threadsafe(self._server.end(), self._loop).result(20)

    def close(self) -> None:
        self._listener.close()
        self._server.close()
        self._loop.call_soon_threadsafe(self._loop.stop)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path)
    yield gateway
    gateway.client.close()
    gateway.end()
    gateway.close()


def sent(backend: Backend, gateway: Gateway, client: GatewayClient | None = None) -> Backend:
    """A backend as a worker has it."""
    return backend.for_run(GatewayJournal(client or gateway.client, "r"))


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-secret-0123")


def fake(server: Loopback, **options: Any) -> Backend:
    return Backend("openai/fake", api_base=server.url, cache=False, timeout=20.0, **{"retries": 0, **options})


def slow(seconds: float) -> Callable[[Any, int], Any]:
    def behaviour(body: Any, number: int) -> Any:
        time.sleep(seconds)
        return well_behaved(body, number)

    return behaviour


@pytest.mark.parametrize("drive", ["sync", "async"])
def test_a_program_does_there_what_it_does_here(gateway: Gateway, drive: str, tmp_path: Path) -> None:
    """The same outcome and the same accounts; and again from the journal, where nobody is asked."""
    gateway.run()
    script = by_stage("It is BADWORD.", gate=lambda m, p: 0.9 if "BADWORD" in str(m) else 0.1, revise="It is Paris.")
    here = Conscience(lm=ScriptedLM(script)).for_run(Journal(tmp_path / "here.jsonl"))
    there = Conscience(lm=ScriptedLM(script)).for_run(GatewayJournal(gateway.client, "r"))

    def ask(program: Conscience) -> Any:
        outcome = program("q") if drive == "sync" else asyncio.run(program.acall("q"))
        shown = {role: (usage.calls, usage.tokens) for role, usage in outcome.usage.by_role.items()}
        return outcome.status, outcome.response, outcome.draft_verdict, shown, len(outcome.revisions), outcome.events

    assert ask(there) == ask(here)
    lines = gateway.journal.read_bytes()
    assert ask(there) == ask(here)
    assert gateway.journal.read_bytes() == lines


def test_the_same_request_of_two_workers_is_paid_for_once(gateway: Gateway, server: Loopback) -> None:
    server.behaviour = slow(0.2)
    gateway.run()
    backends = [sent(fake(server), gateway, gateway.worker()) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda backend: backend.complete(HELLO, {}).text, backends))
    assert answers == ["Paris."] * 4
    assert len(server.calls) == 1


def test_a_budget_of_calls_holds_across_workers(gateway: Gateway, server: Loopback) -> None:
    """Attempts that fail count; what the caller's meter says at the end is what was begun."""
    server.behaviour = lambda body, number: Raw(500, "{}") if number % 3 == 0 else well_behaved(body, number)
    meter = UsageTracker(Budget(calls=10))
    shared = Shared(Journal(gateway.journal), None, meter)

    async def all_of_them() -> list[Any]:
        async with GatewayRun(gateway, shared) as run:  # type: ignore[arg-type]
            backends = [fake(server, retries=1).for_run(GatewayJournal(gateway.worker(), run.name)) for _ in range(4)]
            asked = (b.acomplete([{"role": "user", "content": f"{n}"}], {}) for n in range(5) for b in backends[n % 2 :: 2])
            more = (b.acomplete([{"role": "user", "content": f"{i} more"}], {}) for i, b in enumerate(backends))
            return await asyncio.gather(*asked, *more, return_exceptions=True)

    answers = asyncio.run(all_of_them())
    assert len(server.calls) == meter.begun == 10
    assert {type(answer) for answer in answers if isinstance(answer, Exception)} == {BudgetExceeded}


def test_a_rate_holds_across_workers_and_its_waits_are_nobodys_time(gateway: Gateway, server: Loopback) -> None:
    """1,200 a minute are 20 a second, whoever asks; the caller's limiter goes on from there."""
    arrived = []

    def behaviour(body: Any, number: int) -> Any:
        arrived.append(time.monotonic())
        return well_behaved(body, number)

    server.behaviour = behaviour
    limiter = RateLimiter(1200)
    shared = Shared(Journal(gateway.journal), limiter)

    async def seconds(backend: Backend, n: int) -> float:
        tracker = UsageTracker()
        await backend.acomplete([{"role": "user", "content": f"{n}"}], {}, ctx=CallContext(tracker, "generate"))
        return tracker.usage().seconds

    async def all_of_them() -> list[float]:
        async with GatewayRun(gateway, shared) as run:  # type: ignore[arg-type]
            backends = [fake(server).for_run(GatewayJournal(gateway.worker(), run.name)) for _ in range(4)]
            return await asyncio.gather(*(seconds(backends[n % 4], n) for n in range(12)))

    began = time.monotonic()
    own = asyncio.run(all_of_them())
    assert arrived[-1] - arrived[0] >= 11 * 0.05 - 0.03
    assert limiter.claim() + time.monotonic() - began >= 12 * 0.05 - 0.01
    assert sorted(own)[6] < 0.2  # of up to .55 s: the median is not paced


def test_a_call_whose_worker_is_killed_goes_on(gateway: Gateway, server: Loopback) -> None:
    """Its answer is in the journal for whoever does that case next."""
    server.behaviour = slow(0.3)
    gateway.run()
    worker = gateway.worker()

    def ask() -> None:
        with pytest.raises(BackendError):
            sent(fake(server), gateway, worker).complete(HELLO, {})

    asked = threading.Thread(target=ask)
    asked.start()
    while not server.calls:
        time.sleep(0.01)
    worker._closed = True
    worker._channel.close()
    asked.join(5)
    assert sent(fake(server), gateway).complete(HELLO, {}).text == "Paris."
    assert len(server.calls) == 1


def test_a_gateway_whose_run_is_killed_ends_what_is_under_way(gateway: Gateway, server: Loopback) -> None:
    """What was sent is answered and kept; what waits for its turn is not sent."""
    server.behaviour = slow(0.3)
    gateway.run(rate=RateLimiter(60))
    backend = sent(fake(server), gateway)
    with ThreadPoolExecutor(3) as pool:
        for n in range(3):
            pool.submit(backend.complete, [{"role": "user", "content": f"{n}"}], {})
        while not server.calls:
            time.sleep(0.01)
        began = time.monotonic()
        gateway.end()
        assert time.monotonic() - began < 5
        assert len(server.calls) == len(gateway.journal.read_bytes().splitlines()) == 1
        gateway.client.close()


def test_a_run_waits_for_the_gateway_of_one_that_was_killed(gateway: Gateway, server: Loopback, tmp_path: Path) -> None:
    """And finds the answers that this one still had to write."""
    server.behaviour = slow(0.4)
    gateway.run()
    (tmp_path / "next").mkdir()
    following = Gateway(tmp_path / "next")
    following.journal = gateway.journal
    with ThreadPoolExecutor(2) as pool:
        pool.submit(sent(fake(server), gateway).complete, HELLO, {})
        while not server.calls:
            time.sleep(0.01)
        pool.submit(gateway.end)
        following.run()
    assert sent(fake(server), following).complete(HELLO, {}).cached
    assert len(server.calls) == 1
    following.client.close()
    following.end()
    following.close()


def test_a_worker_finds_a_gateway_that_was_started_anew(gateway: Gateway, server: Loopback) -> None:
    """And asks again for what it had no answer to."""
    gateway.run()
    backend = sent(fake(server), gateway)
    backend.complete(HELLO, {})
    gateway.end()
    gateway.close()
    gateway.begin()
    gateway.run()
    assert backend.complete(HELLO, {}).text == "Paris."
    assert backend.complete([{"role": "user", "content": "more"}], {}).text == "Paris."
    assert len(server.calls) == 2


def test_a_worker_of_another_machine_comes_over_the_network(gateway: Gateway, server: Loopback) -> None:
    """It does not see the socket's path; without the key nobody is let in."""
    gateway.run()
    with Listener(("127.0.0.1", 0)) as listener:
        threading.Thread(target=gateway._server.accept, args=(listener, gateway.place.key), daemon=True).start()
        place = Place("/nowhere", gateway.place.key, *listener.address)
        silent = Client(listener.address)
        assert sent(fake(server), gateway, GatewayClient(place)).complete(HELLO, {}).text == "Paris."
        with pytest.raises(ConnectionError):
            GatewayClient(place._replace(key=b"another"))
        silent.close()


def test_a_programs_own_budget_holds_there(gateway: Gateway, server: Loopback) -> None:
    """It is counted by the call, attempts that fail included, and not by the request."""
    server.behaviour = lambda body, number: Raw(500, "{}") if number < 3 else chat("late")
    gateway.run()
    backend = sent(fake(server, retries=5), gateway)
    tracker = UsageTracker(Budget(calls=2))
    with pytest.raises(BudgetExceeded, match="budget of 2 calls"):
        backend.complete(HELLO, {}, ctx=CallContext(tracker, "generate"))
    assert len(server.calls) == tracker.begun == 2
    tracker = UsageTracker(Budget(calls=2))
    backend.complete(HELLO, {}, ctx=CallContext(tracker, "generate"))
    backend.complete(HELLO, {}, ctx=CallContext(tracker, "generate"))
    assert (len(server.calls), tracker.begun) == (3, 2)
    with pytest.raises(BudgetExceeded, match="seconds"):
        backend.complete([], {}, ctx=CallContext(UsageTracker(Budget(seconds=0)), "generate"))


def test_requests_side_by_side_share_a_programs_budget(gateway: Gateway, server: Loopback) -> None:
    """As many calls as it allows, and none is refused for the retries of another that are not needed."""
    server.behaviour = slow(0.05)
    gateway.run()
    backend = sent(fake(server, retries=3), gateway)
    tracker = UsageTracker(Budget(calls=5))

    async def ask(n: int) -> Any:
        return await backend.acomplete([{"role": "user", "content": f"{n}"}], {}, ctx=CallContext(tracker, "review"))

    async def both(n: int) -> list[Any]:
        return await asyncio.gather(*(ask(i) for i in range(n)), return_exceptions=True)

    answers = asyncio.run(both(7))
    assert sum(isinstance(answer, BudgetExceeded) for answer in answers) == 2
    assert len(server.calls) == tracker.begun == 5


def test_a_refused_parameter_is_mended_within_a_programs_budget(gateway: Gateway, server: Loopback) -> None:
    def behaviour(body: Any, number: int) -> Any:
        return error(400, "Unsupported parameter: 'temperature' is not supported") if "temperature" in body else chat("fine")

    server.behaviour = behaviour
    gateway.run()
    tracker = UsageTracker(Budget(calls=4))
    answer = sent(fake(server), gateway).complete(HELLO, {"temperature": 0.3}, ctx=CallContext(tracker, "generate"))
    assert (answer.text, len(server.calls), tracker.begun) == ("fine", 2, 2)


@pytest.mark.parametrize("fault", ["auth", "rate_limit", "connection", "context"])
def test_errors_are_those_of_a_call_made_here(gateway: Gateway, fault: Any) -> None:
    gateway.run()

    def failure(backend: Backend) -> Any:
        with pytest.raises(BackendError) as caught:
            backend.complete(HELLO, {})
        return type(caught.value), str(caught.value), caught.value.gone, caught.value.retryable

    lm = ScriptedLM({"": Fault(fault)})
    assert failure(sent(Backend(lm, retries=0), gateway)) == failure(Backend(lm, retries=0))
    empty = Backend(ScriptedLM({"": ""}), retries=0)
    assert failure(sent(empty, gateway)) == failure(empty)


def test_a_journal_that_cannot_be_used_is_told_to_whoever_begins(gateway: Gateway) -> None:
    gateway.journal.write_text("no journal\n")
    gateway.run()
    with pytest.raises(InputError, match="is no journal of a run"):
        sent(Backend(ScriptedLM({"": "x"})), gateway).complete(HELLO, {})


def test_a_model_that_cannot_travel_is_told(gateway: Gateway) -> None:
    """It is known by a class that only this process has."""
    gateway.run()
    gateway.client.register("r", "mine", b"no pickle")
    question = Ask("mine", 0, HELLO, {}, None, Payment())
    with pytest.raises(ConfigurationError, match="cannot be had in another process"):
        gateway.client.request("answer", "r", question).result(5)


def test_what_a_model_was_seen_to_do_is_known_to_its_asker(gateway: Gateway) -> None:
    """It claims log-probabilities and gives none."""
    gateway.run()
    lm = ScriptedLM({"": "Yes indeed"})
    backend = sent(Backend(lm), gateway)
    assert backend.supports("logprobs")
    for n in range(3):
        backend.complete([{"role": "user", "content": f"{n}"}], {"logprobs": True})
    assert not backend.supports("logprobs")


def test_an_answer_that_was_rejected_is_asked_for_anew_by_the_next_run(gateway: Gateway, server: Loopback) -> None:
    gateway.run()
    backend = sent(fake(server), gateway)
    backend.reject(backend.complete(HELLO, {})).run()
    assert backend.complete(HELLO, {}).cached
    gateway.client.request("spent", "r").result(5)  # which comes behind it
    assert not fake(server).for_run(Journal(gateway.journal)).complete(HELLO, {}).cached


def test_those_who_leave_at_once_are_forgotten(gateway: Gateway) -> None:
    """Whether they are gone before the server has noted that they came or not."""
    others = set(gateway._server._channels)
    for _ in range(300):
        Client(gateway.place.path, authkey=gateway.place.key).close()
    deadline = time.monotonic() + 20
    while gateway._server._channels - others and time.monotonic() < deadline:
        time.sleep(0.01)
    assert gateway._server._channels == others
