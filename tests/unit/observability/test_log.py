"""The verdict log: what is in it, who may write to it, and what a full disk may not do."""

from __future__ import annotations

import asyncio
import copy
import errno
import json
import logging
import multiprocessing
import os
import pickle
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from conscience import (
    BackendError,
    ConfigurationError,
    Conscience,
    ConscienceError,
    VerdictLog,
    VerdictRecord,
    request_context,
)
from conscience.observability import files, flush
from conscience.observability.files import append_lines
from conscience.observability.log import LONGEST_TEXT
from conscience.testing import Fault, ScriptedLM, by_stage
from tests.support.scripts import bad_then_good

KEY = "sk-live-4f9a8b7c6d5e4f3a2b1c"


def records(log: VerdictLog) -> list[VerdictRecord]:
    assert flush(30)
    return [VerdictRecord.from_json(line) for line in log.path.read_bytes().splitlines()]


def record(id: str, **fields: Any) -> VerdictRecord:
    return VerdictRecord(at="2026-11-26T10:00:00.000+00:00", id=id, status="clean", flagged=False, **fields)


def test_a_line_says_who_when_what_and_at_what_cost(tmp_path: Path) -> None:
    log = VerdictLog(tmp_path / "verdicts.jsonl")
    program = Conscience("question -> answer", lm=bad_then_good(), log=log, name="support")
    with request_context(id="r-1", tenant="acme"):
        outcome = program(question="q")
    [line] = records(log)
    assert (line.id, line.tenant, line.program, line.mode, line.status) == ("r-1", "acme", "support", "enforce", "revised")
    assert (line.flagged, line.gated, line.probability, line.principles) == (True, True, pytest.approx(0.9), ("honesty",))
    assert line.signals == outcome.draft_verdict.signals
    assert (line.calls, line.tokens, line.revisions) == (outcome.usage.calls, outcome.usage.tokens, 1)
    assert line.backend == "scripted/lm"
    assert line.time.tzinfo is not None


@pytest.mark.parametrize(("texts", "kept"), [(False, {}), (True, {"request": "q", "response": "Good.", "draft": "Bad."})])
def test_texts_only_if_they_are_asked_for(texts: bool, kept: dict[str, str], tmp_path: Path) -> None:
    log = VerdictLog(tmp_path / "verdicts.jsonl", texts=texts)
    Conscience("question -> answer", lm=bad_then_good(), log=log)(question="q")
    assert flush(30)
    line = json.loads(log.path.read_bytes())
    assert {name: line[name] for name in ("request", "response", "draft") if name in line} == kept
    assert texts or "Bad" not in log.path.read_text()


def test_no_credential_is_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in texts, messages and tool calls nor in an id that a client sent."""
    monkeypatch.setenv("MY_SERVICE_TOKEN", "open-sesame-42-please")
    log = VerdictLog(tmp_path / "verdicts.jsonl", texts=True)
    lm = ScriptedLM(by_stage(f"Use {KEY}."))
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": f'{{"key": "{KEY}"}}'}}
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "open-sesame-42-please"}, picture]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": f"Bearer {KEY}"},
        {"role": "user", "content": "Go on."},
    ]
    with request_context(id=f"id {KEY}", tenant=KEY):
        Conscience("question -> answer", lm=lm, log=log)(question=messages)
    [line] = records(log)
    assert isinstance(line.request, tuple)
    assert line.request[3]["content"] == "Go on."
    written = log.path.read_text()
    assert KEY not in written
    assert "open-sesame" not in written


def test_half_a_credential_is_none_the_less_taken_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that stands where a long text is cut."""
    monkeypatch.setenv("MY_SERVICE_TOKEN", "open-sesame-42-please")
    log = VerdictLog(tmp_path / "verdicts.jsonl", texts=True)
    request = "a" * (LONGEST_TEXT - 15) + " open-sesame-42-please"
    Conscience("question -> answer", lm=ScriptedLM(by_stage("Fine.")), log=log)(question=request)
    [line] = records(log)
    assert isinstance(line.request, str)
    assert len(line.request) <= LONGEST_TEXT
    assert "open-sesame" not in line.request


def test_an_id_cannot_forge_a_line(tmp_path: Path) -> None:
    log = VerdictLog(tmp_path / "verdicts.jsonl")
    program = Conscience("question -> answer", lm=ScriptedLM(by_stage("Fine.")), log=log)
    with request_context(id='x"}\n{"at": "2026', tenant="t" * 10_000):
        program(question="q")
    [line] = records(log)
    assert "\n" not in line.id
    assert len(line.tenant) == 200


