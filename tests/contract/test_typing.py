"""What a user's type checker sees: the types of the public calls, and mistakes that it refuses."""

from __future__ import annotations

import re

import pytest
from mypy import api

from tests.conftest import ROOT

# mypy reads the whole package: once is enough.
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("typing")]

REVEALED = {
    'program(question="x")': "conscience.outcome.Outcome",
    'program.acall(question="x")': "typing.Coroutine[Any, Any, conscience.outcome.Outcome]",
    'program.stream(question="x")': "conscience.streaming.events.ProgramStream",
    'program.correct("question", "answer")': "conscience.outcome.Outcome",
    'Conscience.load("program.json")': "conscience.program.Conscience",
    'Mine.load("program.json")': "user.Mine",
    'conscience.load("program.json")': "conscience.program.Conscience",
    "program.gate_settings": "conscience.gate.settings.GateSettings",
    "program.constitution": "conscience.constitution.schema.Constitution",
    'conscience.review("request", "response")': "conscience.outcome.Verdict",
    'conscience.evaluate(program, "pack:general")': "conscience.evals.results.EvalReport",
    'conscience.load_cases("cases.jsonl")': "list[conscience.cases.case.Case]",
}


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What mypy says, strictly, of a user's file that asks for these types, and of tests/typing."""
    lines = [
        "import conscience",
        "from conscience import Conscience",
        "class Mine(Conscience): ...",
        "program = Conscience()",
    ]
    lines += [f"value{number} = reveal_type({expression})" for number, expression in enumerate(REVEALED)]
    user = tmp_path_factory.mktemp("user") / "user.py"
    user.write_text("\n".join(lines))
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--follow-imports=silent"]
    stdout, stderr, _ = api.run([*options, str(user), *map(str, sorted((ROOT / "tests" / "typing").glob("*.py")))])
    assert stderr == ""
    return stdout


@pytest.mark.parametrize(("number", "expression"), list(enumerate(REVEALED)), ids=list(REVEALED))
def test_public_calls_reveal_their_types(checked: str, number: int, expression: str) -> None:
    """None of them is Any."""
    revealed = re.search(rf'user\.py:{number + 5}: note: Revealed type is "(.*)"', checked)
    assert revealed is not None
    assert revealed.group(1) == REVEALED[expression]


def test_code_as_users_write_it_type_checks_and_mistakes_do_not(checked: str) -> None:
    """In tests/typing; there, an ignore that no mistake needs is an error."""
    assert [line for line in checked.splitlines() if ": error:" in line] == []
