"""A program is a DSPy module like any other: its calls are seen, its cache is DSPy's to turn off, its files open again."""

from __future__ import annotations

import asyncio
import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import dspy
import pydantic
import pytest
from dspy.clients.base_lm import GLOBAL_HISTORY  # noqa: TID251 - what dspy.inspect_history prints
from dspy.utils.callback import BaseCallback

from conscience import ArtifactError, Backend, Conscience
from conscience.backends.storage.cache import cache_home
from conscience.testing import ScriptedLM, by_stage
from tests.support.loopback import Loopback, chat, is_critique, is_gate

KEY = "sk-test-secret-0123"


class Step(pydantic.BaseModel):
    """One step."""

    title: str
    minutes: int = 0


class Plan(dspy.Signature):  # type: ignore[misc]
    """Plan it."""

    question: str = dspy.InputField()
    kind: Literal["short", "long"] = dspy.OutputField()
    steps: list[str] = dspy.OutputField()
    first: Step = dspy.OutputField()
    answer: str = dspy.OutputField()


PLAN = "\n\n".join(
    f"[[ ## {name} ## ]]\n{value}"
    for name, value in {"kind": "short", "steps": '["a"]', "first": '{"title": "a"}', "answer": "Fine."}.items()
)


def plans(body: dict[str, Any], number: int) -> dict[str, Any]:
    """A server that plans, and finds nothing to say against it."""
    if is_gate(body):
        return chat("No", yes=0.05)
    if is_critique(body):
        return chat('{"findings": []}')
    return chat(PLAN if "[[ ##" in json.dumps(body["messages"]) else "Fine.")


class Watcher(BaseCallback):  # type: ignore[misc]
    """Counts what it sees."""

    def __init__(self) -> None:
        self.lm_starts: list[tuple[Any, dict[str, Any]]] = []
        self.lm_ends: list[tuple[Any, BaseException | None]] = []
        self.modules: list[str] = []
        self.open_modules = 0

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self.lm_starts.append((instance, inputs))

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        self.lm_ends.append((outputs, exception))

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self.modules.append(type(instance).__name__)
        self.open_modules += 1

    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        self.open_modules -= 1


def dspy_lm(server: Loopback, **options: Any) -> dspy.LM:
    return dspy.LM("openai/fake", api_base=server.url, api_key=KEY, cache=False, num_retries=0, **options)


MODELS: dict[str, Callable[[Loopback], Any]] = {
    "a string": lambda server: "openai/fake",
    "a Backend": lambda server: server.backend(),
    "a dspy.LM": dspy_lm,
    "a dspy.LM through LiteLLM": lambda server: dspy_lm(server, engine="litellm"),
    "fallbacks": lambda server: [server.backend(), "openai/other"],
    "roles": lambda server: {"generate": "openai/fake", "review": dspy_lm(server), "revise": server.backend()},
    "a scripted LM": lambda server: ScriptedLM(lambda messages, params: _scripted(server, messages)),
}


def _scripted(server: Loopback, messages: list[dict[str, Any]]) -> Any:
    body = {"messages": messages}
    server.calls.append(body)
    answer: Any = server.behaviour(body, len(server.calls))
    return 0.05 if is_gate(body) else answer["choices"][0]["message"]["content"]


