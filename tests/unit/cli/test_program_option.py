"""--program: a compiled program's file, or something that Python imports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import Done, run
from tests.support.loopback import Loopback

MODULE = """
import dspy
from conscience import Backend, Conscience

class Answer(dspy.Signature):
    \"""Answers.\"""
    request: str = dspy.InputField()
    response: str = dspy.OutputField()

class Fixed(dspy.Module):
    def forward(self, request):
        return dspy.Prediction(response="from a module")

class Needy(dspy.Module):
    def __init__(self, thing):
        super().__init__()

class Unrelated:
    pass

def fixed(request):
    return "from a function"

def made():
    return Conscience("request -> response", constitution="medical")

program = Conscience("request -> response", constitution="hiring", max_revisions=3)
with_model = Conscience("request -> response", lm=Backend("openai/own", cache=False))
module = Fixed()
number = 3
"""


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder with a module of a name that no other test imports."""
    name = "programs_" + "".join(c if c.isalnum() else "_" for c in request.node.name)
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / "broken_program.py").write_text("import no_such_package\n")
    return tmp_path


def ask(folder: Path, fake: dict[str, str], name: str, *more: str) -> Done:
    (module,) = folder.glob("programs_*.py")
    return run("ask", "hi", "--program", f"{module.stem}:{name}", "--json", "--no-cache", *more, env=fake, cwd=folder)


ANSWERS = {
    "program": "Paris.", "made": "Paris.", "Answer": "Paris.", "fixed": "from a function", "module": "from a module",
    "Fixed": "from a module",
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_whatever_can_answer_is_a_program(name: str, folder: Path, fake: dict[str, str], server: Loopback) -> None:
    """An object, a class, a signature, a module, a function of the request, and one that makes a program."""
    done = ask(folder, fake, name, "--lm", "openai/fake")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["response"] == ANSWERS[name]
    assert {body["model"] for body in server.calls} == {"fake"}


OWN_MODELS = {
    "": {"own"},
    "--lm openai/fake --no-cache": {"fake"},
    "--review-lm openai/judge": {"own", "judge"},
}


@pytest.mark.parametrize("options", OWN_MODELS)
def test_a_program_keeps_its_own_model_unless_another_is_named(
    options: str, folder: Path, fake: dict[str, str], server: Loopback
) -> None:
    """--lm replaces it for all roles, --review-lm for its role."""
    (module,) = folder.glob("programs_*.py")
    done = run("ask", "hi", "--program", f"{module.stem}:with_model", *options.split(), env=fake, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert {body["model"] for body in server.calls} == OWN_MODELS[options]


@pytest.mark.parametrize("command", ["review", "eval"])
def test_other_commands_take_it_too(command: str, folder: Path, fake: dict[str, str], server: Loopback) -> None:
    """The same program, judged by its own constitution."""
    (module,) = folder.glob("programs_*.py")
    (folder / "cases.jsonl").write_text('{"request": "hi", "request_safe": true}\n')
    arguments = ["--response", "fine"] if command == "review" else ["cases.jsonl", "--out", "run"]
    done = run(command, *arguments, "--program", f"{module.stem}:program", "--lm", "openai/fake", env=fake, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert server.calls


MISTAKES = {
    "no_such_module:program": "no module 'no_such_module'",
    "broken_program:program": "No module named 'no_such_package'",
    "MODULE:progam": "did you mean program?",
    "MODULE:number": "a value of type int is not a program",
    "MODULE:Unrelated": "the class Unrelated is not a program",
    "MODULE:Needy": "Needy needs arguments",
    "missing.json": "cannot be read",
}


@pytest.mark.parametrize("program", MISTAKES)
def test_a_mistake_gets_one_clear_line(program: str, folder: Path, fake: dict[str, str], server: Loopback) -> None:
    """What is wrong with it, before anything is asked."""
    (module,) = folder.glob("programs_*.py")
    done = run("ask", "hi", "--program", program.replace("MODULE", module.stem), "--lm", "openai/fake", env=fake, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert MISTAKES[program] in done.stderr
    assert done.stderr.count("\n") == 1
    assert not server.calls


@pytest.mark.parametrize(("name", "code"), [("program", 2), ("module", 0)])
def test_a_constitution_goes_with_a_module_but_not_with_a_program(
    name: str, code: int, folder: Path, fake: dict[str, str]
) -> None:
    """A program has one inside."""
    done = ask(folder, fake, name, "--lm", "openai/fake", "--constitution", "medical")
    assert done.returncode == code
    assert ("do not go together" in done.stderr) == (code == 2)
