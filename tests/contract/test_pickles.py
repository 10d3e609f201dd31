"""A program goes to another process as a pickle: multiprocessing, Ray and MLflow take it, and no credentials go with it."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import dspy
import pytest

from conscience import Backend, ConfigurationError, Conscience, Constitution, Review
from conscience.backends.storage.journal import Journal
from conscience.testing import ScriptedLM, by_stage
from tests.conftest import ROOT
from tests.support.loopback import Loopback

SECRET = "sk-given-secret-4567"
FROM_ENV = "sk-env-secret-8901"


class Typed(dspy.Signature):  # type: ignore[misc]
    question: str = dspy.InputField()
    steps: list[str] = dspy.OutputField()
    answer: str = dspy.OutputField()


MODELS: dict[str, Callable[[str], Any]] = {
    "a string": lambda url: "openai/fake",
    "a Backend": lambda url: Backend("openai/fake", api_base=url, temperature=0.5, retries=1, timeout=20, cache=False),
    "a Backend with its key": lambda url: Backend(
        "openai/fake", api_base=url, api_key=SECRET, extra_headers={"X-Key": SECRET}, engine="auto"
    ),
    "a Backend through LiteLLM with its key": lambda url: Backend("openai/fake", api_base=url, api_key=SECRET),
    "a dspy.LM": lambda url: dspy.LM("openai/fake", api_base=url, cache=False),
    "a dspy.LM with its key": lambda url: dspy.LM("openai/fake", api_base=url, api_key=SECRET, cache=False),
    "fallbacks": lambda url: ["openai/fake", Backend("openai/other", api_key=SECRET)],
    "roles": lambda url: {"generate": "openai/fake", "review": Backend("openai/fake", api_base=url)},
    "a scripted LM": lambda url: ScriptedLM(by_stage("Paris.")),
}

CHILD = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    program = pickle.load(file)
print(program(request="Where?").response)
"""


@pytest.fixture
def keyed(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Loopback:
    """The server, with a key for it in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", FROM_ENV)
    monkeypatch.setenv("OPENAI_API_BASE", server.url)
    return server


def in_fresh_process(data: bytes, folder: Path) -> str:
    """What a program answers in a process that only unpickles it."""
    file = folder / "program.pickle"
    file.write_bytes(data)
    done = subprocess.run([sys.executable, "-c", CHILD, str(file)], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def holds_secret(data: bytes) -> bool:
    """A program's own pickle is inside as bytes, so it is looked for as it stands."""
    return any(secret.encode() in data for secret in (SECRET, FROM_ENV))


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps], ids=["pickle", "cloudpickle"])
@pytest.mark.parametrize("model", MODELS)
def test_no_pickle_holds_credentials(keyed: Loopback, model: str, dumps: Callable[[Any], bytes]) -> None:
    """After a call, too; and the program goes on with its own."""
    program = Conscience(lm=MODELS[model](keyed.url))
    for _ in range(2):
        data = dumps(program)
        assert not holds_secret(data)
        loaded = pickle.loads(data)
        assert loaded(request="Where?").response == "Paris."
        program(request="Where?")
    backend = program.roles.backend("generate")
    assert not holds_secret(dumps(backend))
    assert not holds_secret(dumps(backend.lm))
    assert pickle.loads(dumps(backend.lm)).model == backend.name
    if "with its key" in model:
        assert SECRET in backend.transports[0].secrets()


@pytest.mark.parametrize(
    "model",
    [
        "a Backend with its key",
        *(pytest.param(m, marks=pytest.mark.long) for m in ("a string", "a dspy.LM", "roles", "a scripted LM")),
    ],
)
@pytest.mark.long
def test_a_fresh_process_opens_and_calls_it(keyed: Loopback, tmp_path: Path, model: str) -> None:
    """With the keys of that process's environment."""
    program = Conscience(lm=MODELS[model](keyed.url))
    assert in_fresh_process(cloudpickle.dumps(program), tmp_path) == "Paris."


