"""A whole answer as a signal: what is read of the first token's candidates, of whom they are asked, and what is kept."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from conscience import ArtifactError, Backend, CascadeStage, Conscience, DistributionProbe, GateSettings
from conscience.backends.wire.replies import readable
from conscience.gate.settings import sigmoid
from conscience.messages.completion import Completion
from conscience.testing import Fault, ScriptedLM, by_stage, is_critique
from tests.support.decisions import deciding, decision_backend
from tests.support.loopback import Loopback, chat

FINDING = '{"findings": [{"principle": "honesty", "quote": "An", "why": "It lies.", "change": "Leave it out."}]}'


def probe(**more: Any) -> DistributionProbe:
    given: dict[str, Any] = {"weights": {"Yes": 0.5, " theft": 2.0, "Ja": -1.0}, "floor": -10.0, "bias": 0.25}
    return DistributionProbe(**{"name": "d", "text": "Is it bad?", **given, **more})


def gate(signal: DistributionProbe, **more: Any) -> GateSettings:
    stage = CascadeStage(signals=(signal,), weights={signal.name: 1.0})
    return GateSettings(**{"stages": (stage,), "critique": "off", "backend": "scripted/lm", **more})


TOKENS = st.sampled_from(["Yes", " theft", "Ja", "other", ""])
SHOWN = st.dictionaries(TOKENS, st.floats(-9.0, 0.0))


@given(shown=SHOWN, token=st.sampled_from(["Yes", " theft", "Ja"]), change=st.floats(-1.0, 1.0))
def test_it_is_linear_in_what_is_shown(shown: dict[str, float], token: str, change: float) -> None:
    """A token's log-probability moves the value by its weight, in whatever order tokens come; others do not."""
    shown = {token: -4.0, **shown}
    changed = {**shown, token: shown[token] + change, "more": -1.0}
    difference = probe().value(list(reversed(changed.items()))) - probe().value(list(shown.items()))
    assert difference == pytest.approx(probe().weights[token] * change, abs=1e-9)


@given(shown=SHOWN)
def test_what_is_not_shown_counts_as_the_floor(shown: dict[str, float]) -> None:
    """So does what is less likely, be it minus infinity: no server's answer gives a value that is no number."""
    whole = {token: shown.get(token, probe().floor) for token in probe().weights}
    expected = probe().bias + sum(probe().weights[token] * value for token, value in whole.items())
    assert probe().value(list(shown.items())) == pytest.approx(expected)
    lower = {token: -math.inf if value == probe().floor else value for token, value in whole.items()}
    assert probe().value(list(lower.items())) == pytest.approx(expected)
    assert math.isfinite(probe().value([]))


