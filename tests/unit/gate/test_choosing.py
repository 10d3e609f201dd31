"""A critique that is chosen: which principle, at what price, and that it clears nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience import Conscience, Constitution, GateSettings
from conscience.backends.embedded.weights import weights_of
from conscience.backends.models import size
from conscience.backends.models.size import billions, is_small
from conscience.backends.roles import Roles
from conscience.gate.choosing import likeliest
from conscience.gate.defaults import settings_for
from conscience.gate.rules import BY_LETTER
from conscience.gate.settings import ask_by, one_question
from conscience.testing import Fault, ScriptedLM, by_stage, is_choice, is_critique, is_revision

CODE = Constitution.load("code")
ASKS_ALL = ask_by(CODE).model_copy(update={"critique": "chooses"})
ASKS_ONE = one_question(CODE.question).model_copy(update={"critique": "chooses"})


def gate(choice: Any) -> Any:
    """Flags Bad., and answers so when the principles are listed."""

    def answer(messages: Any, params: Any) -> Any:
        return choice if BY_LETTER in str(messages[-1]) else 0.9 if "Bad." in str(messages[-2]) else 0.1

    return answer


def judged(lm: ScriptedLM, settings: GateSettings = ASKS_ONE, **options: Any) -> Any:
    return Conscience(lm=lm, constitution=CODE, review=settings, **options)("Write it.")


def test_the_finding_is_the_principle_that_was_named() -> None:
    """In the constitution's words, for one more call; the revision is told it, and nothing is written in between."""
    lm = ScriptedLM(by_stage("Bad.", gate=gate("B"), revise="Good."))
    outcome = judged(lm)
    (finding,) = outcome.draft_verdict.findings
    assert (finding.principle, finding.change) == ("safe-parsing", CODE.principle("safe-parsing").change)
    assert outcome.draft_verdict.principles == {"safe-parsing": 1.0}
    assert (outcome.status, outcome.usage.calls) == ("revised", 5)  # draft, gate, choice, revision, gate
    (turn,) = [messages[-1]["content"] for messages, _ in lm.calls if is_revision(messages)]
    assert f"Rule: {CODE.principle('safe-parsing').text}\nInstead: {finding.change}" in turn
    (params,) = [params for messages, params in lm.calls if BY_LETTER in str(messages[-1])]
    assert params["max_tokens"] == 1
    assert not any(is_critique(messages) for messages, _ in lm.calls)


@pytest.mark.parametrize(
    ("text", "principle"),
    [
        ("B", "safe-parsing"),
        ("**C**", "secrets"),
        ("Rule D (sound-crypto)", "sound-crypto"),
        ("The answer is B.", "safe-parsing"),
        ("It breaks A: it builds SQL out of text.", "no-injection"),
        ("Not A, but B.", "safe-parsing"),
        ("A rule is broken.", None),
        ("Z", None),
        ("It isn't clear.", None),
    ],
)
def test_without_log_probabilities_the_letter_is_written(text: str, principle: str | None) -> None:
    """A few tokens; an answer without a letter of the list names none."""
    lm = ScriptedLM(by_stage("Bad.", gate="Score: 90", choice=text), logprobs=False)
    verdict = judged(lm, max_revisions=0).verdict
    assert [finding.principle for finding in verdict.findings] == ([principle] if principle else [])
    assert verdict.flagged


@given(
    choice=st.one_of(st.text(max_size=30), st.sampled_from("ABCDEFGHIZ"), st.floats(0, 1)),
    logprobs=st.booleans(),
    settings=st.sampled_from([ASKS_ALL, ASKS_ONE]),
)
def test_a_choice_never_clears(choice: Any, logprobs: bool, settings: GateSettings) -> None:
    """Whatever is answered, the draft that the gate flagged stays flagged."""
    flags = 0.9 if settings is ASKS_ALL else gate(choice)
    lm = ScriptedLM(by_stage("Bad.", gate=flags if logprobs else "Score: 90", choice=choice), logprobs=logprobs)
    outcome = judged(lm, settings, max_revisions=0)
    assert outcome.status == "refused"
    assert outcome.verdict.gated
    assert len(outcome.verdict.findings) <= 1


@pytest.mark.parametrize("kind", ["server", "timeout", "auth", "context"])
def test_a_choice_that_fails_leaves_the_gates_verdict(kind: Any) -> None:
    """With a note; the revision is told the principles."""
    lm = ScriptedLM(by_stage("Bad.", gate=gate(Fault(kind)), revise="Good."))
    outcome = judged(lm)
    assert outcome.status == "revised"
    assert any("no explanation" in note for note in outcome.draft_verdict.notes)
    assert any(CODE.render() in str(messages[-1]["content"]) for messages, _ in lm.calls if is_revision(messages))


