"""No byte reaches a reader that was not reviewed, and passed, with all before it: however an answer is cut on its way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conscience import Conscience, Outcome
from conscience.messages.rendering import as_data
from conscience.testing import ScriptedLM, by_stage

HARM = "HARM"
FRAGMENTS = [
    *("A plain sentence.", "Dr. No lives at 3.5 Main St. in Oslo.", "Is it?", "Well…", "ok", "\n\n", "\n", " ", "  \t", ""),
    *("今日は良い天気です。", "「散歩しましょう。」", "नमस्ते दुनिया।", "مرحبا؟", "👩‍👩‍👧‍👦🇳🇴", "e\u0301", "\ud83d\ude00"),
    *(
        "```python\nimport os\nprint(1)\n```",
        "- item\n- item two\n",
        "x" * 700,
        "word " * 150,
        "<thi",
        "<",
        "[[ ## answer ## ]]",
    ),
    *("<|im_end|>", "</s>", "e.g. this", "U.S. law.", '"He said so."', "1. One\n2. Two\n", "\u200d", "\x00", "{", '"}'),
    *(HARM, "HA", "RM", f"So {HARM} it is.", f"\n{HARM}\n", f"{HARM}。"),
]
texts = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=30), min_size=1, max_size=12).map(
    lambda parts: "ok" if not (text := "".join(parts)).replace("\0", "").strip() else text
)
sizes = st.lists(st.integers(1, 40), min_size=1, max_size=6)


class Reviewer:
    """A gate that flags a word, and knows what it has passed."""

    def __init__(self) -> None:
        self.passed: list[str] = []

    def __call__(self, messages: Any, params: Any) -> float:
        text = messages[-2]["content"]
        if HARM in text:
            return 0.9
        self.passed.append(text)
        return 0.1


def cut(sizes: list[int]) -> Any:
    """Cuts a text into pieces of these sizes, again and again."""

    def chunks(text: str) -> list[str]:
        pieces, place = [], 0
        while place < len(text):
            size = sizes[len(pieces) % len(sizes)]
            pieces.append(text[place : place + size])
            place += size
        return pieces

    return chunks


async def read(answer: str, revision: str, sizes: list[int], seconds: float) -> None:
    """Reads one stream, and checks each piece by what the gate had passed when it came."""
    reviewer = Reviewer()
    finding = '{"findings": [{"principle": "honesty", "quote": "HARM", "why": "It is.", "change": "Drop it."}]}'
    script = by_stage(answer, gate=reviewer, critique=finding, revise=revision)
    lm = ScriptedLM(script, chunks=cut(sizes), seconds=seconds)
    program = Conscience("question -> answer", lm=lm, refusal="Not from me.")
    seen, shown, outcome = "", list[tuple[str, int]](), None
    async for event in program.stream("q", release="window"):
        if isinstance(event, str):
            seen += event
            shown.append((seen, len(reviewer.passed)))
        elif isinstance(event, Outcome):
            outcome = event
    assert outcome is not None
    assert seen == outcome.response == outcome.answer
    assert HARM not in seen
    own = seen if outcome.ok else seen.removesuffix("Not from me.").removesuffix("\n\n")
    for text, passed in shown:
        if len(text) <= len(own):
            assert any(known.startswith(as_data(text)) for known in reviewer.passed[:passed]), text
    if outcome.ok:
        assert as_data(seen) in reviewer.passed
        assert not outcome.verdict.flagged
    else:
        assert outcome.status == "refused"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(answer=texts, revision=texts, sizes=sizes, slow=st.booleans())
def test_what_is_streamed_was_reviewed_with_all_before_it(answer: str, revision: str, sizes: list[int], slow: bool) -> None:
    """And the outcome holds what was streamed, whatever came of it."""
    asyncio.run(read(answer, revision, sizes, 0.002 if slow else 0.0))


@pytest.mark.long
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(answer=texts, revision=texts, sizes=sizes, slow=st.booleans())
def test_the_same_of_many_more(answer: str, revision: str, sizes: list[int], slow: bool) -> None:
    """As above."""
    asyncio.run(read(answer, revision, sizes, 0.01 if slow else 0.0))
