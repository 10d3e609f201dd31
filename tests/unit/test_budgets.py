"""Budgets: what a limit may be, that it holds whatever a server does, and that starting up is no part of it."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dspy
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from conscience import (
    ArtifactError,
    Backend,
    BackendError,
    Budget,
    BudgetExceeded,
    ConfigurationError,
    Conscience,
    EvalConfig,
)
from conscience.backends.lm_transport import LMTransport
from conscience.backends.rate_limit import RateLimiter
from conscience.cli.main import cli
from conscience.evals.runner import run
from conscience.optimizers.runtime import Runtime
from conscience.testing import ScriptedLM, by_stage
from conscience.usage import CallContext, CallUsage, UsageTracker, paused_clock
from tests.support.loopback import Body, Loopback, Raw, chat, is_gate

TURN = [{"role": "user", "content": "Hello?"}]
SECONDS = 0.6
FAR = 5.0
"""Seconds that no call reaches unless its budget does not hold: the servers below go on for longer."""


# What a limit may be ---------------------------------------------------------------------------------------------------


@given(
    st.sampled_from(["calls", "tokens", "seconds", "dollars"]),
    st.one_of(
        st.sampled_from([math.nan, math.inf, -math.inf, -1, -0.1, True, False, "3", "nan", [], {}, 10**400, 1e300]),
        st.floats(max_value=-1e-9),
        st.text(),
        st.booleans(),
    ),
)
def test_a_limit_that_is_no_amount_is_refused(name: str, value: Any) -> None:
    """In one line that names the limit; NaN, which is below no limit, would have limited nothing."""
    with pytest.raises(ConfigurationError, match=f"budget {name}=") as caught:
        Budget.of({name: value})
    assert "\n" not in str(caught.value)


@given(st.one_of(st.integers(0, 10**9), st.floats(0, 1e9)))
def test_any_amount_is_a_limit(value: float) -> None:
    """Whole or not, 0 included."""
    assert Budget(calls=1, seconds=value).seconds == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_a_files_limit_is_refused_alike(value: float, tmp_path: Path) -> None:
    """JSON as Python reads it knows NaN."""
    Conscience("question -> answer", budget={"dollars": 1.0}).save(tmp_path / "p.json")
    data = json.loads((tmp_path / "p.json").read_text())
    data["policy"]["budget"]["dollars"] = value
    (tmp_path / "p.json").write_text(json.dumps(data))
    with pytest.raises(ArtifactError):
        Conscience.load(tmp_path / "p.json")


@pytest.mark.parametrize(
    ("name", "value"),
    [("timeout", v) for v in (math.nan, 0, -1, True, "9")]
    + [("retries", v) for v in (math.nan, -1, 1.5, True, "2", math.inf)],
)
def test_a_backends_numbers_are_numbers(name: str, value: Any) -> None:
    """Seconds and attempts, like limits."""
    with pytest.raises(ConfigurationError, match=f"{name}="):
        Backend("openai/gpt-4o-mini", **{name: value})


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "x"])
@pytest.mark.parametrize(
    "command",
    [
        "eval x --max-cost",
        "compile x --max-cost",
        "compile x --max-minutes",
        "propose-cases --max-cost",
        "ask x --timeout",
        "eval x --rpm",
        "eval x --tpm",
    ],
)
def test_an_options_number_is_a_number(command: str, value: str) -> None:
    """The command line reads "nan" as a number too."""
    result = CliRunner().invoke(cli, [*command.split(), value])
    assert result.exit_code == 2
    assert "Invalid value for" in result.output


@pytest.mark.parametrize("value", [math.nan, math.inf, -1, True, "3"])
def test_a_runs_numbers_are_numbers(value: Any) -> None:
    """Its dollars and its pace."""
    for make in (lambda: EvalConfig(max_dollars=value), lambda: RateLimiter(value), lambda: RateLimiter(tokens=value)):
        with pytest.raises(ConfigurationError, match="finite number"):
            make()


# Seconds ---------------------------------------------------------------------------------------------------------------


@contextmanager
def raw_server(serve: Callable[[socket.socket], None] | None) -> Iterator[str]:
    """A socket that does with each connection as it is told; with None, connections wait to be accepted for ever."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0 if serve is None else 64)
        open_ones: list[socket.socket] = []
        if serve is None:
            for _ in range(4):  # fill the queue
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
                open_ones.append(filler)
        else:

            def loop() -> None:
                while True:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        return
                    open_ones.append(connection)
                    threading.Thread(target=guarded, args=(connection,), daemon=True).start()

            def guarded(connection: socket.socket) -> None:
                try:
                    serve(connection)
                except OSError:
                    pass  # the client is gone, as it should be

            threading.Thread(target=loop, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        finally:
            for connection in open_ones:
                connection.close()


def dribble(connection: socket.socket, first: bytes) -> None:
    connection.recv(1 << 16)
    connection.sendall(first)
    for _ in range(200):
        connection.sendall(b" ")
        time.sleep(0.1)


def drips(connection: socket.socket) -> None:
    dribble(connection, b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n")


def slow_headers(connection: socket.socket) -> None:
    dribble(connection, b"HTTP/1.1 200 OK\r\nx-slow:")


def stalls(connection: socket.socket) -> None:
    connection.recv(1 << 16)
    time.sleep(30)


def asks_for_an_hour(connection: socket.socket) -> None:
    connection.recv(1 << 16)
    body = b'{"error": {"message": "slow down"}}'
    connection.sendall(
        b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 3600\r\ncontent-type: application/json\r\n"
        + f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
        + body
    )
    connection.close()


def fails(connection: socket.socket) -> None:
    connection.recv(1 << 16)
    connection.sendall(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nretry-after: 0.2\r\nconnection: close\r\n\r\n")
    connection.close()


SERVERS = {
    "drips": drips,
    "slow headers": slow_headers,
    "stalls": stalls,
    "never accepts": None,
    "asks for an hour": asks_for_an_hour,
    "fails and fails": fails,
}
ENGINES = ("wire", "litellm", "lm")


def backend_at(url: str, engine: str, **options: Any) -> Backend:
    options = {"cache": False, "retries": 50, "timeout": 100.0, **options}
    if engine == "lm":
        return Backend(dspy.LM("openai/fake", api_base=url, api_key="sk-0123", cache=False, num_retries=0), **options)
    return Backend("openai/fake", api_base=url, api_key="sk-0123", engine=engine, **options)


def spent_in(call: Callable[[], Any]) -> tuple[float, BaseException | None]:
    started = time.monotonic()
    try:
        call()
    except BaseException as error:
        return time.monotonic() - started, error
    return time.monotonic() - started, None


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """What is measured is the calls."""
    Backend("openai/fake", api_key="sk-0123", engine="litellm").warm()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("how", SERVERS)
@pytest.mark.long
def test_seconds_hold_whatever_the_server_does(how: str, engine: str) -> None:
    """Sync and async side by side, over both wires and through a dspy.LM, retries and pauses included."""
    with raw_server(SERVERS[how]) as url:
        backend = backend_at(url, engine)

        def sync() -> None:
            backend.complete(TURN, {}, ctx=CallContext(UsageTracker(Budget(seconds=SECONDS)), "review"))

        def on_a_loop() -> None:
            asyncio.run(backend.acomplete(TURN, {}, ctx=CallContext(UsageTracker(Budget(seconds=SECONDS)), "review")))

        results: list[tuple[float, BaseException | None]] = []
        threads = [threading.Thread(target=lambda c=call: results.append(spent_in(c))) for call in (sync, on_a_loop)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for seconds, error in results:
        assert seconds < FAR
        # A pause beyond a minute is not waited for, whatever the budget: then the failure itself is told.
        allowed = (BudgetExceeded, BackendError) if how == "asks for an hour" else BudgetExceeded
        assert isinstance(error, allowed), error


@pytest.mark.parametrize("stage", ["generate", "gate", "critique", "revise"])
@pytest.mark.long
def test_seconds_hold_in_every_stage(stage: str) -> None:
    """The stage that hangs is cut off: the outcome is unreviewed, or the last text flagged; nothing waits for the server."""

    def behaviour(body: Body, number: int) -> Body | Raw:
        from tests.support.loopback import is_critique, is_revision, well_behaved

        now = "gate" if is_gate(body) else "critique" if is_critique(body) else "revise" if is_revision(body) else "generate"
        return Raw(text="{}", drip=20.0) if now == stage else well_behaved(body, number)

    with Loopback(behaviour) as server:
        program = Conscience("question -> answer", lm=server.backend(timeout=100.0), budget={"seconds": 1.0})
        started = time.monotonic()
        outcome = program(question="UNSAFE?")
    assert time.monotonic() - started < FAR
    assert (outcome.status, outcome.ok) == ("unreviewed", False)
    assert "BADWORD" not in json.dumps(outcome.to_json())


@pytest.mark.parametrize("engine", ["wire", "litellm"])
def test_fallbacks_have_the_seconds_that_are_left(engine: str) -> None:
    """Three servers that drip take no longer than one."""
    with raw_server(drips) as url:
        backend = backend_at(url, engine, fallbacks=[backend_at(url, engine), backend_at(url, engine)])
        ctx = CallContext(UsageTracker(Budget(seconds=SECONDS)), "review")
        seconds, error = spent_in(lambda: backend.complete(TURN, {}, ctx=ctx))
    assert seconds < FAR
    assert isinstance(error, BudgetExceeded)


def test_seconds_hold_for_embeddings() -> None:
    """LiteLLM's SDK retries them on its own; the budget's end comes first."""
    from conscience._base.flow import run_async, run_sync

    with raw_server(drips) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_BASE", url)
        patch.setenv("OPENAI_API_KEY", "sk-0123")
        backend = Backend(ScriptedLM({"": "x"}), cache=False)
        for drive in (run_sync, lambda flow: asyncio.run(run_async(flow))):
            ctx = CallContext(UsageTracker(Budget(seconds=SECONDS)), "review")
            seconds, error = spent_in(lambda: drive(backend.embedding("openai/fake-embedding", ["a"], ctx)))  # noqa: B023
            assert seconds < FAR
            assert isinstance(error, BudgetExceeded)


# Starting up -----------------------------------------------------------------------------------------------------------


class SlowStart(LMTransport):
    """A model that takes its time to start, and then answers at once."""

    def call(self, *args: Any) -> Any:
        with paused_clock():
            time.sleep(0.6)
        return super().call(*args)

    async def acall(self, *args: Any) -> Any:
        with paused_clock():
            await asyncio.sleep(0.6)
        return await super().acall(*args)


@pytest.mark.parametrize("drive", ["sync", "async"])
def test_starting_up_is_neither_metered_nor_budgeted(drive: str) -> None:
    """A budget of half a second suffices for a call that first has to start something for longer."""
    backend = Backend(ScriptedLM(by_stage("Paris.")), cache=False)
    backend.transports = [SlowStart(backend.transports[0].lm)]  # type: ignore[attr-defined]
    program = Conscience("question -> answer", lm=backend, budget={"seconds": 0.5})
    outcome = program(question="?") if drive == "sync" else asyncio.run(program.acall(question="?"))
    assert outcome.status == "clean"
    assert outcome.usage.seconds < 0.5
    assert outcome.usage.total.seconds < 0.5


def test_calls_side_by_side_pause_their_own_clock_alone() -> None:
    """What one program call waits for is no gift to another."""
    one, other = UsageTracker(Budget(seconds=1)), UsageTracker(Budget(seconds=1))
    with one.paused.counting():
        time.sleep(0.3)
        assert one.seconds_left() > 0.9 > other.seconds_left()  # type: ignore[operator]


# Dollars ---------------------------------------------------------------------------------------------------------------


def test_dollars_need_a_price_before_anything_is_sent(server: Loopback) -> None:
    """A model that LiteLLM's list does not know is refused in one line, whatever its role."""
    priced = server.backend(input_cost_per_token=1e-6, output_cost_per_token=2e-6)
    for lm in (server.backend(), {"generate": priced, "review": server.backend()}, [priced, server.backend()]):
        with pytest.raises(ConfigurationError, match="openai/fake has no price") as caught:
            Conscience("question -> answer", lm=lm, budget={"dollars": 1})(question="?")
        assert "input_cost_per_token" in str(caught.value)
    assert not server.calls


def test_a_runs_dollars_need_a_price(server: Loopback, tmp_path: Path) -> None:
    """A run and a compilation are refused alike, before their first call."""
    program = Conscience("question -> answer", lm=server.backend())
    with pytest.raises(ConfigurationError, match="has no price"):
        asyncio.run(run(program, [], tmp_path / "run", EvalConfig(max_dollars=1.0)))
    with pytest.raises(ConfigurationError, match="has no price"):
        Runtime(tmp_path / "calls.jsonl", Budget(dollars=1.0)).own(program)
    assert not server.calls


@pytest.mark.parametrize("engine", ["wire", "litellm", "lm"])
def test_the_caller_may_give_the_price(server: Loopback, engine: str) -> None:
    """In dollars a token; then the budget holds, and the price is sent to nobody."""
    given = {"input_cost_per_token": 0.01, "output_cost_per_token": 0.1}
    if engine == "lm":
        lm = dspy.LM("openai/fake", api_base=server.url, api_key="sk-0123", cache=False)
        backend = Backend(lm, cache=False, **given)  # type: ignore[arg-type]
    else:
        backend = server.backend(engine=engine, **given)
    outcome = Conscience("question -> answer", lm=backend, budget={"dollars": 0.3})(question="?")
    assert outcome.usage.dollars == pytest.approx(0.37)  # 7 tokens in, 3 out: the first call goes over by its own cost
    assert (outcome.status, len(server.calls)) == ("unreviewed", 1)
    assert "cost" not in json.dumps(server.calls[0])


@pytest.mark.parametrize(
    "prices",
    [
        {"input_cost_per_token": 1.0},
        {"output_cost_per_token": 1.0},
        {"input_cost_per_token": -1, "output_cost_per_token": 0},
        {"input_cost_per_token": math.nan, "output_cost_per_token": 0},
        {"input_cost_per_token": "1", "output_cost_per_token": 0},
    ],
)
def test_a_price_is_two_amounts(prices: dict[str, Any]) -> None:
    """Half of a price would count the other half as free."""
    with pytest.raises(ConfigurationError, match="cost_per_token"):
        Backend("openai/fake", **prices)


def test_what_costs_nothing_needs_no_price() -> None:
    """The embedded model, a scripted one, and what LiteLLM's list says is free; hosted models of its list have theirs."""
    for model in ("local", ScriptedLM({"": "x"}), "openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5", "ollama/llama3"):
        Backend(model).check_prices()


def test_cached_answers_cost_nothing(server: Loopback, tmp_path: Path) -> None:
    """A second program with nothing left to spend gets them all the same."""
    backend = server.backend(cache=tmp_path, input_cost_per_token=0.01, output_cost_per_token=0.1)
    first = Conscience("question -> answer", lm=backend)(question="?")
    again = Conscience("question -> answer", lm=backend, budget={"calls": 0, "dollars": 0})(question="?")
    assert (first.status, again.status) == ("clean", "clean")
    assert (again.usage.calls, again.usage.dollars, again.usage.total.cached) == (0, 0, 2)


@pytest.mark.parametrize("drive", ["threads", "tasks"])
def test_an_overrun_is_at_most_what_is_under_way(server: Loopback, drive: str) -> None:
    """Whoever asks side by side under one budget: each call under way may go over by its own cost, and none begins after."""
    server.behaviour = lambda body, number: Raw(text=json.dumps(chat("x")), hang=0.1)
    backend = server.backend(input_cost_per_token=0.01, output_cost_per_token=0.1)
    tracker, width = UsageTracker(Budget(dollars=0.75)), 4
    ctx = CallContext(tracker, "review")

    def one() -> None:
        for _ in range(5):
            backend.complete(TURN, {}, ctx=ctx)

    async def aone() -> None:
        for _ in range(5):
            await backend.acomplete(TURN, {}, ctx=ctx)

    async def together() -> None:
        await asyncio.gather(*(aone() for _ in range(width)), return_exceptions=True)

    if drive == "threads":
        threads = [threading.Thread(target=spent_in, args=(one,)) for _ in range(width)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        asyncio.run(together())
    assert 0.75 <= tracker.usage().dollars <= 0.75 + width * 0.37 + 1e-9


def test_a_call_that_is_not_made_is_not_claimed() -> None:
    """Where the run's budget holds a call and the program's does not, the run keeps it."""
    run, own = UsageTracker(Budget(calls=5)), UsageTracker(Budget(calls=0))
    backend = Backend(ScriptedLM({"": "x"}), cache=False)
    backend._meter = run
    with pytest.raises(BudgetExceeded):
        backend.complete(TURN, {}, ctx=CallContext(own, "review"))
    assert run.begun == 0
    own.enter("review", CallUsage())


# Warm ------------------------------------------------------------------------------------------------------------------


def test_warm_reaches_every_role_and_may_be_repeated() -> None:
    """Each model is readied, from any thread, as often as one likes; nothing is sent."""
    readied: list[str] = []

    class Noted(LMTransport):
        def prepare(self) -> None:
            readied.append(self.name)

    lms = {role: ScriptedLM({"": "x"}, name=role) for role in ("generate", "review", "revise", "judge", "propose")}
    backends = {role: Backend(lm, cache=False) for role, lm in lms.items()}
    for role, backend in backends.items():
        backend.transports = [Noted(lms[role])]
    program = Conscience("question -> answer", lm=backends)
    program.warm()
    asyncio.run(program.awarm())
    threads = [threading.Thread(target=program.warm) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(readied) == sorted(6 * list(lms))
    assert not any(lm.calls for lm in lms.values())


@pytest.mark.parametrize("lm", ["openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5"])
def test_warm_tells_of_a_missing_key(lm: str) -> None:
    """Before the first request rather than with it."""
    with pytest.raises(ConfigurationError, match="_API_KEY"):
        Conscience("question -> answer", lm=lm).warm()


def test_warm_needs_no_model_where_a_callable_answers() -> None:
    """What answers is the callable's own affair."""
    Conscience(lambda question: "x", lm={"review": ScriptedLM({"": 0.1})}).warm()
