"""A model's turn is reviewed as a whole, and what comes back holds nothing that was not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from conscience import Conscience, InputError
from conscience.integrations._turns import (
    ToolCall,
    Turn,
    areview,
    chat_tool,
    chat_tools,
    judge_of,
    other_tokens,
    part_text,
    readable,
    review,
    rules_text,
    tool_names,
)
from tests.unit.integrations.reviewers import BAD, DOWN, MENDED, REFUSED, mends, program, scripted

ASKED = [{"role": "user", "content": "Help me."}]


def call(what: str) -> ToolCall:
    return ToolCall("act", json.dumps({"what": what}), "call_1")


@pytest.mark.parametrize(
    "turn",
    [Turn(f"Say {BAD}."), Turn("Fine.", f"I think {BAD}."), Turn("", "", (call(BAD),)), Turn("", f"Only {BAD}.")],
    ids=["text", "thoughts", "call", "thoughts alone"],
)
def test_every_part_of_a_turn_is_reviewed(turn: Turn) -> None:
    """Text, thoughts and arguments: where one is flagged, the turn is not shown."""
    shown = review(program(max_revisions=0), ASKED, turn)
    assert shown.changed
    assert BAD not in repr(shown.turn)
    assert REFUSED in shown.turn.text
    assert shown.turn.calls == ()


@pytest.mark.parametrize("turn", [Turn("Fine."), Turn("Fine.", "I think."), Turn("", "", (call("help"),)), Turn()])
def test_what_passes_is_as_it_was(turn: Turn) -> None:
    """And an empty turn has nothing to be reviewed."""
    shown = asyncio.run(areview(program(), ASKED, turn))
    assert (shown.turn, shown.changed) == (turn, False)
    assert (shown.outcome is None) == turn.is_empty


def test_a_revised_call_keeps_its_id() -> None:
    """The tool's result will name it."""
    shown = review(program(mends(what="help")), ASKED, Turn("", "", (call(BAD),)))
    assert shown.turn.calls == (call("help"),)


@pytest.mark.parametrize("revision", [mends(call="delete", what="x"), mends(), "No calls at all, in words alone."])
def test_a_revision_calls_no_tool_that_is_not_on_offer(revision: Any) -> None:
    """What cannot be run is left out; where nothing is left, the answer is the refusal."""
    shown = review(program(revision), ASKED, Turn("", "", (call(BAD),)))
    assert all(one.name == "act" for one in shown.turn.calls)
    assert shown.turn.calls or shown.turn.text


def test_a_revision_may_call_another_tool_that_is_on_offer() -> None:
    """It is asked with the tools."""
    shown = review(
        program(mends(call="ask", what="x")),
        ASKED,
        Turn("", "", (call(BAD),)),
        tools=[chat_tool("ask", None, {"type": "object"})],
    )
    (one,) = shown.turn.calls
    assert (one.name, one.arguments_object()) == ("ask", {"what": "x"})


def test_thoughts_of_the_draft_do_not_follow_its_revision() -> None:
    """They are about another answer."""
    shown = review(program(), ASKED, Turn(f"Say {BAD}.", "I thought about it."))
    assert shown.turn == Turn(MENDED)


def test_a_program_that_calls_its_fields_otherwise() -> None:
    """The text goes into its text field, its written reasoning aside."""
    judge = Conscience("question -> reasoning, answer", lm=scripted(), max_revisions=0)
    assert review(judge, ASKED, Turn("Fine.", "So.")).turn == Turn("Fine.", "So.")
    assert REFUSED in review(judge, ASKED, Turn(BAD)).turn.text


@pytest.mark.parametrize(("on_error", "text"), [("closed", REFUSED), ("open", "Fine.")])
def test_a_review_that_fails_ends_as_the_policy_says(on_error: Any, text: str) -> None:
    """Closed by default."""
    shown = review(program(gate=DOWN, on_error=on_error), ASKED, Turn("Fine."))
    assert text in shown.turn.text
    assert shown.outcome is not None
    assert shown.outcome.status == "unreviewed"


def test_a_program_that_observes_alters_nothing() -> None:
    """Whatever it will find; a guard that only judges lets it pass, too."""
    for turn in (Turn(f"Say {BAD}."), Turn("", f"I think {BAD}.", (call(BAD),))):
        for judge in (program(mode="observe"), judge_of(program(mode="observe"))):
            shown = review(judge, ASKED, turn)
            assert (shown.turn, shown.changed) == (turn, False)
            assert shown.outcome is not None
            assert shown.outcome.status == "observed"