@pytest.mark.parametrize("text", ["half \ud83d pair", "nul \0 byte", "line\u2028separator\r\n", "x" * 300_000, "é漢🙂"])
def test_any_text_can_be_logged(text: str, tmp_path: Path) -> None:
    log = VerdictLog(tmp_path / "verdicts.jsonl", texts=True)
    log.add(record("a", request=text, response=text, draft=text, error=text))
    log.add(record("b", request=({"role": "user", "content": text},)))
    assert [line.id for line in records(log)] == ["a", "b"]
    assert log.path.stat().st_size < 700_000


WAYS = [
    ({"generate": Fault("auth")}, {}, "failed"),
    ({"gate": Fault("auth")}, {"on_error": "raise"}, "unreviewed"),
    ({"gate": Fault("auth")}, {}, "unreviewed"),
    ({"revise": "Bad again."}, {"on_unresolved": "raise"}, "refused"),
    ({"revise": "Bad again."}, {"on_unresolved": "best"}, "unresolved"),
]


@pytest.mark.parametrize(("stages", "policy", "status"), WAYS)
@pytest.mark.parametrize("way", ["sync", "async"])
def test_an_outage_is_not_logged_as_a_verdict_nor_a_verdict_as_an_outage(
    stages: Any, policy: Any, status: str, way: str, tmp_path: Path
) -> None:
    log = VerdictLog(tmp_path / "verdicts.jsonl")
    program = Conscience("question -> answer", lm=bad_then_good(**stages), log=log, **policy)
    raises = status == "failed" or "raise" in policy.values()
    with pytest.raises(ConscienceError) if raises else nullcontext():
        program(question="q") if way == "sync" else asyncio.run(program.acall(question="q"))
    [line] = records(log)
    assert (line.status, line.reviewed) == (status, status in ("refused", "unresolved"))
    assert bool(line.error) == (status in ("failed", "unreviewed") or ("on_unresolved" in policy and status == "refused"))


def test_a_bug_in_the_callers_code_is_logged_by_its_type_alone(tmp_path: Path) -> None:
    """Its words may be anything."""

    def answer(question: str) -> str:
        raise KeyError("the secret draft")

    log = VerdictLog(tmp_path / "verdicts.jsonl")
    program = Conscience(answer, lm={"review": ScriptedLM(by_stage())}, log=log)
    with pytest.raises(KeyError):
        program(question="q")
    [line] = records(log)
    assert (line.status, line.error) == ("failed", "KeyError")


