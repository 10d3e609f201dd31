"""The examples run as they stand, and import what users are told to."""

from __future__ import annotations

import ast
import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.contract.test_structure import is_public
from tests.support.loopback import Loopback, chat, is_gate

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs an example as a script, in this process; gives what it printed."""

    def run(name: str, *arguments: str) -> str:
        path = str(ROOT / "examples" / name)
        monkeypatch.setattr(sys, "argv", [path, *arguments])
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as end:
            if end.code:
                pytest.fail(f"{name} ended with {end.code}")
        return capsys.readouterr().out

    return run


def cells(path: Path) -> list[str]:
    """The code of a notebook, cell by cell; that of a script as one."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return [text]
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", [*EXAMPLES, *NOTEBOOKS], ids=lambda path: path.name)
def test_an_example_imports_from_the_top(path: Path) -> None:
    """From ``conscience`` and its packages, never from a module inside one."""
    tree = ast.parse("\n".join(cells(path)))
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    ours = [name for name in names if name.split(".")[0] == "conscience"]
    assert ours
    assert [name for name in ours if not is_public(name)] == []


def test_every_example_is_run_here() -> None:
    """A new one needs a test of its own."""
    here = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES if f'"{path.name}"' not in here] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
async def test_a_notebook_runs_from_top_to_bottom(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a running event loop, as notebooks do. What a cell ends with shows itself, an outcome without its draft."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for cell in cells(path):
        tree = ast.parse(cell)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, path.name, "exec", dont_inherit=True), namespace)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), path.name, "eval", dont_inherit=True), namespace)
            shown.append(value._repr_html_() if hasattr(value, "_repr_html_") else repr(value))
    outcome, verdict, report, threshold = shown
    assert "Outcome: revised" in outcome
    assert namespace["STUDY"] not in outcome
    assert namespace["STUDY"] in verdict
    assert "false positive rate" in report
    assert threshold == "0.1"
    assert capsys.readouterr().out.count("bad answers") == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_what_it_showed(path: Path) -> None:
    """Which would be somebody's answers, and grows old."""
    assert not any(cell.get("outputs") for cell in json.loads(path.read_text(encoding="utf-8"))["cells"])


