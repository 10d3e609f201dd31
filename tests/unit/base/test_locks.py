"""One process at a time, and who that is."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from conscience._base.locks import locked_file, locked_folder
from conscience.errors import InputError
from tests.support.forking import Forked, in_fork


def refusal(path: Path) -> str:
    """What a process is told that wants the folder; empty where it gets it."""
    try:
        with locked_folder(path):
            return ""
    except InputError as error:
        return str(error)


def hold(path: Path, told: int) -> None:
    """Takes the lock, tells so, and keeps it."""
    with locked_folder(path):
        os.write(told, b"x")
        time.sleep(120)


def test_second_process_is_told_who_has_it(tmp_path: Path) -> None:
    """By number and machine; afterwards nothing is left of the lock."""
    folder = tmp_path / "run"
    with locked_folder(folder):
        assert refusal(folder) == "", "what runs inside may take it again"
        told = in_fork(lambda: refusal(folder))
        assert f"{folder} is in use by process {os.getpid()} on {socket.gethostname()} since " in told
        assert "choose another folder" in told
    assert list(folder.iterdir()) == []
    assert in_fork(lambda: refusal(folder)) == ""


def test_another_run_of_the_process_is_refused_too(tmp_path: Path) -> None:
    """In a thread of its own, say."""
    told: list[str] = []
    with locked_folder(tmp_path):
        thread = threading.Thread(target=lambda: told.append(refusal(tmp_path)))
        thread.start()
        thread.join()
    assert "in use by another run of this process" in told[0]


@pytest.mark.parametrize("knows_locks", [True, False], ids=["flock", "no flock"])
def test_lock_of_a_killed_process_is_taken_over(tmp_path: Path, knows_locks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it was killed; also on file systems without locks, if it was on this machine."""
    if not knows_locks:
        monkeypatch.setattr(fcntl, "flock", unknown)
    read, write = os.pipe()
    child = Forked(lambda: hold(tmp_path, write))
    assert os.read(read, 1) == b"x"
    assert f"in use by process {child.pid} on " in refusal(tmp_path)
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(AssertionError, match="failed"):
        child.result()
    assert (tmp_path / "lock").exists()
    assert refusal(tmp_path) == ""
    assert not (tmp_path / "lock").exists()


def unknown(*_: Any) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_holder_on_another_machine_is_believed_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody here can know whether it is still there."""
    monkeypatch.setattr(fcntl, "flock", unknown)
    (tmp_path / "lock").write_text(json.dumps({"pid": 1, "host": "elsewhere", "since": 1}))
    assert "in use by process 1 on elsewhere" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"pid": ', b"\xff\x00", b'{"pid": "x", "host": 3}'])
def test_leftover_of_any_content_is_taken_over(tmp_path: Path, content: bytes) -> None:
    """The system's lock decides, not the file."""
    (tmp_path / "lock").write_bytes(content)
    assert refusal(tmp_path) == ""


def test_child_that_outlives_its_parent_keeps_no_lock(tmp_path: Path) -> None:
    """Such as a worker of a pool."""
    with locked_folder(tmp_path):
        read, write = os.pipe()
        child = Forked(lambda: os.read(read, 1))
    try:
        assert in_fork(lambda: refusal(tmp_path)) == ""
        assert refusal(tmp_path) == ""
    finally:
        os.write(write, b"x")
        assert child.result() == b"x"


def test_many_at_once_take_turns(tmp_path: Path) -> None:
    """Never two of them, though each removes the lock's file when it goes."""

    def work() -> tuple[int, int]:
        taken = crossed = 0
        for _ in range(60):
            try:
                with locked_folder(tmp_path):
                    taken += 1
                    try:
                        os.close(os.open(tmp_path / "inside", os.O_CREAT | os.O_EXCL))
                    except FileExistsError:
                        crossed += 1
                    else:
                        os.unlink(tmp_path / "inside")
            except InputError:
                pass
        return taken, crossed

    results = [child.result() for child in [Forked(work) for _ in range(4)]]
    assert sum(taken for taken, _ in results) > 0
    assert sum(crossed for _, crossed in results) == 0


def test_file_is_locked_beside_it(tmp_path: Path) -> None:
    """It may be replaced meanwhile."""
    path = tmp_path / "cases.jsonl"
    path.write_text("{}\n")
    with locked_file(path):
        path.unlink()
        path.write_text("new\n")
        with pytest.raises(AssertionError, match="failed"):
            in_fork(lambda: locked_file(path).__enter__())
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("make", [lambda p: p.write_text("x"), lambda p: (p.mkdir(), (p / "lock").mkdir())])
def test_what_cannot_be_locked_is_named(tmp_path: Path, make: Any) -> None:
    """In one line: a file in the folder's place, a folder in the lock's."""
    make(tmp_path / "run")
    assert f"{tmp_path / 'run'}: cannot be used: " in refusal(tmp_path / "run")
    with pytest.raises(InputError, match="cannot be used"), locked_file(tmp_path / "missing" / "cases.jsonl"):
        pass