def test_the_conversation_is_read_before_the_turn() -> None:
    """System turns, tools that ran and what they returned."""
    lm = scripted()
    ran = [{"id": "call_0", "type": "function", "function": {"name": "act", "arguments": "{}"}}]
    conversation = [
        {"role": "system", "content": "You are a vet."},
        *ASKED,
        {"role": "assistant", "content": "", "tool_calls": ran},
        {"role": "tool", "tool_call_id": "call_0", "content": "It rains."},
    ]
    review(program(lm=lm), conversation, Turn("Fine."))
    seen = json.dumps(lm.calls[0][0])
    assert "You are a vet." in seen
    assert "It rains." in seen


def test_nul_bytes_and_half_characters_do_not_go_out() -> None:
    """In an answer they are dropped, in a request refused."""
    assert review(program(), ASKED, Turn("Fi\0ne.")).turn == Turn("Fine.")
    with pytest.raises(InputError, match="NUL"):
        review(program(), [{"role": "user", "content": "Hel\0p"}], Turn("Fine."))


def test_the_rules_quote_nothing() -> None:
    """A model may be told them, and a log may hold them."""
    outcome = program(max_revisions=0).correct("Help me.", f"Say {BAD}.")
    told = rules_text(program(), outcome.verdict)
    assert "Rule: " in told
    assert BAD not in told


@pytest.mark.parametrize("part", ["x", 3, None, [], {}, {"text": 3}, {"a": [{"b": (1, "x")}]}, {"text": "x", "a": object()}])
def test_any_part_of_an_answer_has_a_text(part: Any) -> None:
    """None goes by unread because of its shape."""
    assert isinstance(part_text(part), str)


def test_only_media_are_left_out_of_a_part() -> None:
    """Not a text that begins like one."""
    assert "iVBOR" not in part_text({"type": "image", "url": "data:image/png;base64,iVBORw0KGgo="})
    assert BAD in part_text({"type": "note", "say": f"data: {BAD}"})
    assert BAD in part_text({"type": "note", "say": f"data:text/plain;base64,x {BAD}!"})
    assert BAD in part_text({"type": "text", "text": "Fine.", "citations": [{"title": BAD}]})


def test_parts_of_other_providers_leave_a_conversation() -> None:
    """Their thoughts and their own forms of calls: no other provider takes them."""
    thought, text = {"type": "thinking", "thinking": "Hm", "signature": "x"}, {"type": "text", "text": "Hi."}
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    first, second = readable([{"role": "assistant", "content": [thought, text]}, {"role": "user", "content": [image, text]}])
    assert first["content"] == "Hi."
    assert second["content"] == [image, text]


def test_tools_are_known_in_every_form() -> None:
    """OpenAI's two and Anthropic's; what a provider runs by itself is none."""
    openai = [{"type": "function", "function": {"name": "a", "parameters": {"x": 1}}}, {"type": "function", "name": "b"}]
    tools = chat_tools([*openai, {"name": "c", "input_schema": {"y": 1}}, {"type": "web_search"}, 3])
    assert tool_names(tools) == ["a", "b", "c"]
    assert [tools[number]["function"]["parameters"] for number in (0, 2)] == [{"x": 1}, {"y": 1}]
    assert chat_tools(None) == tool_names(None) == []


def test_thoughts_that_were_flagged_do_not_come_back_with_an_answer_that_stays() -> None:
    """Where a revision thinks otherwise and says the same."""
    judge = program("Fine.", gate=lambda messages, params: 0.97 if BAD in str(messages[-1]) else 0.03)
    shown = review(judge, ASKED, Turn("Fine.", f"I think {BAD}."))
    assert BAD not in repr(shown.turn)


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ([{"token": "Fine", "bytes": [70, 105, 110, 101]}, {"token": "."}], ""),
        ([{"token": "\\xc3", "bytes": [0xC3]}, {"token": "\\xa9", "bytes": [0xA9]}], "é"),  # a letter of two tokens
        ([{"token": BAD, "bytes": list(b"Fine.")}], BAD),  # what a client reads is the token
        ([{"token": "Fine.", "bytes": 5}], ""),
        (["Fi", "ne."], ""),
        ({"content": [{"token": "Fine."}], "refusal": None}, ""),
    ],
)
def test_tokens_that_are_not_the_text_are_told(tokens: Any, said: str) -> None:
    assert other_tokens(tokens, "Fine.") == said
