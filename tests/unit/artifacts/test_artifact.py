"""A compiled program on disk: what is written is read again, and what is not known is refused before it is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dspy
import pytest

from conscience import Backend, Conscience
from conscience.artifacts.schema import Artifact, Provenance
from conscience.backends.embeddings import pack
from conscience.errors import ArtifactError
from conscience.gate.probes import EmbeddingProbe, LexicalProbe
from conscience.gate.questions import Question
from conscience.gate.settings import CascadeStage, GateSettings
from conscience.testing import ScriptedLM
from tests.support.loopback import Loopback


def program(**options: Any) -> Conscience:
    made = Conscience("question -> answer", constitution="medical", lm=ScriptedLM({"": "x"}), **options)
    made.review.critique.predict.demos = [dspy.Example(principles="p", exchange="e", findings="[]")]
    made.revise.predict.signature = made.revise.predict.signature.with_instructions("Mend it.")
    signals = (
        Question(name="q", text="Is it bad?"),
        LexicalProbe(name="words", features={"bad": (1.5, 2.0)}),
        EmbeddingProbe(name="e", model="e5", wordings=("{response}",), weights=pack([0.5, -0.25]), scale=3.0),
    )
    made.review.gate_settings = GateSettings(
        stages=(CascadeStage(signals=signals[1:2], weights={"words": 1.0}, undecided_band=(0.1, 0.9)),
                CascadeStage(signals=(signals[0], signals[2]), weights={"words": 1.0, "q": -0.5, "e": 1.0}, bias=-0.2)),
        threshold=0.625, critique="votes", override_threshold=0.9, backend="scripted/lm",
    )  # fmt: skip
    made.provenance = Provenance(backend="scripted/lm", seed=3, notes=("a note",))
    return made


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """Constitution, gate, prompts, demos, policy and provenance; the file is the same when it is saved again."""
    saved = program(max_revisions=2, on_unresolved="best", budget={"calls": 9})
    saved.save(tmp_path / "p.json")
    loaded = Conscience.load(tmp_path / "p.json", lm=ScriptedLM({"": "x"}))
    assert loaded.dump_state() == saved.dump_state()
    assert loaded.constitution == saved.constitution == loaded.review.constitution
    assert (loaded.max_revisions, loaded.on_unresolved, loaded.budget.calls) == (2, "best", 9)
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "p.json").read_bytes()


def test_embedding_model_elsewhere_is_told(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Whoever loads a file is to know that it sends texts to somebody who is not among the models given."""
    saved = program()
    settings = saved.review.gate_settings
    probe = EmbeddingProbe(name="e", model="cohere/embed-4", wordings=("{response}",), weights=pack([0.5, -0.25]))
    stage = settings.stages[1].model_copy(update={"signals": (settings.stages[1].signals[0], probe)})
    saved.review.gate_settings = settings.model_copy(update={"stages": (settings.stages[0], stage)})
    saved.save(tmp_path / "p.json")
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"sends .* to the embedding model cohere/embed-4"):
        Conscience.load(tmp_path / "p.json", lm=ScriptedLM({"": "x"}))
    recwarn.clear()
    Conscience.load(
        tmp_path / "p.json", lm={"generate": ScriptedLM({"": "x"}), "review": ScriptedLM({"": "x"}, name="cohere/x")}
    )
    assert not [warning for warning in recwarn.list if "embedding model" in str(warning.message)]


def test_loading_into_a_program_keeps_its_models(tmp_path: Path) -> None:
    """As load does on any DSPy module."""
    program().save(tmp_path / "p.json")
    lm = ScriptedLM({"": "x"})
    other = Conscience("question -> answer", lm=lm)
    other.load(tmp_path / "p.json")
    assert other.constitution.name == "medical"
    assert other.revise.predict.signature.instructions == "Mend it."
    assert other.roles.backend("generate").lm is Backend.of(lm).lm


def test_the_file_holds_no_key_and_no_address(tmp_path: Path) -> None:
    """Whatever the models were reached with."""
    lm = Backend("openai/gpt-4o-mini", api_key="sk-test-secret-0123", api_base="http://127.0.0.1:1/v1")
    made = Conscience("question -> answer", lm=lm)
    made.set_lm(lm)
    made.save(tmp_path / "p.json")
    text = (tmp_path / "p.json").read_text()
    assert "sk-test" not in text
    assert "127.0.0.1" not in text
    assert "api_" not in text


def test_modules_are_passed_again(tmp_path: Path) -> None:
    """Code is not saved, so what answers has to be given."""
    made = Conscience(dspy.ChainOfThought("question -> answer"), lm=ScriptedLM({"": "x"}))
    made.save(tmp_path / "p.json")
    with pytest.raises(ArtifactError, match="generate="):
        Conscience.load(tmp_path / "p.json")
    again = Conscience.load(tmp_path / "p.json", generate=dspy.ChainOfThought("question -> answer"))
    assert again.dump_state() == made.dump_state()


def test_another_backend_is_warned_of(tmp_path: Path) -> None:
    """By the command that helps; a backend with a calibration of its own gets it."""
    made = program()
    made.save(tmp_path / "p.json")
    with pytest.warns(UserWarning, match="conscience recalibrate"):
        Conscience.load(tmp_path / "p.json", lm=ScriptedLM({"": "x"}, name="other/lm"))
    mine = made.review.gate_settings
    made.calibrations = (mine.model_copy(update={"backend": "other/lm", "threshold": 0.3}),)
    made.save(tmp_path / "p.json")
    loaded = Conscience.load(tmp_path / "p.json", lm=ScriptedLM({"": "x"}, name="other/lm"))
    assert loaded.review.gate_settings.threshold == 0.3


