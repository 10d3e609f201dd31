"""Saving and loading: what is written is read again, into a new program or one that is there."""

from __future__ import annotations

from pathlib import Path

import dspy
import pytest

import conscience
from conscience import ArtifactError, Backend, Conscience, EmbeddingProbe
from conscience.backends.embeddings import pack
from conscience.testing import ScriptedLM
from tests.unit.artifacts.programs import compiled_program


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """Constitution, gate, prompts, demos, policy and provenance; the file is the same when it is saved again."""
    saved = compiled_program(max_revisions=2, on_unresolved="best", budget={"calls": 9})
    saved.save(tmp_path / "p.json")
    loaded = Conscience.load(tmp_path / "p.json", lm=ScriptedLM({"": "x"}), max_revisions=2, on_unresolved="best")
    assert loaded.dump_state() == saved.dump_state()
    assert loaded.constitution == saved.constitution == loaded.review.constitution
    assert (loaded.max_revisions, loaded.on_unresolved, loaded.budget.calls) == (2, "best", 9)
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "p.json").read_bytes()


def test_loading_into_a_program_keeps_its_models(tmp_path: Path) -> None:
    """As load does on any DSPy module."""
    compiled_program().save(tmp_path / "p.json")
    lm = ScriptedLM({"": "x"})
    other = Conscience("question -> answer", lm=lm)
    other.load(tmp_path / "p.json")
    assert other.constitution.name == "medical"
    assert other.revise.predict.signature.instructions == "Correct it."
    assert other.roles.backend("generate").lm is Backend.of(lm).lm


def test_modules_are_passed_again(tmp_path: Path) -> None:
    """Code is not saved, so what answers has to be given."""
    program = Conscience(dspy.ChainOfThought("question -> answer"), lm=ScriptedLM({"": "x"}))
    program.save(tmp_path / "p.json")
    with pytest.raises(ArtifactError, match="generate="):
        Conscience.load(tmp_path / "p.json")
    again = Conscience.load(tmp_path / "p.json", generate=dspy.ChainOfThought("question -> answer"))
    assert again.dump_state() == program.dump_state()


def test_embedding_model_elsewhere_is_told(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Whoever loads a file is to know that it sends texts to somebody who is not among the models given."""
    saved = compiled_program()
    settings = saved.gate_settings
    probe = EmbeddingProbe(name="e", model="cohere/embed-4", wordings=("{response}",), weights=pack([0.5, -0.25]))
    stage = settings.stages[1].model_copy(update={"signals": (settings.stages[1].signals[0], probe)})
    saved = saved.with_gate(settings.model_copy(update={"stages": (settings.stages[0], stage)}))
    saved.save(tmp_path / "p.json")
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"sends .* to the embedding model cohere/embed-4"):
        Conscience.load(tmp_path / "p.json", lm=ScriptedLM({"": "x"}))
    recwarn.clear()
    Conscience.load(
        tmp_path / "p.json", lm={"generate": ScriptedLM({"": "x"}), "review": ScriptedLM({"": "x"}, name="cohere/x")}
    )
    assert not [warning for warning in recwarn.list if "embedding model" in str(warning.message)]


def test_another_backend_is_warned_of(tmp_path: Path) -> None:
    """By the command that helps; a backend with a calibration of its own gets it."""
    program = compiled_program()
    program.save(tmp_path / "p.json")
    with pytest.warns(UserWarning, match="conscience recalibrate"):
        Conscience.load(tmp_path / "p.json", lm=ScriptedLM({"": "x"}, name="other/lm"))
    settings = program.gate_settings
    program.calibrations = (settings.model_copy(update={"backend": "other/lm", "threshold": 0.3}),)
    program.save(tmp_path / "p.json")
    loaded = Conscience.load(tmp_path / "p.json", lm=ScriptedLM({"": "x"}, name="other/lm"))
    assert loaded.gate_settings.threshold == 0.3


def test_the_file_holds_no_key_and_no_address(tmp_path: Path) -> None:
    """Whatever the models were reached with."""
    lm = Backend("openai/gpt-4o-mini", api_key="sk-test-secret-0123", api_base="http://127.0.0.1:1/v1")
    program = Conscience("question -> answer", lm=lm)
    program.set_lm(lm)
    program.save(tmp_path / "p.json")
    text = (tmp_path / "p.json").read_text()
    assert "sk-test" not in text
    assert "127.0.0.1" not in text
    assert "api_" not in text


def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    """And the file that was there stays."""
    program = compiled_program()
    program.save(tmp_path / "p.json")
    before = (tmp_path / "p.json").read_bytes()
    program.max_revisions = 1000
    with pytest.raises(ArtifactError, match="cannot be saved: key 'max_revisions'"):
        program.save(tmp_path / "p.json")
    program.max_revisions = 1
    program.revise.predict.signature = program.revise.predict.signature.with_instructions("x" * (9 << 20))
    with pytest.raises(ArtifactError, match=r"p.json: not written: 9.0 MB"):
        program.save(tmp_path / "p.json")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("p.json", before)]


def test_a_file_opens_a_program_from_anywhere(tmp_path: Path) -> None:
    """As the function, as the class's method, and as that of a class of one's own."""

    class Own(Conscience):
        pass

    lm = ScriptedLM({"": "x"})
    compiled_program().save(tmp_path / "p.json")
    assert type(conscience.load(tmp_path / "p.json", lm=lm)) is Conscience
    assert type(Conscience.load(tmp_path / "p.json", lm=lm)) is Conscience
    assert type(Own.load(tmp_path / "p.json", lm=lm)) is Own
