"""Constitutions: the built-in ones, files of three kinds, and errors that say where."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conscience import Constitution
from conscience.errors import ConstitutionError

GOOD: dict[str, Any] = {
    "name": "x",
    "version": "1",
    "question": "Is your answer wrong?",
    "principles": [{"id": "no-harm", "text": "Do no harm.", "severity": "high"}],
    "refusal": "No.",
}


@pytest.mark.parametrize("name", Constitution.builtin_names())
def test_built_in_ones_are_whole(name: str) -> None:
    """Each has sources, a question and a change for every principle, and a principle against needless refusals."""
    constitution = Constitution.load(name)
    assert constitution.name == name
    assert constitution.sources
    assert all(p.question and p.change for p in constitution.principles)
    assert constitution.principle("no-needless-refusal")
    assert all(p.id in constitution.render() for p in constitution.principles)


@pytest.mark.parametrize("suffix", [".yaml", ".json", ".toml"])
def test_the_same_constitution_from_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    """YAML, JSON and TOML mean the same."""
    path = tmp_path / f"c{suffix}"
    if suffix == ".yaml":
        path.write_text("\ufeff" + yaml.safe_dump(GOOD), encoding="utf-8")
    elif suffix == ".json":
        path.write_text(json.dumps(GOOD))
    else:
        principle = GOOD["principles"][0]
        lines = [f"{k} = {json.dumps(v)}" for k, v in GOOD.items() if k != "principles"]
        path.write_text("\n".join([*lines, "[[principles]]", *(f"{k} = {json.dumps(v)}" for k, v in principle.items())]))
    assert Constitution.load(path) == Constitution.load(GOOD)
    assert Constitution.load(path).fingerprint == Constitution.load(GOOD).fingerprint


HEAD = 'name: x\nversion: "1"\nquestion: Is it?\nrefusal: no\n'
BAD = [
    ("c.yaml", "name: x\nversion: 1.0\n", ":2: key 'version': must be a text, not float; put it in quotes"),
    ("c.yaml", "name: x\nname: y\n", ":2: key 'name' comes twice"),
    ("c.yaml", HEAD + "principles:\n  - id: A b\n    text: t", ":6: key 'principles[0].id'"),
    ("c.yaml", HEAD + "principle: []", "unknown; did you mean principles?"),
    ("c.yaml", HEAD + "principles: []", ":5: key 'principles'"),
    ("c.yaml", HEAD.replace("it?", "it.") + "principles: [{id: a, text: t}]", "must be a question"),
    ("c.yaml", "name: &a x\nversion: *a", "aliases are not read"),
    ("c.yaml", "name: x\nquestion: " + "[" * 10_000 + "]" * 10_000, "nested too deeply"),
    ("c.yaml", "- " * 10_000, "nested too deeply"),
    (
        "c.yaml",
        "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{', '.join(9 * [f'*a{i}'])}]\n" for i in range(9)),
        "aliases",
    ),
    ("c.yaml", "name: !!timestamp 'x'", "not YAML"),
    ("c.yaml", "name: !!bool 'x'", "not YAML"),
    ("c.toml", ".".join(10_000 * ["a"]) + " = 1", "nested too deeply"),
    ("c.yaml", "name: [", "not YAML"),
    ("c.yaml", "", "holds nothing"),
    ("c.yaml", "- a", "holds list"),
    ("c.yaml", 'name: "a\\0b"\nversion: "1"', "NUL byte"),
    ("c.json", '{"name": 1,\n"version"', ":2: not JSON"),
    ("c.json", '{"name": "x", "name": "y"}', "'name' comes twice"),
    ("c.json", json.dumps({**GOOD, "name": "\ud800"}), "surrogate"),
    ("c.toml", "name = ", "not TOML"),
    ("c.txt", "x", "use .yaml, .json or .toml"),
]


@pytest.mark.parametrize(("name", "text", "expected"), BAD, ids=range(len(BAD)))
def test_bad_file_is_named_with_its_place(tmp_path: Path, name: str, text: str, expected: str) -> None:
    """One line: file, line or key, and the mend."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ConstitutionError) as caught:
        Constitution.load(tmp_path / name)
    assert expected in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_name_suggests_a_near_one() -> None:
    """A slip of the finger is the likeliest."""
    with pytest.raises(ConstitutionError, match="did you mean medical"):
        Constitution.load("medcal")


def test_unknown_name_says_what_may_be_given() -> None:
    """A built-in name, a file, a mapping."""
    with pytest.raises(ConstitutionError, match="built-in name"):
        Constitution.load("nowhere/to/be/found.yaml")


@pytest.mark.parametrize(
    "name", ["~nosuchuser/x.yaml", "a" * 5000, "a\0b", "\ud800"], ids=["user", "long", "NUL", "surrogate"]
)
def test_a_name_that_no_file_can_have_is_not_there(name: str) -> None:
    """And no operating system's error comes out."""
    with pytest.raises(ConstitutionError, match="there is no constitution"):
        Constitution.load(name)


@pytest.mark.parametrize(("name", "said"), [("d.yaml", "cannot be read"), ("big.yaml", "larger than 1 MB")])
def test_what_is_no_file_of_a_constitution_is_refused(tmp_path: Path, name: str, said: str) -> None:
    """A folder, and a huge file, which is not read."""
    (tmp_path / "d.yaml").mkdir()
    (tmp_path / "big.yaml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(ConstitutionError, match=f"{name}: {said}"):
        Constitution.load(tmp_path / name)


def test_a_misspelled_key_lists_what_may_stand_there() -> None:
    """Where no known key is near."""
    principle = {**GOOD["principles"][0], "penalty": 3}
    with pytest.raises(
        ConstitutionError, match=r"'principles\[0\].penalty' is unknown; known: id, text, severity, question"
    ):
        Constitution.load({**GOOD, "principles": [principle]})


@given(data=st.binary(max_size=300), suffix=st.sampled_from([".yaml", ".json", ".toml"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_arbitrary_bytes_never_crash(tmp_path: Path, data: bytes, suffix: str) -> None:
    """They are a constitution or a ConstitutionError."""
    path = tmp_path / f"f{suffix}"
    path.write_bytes(data)
    with contextlib.suppress(ConstitutionError):
        assert Constitution.load(path).principles


def test_fingerprint_is_of_the_meaning() -> None:
    """Sources and description do not change it; a principle does."""
    base = Constitution.load(GOOD)
    assert base.fingerprint == Constitution.load({**GOOD, "sources": ["y"], "description": "z"}).fingerprint
    assert base.fingerprint != Constitution.load({**GOOD, "refusal": "Never."}).fingerprint


def test_what_to_do_instead_changes_the_fingerprint_only_where_it_is_said() -> None:
    """A constitution from before the key existed has the digest that it had."""
    (principle,) = GOOD["principles"]
    assert Constitution.load(GOOD).fingerprint == "e46a4487c82f"
    changed = Constitution.load({**GOOD, "principles": [{**principle, "change": "Help."}]})
    assert changed.fingerprint != Constitution.load(GOOD).fingerprint
    assert Constitution.load(changed.model_dump()) == changed