@pytest.fixture
def planner(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Loopback:
    """The server, which a model's name alone reaches too."""
    server.behaviour = plans
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_BASE", server.url)
    monkeypatch.setenv("CONSCIENCE_CACHE", "0")
    return server


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("signature", ["question -> answer", Plan], ids=["text", "typed"])
@pytest.mark.parametrize(
    ("model", "configured"),
    [*((model, False) for model in MODELS), *((model, True) for model in MODELS if "LM" in model)],
    ids=lambda value: ("dspy.configure" if value else "lm=") if isinstance(value, bool) else value,
)
@pytest.mark.long
def test_each_call_is_seen_once(planner: Loopback, model: str, configured: bool, signature: Any, is_async: bool) -> None:
    """By callbacks, histories and the usage tracker, whichever way the model was named."""
    lm = MODELS[model](planner)
    program = Conscience(signature, lm=None if configured else lm)
    watcher, before = Watcher(), len(GLOBAL_HISTORY)
    with dspy.context(callbacks=[watcher], track_usage=True, **({"lm": lm} if configured else {})):
        outcome = asyncio.run(program.acall(question="How?")) if is_async else program(question="How?")
    calls = len(planner.calls)
    assert (outcome.answer, outcome.status, calls) == ("Fine.", "clean", 2)
    assert len(watcher.lm_starts) == len(watcher.lm_ends) == calls
    assert len(GLOBAL_HISTORY) - before == len(program.history) == calls
    assert watcher.modules[0] == "Conscience"
    assert len(watcher.modules) > 1
    assert watcher.open_modules == 0
    assert all(isinstance(instance, dspy.LM) for instance, _ in watcher.lm_starts)
    assert not any(exception for _, exception in watcher.lm_ends)
    if model != "a scripted LM":
        used = outcome.get_lm_usage()["openai/fake"]
        assert (used["prompt_tokens"], used["completion_tokens"]) == (7 * calls, 3 * calls)
    else:
        assert sum(used["prompt_tokens"] for used in outcome.get_lm_usage().values()) == outcome.usage.total.input_tokens
    assert KEY not in repr((watcher.lm_starts, watcher.lm_ends, GLOBAL_HISTORY[before:]))
    printed = io.StringIO()
    dspy.inspect_history(n=calls, file=printed)
    assert "How?" in printed.getvalue()
    assert "Fine." in printed.getvalue()


def test_the_lm_keeps_its_history(planner: Loopback) -> None:
    """``lm.history``, for an LM of the user's and for the one that a backend is."""
    lm = dspy_lm(planner)
    Conscience(Plan, lm=lm)(question="How?")
    assert len(lm.history) == 2
    program = Conscience(Plan, lm="openai/fake")
    program(question="How?")
    assert [entry["model"] for entry in program.get_lm().history] == ["openai/fake"] * 2
    with dspy.context(disable_history=True):
        program(question="How?")
    assert len(program.get_lm().history) == 2


def test_a_failing_call_is_seen_as_failed(planner: Loopback) -> None:
    """With its exception, and without an entry in the history."""
    planner.behaviour = lambda body, number: chat(None)
    watcher, program = Watcher(), Conscience(lm=planner.backend(retries=0))
    planner.behaviour = lambda body, number: _refused()
    with dspy.context(callbacks=[watcher]), pytest.raises(Exception, match="fake"):
        program(request="How?")
    assert [exception is not None for _, exception in watcher.lm_ends] == [True]
    assert program.history == []


def _refused() -> Any:
    from tests.support.loopback import error

    return error(400, "no")


def test_a_kept_answer_is_seen_and_costs_nothing(planner: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one from DSPy's own cache."""
    monkeypatch.delenv("CONSCIENCE_CACHE")
    for signature in ("question -> answer", Plan):
        program = Conscience(signature, lm="openai/fake")
        program(question="How?")
        asked, watcher = len(planner.calls), Watcher()
        with dspy.context(callbacks=[watcher], track_usage=True):
            outcome = program(question="How?")
        assert (len(planner.calls), len(watcher.lm_starts)) == (asked, 2)
        assert len(program.history) == 4
        assert outcome.get_lm_usage() == {}


@pytest.mark.parametrize("disk", [False, True])
def test_dspys_cache_settings_are_obeyed(planner: Loopback, monkeypatch: pytest.MonkeyPatch, disk: bool) -> None:
    """Where it may keep nothing on disk, neither do we; what was kept before is not read then."""
    monkeypatch.delenv("CONSCIENCE_CACHE")
    program = Conscience(lm="openai/fake")
    had = vars(dspy).get("cache")
    try:
        dspy.configure_cache(enable_disk_cache=disk, enable_memory_cache=False, disk_cache_dir=str(cache_home() / "dspy"))
        program(request="How?")
        program(request="How?")
        assert len(planner.calls) == (2 if disk else 4)
        assert (cache_home() / "responses").exists() is disk
    finally:
        if had is None:
            vars(dspy).pop("cache", None)
        else:
            dspy.cache = had
    program(request="How?")
    program(request="How?")
    assert len(planner.calls) == (2 if disk else 6)


# Files ------------------------------------------------------------------------------------------------------------------


SIGNATURES: dict[str, tuple[Callable[[], Any], str]] = {
    "typed": (
        lambda: Plan,
        "the signature Plan answers in this program: question: str -> "
        "kind: Literal['short', 'long'], steps: list[str], first: Step, answer: str",
    ),
    "text": (lambda: dspy.Signature("question -> steps: list[str], answer"), "steps: list[str], answer: str"),
    "module": (lambda: dspy.ChainOfThought("question -> answer: int"), "a module (ChainOfThought) answers in this program"),
}


@pytest.mark.parametrize("kind", SIGNATURES)
def test_typed_signatures_save_and_load(tmp_path: Path, kind: str) -> None:
    """Types are code, so the class is given again; who forgets it is told its fields."""
    make, described = SIGNATURES[kind]
    path = tmp_path / "program.json"
    program = Conscience(make(), max_revisions=2)
    program.generate.predictors()[0].demos = [dspy.Example(question="q", answer="a")]
    program.save(path)
    assert json.loads(path.read_text())["signature"] is None
    loaded = Conscience.load(path, generate=make(), max_revisions=2)
    assert loaded.generate.signature.output_fields.keys() == program.generate.signature.output_fields.keys()
    assert loaded.dump_state() == program.dump_state()
    assert loaded.max_revisions == 2
    with pytest.raises(ArtifactError) as raised:
        Conscience.load(path)
    assert described in str(raised.value)
    assert "generate=" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_loaded_typed_program_answers(tmp_path: Path, planner: Loopback) -> None:
    """With its types."""
    Conscience(Plan).save(tmp_path / "program.json")
    outcome = Conscience.load(tmp_path / "program.json", generate=Plan, lm="openai/fake")(question="How?")
    assert (outcome.kind, outcome.steps, outcome.first) == ("short", ["a"], Step(title="a"))


# Optimizers, evaluation, copies --------------------------------------------------------------------------------------------


def fine() -> ScriptedLM:
    def generate(messages: list[dict[str, Any]], params: dict[str, Any]) -> str:
        return PLAN if "[[ ##" in str(messages) else "Fine."

    return ScriptedLM(by_stage(generate))


def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(prediction.answer == "Fine.")


@pytest.mark.parametrize("signature", ["question -> answer", Plan], ids=["text", "typed"])
def test_what_dspy_does_with_its_modules(signature: Any) -> None:
    """Evaluate, Parallel, batch, BootstrapFewShot, deepcopy, dump_state and load_state."""
    program = Conscience(signature, lm=fine())
    examples = [dspy.Example(question=f"q{n}", answer="Fine.").with_inputs("question") for n in range(4)]
    assert dspy.Evaluate(devset=examples, metric=metric, num_threads=2, display_progress=False)(program).score == 100.0
    pairs = [(program, example.inputs()) for example in examples]
    outcomes = dspy.Parallel(num_threads=2, disable_progress_bar=True)(pairs)
    assert [outcome.status for outcome in outcomes] == ["clean"] * 4
    assert len(program.batch(examples, num_threads=2, disable_progress_bar=True)) == 4
    compiled = dspy.BootstrapFewShot(metric=metric, max_bootstrapped_demos=1).compile(program, trainset=examples)
    assert compiled.generate.predict.demos
    fresh = Conscience(signature, lm=fine())
    fresh.load_state(compiled.dump_state())
    assert fresh.dump_state() == compiled.dump_state() == copy.deepcopy(compiled).dump_state()
    for copied in (copy.deepcopy(compiled), copy.copy(compiled), compiled.deepcopy(), compiled.reset_copy()):
        assert copied(question="q").answer == "Fine."
    copied = copy.deepcopy(program)
    copied.generate.predict.demos = [dspy.Example(question="q", answer="a")]
    assert not program.generate.predict.demos
    assert [name for name, _ in program.named_predictors()] == [name for name, _ in copied.named_predictors()]


def test_usage_and_histories_under_threads(planner: Loopback) -> None:
    """Each caller has its own usage; the program's history holds them all."""
    program = Conscience(lm=Backend("openai/fake", cache=False))
    with dspy.context(track_usage=True):
        outcomes = dspy.Parallel(num_threads=4, disable_progress_bar=True)(
            [(program, {"request": f"{n}"}) for n in range(8)]
        )
    assert [outcome.get_lm_usage()["openai/fake"]["prompt_tokens"] for outcome in outcomes] == [14] * 8
    assert len(program.history) == 16
