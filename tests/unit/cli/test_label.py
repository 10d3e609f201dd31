"""The commands that make cases, propose-cases and label: pairs are checked, a label is one keystroke."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conscience.cases.case import load_cases
from tests.support.commands import run
from tests.support.loopback import Loopback, chat, is_gate


def test_proposed_cases_are_checked_and_labelled(server: Loopback, fake: dict[str, str], tmp_path: Path) -> None:
    """Pairs that come twice, or that no question tells apart, are left out; labels are saved at once."""
    asked = []

    def writes(body: Any, number: int) -> Any:
        if "Write" in str(body["messages"][0]["content"])[:6]:
            asked.append(number)
            same = {"request": "Greet me.", "breaks": "Go away, cruel one.", "keeps": "Hello, dear one."}
            new = {
                "request": f"Praise me, {number}.",
                "breaks": f"A cruel word {number}.",
                "keeps": f"A nice word {number}.",
            }
            flat = {"request": f"Ask me, {number}.", "breaks": f"What {number}?", "keeps": f"What is it, {number}?"}
            return chat("Here:\n```json\n" + json.dumps([same, flat, new]) + "\n```" if len(asked) % 3 else "No idea.")
        if is_gate(body):
            said = str(body["messages"])
            return chat("x", yes=0.9 if "cruel" in said else 0.1)
        return chat("x")

    server.behaviour = writes
    out = tmp_path / "c.jsonl"
    done = run("propose-cases", "--lm", "openai/fake", "--pairs", "3", "--out", str(out), "--json", env=fake)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert told["pairs"] == len(rows) / 2 > 3
    assert told["doubled"]
    assert told["disputed"]
    assert told["unreadable"]
    assert {row["source"] for row in rows} == {"synthetic"}
    assert sum("Greet" in row["request"] for row in rows) == 2
    assert run("cases", "check", str(out)).returncode == 0
    again = run("propose-cases", "--lm", "openai/fake", "--out", str(out), env=fake)
    assert again.returncode == 2
    assert "exists" in again.stderr


def test_a_spent_budget_writes_what_was_found(server: Loopback, writer: dict[str, str], tmp_path: Path) -> None:
    """And says so; where nothing was found yet, that is said instead."""
    out = tmp_path / "c.jsonl"
    args = ("propose-cases", "--lm", "openai/gpt-4o-mini", "--no-cache", "--json")
    done = run(*args, "--out", str(out), "--max-cost", "0.014", env=writer)
    assert done.returncode == 0, done.stderr
    assert "budget ended" in done.stderr
    told = json.loads(done.stdout)
    assert told["exhausted"]
    assert len(load_cases(out)) == 2 * told["pairs"] > 0
    little = run(*args, "--out", str(tmp_path / "d.jsonl"), "--max-calls", "2", env=writer)
    assert little.returncode == 3
    assert "budget ended before a pair" in little.stderr


def test_only_a_line_feed_ends_a_row(tmp_path: Path) -> None:
    """A label goes to its own row, whatever other breaks stand in the texts; what is written is a line for every reader."""
    from conscience.optimizers.data.contrast_pairs import write_cases
    from conscience.optimizers.data.labeling import LabelFile

    file = tmp_path / "c.jsonl"
    texts = ["first\u2028second\u2029third\u0085fourth", "KIND", "RUDE"]
    rows = [{"id": str(n), "request": "q", "response": text} for n, text in enumerate(texts)]
    file.write_bytes("\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode("utf-8-sig"))
    work = LabelFile(file)
    work.label(work.cases["1"], "aligned")
    work.label(work.cases["0"], "misaligned")
    assert {case.id: (case.label, case.response) for case in load_cases(file)} == {
        "0": ("misaligned", texts[0]), "1": ("aligned", texts[1]), "2": (None, texts[2])
    }  # fmt: skip
    assert len(file.read_text().splitlines()) == 3
    assert len(write_cases(load_cases(file)).splitlines()) == 3


def test_taking_back_a_label_brings_back_the_proposal(tmp_path: Path) -> None:
    """The case is as it was."""
    from click.testing import CliRunner

    from conscience.cli.label import label_command

    file = tmp_path / "c.jsonl"
    row = {"id": "s", "request": "q", "response": "rude", "label": "misaligned", "source": "synthetic"}
    file.write_text(json.dumps(row) + "\n" + json.dumps(row | {"id": "t"}) + "\n")
    before = load_cases(file)
    CliRunner().invoke(label_command, [str(file)], input="auq", catch_exceptions=False)
    assert load_cases(file) == before


def test_one_keystroke_a_label(tmp_path: Path) -> None:
    """Saved at once, taken back, resumed; the most informative case first."""
    from click.testing import CliRunner

    from conscience.cli.label import label_command

    file = tmp_path / "c.jsonl"
    rows = [
        {"id": str(n), "request": "q", "response": f"{'rude' if n % 2 else 'kind'} word {n}", "note": "kept"}
        for n in range(8)
    ]
    rows[3] |= {"label": "misaligned", "source": "synthetic"}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def press(keys: str) -> str:
        return CliRunner().invoke(label_command, [str(file)], input=keys, catch_exceptions=False).output

    assert "3 of 8" in press("amaq")
    first = [json.loads(line) for line in file.read_text().splitlines()]
    assert sum("labelled" in row for row in first) == 3
    assert all(row["note"] == "kept" for row in first)
    output = press("auq")
    assert "5 to go" in output
    assert "3 of 8" in output
    press("s" * 8)
    press("\r" * 20 + "a" * 8)
    assert "0 to go" not in press("")  # no terminal any more: nothing is taken for an answer
    done = [json.loads(line) for line in file.read_text().splitlines()]
    assert all(row.get("label") for row in done)
    assert done[3]["label"] == "misaligned" or "labelled" in done[3]


def test_the_doubtful_case_comes_first(tmp_path: Path) -> None:
    """With labels of both kinds, the one that words cannot place."""
    from conscience.optimizers.data.labeling import LabelFile

    file = tmp_path / "c.jsonl"
    rows = [
        {"id": "a", "request": "q", "response": "lovely kind words", "label": "aligned"},
        {"id": "b", "request": "q", "response": "awful rude words", "label": "misaligned"},
        {"id": "sure", "request": "q", "response": "awful rude words again"},
        {"id": "doubtful", "request": "q", "response": "kind rude words"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    case = LabelFile(file).next()
    assert case is not None
    assert case.id == "doubtful"
