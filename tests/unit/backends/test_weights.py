"""Weights by name: found, checked, called by their content, and asked as their publisher says; no model runs here."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from conscience import Backend, ConfigurationError, Conscience, EmbeddingProbe
from conscience.backends.embedded import catalogue, weights
from conscience.backends.embedded.catalogue import GREEDY, MODELS, NO_LOOPS, SMOLLM2, Model
from conscience.backends.embedded.local import endpoint
from conscience.backends.embedded.weights import digest_of, local_name, verified, weights_of
from conscience.backends.roles import Roles
from conscience.backends.storage.cache import cache_home
from conscience.constitution.schema import Constitution
from conscience.gate.defaults import settings_for
from conscience.gate.questions import ONE_TOKEN_SAMPLING

QWEN = next(model for model in MODELS if model.name == "qwen2.5-coder-0.5b")
GGUF = b"GGUF of the user's"


def put(folder: Path, model: Model, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / model.file).write_bytes(content)
    return folder / model.file


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model of the catalogue whose weights are a few bytes."""
    model = dataclasses.replace(QWEN, name="tiny", file="t.gguf", bytes=len(GGUF), sha256=hashlib.sha256(GGUF).hexdigest())
    for module in (catalogue, weights):
        monkeypatch.setattr(module, "MODELS", (*MODELS, model))
    return model


def test_the_catalogue_is_complete() -> None:
    """Names, files and contents are each one's own; parts add up; no address of an index."""
    for attribute in ("name", "file", "sha256", "identity"):
        assert len({getattr(model, attribute) for model in MODELS}) == len(MODELS)
    for model in MODELS:
        assert model.name == model.name.lower()
        assert len(bytes.fromhex(model.sha256)) == 32
        assert model.licence
        package = model.package
        assert package is not None
        if package.parts > 1:
            assert (package.parts - 1) * package.part_bytes < model.bytes <= package.parts * package.part_bytes
        assert "://" not in package.requirement
        assert {"temperature", "max_tokens"} <= model.sampling.keys()


@pytest.mark.parametrize(("name", "said"), [("missing.gguf", "no weights file"), ("x.gguf", "not a GGUF")])
def test_weights_of_the_users_must_be_a_gguf_file(tmp_path: Path, name: str, said: str) -> None:
    """Before any server is started."""
    (tmp_path / "x.gguf").write_bytes(b"nope")
    with pytest.raises(ConfigurationError, match=said):
        endpoint(tmp_path / name)
    with pytest.raises(ConfigurationError, match=said):
        Backend(f"local:{tmp_path / name}")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("qwen2.5-coder-0.5", r"did you mean qwen2\.5-coder-0\.5b"),
        ("nonsense", r"it has smollm2-135m-instruct, qwen2\.5-coder-0\.5b"),
        ("qwen2.5-coder-0.5b@0123456789ab", r"not 0123456789ab .*use local:qwen2\.5-coder-0\.5b"),
        ("mine@0123456789ab", "name the file"),
    ],
)
def test_a_name_that_means_nothing_gets_one_line(given: str, said: str) -> None:
    """With what may have been meant."""
    with pytest.raises(ConfigurationError, match=said) as failure:
        Backend(f"local:{given}")
    assert "\n" not in str(failure.value)


def test_weights_that_are_absent_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is fetched for an answer."""
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"smollm2.* not on this machine \(run: conscience pull\)"):
        endpoint()
    with pytest.raises(ConfigurationError, match=r"run: conscience pull qwen2\.5-coder-0\.5b\)"):
        Conscience("question -> answer", lm="local:qwen2.5-coder-0.5b")(question="?")


def test_other_content_under_a_models_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the way to mend it; of several files the right one is taken."""
    monkeypatch.setenv("CONSCIENCE_WEIGHTS", str(tmp_path))
    put(tmp_path, QWEN, GGUF)
    with pytest.raises(ConfigurationError, match=r"not the file that this version knows \(run: conscience pull qwen"):
        endpoint("qwen2.5-coder-0.5b")


def test_the_right_file_is_taken_wherever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Model) -> None:
    """A wrong one in a package that is installed does not stand before it."""
    monkeypatch.setenv("CONSCIENCE_WEIGHTS", str(tmp_path / "mine"))
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path / "package")]})
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: spec)
    put(tmp_path / "package", tiny, b"GGUF of somebody else")
    right = put(tmp_path / "mine", tiny, GGUF)
    assert verified(dataclasses.replace(tiny, installed="anything")) == right


def test_content_is_the_name(tmp_path: Path, tiny: Model) -> None:
    """The same bytes have the same name at any path, and a model's name where they are a model's."""
    paths = [tmp_path / "mine.gguf", tmp_path / "deep" / "mine.gguf", tmp_path / "my model.gguf"]
    paths[1].parent.mkdir()
    for path in paths:
        path.write_bytes(b"GGUF another")
    names = [Backend(f"local:{path}").name for path in paths]
    digits = hashlib.sha256(b"GGUF another").hexdigest()[:12]
    assert names == [f"local:mine@{digits}", f"local:mine@{digits}", f"local:my-model@{digits}"]
    assert Backend(names[0]).transports[0].identity({})["model"] == names[0]  # given here, so it can be named again
    paths[0].write_bytes(GGUF)
    assert Backend(f"local:{paths[0]}").name == tiny.identity == f"local:tiny@{tiny.sha256[:12]}"
    assert Backend("local:TINY").name == Backend(f"local:{tiny.identity[6:]}").name == tiny.identity