async def test_a_client_that_leaves_is_in_the_log(tmp_path: Path) -> None:
    log = VerdictLog(tmp_path / "verdicts.jsonl")
    begun = asyncio.Event()

    async def answer(question: str) -> str:
        begun.set()
        await asyncio.sleep(60)
        return "Never."

    program = Conscience(answer, lm={"review": ScriptedLM(by_stage())}, log=log)
    task = asyncio.create_task(program.acall(question="q"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    [line] = records(log)
    assert (line.status, line.error) == ("failed", "the caller went away")


# The file --------------------------------------------------------------------------------------------------------------


def all_lines(path: Path) -> list[str]:
    """Of the file and those that it was rotated to, the oldest first."""
    older = sorted(path.parent.glob(f"{path.name}.[0-9]*"), key=lambda file: -int(file.suffix[1:]))
    return [json.loads(line)["id"] for file in [*older, path] for line in file.read_bytes().splitlines()]


def test_the_file_rotates_and_only_so_many_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    log = VerdictLog(path, max_bytes=2000, keep=3)
    path.chmod(0o640)
    for number in range(100):
        log.add(record(f"{number}"))
    assert flush(30)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["verdicts.jsonl", "verdicts.jsonl.1", "verdicts.jsonl.2", "verdicts.jsonl.3"]
    assert all(file.stat().st_size <= 2000 for file in tmp_path.iterdir())
    kept = all_lines(path)
    assert kept == [f"{number}" for number in range(100 - len(kept), 100)]
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o640}
    assert (log.written, log.lost) == (100, 0)


def test_a_file_in_a_folder_of_somebody_elses_grows_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As in /var/log: it may be written, and not moved. No record is lost of it."""

    def refuses(self: Path, target: Path) -> Path:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    log = VerdictLog(tmp_path / "verdicts.jsonl", max_bytes=1000)
    monkeypatch.setattr(Path, "replace", refuses)
    for number in range(10):
        log.add(record(f"{number}"))
        assert flush(30)
    assert all_lines(log.path) == [f"{number}" for number in range(10)]
    assert (log.lost, caplog.text.count("cannot be rotated")) == (0, 1)


def test_a_new_file_is_for_this_user_alone(tmp_path: Path) -> None:
    log = VerdictLog(tmp_path / "new" / "verdicts.jsonl")
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.path.parent.stat().st_mode) == 0o700


def test_a_file_that_was_moved_away_is_made_again(tmp_path: Path) -> None:
    log = VerdictLog(tmp_path / "verdicts.jsonl")
    log.add(record("a"))
    assert flush(30)
    log.path.rename(tmp_path / "moved")
    log.add(record("b"))
    assert [line.id for line in records(log)] == ["b"]


def test_a_line_torn_by_a_process_that_died_spoils_no_other(tmp_path: Path) -> None:
    log = VerdictLog(tmp_path / "verdicts.jsonl")
    log.path.write_bytes(b'{"at": "2026-11')
    log.add(record("a"))
    assert flush(30)
    torn, whole = log.path.read_bytes().splitlines()
    assert torn == b'{"at": "2026-11'
    assert VerdictRecord.from_json(whole).id == "a"


WRITER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from conscience.observability.files import append_lines
name, path = sys.argv[1], Path(sys.argv[2])
for number in range(150):
    line = b'{"id": "%s-%d", "pad": "%s"}\\n' % (name.encode(), number, b"x" * (number % 90))
    append_lines(path, [line], max_bytes=4000, keep=50)
"""


def test_several_processes_write_to_one_file_and_lose_no_line(tmp_path: Path) -> None:
    """While it rotates, too: every line is there once and whole, and those of one process are in order."""
    path = tmp_path / "verdicts.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, name, str(path)]) for name in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    lines = all_lines(path)
    assert len(list(tmp_path.iterdir())) > 3
    for name in "abc":
        assert [line for line in lines if line.startswith(name)] == [f"{name}-{number}" for number in range(150)]


def _child(log: VerdictLog, name: str) -> None:
    for number in range(20):
        log.add(record(f"{name}-{number}"))


def test_a_forked_child_writes_its_own_records_and_not_its_parents(tmp_path: Path) -> None:
    """What is queued at the fork is written once; a child that ends as multiprocessing ends it has written all."""
    log = VerdictLog(tmp_path / "verdicts.jsonl")
    _child(log, "parent")
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=_child, args=(log, f"child{number}")) for number in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
    lines = [line.id for line in records(log)]
    assert sorted(lines) == sorted(
        f"{name}-{number}" for name in ("parent", "child0", "child1", "child2") for number in range(20)
    )


AT_EXIT = """
import sys
from conscience import Conscience, VerdictLog
from conscience.testing import ScriptedLM, by_stage
program = Conscience("question -> answer", lm=ScriptedLM(by_stage("Fine.")), log=sys.argv[1], mode="observe")
for _ in range(5):
    program(question="q")
"""


