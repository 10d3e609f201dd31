"""The outcome: its fields, its JSON, its copies."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from conscience import ConfigurationError, Conscience, Draft, InputError
from conscience.testing import ScriptedLM, by_stage
from tests.support.scripts import bad_then_good, fields


def test_an_outcome_is_json() -> None:
    """Everything the command line prints."""
    shown = json.loads(json.dumps(Conscience("question -> answer", lm=bad_then_good())(question="q").to_json(full=True)))
    assert shown["verdict"]["probability"] == pytest.approx(0.1)
    assert shown["draft_verdict"]["probability"] == pytest.approx(0.9)
    assert shown["draft"]["response"] == "Bad."
    assert shown["revisions"][0]["verdict"]["probability"] == pytest.approx(0.1)
    assert shown["revisions"][0]["response"] == "Good."
    assert shown["usage"]["by_role"]["review"]["calls"] == 3


def test_an_outcome_can_be_copied_and_pickled() -> None:
    """As any prediction can."""
    outcome = Conscience("question -> answer", lm=bad_then_good())(question="q")
    for twin in (copy.deepcopy(outcome), pickle.loads(pickle.dumps(outcome))):
        assert twin.to_json(full=True) == outcome.to_json(full=True)


def test_response_is_the_field_of_that_name() -> None:
    """Where the signature has one."""
    lm = ScriptedLM(by_stage(fields(response="Paris", confidence="0.9")))
    outcome = Conscience("question -> response, confidence: float", lm=lm)(question="q")
    assert (outcome.response, outcome.confidence) == ("Paris", 0.9)


def test_a_field_may_not_take_the_name_of_a_part_of_every_outcome() -> None:
    """It is refused when the program is built."""
    with pytest.raises(ConfigurationError, match="'status'"):
        Conscience("question -> response, status")


def test_a_draft_is_made_of_texts_from_anywhere() -> None:
    """The request may be empty, the response may not."""
    draft = Draft.of("How?", "So.", "Because.")
    assert (draft.messages, draft.text) == (({"role": "user", "content": "How?"},), "So.")
    assert (draft.response, draft.reasoning) == ("So.", "Because.")
    assert Draft.of("", "So.").request == ""
    for response in (" ", "a\0b"):
        with pytest.raises(InputError):
            Draft.of("How?", response)
