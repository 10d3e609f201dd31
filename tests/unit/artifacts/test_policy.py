"""A file makes a program stricter, never looser, unless the caller says so by name."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience import Budget, Conscience
from conscience.artifacts.policy import stricter
from conscience.testing import ScriptedLM

LOOSE: dict[str, Any] = {"on_error": "open", "on_unresolved": "best", "max_revisions": 50, "budget": {"calls": 900}}
OWN: dict[str, Any] = {
    "on_error": "closed",
    "on_unresolved": "raise",
    "max_revisions": 0,
    "budget": {"calls": 3, "seconds": 9},
}


def program(**options: Any) -> Conscience:
    return Conscience("question -> answer", lm=ScriptedLM({"": "x"}), **options)


@pytest.fixture
def loose(tmp_path: Path) -> Path:
    """What a stranger would like the caller to run."""
    program(**LOOSE).save(tmp_path / "loose.json")
    return tmp_path / "loose.json"


def policy(of: Conscience) -> dict[str, Any]:
    return {
        "on_error": of.on_error,
        "on_unresolved": of.on_unresolved,
        "max_revisions": of.max_revisions,
        "budget": of.budget,
    }


def test_a_strangers_file_opens_nothing_that_is_closed(loose: Path) -> None:
    """The defaults stay, and a warning names what was asked for and how to take it."""
    with pytest.warns(UserWarning, match="the program keeps") as told:
        opened = Conscience.load(loose, lm=ScriptedLM({"": "x"}))
    assert policy(opened) == {
        "on_error": "closed", "on_unresolved": "refuse", "max_revisions": 1, "budget": Budget(calls=900),
    }  # fmt: skip
    said = " ".join(str(warning.message) for warning in told)
    assert all(f"pass {asked}" in said for asked in ("on_error='open'", "on_unresolved='best'", "max_revisions=50"))


def test_what_the_caller_says_at_load_holds(loose: Path) -> None:
    """Looser or stricter; and nothing is left to warn of."""
    assert policy(Conscience.load(loose, **LOOSE)) == {**LOOSE, "budget": Budget(calls=900)}
    assert policy(Conscience.load(loose, **OWN)) == {**OWN, "budget": Budget(calls=3, seconds=9)}
    rest: dict[str, Any] = {"on_error": "raise", "on_unresolved": "refuse", "max_revisions": 1}
    assert Conscience.load(loose, **rest, budget=None).budget is None


def test_a_program_that_loads_keeps_its_policy(loose: Path) -> None:
    """Of budgets the smaller limit of each kind."""
    mine = program(**OWN)
    with pytest.warns(UserWarning, match="the program keeps") as told:
        mine.load(loose)
    assert len(told) == len(LOOSE)
    assert policy(mine) == {**OWN, "budget": Budget(calls=3, seconds=9)}


def test_a_stricter_file_is_followed(tmp_path: Path) -> None:
    """Into a new program and one that is there, without a word."""
    strict = {"on_error": "raise", "on_unresolved": "raise", "max_revisions": 0, "budget": {"calls": 2}}
    program(**strict).save(tmp_path / "p.json")
    mine = program(**{**LOOSE, "budget": {"calls": 900, "tokens": 5}})
    mine.load(tmp_path / "p.json")
    assert policy(mine) == {**strict, "budget": Budget(calls=2, tokens=5)}
    assert policy(Conscience.load(tmp_path / "p.json")) == {**strict, "budget": Budget(calls=2)}


BUDGETS = st.none() | st.builds(Budget, *[st.none() | st.integers(0, 9)] * 4)
SETTINGS = {
    "on_error": st.sampled_from(["open", "closed", "raise"]),
    "on_unresolved": st.sampled_from(["best", "refuse", "raise"]),
    "max_revisions": st.integers(0, 9),
    "budget": BUDGETS,
}


@given(st.sampled_from(sorted(SETTINGS)), st.data())
def test_no_file_loosens_anything(name: str, data: st.DataObject) -> None:
    """Whatever both say, what holds is as strict as either: asking again changes nothing."""
    own, asked = data.draw(SETTINGS[name]), data.draw(SETTINGS[name])
    held, _ = stricter(name, own, asked)
    assert stricter(name, held, own) == (held, stricter(name, held, own)[1])
    assert stricter(name, held, asked)[0] == held == stricter(name, asked, own)[0]
    if name == "budget" and own is not None:
        limits = [(getattr(held, kind), getattr(own, kind)) for kind in ("calls", "tokens", "seconds", "dollars")]
        assert all(mine is None or (limit is not None and limit <= mine) for limit, mine in limits)


def test_a_threshold_is_saved_and_loaded(tmp_path: Path) -> None:
    """With the gate; the caller's own may be lowered by a file, not raised, and is what it is where it is given at load."""
    program(threshold=0.3).save(tmp_path / "p.json")
    path = tmp_path / "p.json"
    assert Conscience.load(path).threshold == Conscience.load(path).gate_settings.threshold == 0.3
    assert Conscience.load(path, threshold=0.8).threshold == 0.8
    for own, held in ((None, 0.3), (0.2, 0.2), (0.6, 0.3)):
        mine = program(threshold=own)
        mine.load(path)
        assert mine.threshold == held


def test_of_refusals_only_a_text_is_saved(tmp_path: Path) -> None:
    """A mapping fills fields that programs read, a function is code: both stay with the caller, who is told."""
    path = tmp_path / "p.json"
    program(refusal="Not from me.").save(path)
    assert Conscience.load(path).refusal == "Not from me."
    assert Conscience.load(path, refusal="Mine.").refusal == "Mine."
    for refusal in ({"answer": "No."}, lambda outcome: None):
        with pytest.warns(UserWarning, match="give it again"):
            program(refusal=refusal).save(path)
        assert Conscience.load(path).refusal is None
    data = json.loads(path.read_text())
    assert data["policy"]["refusal"] is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Conscience.load(path)
