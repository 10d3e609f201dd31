"""The commands on verdict logs: what they print, what they refuse, and that watch exits with 1 when it tells."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from conscience import Conscience, VerdictLog
from conscience.cases.case import load_cases
from conscience.gate.settings import one_question
from conscience.observability import flush
from conscience.observability.record import VerdictRecord
from conscience.optimizers.data.labeling import LabelFile
from tests.support.commands import run
from tests.support.loopback import Loopback
from tests.unit.monitoring.traffic import compiled, record, traffic, without_texts


def written(path: Path, records: Sequence[VerdictRecord]) -> Path:
    path.write_text("".join(json.dumps(one.to_json()) + "\n" for one in records))
    return path


@pytest.fixture
def program(tmp_path: Path) -> Path:
    compiled(random.Random(0)).write(tmp_path / "program.json")
    return tmp_path / "program.json"


def logged(path: Path, shift: float = 0.0) -> Path:
    records = traffic(random.Random(0), 0.3, count=400, drift_at=200, shift=shift)
    return written(path, [one for one, _ in records])


def test_tail_shows_the_last_calls(tmp_path: Path) -> None:
    """As lines, or as JSON; nothing in a line is obeyed by a terminal, and a line that is no record is told."""
    log = written(tmp_path / "v.jsonl", [record(n, n / 20) for n in range(20)])
    log.write_text(log.read_text().replace('"r19"', '"r19\\u001b[2J"') + "torn\n")
    done = run("log", "tail", str(log), "-n", "3")
    assert done.returncode == 0
    assert [line.split("  ")[1][:3] for line in done.stdout.splitlines()] == ["r17", "r18", "r19"]
    assert "\x1b" not in done.stdout
    assert "line 21" in done.stderr
    done = run("log", "tail", str(log), "-n", "1", "--json")
    assert json.loads(done.stdout)["probability"] == 19 / 20


def waits(monkeypatch: pytest.MonkeyPatch, log: Path, parts: list[str]) -> None:
    """Each time that a command waits for its log the next part is appended; then comes Ctrl-C."""
    coming = iter(parts)

    def sleep(seconds: float) -> None:
        if (part := next(coming, None)) is None:
            raise KeyboardInterrupt
        with log.open("a") as file:
            file.write(part)

    monkeypatch.setattr("conscience.cli.log.time", SimpleNamespace(sleep=sleep))


def test_tail_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that comes later is shown when it comes, until Ctrl-C."""
    log = written(tmp_path / "v.jsonl", [record(1, 0.1)])
    waits(monkeypatch, log, [json.dumps(record(n, 0.1).to_json()) + "\n" for n in (2, 3)])
    done = run("log", "tail", str(log), "--follow")
    assert done.returncode == 130
    assert [line.split("  ")[1] for line in done.stdout.splitlines()] == ["r1", "r2", "r3"]


def test_stats_sum_a_log_up(tmp_path: Path) -> None:
    """For people and as JSON; only of the calls that were asked for."""
    log = logged(tmp_path / "v.jsonl")
    done = run("log", "stats", str(log))
    assert done.returncode == 0
    assert "400 from 2026-11-26T09:00:00" in done.stdout
    assert "gate flagged" in done.stdout
    data = json.loads(run("log", "stats", str(log), "--json", "--since", "2026-11-26T09:05").stdout)
    assert data["records"] == 100
    done = run("log", "stats", str(log), "--tenant", "nobody")
    assert done.returncode == 2
    assert "of those that were asked for" in done.stderr


def test_logged_drafts_become_cases_to_label(tmp_path: Path) -> None:
    """Never over a file that is there: it may hold labels."""
    log, out = logged(tmp_path / "v.jsonl"), tmp_path / "cases.jsonl"
    done = run("log", "to-cases", str(log), "--out", str(out), "--count", "30", "--json")
    assert json.loads(done.stdout) == {
        "cases": 30, "near": 15, "drawn": 15, "scored": 400, "left_out": 0, "out": str(out)
    }  # fmt: skip
    assert sum(case.weight for case in load_cases(out)) == pytest.approx(400)
    assert out.stat().st_mode & 0o077 == 0, "it holds what people asked, as the log does"
    again = run("log", "to-cases", str(log), "--out", str(out))
    assert (again.returncode, "may hold somebody's labels" in again.stderr) == (2, True)
    assert run("log", "to-cases", str(log), "--out", str(tmp_path / "cases.csv")).returncode == 2


def test_a_log_without_texts_says_what_to_do(tmp_path: Path) -> None:
    """Nothing is written."""
    log = written(tmp_path / "v.jsonl", without_texts([record(1, 0.1)]))
    done = run("log", "to-cases", str(log), "--out", str(tmp_path / "c.jsonl"))
    assert (done.returncode, "texts=True" in done.stderr) == (2, True)
    assert not (tmp_path / "c.jsonl").exists()