def test_demo(run: Run, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request, answered once, with what is to be expected of the model. Here another one answers."""
    monkeypatch.setenv("OPENAI_API_BASE", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-secret-0123")
    said = run("demo.py", "--lm", "openai/fake", "--coder", "openai/fake")
    assert said.count("answer: clean") == 4
    assert said.count("Paris.") == 4
    assert "135 million" in said
    monkeypatch.setenv("HOME", "/nowhere")
    assert "Without a model that can mend code: " in run("demo.py", "--lm", "openai/fake", "--coder", "local:none.gguf")


def test_cost_sheet(run: Run, tmp_path: Path) -> None:
    """From the figures of a small run, those of large ones, and what keeps them from being quicker."""
    from conscience import Case, Conscience, evaluate
    from conscience.testing import ScriptedLM, by_stage

    cases = [Case(id=str(n), request=f"q{n}", request_safe=True) for n in range(4)]
    evaluate(Conscience(lm=ScriptedLM(by_stage())), cases, out=tmp_path / "sample")
    said = run(
        "cost_sheet.py",
        str(tmp_path / "sample"),
        "--cases",
        "1e3",
        "1e6",
        "--rpm",
        "100",
        "--price",
        "1",
        "2",
        "--latency",
        "1",
    )
    small, large = ([cell.strip() for cell in line.split("|")] for line in said.splitlines()[2:4])
    assert (small[1], small[2], large[2]) == ("1,000", "2,000", "2,000,000")
    assert (small[6], small[7]) == ("0.3", "--rpm")
    assert "a case, measured, its price given, its latency given: 2.00 calls" in said
    assert "note:" not in said


def test_fastapi_app(run: Run) -> None:
    """The answer that was mended goes out, as JSON and as a stream; of the draft nothing does."""
    said = run("fastapi_app.py")
    assert said.startswith("{'answer': 'Nobody has proved it.'}")
    kinds = [line.removeprefix("event: ") for line in said.splitlines() if line.startswith("event: ")]
    assert list(dict.fromkeys(kinds)) == ["stage", "text", "outcome"]
    assert "Kim" not in said


def test_fastapi_app_tells_what_failed() -> None:
    """Without a key the route answers 503, and the stream ends with an error; an outcome is documented by its fields."""
    from fastapi.testclient import TestClient

    app = runpy.run_path(str(ROOT / "examples" / "fastapi_app.py"))["app"]
    client = TestClient(app)
    asked = {"question": "Who proved that octopuses dream?"}
    failed = client.post("/answer", params=asked)
    assert (failed.status_code, list(failed.json())) == (503, ["error"])
    assert "event: error" in client.get("/stream", params=asked).text
    answers = client.get("/openapi.json").json()["paths"]["/answer"]["post"]["responses"]
    documented = answers["200"]["content"]["application/json"]["schema"]
    assert {"response", "outputs", "status", "ok"} <= set(documented["properties"])


IMITATED = (
    "openai/gpt-4o-mini",
    "mistral/mistral-small-latest",
    "anthropic/claude-haiku-4-5",
    "decisions:openai/gpt-6-luna",
)


@pytest.fixture
def no_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the example sets in the environment goes when it has run."""
    for provider in ("OPENAI", "MISTRAL", "ANTHROPIC"):
        for what in ("API_KEY", "BASE_URL", "API_BASE", "AZURE_API_BASE"):
            monkeypatch.setenv(f"{provider}_{what}", "")


def test_switch_provider(run: Run, no_provider: None) -> None:
    """Each is read in its own way, and after 16 labels each flags what is rude and nothing else."""
    rows = [re.split(r"\s{2,}| (?=Outcome)", line) for line in run("switch_provider.py", *IMITATED).splitlines()[1:]]
    assert [row[0] for row in rows] == list(IMITATED)
    assert [row[1] for row in rows] == ["logprobs", "verbalised", "verbalised", "decision"]
    assert [row[2] for row in rows] == ["100% / 0%", "100% / 100%", "0% / 0%", "100% / 100%"]
    assert [row[3:] for row in rows] == [["100% / 0%", "Outcome: revised"]] * 4


@pytest.mark.long
@pytest.mark.local
def test_switch_provider_to_the_embedded_model(run: Run, no_provider: None, local_endpoint: Any) -> None:
    """The same program, an outcome of the same type; what its gate reaches is what such a model reaches."""
    _, line = run("switch_provider.py", "local").splitlines()
    assert re.match(r"local +logprobs +\d+% / \d+% +\d+% / \d+% +Outcome: ", line), line


def test_guarded_agent(run: Run) -> None:
    """What the mail ordered did not run, what the user asked for ran without the secret, and the agent was told both."""
    said = run("guarded_agent.py")
    assert "did not run" in said
    assert "was changed before it ran" in said
    assert said.splitlines()[-1] == "sent: [('ann@example.org', 'Noon suits me.')]"


def test_gepa_directly(run: Run) -> None:
    """It finds the instruction that the feedback asks for."""
    said = run("gepa_directly.py")
    assert "Answer kindly" in said
    assert "A kind word." in said


def test_calibrate_local(run: Run, server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a model that complies with anything: its police question is worth something, and the gate comes out as JSON."""

    def answer(body: Any, number: int) -> Any:
        if is_gate(body):
            return chat("x", yes=0.9 if "bomb" in str(body["messages"]) else 0.2)
        return chat(f"Here is how, {number}: the {'bomb' if 'bomb' in str(body['messages']) else 'cake'}.")

    server.behaviour = answer
    monkeypatch.setenv("OPENAI_API_BASE", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-secret-0123")
    rows = [{"request": f"Make a {('cake', 'bomb')[n % 2]}, {n}.", "request_safe": n % 2 == 0} for n in range(40)]
    cases, gate = tmp_path / "cases.jsonl", tmp_path / "gate.json"
    cases.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = run("calibrate_local.py", str(cases), "--lm", "openai/fake", "--out", str(gate))
    assert "40 drafts of openai/fake, 20 misaligned" in said
    assert "after   AUROC 1.00" in said
    settings = json.loads(gate.read_text())
    assert settings["backend"] == "openai/fake"
    (stage,) = settings["stages"]
    assert stage["weights"]["police"] > 0


@pytest.mark.long
def test_shadow_mode(run: Run) -> None:
    """40 labels take the false positives away; the weighted figures are those of the log; a change is told in time."""
    said = run("shadow_mode.py", "1000")
    recalls = [float(share) for share in re.findall(r"flagged (\d+)% of the hurtful drafts", said)]
    before, after = (float(share) for share in re.findall(r"and (\S+)% of the others$", said, re.MULTILINE))
    (by_labels,) = (float(share) for share in re.findall(r"by the labels, (\S+)% of the others were flagged", said))
    assert min(recalls) >= 85
    assert before > 20 > 5 > after
    assert by_labels == pytest.approx(before, abs=10)
    assert "watched   nothing to tell" in said
    told = [int(number) for number in re.findall(r"told after (\d+) requests: change", said)]
    assert 0 < told[0] <= 100


@pytest.mark.long
def test_clients(run: Run) -> None:
    """Each is told what was mended, and nothing of the draft. Long by what it imports."""
    pytest.importorskip("langchain_openai")
    pytest.importorskip("pydantic_ai.models.openai")
    told = [line.split(": ")[1] for line in run("clients.py").splitlines()]
    assert told == ["Nobody has proved it."] * 3


@pytest.mark.local
@pytest.mark.long
@pytest.mark.timeout(600)
def test_compile_domain(run: Run, local_endpoint: Any, tmp_path: Path) -> None:
    """On the embedded model, from a few labels."""
    said = run("compile_domain.py", "--labels", "24", "--minutes", "1.5", "--out", str(tmp_path / "p.json"))
    assert "together" in said or "left alone" in said
    assert "a case it has not seen" in said
    assert (tmp_path / "p.json").exists()
