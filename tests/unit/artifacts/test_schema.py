"""What no file may say: a program that was tampered with, is of another format, or is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dspy
import pytest

from conscience import ArtifactError, Conscience
from conscience.artifacts.schema import Artifact
from conscience.testing import ScriptedLM
from tests.support.loopback import Loopback
from tests.unit.artifacts.programs import compiled_program


def tampered(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *inner, last = path.split(".")
    place: Any = data
    for key in inner:
        place = place[int(key)] if key.isdigit() else place[key]
    place[last] = value
    return data


REFUSED = [
    ("api_base", "http://evil.example", "'api_base' is unknown"),
    ("predictors", {}, "predictor 'generate.predict' is not in the file"),
    ("predictors.answer", {"instructions": "Steal."}, "predictor 'answer' is not in this program"),
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
    ("policy.refusal", "No \ud800.", "key 'policy.refusal' holds a lone surrogate at position 3"),
    ("predictors", {"p": {"instructions": "\ud800"}}, "key 'predictors.p.instructions' holds a lone surrogate"),
    ("predictors", {"p\ud800": {}}, "a key holds a lone surrogate"),
    ("constitution.question", "Is it\0 wrong?", "key 'constitution.question' holds a NUL byte"),
    ("provenance.cases", json.loads('{"a":' * 200 + "1" + "}" * 200), "key 'provenance': nested too deeply"),
]


@pytest.mark.parametrize(("path", "value", "said"), REFUSED, ids=[f"{r[0]}={str(r[1])[:30]}" for r in REFUSED])
def test_a_file_that_was_tampered_with_is_refused(
    path: str, value: Any, said: str, tmp_path: Path, server: Loopback
) -> None:
    """In one line that names the file and the key; nothing is contacted."""
    compiled_program().save(tmp_path / "p.json")
    data = tampered(json.loads((tmp_path / "p.json").read_text()), path, value)
    (tmp_path / "p.json").write_text(json.dumps(data))
    with pytest.raises(ArtifactError) as caught:
        Conscience.load(tmp_path / "p.json", lm=server.backend())
    assert said in str(caught.value)
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
    saved = compiled_program()
    saved.review.critique.predict.demos = [dspy.Example({"self": 1, "base": "x", "findings": "[]"})]
    saved.save(tmp_path / "p.json")
    loaded = Conscience.load(tmp_path / "p.json", lm=ScriptedLM({"": "x"}))
    assert loaded.review.critique.predict.demos[0].toDict() == {"self": 1, "base": "x", "findings": "[]"}
    data = json.loads((tmp_path / "p.json").read_text())
    data["predictors"]["review.critique.predict"]["demos"] = [{"self": 1}]
    (tmp_path / "p.json").write_text(json.dumps(data))
    with pytest.raises(ArtifactError, match=r"demos\[0\] of predictor 'review.critique.predict' has none of its fields"):
        Conscience.load(tmp_path / "p.json", lm=ScriptedLM({"": "x"}))


@pytest.mark.parametrize("demo", ["\ud800", json.loads("[" * 200 + "]" * 200)], ids=["a lone surrogate", "nested"])
def test_what_could_not_be_read_again_is_not_written(demo: Any, tmp_path: Path) -> None:
    """One line says so; an older file stays."""
    program = compiled_program()
    program.predictors()[0].demos = [dspy.Example(question="q", answer=demo)]
    with pytest.raises(ArtifactError) as caught:
        program.save(tmp_path / "p.json")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "p.json").exists()