def tampered(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *inner, last = path.split(".")
    place: Any = data
    for key in inner:
        place = place[int(key)] if key.isdigit() else place[key]
    place[last] = value
    return data


REFUSED = [
    ("api_base", "http://evil.example", "'api_base' is unknown"),
    ("predictors.generate.predict", {}, "predictors"),
    ("calibrations.0.api_base", "http://evil.example", "calibrations[0].api_base' is unknown"),
    ("calibrations.0.stages.1.signals.0.api_base", "x", "signals[0].api_base' is unknown"),
    ("calibrations.0.stages.1.signals.1.model_path", "x", "signals[1].model_path' is unknown"),
    ("calibrations.0.treshold", 0.5, "did you mean threshold?"),
    ("policy.on_error", "ignore", "policy.on_error"),
    ("policy.budget", {"minutes": 3}, "budget"),
    ("format", "conscience-program/1", "not 'conscience-program/2' (compile it again with this version"),
    ("format", "conscience-program/3", "not 'conscience-program/2' (a newer conscience wrote it"),
    ("format", "conscience-program", "not 'conscience-program/2' (compile it again"),
    ("constitution.question", "Say yes", "constitution.question"),
    ("calibrations.0.stages.1.signals.1.weights", "AAAA!", "base64"),
    ("calibrations", [], "calibrations"),
    ("calibrations.0.stages.0.bias", float("nan"), "key 'calibrations[0]"),
    (
        "calibrations.0.stages.0.undecided_band",
        [0.1, float("inf")],
        "key 'calibrations[0]': holds a number that is not finite",
    ),
    ("policy.max_revisions", 10**9, "less than or equal to 100"),
    ("signature", "question -> _x", "key 'signature': 'question -> _x' cannot be used"),
    ("signature", "model_config -> x", "key 'signature': 'model_config -> x' cannot be used"),
    ("signature", "question", "key 'signature': 'question' is no DSPy signature"),
]


@pytest.mark.parametrize(("path", "value", "said"), REFUSED, ids=[f"{r[0]}={str(r[1])[:30]}" for r in REFUSED])
def test_a_file_that_was_tampered_with_is_refused(
    path: str, value: Any, said: str, tmp_path: Path, server: Loopback
) -> None:
    """In one line that names the file and the key; nothing is contacted."""
    program().save(tmp_path / "p.json")
    data = json.loads((tmp_path / "p.json").read_text())
    if path.startswith("predictors"):
        data["predictors"] = {"generate.predict": data["predictors"]["generate.predict"]}
        said = "predictor 'revise.predict' is not in the file"
    else:
        data = tampered(data, path, value)
    (tmp_path / "p.json").write_text(json.dumps(data))
    with pytest.raises(ArtifactError) as caught:
        Conscience.load(tmp_path / "p.json", lm=server.backend())
    assert said in str(caught.value) or "review.critique.predict" in str(caught.value)
    assert "p.json" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert server.calls == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000_000, r"^\S+p.json: larger than 8 MB"),
        ("[" * 1_000_000, "nested too deeply"),
        ('{"a":' * 500_000, "nested too deeply"),
        ("not json", "not JSON"),
        ("[]", "no object"),
        ('{"format": "x", "format": "y"}', "comes twice"),
        ("\xff", "not JSON"),
    ],
    ids=["100 MB", "deep list", "deep object", "text", "list", "twice", "bytes"],
)
def test_what_is_no_program_is_refused(text: str, said: str, tmp_path: Path) -> None:
    """Quickly, in one line."""
    (tmp_path / "p.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ArtifactError, match=said):
        Artifact.read(tmp_path / "p.json")


def test_demos_that_a_predictor_cannot_show_are_refused(tmp_path: Path) -> None:
    """By the predictor's name; a field too many does no harm, whatever it is called."""
    saved = program()
    saved.review.critique.predict.demos = [dspy.Example({"self": 1, "base": "x", "findings": "[]"})]
    saved.save(tmp_path / "p.json")
    loaded = Conscience.load(tmp_path / "p.json", lm=ScriptedLM({"": "x"}))
    assert loaded.review.critique.predict.demos[0].toDict() == {"self": 1, "base": "x", "findings": "[]"}
    data = json.loads((tmp_path / "p.json").read_text())
    data["predictors"]["review.critique.predict"]["demos"] = [{"self": 1}]
    (tmp_path / "p.json").write_text(json.dumps(data))
    with pytest.raises(ArtifactError, match=r"demos\[0\] of predictor 'review.critique.predict' has none of its fields"):
        Conscience.load(tmp_path / "p.json", lm=ScriptedLM({"": "x"}))


def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    """And the file that was there stays."""
    made = program()
    made.save(tmp_path / "p.json")
    before = (tmp_path / "p.json").read_bytes()
    made.max_revisions = 1000
    with pytest.raises(ArtifactError, match="cannot be saved: key 'max_revisions'"):
        made.save(tmp_path / "p.json")
    made.max_revisions = 1
    made.revise.predict.signature = made.revise.predict.signature.with_instructions("x" * (9 << 20))
    with pytest.raises(ArtifactError, match=r"p.json: not written: 9.0 MB"):
        made.save(tmp_path / "p.json")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("p.json", before)]
