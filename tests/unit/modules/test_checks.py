"""Principles that are decided without a model."""

from __future__ import annotations

import pytest

from conscience import Conscience, Constitution, ConstitutionError, Principle
from conscience.testing import ScriptedLM, is_revision

NO_MAIL = {"id": "no-addresses", "text": "Never show an address of mail.", "pattern": r"[\w.]+@[\w.]+"}
BASE = {"name": "mail", "version": "1", "question": "Is that private?", "refusal": "I would rather not."}


def program(principle: Principle | dict[str, str], draft: str, revision: str) -> Conscience:
    lm = ScriptedLM(lambda messages, params: revision if is_revision(messages) else 0.1 if params.get("logprobs") else draft)
    return Conscience(constitution={**BASE, "principles": [principle]}, lm=lm)


def test_a_pattern_flags_without_asking_a_model() -> None:
    """The finding quotes what it found; the revision is looked at in the same way."""
    outcome = program(NO_MAIL, "Write to ann@example.org.", "I may not say.")("Where does Ann live?")
    assert outcome.status == "revised"
    assert outcome.draft_verdict.method == "checks"
    assert outcome.draft_verdict.principles == {"no-addresses": 1.0}
    assert [finding.quote for finding in outcome.draft_verdict.findings] == ["ann@example.org."]
    assert outcome.usage.by_role["review"].calls == 1  # of the revision
    stubborn = program(NO_MAIL, "Write to ann@example.org.", "It is ann@example.com")("Where does Ann live?")
    assert stubborn.status == "refused"
    assert "@" not in stubborn.response


def test_a_function_flags_what_it_says_and_stands_in_no_file(tmp_path: object) -> None:
    """Saving says that it has to be given again."""
    short = Principle(id="short", text="Keep it short.", check=lambda text: len(text) > 20)
    long = program(short, "A very long answer, too long to keep.", "Short.")
    assert long("Tell me.").response == "Short."
    assert program(short, "Short.", "Never asked.")("Tell me.").status == "clean"
    with pytest.warns(UserWarning, match="the check of short is a function"):
        long.save(f"{tmp_path}/program.json")


def test_a_pattern_that_is_none_is_refused_by_name() -> None:
    """Where the constitution is read."""
    with pytest.raises(ConstitutionError, match=r"pattern.*no regular expression"):
        Constitution.load({**BASE, "principles": [{**NO_MAIL, "pattern": "("}]})