@pytest.mark.parametrize("choice", [0.9, "Z", "?"])
def test_an_answer_that_names_no_principle_leaves_the_list(choice: Any) -> None:
    """A plain Yes says that some rule is broken, which was known."""
    lm = ScriptedLM(by_stage("Bad.", gate=gate(choice), revise="Good."))
    outcome = judged(lm)
    assert (outcome.status, outcome.draft_verdict.findings) == ("revised", ())
    assert any("names none" in note for note in outcome.draft_verdict.notes)


def test_what_the_gate_has_named_is_not_asked_again() -> None:
    """Neither where it chooses, nor where there is no critique and the revision is told what the gate knows."""
    for mode in ("chooses", "off"):
        script = by_stage("Bad.", gate=lambda m, p: "C" if "Bad." in str(m[-2]) else 0.1, choice="B", revise="Good.")
        lm = ScriptedLM(script)
        assert judged(lm, ASKS_ALL.model_copy(update={"critique": mode})).status == "revised"
        assert not any(is_choice(messages) for messages, _ in lm.calls)
        (turn,) = [messages[-1]["content"] for messages, _ in lm.calls if is_revision(messages)]
        assert CODE.principle("secrets").text in turn
        assert CODE.principle("safe-parsing").text not in turn


def test_the_likeliest_is_of_this_constitution() -> None:
    """Of equals the first; ids that it does not know, and what is not likely enough, are passed by."""
    assert likeliest({"gone": 0.9}, CODE) == ()
    assert likeliest({"secrets": 0.4}, CODE) == ()
    assert [f.principle for f in likeliest({"secrets": 0.6, "no-injection": 0.6}, CODE)] == ["no-injection"]


@pytest.mark.parametrize(
    ("model", "count"),
    [
        ("local", 0.135),
        ("local:qwen2.5-coder-0.5b@1d9614638d18", 0.5),
        ("local:/models/70b/Phi_3.8B-q4.gguf", 3.8),
        ("ollama/llama3.2:1b-instruct-q4_K_M", 1.0),
        ("huggingface/HuggingFaceTB/SmolLM2-1.7B-Instruct", 1.7),
        ("bedrock/us.meta.llama3-2-3b-instruct-v1:0", 3.0),
        ("gemini/gemma-3-270m-it", 0.27),
        ("together_ai/mistralai/Mixtral-8x7B-Instruct-v0.1", 56.0),
        ("openrouter/qwen/qwen3-30b-a3b:free", 30.0),
        ("openai/gpt-4o-mini", None),
        ("gemini/gemini-2.5-pro-1m", None),
        ("x/model-4bit", None),
        ("", None),
    ],
)
def test_a_models_size_is_read_from_its_name(model: str, count: float | None) -> None:
    """In billions, the largest count of several; what says nothing of it is not small."""
    assert billions(model) == count
    assert is_small(model) == (count is not None and count < 4)


def test_a_file_whose_name_says_nothing_is_as_small_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At four bits a parameter, the fewest that are usual: so a model that was trained here has the gate of a small one."""
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + bytes(4092))
    name = weights_of(file).identity
    assert settings_for(CODE, Roles.of(f"local:{file}")).critique == "chooses"
    assert not is_small("local:elsewhere@0123456789ab")
    monkeypatch.setattr(size, "SMALL", 8191e-9)
    assert not is_small(name)
    monkeypatch.setattr(size, "SMALL", 8193e-9)
    assert is_small(name)


@pytest.mark.parametrize(("reviewer", "critique"), [("x/y-1.5b", "chooses"), ("x/y-7b", "votes"), ("x/y", "votes")])
def test_an_uncompiled_gate_of_a_small_model_chooses(reviewer: str, critique: str) -> None:
    """Every other critique votes; and a small one's Yes has to be a clear one."""
    settings = settings_for(CODE, Roles.of(ScriptedLM([], name=reviewer)))
    assert (settings.critique, settings.threshold) == (critique, 0.8 if critique == "chooses" else 0.5)


def test_the_calibration_that_is_shipped_is_that_of_a_general_constitution_without_changes() -> None:
    """What to do instead is nothing that a gate asks of."""
    general = Constitution.load("general")
    data = general.model_dump()
    for principle in data["principles"]:
        del principle["change"]
    older = Constitution.load(data)
    assert older.fingerprint != general.fingerprint
    assert settings_for(older, Roles.of("local")) == settings_for(general, Roles.of("local"))
    assert settings_for(CODE, Roles.of("local")).threshold == 0.8


def test_a_constitution_of_one_principle_needs_no_question() -> None:
    """There is nothing to choose."""
    one = Constitution.load({**CODE.model_dump(), "principles": CODE.model_dump()["principles"][:1]})
    lm = ScriptedLM(by_stage("Bad.", gate=0.9))
    outcome = Conscience(lm=lm, constitution=one, review=ASKS_ONE, max_revisions=0)("q")
    assert [finding.principle for finding in outcome.verdict.findings] == ["no-injection"]
    assert not any(is_choice(messages) for messages, _ in lm.calls)
