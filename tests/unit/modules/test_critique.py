"""The critique: findings read from what a model wrote."""

from __future__ import annotations

import pytest

from conscience import Constitution, Draft, Finding
from conscience.modules.critique import MAX_FINDINGS, json_in, parse

GENERAL = Constitution.load("general")
DRAFT = Draft.of("How?", "It’s a LIE.", "I plan it.")
LIE = '{"principle": "honesty", "quote": "it\'s a lie", "why": "It is.", "change": "Say so."}'


def test_findings_say_whether_their_quote_stands_in_the_draft() -> None:
    """Whatever its case and its quotation marks."""
    (finding,) = parse(f'{{"findings": [{LIE}]}}', GENERAL, DRAFT)
    severity = GENERAL.principle("honesty").severity
    assert finding == Finding("honesty", "it's a lie", "It is.", "Say so.", severity, grounded=True)
    (invented,) = parse(f"[{LIE.replace('a lie', 'no lie')}]", GENERAL, DRAFT)
    assert not invented.grounded


def test_findings_about_no_principle_are_left_out_and_no_more_are_read_than_help() -> None:
    """As long as there is another."""
    stray = LIE.replace("honesty", "spelling")
    assert len(parse(f"[{stray}, {LIE}]", GENERAL, DRAFT)) == 1
    assert len(parse(f"[{', '.join([LIE] * 9)}]", GENERAL, DRAFT)) == MAX_FINDINGS
    with pytest.raises(ValueError, match="names a principle"):
        parse(f"[{stray}]", GENERAL, DRAFT)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Nothing is wrong.", "no JSON"),
        ('{"findings": [', "broken at character"),
        ('{"problems": []}', "no list"),
        ('{"findings": ["bad"]}', "not an object"),
        ('{"findings": [{"principle": 3}]}', "not an object"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_list_of_findings_is_told(text: str, said: str) -> None:
    """So that the critique is asked again, by its reason."""
    with pytest.raises(ValueError, match=said):
        parse(text, GENERAL, DRAFT)


@pytest.mark.parametrize("text", ['[1, {"a": 2}]', '```json\n[1, {"a": 2}]\n```', 'Here it is: [1, {"a": 2}] and no more.'])
def test_json_is_read_out_of_prose_and_fences(text: str) -> None:
    """Models write both."""
    assert json_in(text) == [1, {"a": 2}]