def test_a_key_that_was_left_behind_is_named(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says why it is missing, and what to set."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    program = Conscience(lm=Backend("openai/fake", api_base=server.url, api_key=SECRET, cache=False))
    assert program(request="Where?").response == "Paris."
    with pytest.raises(ConfigurationError, match=r"a pickle holds none.*set OPENAI_API_KEY"):
        pickle.loads(pickle.dumps(program))(request="Where?")
    assert copy.deepcopy(program)(request="Where?").response == "Paris."


def ask(program: Conscience, question: str) -> Any:
    return program(question=question)


def test_multiprocessing_spawn_takes_program_and_outcome() -> None:
    """Both ways, by plain pickle."""
    lm = ScriptedLM({"Yes or No": 0.1, "": '[[ ## steps ## ]]\n["a"]\n\n[[ ## answer ## ]]\nFine.'})
    program = Conscience(Typed, lm=lm)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        outcome = pool.apply(ask, (program, "How?"))
    assert (outcome.steps, outcome.answer, outcome.status) == (["a"], "Fine.", "clean")
    assert outcome.draft is not None
    assert outcome.usage.calls == 2


class Local(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.write = dspy.ChainOfThought("question -> answer")

    def forward(self, question: str) -> Any:
        return self.write(question=question)


GENERATES: dict[str, Callable[[], Any]] = {
    "text": lambda: "question -> answer",
    "typed": lambda: Typed,
    "typed text": lambda: "question -> steps: list[str], answer",
    "module": Local,
    "ReAct": lambda: dspy.ReAct("question -> answer", tools=[len]),
    "lambda": lambda: lambda question: {"answer": question},
}


@pytest.mark.parametrize("generate", GENERATES)
def test_all_that_a_compiler_set_comes_along(generate: str, tmp_path: Path) -> None:
    """Constitution, gate, prompts, demos, policy: what the program saves is the same before and after."""
    own = {**Constitution.load("general").model_dump(), "refusal": "Not from me."}
    program = Conscience(
        GENERATES[generate](), constitution=own, max_revisions=3, on_error="open", on_unresolved="best", budget={"calls": 9}
    )
    settings = program.gate_settings.model_copy(update={"threshold": 0.123, "backend": "openai/fake"})
    program = program.with_gate(settings)
    program.calibrations = (settings,)
    for predictor in program.predictors():
        predictor.signature = predictor.signature.with_instructions("Compiled.")
        predictor.demos = [dspy.Example(**dict.fromkeys(predictor.signature.fields, "a"))]
    loaded = pickle.loads(pickle.dumps(program))
    program.save(tmp_path / "before.json")
    loaded.save(tmp_path / "after.json")
    assert (tmp_path / "before.json").read_text() == (tmp_path / "after.json").read_text()
    assert loaded.budget == program.budget
    assert loaded.generate.inputs == program.generate.inputs
    assert type(loaded.generate.predict).__name__ == type(program.generate.predict).__name__


def test_a_run_stays_in_its_process(tmp_path: Path) -> None:
    """Journal, rate and meter of a run belong to it: a pickle of its program holds none of them."""
    program = Conscience(lm=ScriptedLM(by_stage("Paris."))).for_run(Journal(tmp_path / "journal"))
    loaded = pickle.loads(pickle.dumps(program))
    assert loaded(request="Where?").response == "Paris."
    assert loaded.roles.backend("generate")._cache is None


def test_parts_and_models_set_on_predictors_go_too() -> None:
    """A Review by itself; a program whose predictors have an LM each."""
    reviewer = cloudpickle.loads(cloudpickle.dumps(Review(lm=ScriptedLM(by_stage()))))
    assert reviewer(request="Where?", response="Paris.").flagged is False
    program = Conscience()
    program.set_lm(ScriptedLM(by_stage("Paris.")))
    loaded = pickle.loads(pickle.dumps(program))
    assert loaded(request="Where?").response == "Paris."
    assert loaded.generate.predict.lm is loaded.roles.backend("generate").lm