def test_a_process_that_ends_has_written_everything(tmp_path: Path) -> None:
    """The reviews of observed answers, too."""
    path = tmp_path / "verdicts.jsonl"
    done = subprocess.run([sys.executable, "-c", AT_EXIT, str(path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert [VerdictRecord.from_json(line).status for line in path.read_bytes().splitlines()] == ["clean"] * 5


# What goes wrong -------------------------------------------------------------------------------------------------------


def _full(file: int, data: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_loses_records_and_says_so_once_but_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = VerdictLog(tmp_path / "verdicts.jsonl")
    program = Conscience("question -> answer", lm=bad_then_good(), log=log)
    with monkeypatch.context() as full:
        full.setattr(files.os, "write", _full)
        for _ in range(3):
            assert program(question="q").answer == "Good."
            assert flush(30)
    assert (log.lost, log.written) == (3, 0)
    assert [line.levelno for line in caplog.records if line.name == "conscience"] == [logging.WARNING]
    assert "No space left" in caplog.text
    program(question="q")
    program(question="q")
    assert [line.lost for line in records(log)] == [3, 0]  # the log tells of its own gaps
    assert (log.lost, log.written) == (3, 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_device_that_is_full_is_no_answers_trouble(caplog: pytest.LogCaptureFixture) -> None:
    log = VerdictLog("/dev/full")
    program = Conscience("question -> answer", lm=bad_then_good(), log=log)
    assert [program(question="q").answer for _ in range(3)] == ["Good."] * 3
    assert flush(30)
    assert (log.lost, log.written, caplog.text.count("No space left")) == (3, 0, 1)


def test_what_a_full_disk_has_no_room_for_is_not_left_torn(tmp_path: Path) -> None:
    """Whole lines of a batch that fit are kept, and the rest of the next one is taken back."""
    path = tmp_path / "verdicts.jsonl"
    script = f"""
import resource, signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from conscience.observability.files import PartlyWritten, append_lines
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (250, resource.RLIM_INFINITY))
try:
    append_lines(Path({str(path)!r}), [b"x" * 99 + b"\\n"] * 5, max_bytes=10_000, keep=1)
except PartlyWritten as error:
    print(error.lines)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("2\n", "")
    assert path.read_bytes() == (b"x" * 99 + b"\n") * 2


def test_a_disk_that_hangs_holds_up_no_answer_and_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = VerdictLog(tmp_path / "verdicts.jsonl", backlog=5)
    goes_on = threading.Event()

    def hangs(*args: Any, **options: Any) -> bool:
        assert goes_on.wait(30)
        return append_lines(*args, **options)

    monkeypatch.setattr("conscience.observability.log.append_lines", hangs)
    program = Conscience("question -> answer", lm=ScriptedLM(by_stage("Fine.")), log=log)
    for _ in range(20):
        assert program(question="q").answer == "Fine."
    goes_on.set()
    kept = records(log)
    assert 5 <= len(kept) <= 10  # those that waited, and those that were being written
    assert log.lost == 20 - len(kept)
    assert caplog.text.count("records of verdicts are lost") == 1


def test_a_folder_that_is_gone_is_no_answers_trouble(tmp_path: Path) -> None:
    log = VerdictLog(tmp_path / "logs" / "verdicts.jsonl")
    log.path.unlink()
    log.path.parent.rmdir()
    assert Conscience("question -> answer", lm=bad_then_good(), log=log)(question="q").answer == "Good."
    assert flush(30)
    assert log.lost == 1


@pytest.mark.parametrize("where", ["", "file/verdicts.jsonl", "nul\0"])
def test_a_path_that_cannot_be_written_is_told_at_once(where: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        Conscience("question -> answer", log=f"{tmp_path}/{where}")


@pytest.mark.parametrize("option", [{"max_bytes": 0}, {"keep": 0}, {"backlog": True}])
def test_a_limit_that_makes_no_sense_is_refused_by_name(option: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(option))):
        VerdictLog(tmp_path / "verdicts.jsonl", **option)  # type: ignore[arg-type]


def test_each_line_is_its_own_calls_in_threads_and_tasks(tmp_path: Path) -> None:
    """Id, tenant and texts of a hundred calls at once, observed and enforced, never cross."""
    log = VerdictLog(tmp_path / "verdicts.jsonl", texts=True)
    lm = ScriptedLM(by_stage(lambda messages, params: f"To {messages[-1]['content']}"))
    program = Conscience("question -> answer", lm=lm, log=log)

    def ask(number: int) -> str:
        mode = "observe" if number % 2 else "enforce"
        with request_context(id=f"r-{number}", tenant=f"t-{number}", mode=mode):  # type: ignore[arg-type]
            return str(program(question=f"q-{number}").answer)

    async def aask(number: int) -> str:
        mode = "observe" if number % 2 else "enforce"
        with request_context(id=f"r-{number}", tenant=f"t-{number}", mode=mode):  # type: ignore[arg-type]
            return str((await program.acall(question=f"q-{number}")).answer)

    async def all_at_once() -> list[str]:
        return await asyncio.gather(*map(aask, range(50, 100)))

    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(ask, range(50)), *asyncio.run(all_at_once())]
    assert answers == [f"To q-{number}" for number in range(100)]
    lines = {line.id: line for line in records(log)}
    assert len(lines) == 100
    for number in range(100):
        line = lines[f"r-{number}"]
        said = (line.tenant, line.request, line.response, line.mode)
        assert said == (f"t-{number}", f"q-{number}", f"To q-{number}", "observe" if number % 2 else "enforce")


# Copies ----------------------------------------------------------------------------------------------------------------


def test_copies_of_a_program_write_to_one_log_and_a_pickle_finds_it_again(tmp_path: Path) -> None:
    log = VerdictLog(tmp_path / "verdicts.jsonl", texts=True, keep=2)
    program = Conscience("question -> answer", lm=ScriptedLM(by_stage("Fine.")), log=log)
    assert copy.deepcopy(program).log is log
    opened = pickle.loads(pickle.dumps(log))
    assert (opened.path, opened.texts) == (log.path, True)
    opened.add(record("a"))
    assert flush(30)
    assert log.path.read_bytes().count(b"\n") == 1


def test_errors_of_the_model_are_logged_in_its_words_without_credentials(tmp_path: Path) -> None:
    log = VerdictLog(tmp_path / "verdicts.jsonl")
    lm = ScriptedLM(by_stage(Fault("auth", f"wrong key {KEY}")))
    with pytest.raises(BackendError):
        Conscience("question -> answer", lm=lm, log=log)(question="q")
    [line] = records(log)
    assert line.error
    assert KEY not in line.error