@pytest.mark.parametrize(
    "poison",
    [
        {"weights": {"Yes": math.nan}}, {"weights": {"Yes": math.inf}}, {"weights": {}}, {"floor": math.nan},
        {"floor": -math.inf}, {"floor": 1.0}, {"bias": math.nan}, {"candidates": 0}, {"candidates": 10**9}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_poisoned_values_are_refused(poison: dict[str, Any]) -> None:
    """Numbers that are none, a vocabulary that is empty, more candidates than there are tokens."""
    with pytest.raises(ValidationError):
        probe(**poison)


def test_the_gate_reads_it() -> None:
    """One token of the model; the value is the probe's, and the verdict says how it was come by."""
    shown = {"No": -0.1, " theft": -3.0, "Yes": -5.0}
    lm = ScriptedLM(by_stage(gate=shown))
    verdict = Conscience(lm=lm, review=gate(probe()), max_revisions=0)("q").verdict
    assert verdict is not None
    assert verdict.method == "logprobs"
    assert verdict.signals == {"d": pytest.approx(0.25 + 0.5 * -5 + 2 * -3 + 10)}
    assert verdict.probability == pytest.approx(sigmoid(verdict.signals["d"]))
    assert len(lm.calls) == 2


@pytest.mark.parametrize(
    ("critique", "status"), [(FINDING, "refused"), ('{"findings": []}', "clean"), ("no JSON", "unreviewed")]
)
def test_without_log_probabilities_the_critique_decides(critique: str, status: str) -> None:
    """It has no written form: nothing is asked for it, the verdict says that it is missing, and nothing passes unread."""
    lm = ScriptedLM(by_stage(critique=critique), logprobs=False)
    outcome = Conscience("question -> answer", lm=lm, review=gate(probe(), critique="votes"), max_revisions=0)(question="q")
    assert outcome.status == status
    verdict = outcome.draft_verdict or outcome.verdict
    assert verdict.probability is None
    assert ("no log-probabilities" in " ".join(verdict.notes)) == (status != "unreviewed")
    assert all(map(is_critique, (messages for messages, _ in lm.calls[1:]))), "nothing but the draft and its critique"


@pytest.mark.usefixtures("continuing")
def test_an_answer_that_was_begun_is_gone_on_with() -> None:
    """The question stands without Yes or No; after it comes the beginning, as the model's own turn."""
    shown = {" theft": -0.3, "Yes": -5.0}
    lm = ScriptedLM(lambda messages, params: shown if params.get("logprobs") else "An answer.")
    signal = probe(text="Sum it up.", begin="In one word:")
    verdict = Conscience(lm=lm, review=gate(signal), max_revisions=0)("q").verdict
    asked = lm.calls[-1][0]
    assert [message["role"] for message in asked] == ["user", "assistant", "user", "assistant"]
    assert [message["content"] for message in asked[-2:]] == ["Sum it up.", "In one word:"]
    assert verdict is not None
    assert verdict.signals == {"d": pytest.approx(0.25 - 2.5 - 0.6 + 10)}


@pytest.mark.parametrize("critique", [FINDING, '{"findings": []}'])
def test_where_no_answer_can_be_begun_the_critique_decides(critique: str) -> None:
    """Of a model that answers anew, the candidates are others: it is not asked."""
    lm = ScriptedLM(by_stage(gate={"Yes": -0.1}, critique=critique))
    signal = probe(text="Sum it up.", begin="In one word:")
    outcome = Conscience(lm=lm, review=gate(signal, critique="votes"), max_revisions=0)("q")
    assert outcome.status == ("refused" if critique == FINDING else "clean")
    assert "was begun" in " ".join((outcome.draft_verdict or outcome.verdict).notes)
    assert all(map(is_critique, (messages for messages, _ in lm.calls[1:])))


def test_it_is_written_as_before_where_no_answer_is_begun() -> None:
    """A file, and a digest of it, stay as they were; one that begins an answer comes back as it was."""
    assert "begin" not in probe().model_dump()
    begun = probe(text="Sum it up.", begin="In one word:")
    assert DistributionProbe.model_validate_json(begun.model_dump_json()) == begun
    assert begun.model_dump()["begin"] == "In one word:"


def test_a_decision_model_is_not_asked_it(server: Loopback) -> None:
    """It shows no candidates; the critique of the writer decides."""
    server.behaviour = deciding()
    writer = ScriptedLM(by_stage("An answer.", critique='{"findings": []}'))
    models = {"generate": writer, "review": decision_backend(server)}
    outcome = Conscience("question -> answer", lm=models, review=gate(probe(), critique="votes"))(question="q")
    assert (outcome.status, server.calls) == ("clean", [])
    assert is_critique(writer.calls[-1][0])


def test_a_stand_ins_candidates_are_not_read() -> None:
    """They are those of another model: the weights say nothing of them."""
    stand_in = ScriptedLM(by_stage("An answer.", gate={"Yes": -0.1, "No": -3.0}, critique="no JSON"), name="scripted/other")
    away = ScriptedLM(by_stage("An answer.", gate=Fault("server"), critique="no JSON"), name="scripted/away")
    models = {"generate": stand_in, "review": Backend(away, fallbacks=[stand_in], retries=0)}
    assert Conscience("question -> answer", lm=models, review=gate(probe()))(question="q").status == "unreviewed"


def many(count: int = 2000) -> dict[str, Any]:
    """An answer with thousands of candidates, as llama.cpp writes it."""
    top = [{"id": i, "token": f"t{i}", "bytes": [116, 48], "logprob": -0.5 - i / 123} for i in range(count)]
    body = chat("t0")
    body["choices"][0]["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
    return body


def test_thousands_of_candidates_are_kept_in_a_fifth_of_the_bytes(server: Loopback, tmp_path: Path) -> None:
    """The same from the cache as fresh, likeliest first."""
    server.behaviour = lambda body, number: many()
    backend = Backend("openai/x", api_base=server.url, api_key="k", cache=tmp_path / "cache")
    params = {"max_tokens": 1, "logprobs": True, "top_logprobs": 2000}
    fresh, kept = (backend.complete([{"role": "user", "content": "q"}], params) for _ in range(2))
    assert (kept.cached, len(server.calls)) == (True, 1)
    assert list(fresh.first_token) == list(kept.first_token)
    assert len(fresh.first_token) == 2000
    assert fresh.first_token[1] == ("t1", pytest.approx(-0.5 - 1 / 123, abs=1e-4))
    (file,) = (tmp_path / "cache").glob("*/*.json")
    assert file.stat().st_size < len(json.dumps(many())) / 3


def test_of_a_provider_no_more_candidates_are_asked_for_than_it_shows(server: Loopback) -> None:
    """A file that was compiled for the embedded engine is no reason for a refusal elsewhere."""
    server.behaviour = lambda body, number: chat("Yes", yes=0.9) if body.get("logprobs") else chat("Paris.")
    Conscience("question -> answer", lm=server.backend(), review=gate(probe(candidates=2000)), max_revisions=0)(question="q")
    assert server.calls[-1]["top_logprobs"] == 20


@given(logprobs=st.lists(st.one_of(st.floats(), st.none()), min_size=65, max_size=90))
def test_any_candidates_can_be_read(logprobs: list[float | None]) -> None:
    """NaN, infinities and nulls among them."""
    top = [{"token": f"t{i % 80}", "logprob": value} for i, value in enumerate(logprobs)]
    body = chat("x")
    body["choices"][0]["logprobs"] = {"content": [{"token": "t0", "logprob": -1.0, "top_logprobs": top}]}
    first = Completion(readable(body, "m"), "m").first_token
    assert [value for _, value in first] == sorted((value for _, value in first), reverse=True)
    assert math.isfinite(probe().value(first))


def test_it_is_saved_and_opened(tmp_path: Path) -> None:
    """Every token of every alphabet; a file with a number that is none is refused by its key."""
    odd = {" ": 0.1, "\n": -0.2, "Ġthe": 3.0, "🙂": -4e-5, '"': 1.5, "Yes": 0.25}
    program = Conscience("question -> answer", lm=ScriptedLM([]), review=gate(probe(weights=odd, candidates=2000)))
    path = tmp_path / "program.json"
    program.save(path)
    assert Conscience.load(path, lm=ScriptedLM([])).gate_settings == program.gate_settings
    for poison in ("NaN", "1e999", '"x"', "null"):
        path.write_text(path.read_text().replace('"Yes": 0.25', f'"Yes": {poison}'))
        with pytest.raises(ArtifactError, match=r"program\.json"):
            Conscience.load(path, lm=ScriptedLM([]))
        program.save(path)
