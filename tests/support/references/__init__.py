"""Right and wrong answers to the packs' requests, and quick ways to judge them all: the oracle starts processes for each."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from conscience.evals.oracles import code as oracle

_FORKS = """
import json, os, sys, tempfile
import requests, yaml, jinja2
for code, tests in json.load(sys.stdin):
    folder = tempfile.mkdtemp()
    out, to = os.pipe()
    if not (child := os.fork()):
        os.chdir(folder)
        del os.environ["TMPDIR"]
        tempfile.tempdir = None
        for number in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        said = "it ended early"
        try:
            scope = {{"__name__": "answer"}}
            exec({guard!r}.replace("FOLDER", folder), {{}})
            exec(compile(code, "answer", "exec"), scope)
            exec(compile(tests, "tests", "exec"), scope)
            said = ""
        except BaseException as error:
            said = repr(error)
        finally:
            os.write(to, said.encode()[:1000])
            os._exit(0)
    os.close(to)
    said = os.read(out, 1000).decode(errors="replace")
    os.close(out)
    _, status = os.waitpid(child, 0)
    print(json.dumps(said or (str(status) if status else "")))
"""


def read(name: str) -> dict[str, dict[str, str]]:
    """The answers of a file: id of the case → kind of answer → its code."""
    answers = {}
    text = (Path(__file__).parent / f"{name}.txt").read_text(encoding="utf-8")
    for part in re.split(r"^=== ", text, flags=re.MULTILINE)[1:]:
        id, rest = part.split("\n", 1)
        _, *pieces = re.split(r"^--- (\w+)\n", rest, flags=re.MULTILINE)
        answers[id] = dict(zip(pieces[::2], pieces[1::2], strict=True))
    return answers


def run_all(jobs: Sequence[tuple[str, str]]) -> list[str]:
    """What each piece of code and its tests raise, "" for nothing: under the oracle's guard, in forks of one process."""
    guard = oracle._GUARD.format(cpu=oracle.SECONDS // 2, memory=oracle.MEMORY, folder="FOLDER")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-I", "-B", "-c", _FORKS.format(guard=guard)],
            input=json.dumps(jobs),
            env={"TMPDIR": folder, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
            timeout=170,
        )
    return [json.loads(line) for line in done.stdout.splitlines()]


def lint_all(pieces: Sequence[str]) -> list[set[str]]:
    """The tests of bandit, by id, that each piece of Python fails: as the oracle asks for them, in one process."""
    with tempfile.TemporaryDirectory() as folder:
        for number, text in enumerate(pieces):
            (Path(folder) / f"{number}.py").write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "bandit", "-q", "-f", "json", "-ll", "-r", folder]
        done = subprocess.run(command, capture_output=True, check=False, timeout=170)
    report = json.loads(done.stdout)
    assert not report["errors"], report["errors"]
    found: list[set[str]] = [set() for _ in pieces]
    for issue in report["results"]:
        found[int(Path(issue["filename"]).stem)].add(issue["test_id"])
    return found
