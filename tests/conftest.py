"""What every test runs under: no network but loopback, and caches in a folder of their own."""

from __future__ import annotations

import gc
import ipaddress
import itertools
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

gc.disable()  # until all tests are collected: what is made by then stays to the end, and is looked through in vain
hypothesis.settings.register_profile("any pace", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("any pace")

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
for name in [n for n in os.environ if n.endswith(("_API_KEY", "_API_BASE", "_BASE_URL"))]:
    del os.environ[name]  # a developer's own keys must not decide what a test sees

from conscience.backends.embedded.weights import weights_folder  # noqa: E402 - the environment comes first
from tests.support.loopback import Loopback  # noqa: E402

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # run in the background of a shell, where Ctrl-C is ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"
WEIGHTS = weights_folder()
"""The developer's own, as they are found outside of the tests; read, never written."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where files run side by side, one worker takes all tests of the embedded model: it is started once."""
    for item in items:
        if item.get_closest_marker("local") is not None or {"local_endpoint", "coder"} & set(
            getattr(item, "fixturenames", ())
        ):
            item.add_marker(pytest.mark.xdist_group("local"))


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


_LEFT_OUT: set[str] = set()


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Remembers the long tests that are left out, to name them at the end."""
    _LEFT_OUT.update(item.nodeid for item in items if item.get_closest_marker("long") is not None)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells the process that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = sorted(_LEFT_OUT)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _LEFT_OUT.update(getattr(node, "workeroutput", {}).get("left_out", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _LEFT_OUT:
        terminalreporter.section("long tests left out (make long runs them)", sep="-")
        for name in sorted(_LEFT_OUT):
            terminalreporter.write_line(name)


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Connecting anywhere but to this machine fails, in every thread and on every event loop."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def allowed(address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in ("localhost", ""):
            try:
                local = ipaddress.ip_address(str(address[0]).split("%")[0]).is_loopback
            except ValueError:
                local = False
            if not local:
                raise OSError(f"a test tried to reach {address[0]}: only loopback is allowed")

    def guarded(self: socket.socket, address: Any) -> Any:
        allowed(address)
        return connect(self, address)

    def guarded_ex(self: socket.socket, address: Any) -> Any:
        allowed(address)
        return connect_ex(self, address)

    socket.socket.connect, socket.socket.connect_ex = guarded, guarded_ex  # type: ignore[method-assign]
    yield
    socket.socket.connect, socket.socket.connect_ex = connect, connect_ex  # type: ignore[method-assign]


_CACHES = itertools.count()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing a test caches outlives it or touches the user's folder."""
    folder = tmp_path_factory.mktemp(f"cache-{next(_CACHES)}", numbered=False)  # a free number is sought among all
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.delenv("CONSCIENCE_WEIGHTS", raising=False)
    from conscience.backends.storage.cache import shared_cache

    shared_cache.cache_clear()


@pytest.fixture
def server() -> Iterator[Loopback]:
    """An OpenAI-compatible server on loopback that behaves as the test says."""
    with Loopback() as loopback:
        yield loopback


@pytest.fixture
def coder(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Qwen2.5-Coder-0.5B by name, where the engine and its weights are on this machine; its server ends with the test."""
    from conscience.backends.embedded.local import shutdown
    from conscience.backends.embedded.weights import weights_of
    from conscience.errors import ConfigurationError

    pytest.importorskip("xllamacpp", reason="the embedded engine is not installed")
    monkeypatch.setenv("CONSCIENCE_WEIGHTS", str(WEIGHTS))
    try:
        file = weights_of("qwen2.5-coder-0.5b").path()
    except ConfigurationError as error:
        pytest.skip(f"no larger model here: {error}")
    yield "local:qwen2.5-coder-0.5b"
    shutdown(file)


@pytest.fixture(scope="session")
def local_endpoint() -> Any:
    """The embedded model's server, where its engine and weights are installed."""
    from conscience.backends.embedded.local import endpoint
    from conscience.errors import ConfigurationError

    try:
        return endpoint()
    except ConfigurationError as error:
        pytest.skip(f"no embedded model here: {error}")


@pytest.fixture
def continuing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripted models go on with a last turn of their own, as the embedded engine does."""
    monkeypatch.setattr("conscience.testing._Engine.supports_begun_answers", True, raising=False)