def test_a_file_that_changes_is_not_what_was_named(tmp_path: Path) -> None:
    """An answer must not be kept under the name of other weights."""
    (tmp_path / "mine.gguf").write_bytes(b"GGUF one")
    backend = Backend(f"local:{tmp_path / 'mine.gguf'}", retries=0)
    (tmp_path / "mine.gguf").write_bytes(b"GGUF two")
    with pytest.raises(ConfigurationError, match="changed since"):
        backend.complete([{"role": "user", "content": "?"}], {})


def test_a_digest_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by the next process; a file that changes is read again, and so is one whose time somebody set back."""
    reads: list[Path] = []
    real = weights.read_digest
    monkeypatch.setattr(weights, "read_digest", lambda path: reads.append(path) or real(path))
    path = tmp_path / "x.gguf"
    path.write_bytes(b"one")
    first = digest_of(path)
    weights._digest.cache_clear()  # as another process
    assert digest_of(path) == first == hashlib.sha256(b"one").hexdigest()
    assert len(reads) == 1
    stat = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert digest_of(path) == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"/x": 1}', pytest.param('{"/x":' * 100_000, id="deep")])
def test_a_broken_memory_of_digests_costs_time_only(content: str, tmp_path: Path) -> None:
    """The file is read."""
    folder = cache_home()
    folder.mkdir(parents=True)
    (folder / "digests.json").write_text(content)
    (tmp_path / "x").write_bytes(b"one")
    assert digest_of(tmp_path / "x") == hashlib.sha256(b"one").hexdigest()


def test_plain_local_is_called_and_asked_as_before() -> None:
    """Its name, its sampling and so its keys: what was calibrated and kept goes on."""
    for name in ("local", "local:", "local:smollm2-135m-instruct"):
        backend = Backend(name)
        (transport,) = backend.transports
        assert backend.name == "local"
        assert transport.identity({}) == {
            "model": "local", "client": {}, "address": [None, None], "defaults": {**NO_LOOPS, **GREEDY}
        }  # fmt: skip
        assert transport.identity(ONE_TOKEN_SAMPLING)["defaults"] == GREEDY
        assert transport.identity({"temperature": 1.0})["defaults"] == {**NO_LOOPS, **GREEDY}


CALLS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({}, {}, dict(QWEN.sampling)),
    ({}, dict(ONE_TOKEN_SAMPLING), dict(GREEDY)),
    ({"max_tokens": 1}, {}, {**GREEDY, "max_tokens": 1}),
    ({}, {"temperature": 0.0, "max_tokens": 8}, {**NO_LOOPS, **GREEDY, "max_tokens": 600}),
    ({"temperature": 0}, {}, {**NO_LOOPS, "temperature": 0, "max_tokens": 600}),
    ({"top_p": 0.5, "max_tokens": 9}, {"temperature": 1.0}, {**QWEN.sampling, "top_p": 0.5, "max_tokens": 9}),
    ({"repeat_penalty": None}, {}, {n: v for n, v in QWEN.sampling.items() if n != "repeat_penalty"}),
]


@pytest.mark.parametrize(("options", "params", "sent"), CALLS)
def test_a_model_is_sampled_as_its_publisher_says(
    options: dict[str, Any], params: dict[str, Any], sent: dict[str, Any]
) -> None:
    """One-token questions and greedy calls excepted; what a user or a call says comes first."""
    (transport,) = Backend("local:qwen2.5-coder-0.5b", **options).transports
    assert transport.identity(params)["defaults"] == sent


def test_what_was_measured_on_the_built_in_model_is_for_it_alone() -> None:
    """Other weights start from the constitution's own question, as any model does."""
    general = Constitution.load("general")
    built_in, other, unknown = (
        settings_for(general, Roles.of(n)) for n in ("local", "local:qwen2.5-coder-1.5b", "openai/x")
    )
    assert other.stages == unknown.stages != built_in.stages


@pytest.mark.parametrize(
    "model", ["local:/etc/x.gguf", "local:x.gguf", "local:qwen2.5-coder-0.5b", "local:a/b@0123456789ab"]
)
def test_a_program_on_disk_names_no_file(model: str) -> None:
    """Weights are named by their content, so opening a program opens nothing else."""
    probe: dict[str, Any] = {"name": "p", "wordings": ("{response}",), "weights": "ADw="}
    with pytest.raises(ValueError, match="named by its content"):
        EmbeddingProbe(model=model, **probe)
    assert EmbeddingProbe(model=QWEN.identity, **probe).model == local_name("local:qwen2.5-coder-0.5b")


def test_the_folder_is_chosen_in_one_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CONSCIENCE_WEIGHTS, else the cache folder of this user."""
    assert weights.weights_folder() == Path(os.environ["XDG_CACHE_HOME"]) / "dspy-conscience" / "weights"
    monkeypatch.setenv("CONSCIENCE_WEIGHTS", str(tmp_path))
    assert weights.weights_folder() == tmp_path
    assert weights_of(None) == weights_of("smollm2-135m-instruct") == weights.Weights("local", SMOLLM2)


def test_without_a_home_folder_an_installed_model_still_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a container whose user has none; another model is one line."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "")
    (tmp_path / SMOLLM2.file).write_bytes(b"")
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: spec)
    assert weights.places(SMOLLM2) == [tmp_path / SMOLLM2.file]
    with pytest.raises(ConfigurationError, match="no home folder"):
        weights.places(QWEN)