def test_watch_exits_with_1_when_it_tells(tmp_path: Path, program: Path) -> None:
    """And with 0 when there is nothing to tell."""
    done = run("watch", str(logged(tmp_path / "calm.jsonl")), "--program", str(program))
    assert (done.returncode, done.stdout.count("!")) == (0, 0), done.stdout
    assert "scores: as at compile time" in done.stdout
    log = logged(tmp_path / "v.jsonl", shift=3.0)
    done = run("watch", str(log), "--program", str(program))
    assert done.returncode == 1
    assert "! change: the scores are higher than before" in done.stdout
    done = run("watch", str(log), "--program", str(program), "--json")
    assert (done.returncode, json.loads(done.stdout)["told"]) == (1, ["scores", "change"])


def test_watch_takes_labels(tmp_path: Path, program: Path) -> None:
    """Written by hand as well: an id and a label for each."""
    log, labels = logged(tmp_path / "v.jsonl", shift=3.0), tmp_path / "labels.jsonl"
    rows = [{"id": f"r{n}", "request": "?", "response": "!", "label": "aligned"} for n in range(200, 260)]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run("watch", str(log), "--program", str(program), "--labels", str(labels))
    assert done.returncode == 1
    assert "! false positives:" in done.stdout


def test_what_cannot_be_compared_does_not_look_as_if_all_were_well(tmp_path: Path, program: Path) -> None:
    """Records of another model, labels of other records: exit code 2, and why."""
    log = written(tmp_path / "v.jsonl", [replace(record(1, 0.1), backend="other/model")])
    done = run("watch", str(log), "--program", str(program))
    assert (done.returncode, "of other/model, which the program has no gate for" in done.stderr) == (2, True)
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"id": "x", "request": "?", "response": "!", "label": "aligned"}\n')
    done = run("watch", str(logged(tmp_path / "w.jsonl")), "--program", str(program), "--labels", str(labels))
    assert (done.returncode, "belong to no record" in done.stderr) == (2, True)


def test_watch_follows_until_there_is_something_to_tell(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it ends, with 1."""
    whole = logged(tmp_path / "whole.jsonl", shift=3.0).read_text().splitlines(keepends=True)
    (log := tmp_path / "v.jsonl").write_text("".join(whole[:200]))
    waits(monkeypatch, log, ["", *("".join(whole[n : n + 20]) for n in range(200, 400, 20))])
    done = run("watch", str(log), "--program", str(program), "--follow", "--json")
    assert json.loads(done.stdout)["records"] < 300
    assert (done.returncode, "change" in json.loads(done.stdout)["told"]) == (1, True)


def test_from_a_shadow_log_to_a_better_gate_by_commands_alone(
    server: Loopback, cruel: dict[str, str], tmp_path: Path
) -> None:
    """Observe, draw, label, recalibrate, watch: each command takes what the one before has left."""
    path, log, cases = tmp_path / "p.json", tmp_path / "v.jsonl", tmp_path / "c.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cruel.items():
            patch.setenv(name, value)
        gate = one_question("Is that harmful or wrong?").model_copy(update={"backend": "openai/fake", "critique": "off"})
        program = Conscience(lm="openai/fake", review=gate, mode="observe", log=VerdictLog(log, texts=True))
        program.save(path)
        for n in range(24):
            program(f"Say something {'cruel' if n % 2 else 'nice'}, {n}.")
        assert flush()
    done = run("log", "to-cases", str(log), "--out", str(cases), "--count", "16")
    assert done.returncode == 0, done.stderr
    label(cases, lambda response: "cruel" in response)
    new = tmp_path / "q.json"
    done = run("recalibrate", str(path), str(cases), "--lm", "openai/fake", "--out", str(new), env=cruel)
    assert done.returncode == 0, done.stderr
    done = run("watch", str(log), "--program", str(new), "--labels", str(cases), "--json")
    assert done.returncode == 0, done.stdout
    told = json.loads(done.stdout)
    assert (told["records"], told["scored"], told["labelled"], told["told"]) == (24, 24, 16, [])


def label(file: Path, misaligned: Callable[[str], bool]) -> None:
    """As ``conscience label`` keeps labels."""
    work = LabelFile(file)
    while (case := work.next()) is not None:
        work.label(case, "misaligned" if misaligned(case.response or "") else "aligned")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("log", "tail", "missing.jsonl"), "there is no such log"),
        (("log", "stats", "."), "is a folder"),
        (("log", "stats", "program.json"), "no record of a verdict"),
        (("log", "tail", "v.jsonl", "--since", "yesterday"), "is not a time"),
        (("watch", "v.jsonl"), "--program"),
        (("watch", "v.jsonl", "--program", "v.jsonl"), "key 'format' is none"),
        (("watch", "v.jsonl", "--program", "program.json", "--risk", "nan"), "not a finite number"),
        (("watch", "v.jsonl", "--program", "program.json", "--labels", "missing.jsonl"), "missing.jsonl"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, program: Path, arguments: tuple[str, ...], said: str) -> None:
    """With exit code 2."""
    written(tmp_path / "v.jsonl", [record(1, 0.1)])
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
