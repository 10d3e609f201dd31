"""Thinking in a text: what real models emit is split off, and what only speaks of their marks stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience.messages.thinking import MARKS, begins_thinking, split_thinking

THINKS = "The user asks for a capital. SECRET."
HARMONY = "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>Paris.<|return|>"
EMITTED = {
    "block": f"<think>\n{THINKS}\n</think>\n\nParis.",
    "block on one line": f"<think>{THINKS}</think>Paris.",
    "lone end": f"{THINKS}\n</think>\n\nParis.",
    "lone end on one line": f"{THINKS}</think>Paris.",
    "lone end between blanks": f"{THINKS} </think> Paris.",
    "two lone ends": f"{THINKS}</think>\n{THINKS}\n</think>\n\nParis.",
    "two blocks": f"<think>{THINKS}</think>\n<think>{THINKS}</think>\nParis.",
    "block, and a lone end": f"<think>{THINKS} </think> {THINKS}\n</think>\nParis.",
    "block in a block": f"<think>a <think>{THINKS}</think> b {THINKS}</think>Paris.",
    "upper case": f"<THINK>{THINKS}</THINK>Paris.",
    "blanks first": f"\n  <think>{THINKS}</think>\nParis.",
    "mark in backticks in it": f"<think>{THINKS} I end with `</think>`. {THINKS}\n</think>\nParis.",
    "code in it": f"<think>\n```python\nx = 1\n```\n{THINKS}\n</think>\nParis.",
    "code that does not end before a lone end": f"{THINKS}\n```python\nx = 1\n</think>\nParis.",
    "code before a lone end": f"{THINKS}\n```python\nx = 1\n```\n</think>\nParis.",
    **{f"{begin}": f"{begin}{THINKS}{end}Paris." for begin, end in MARKS.items()},
    **{f"lone {end}": f"{THINKS}{end}Paris." for end in MARKS.values()},
    "Cohere": f"<|START_THINKING|>{THINKS}<|END_THINKING|><|START_RESPONSE|>Paris.<|END_RESPONSE|>",
    "Sky": f"<|begin_of_thought|>{THINKS}<|end_of_thought|>\n<|begin_of_solution|>Paris.<|end_of_solution|>",
    "Magistral": f"[THINK]{THINKS}[/THINK]Paris.",
    "harmony": HARMONY.format(THINKS),
    "harmony, begun by the template": HARMONY.format(THINKS).removeprefix("<|channel|>analysis<|message|>"),
    "harmony, with a call": "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>"
    + HARMONY.format(THINKS),
    "harmony without its tokens": f"analysis{THINKS}assistantfinalParis.",
    "harmony without its tokens, in lower case": f"analysisneed this. {THINKS}assistantfinalParis.",
    "Granite": f"Here is my thought process:\n{THINKS}\nHere is my response:\nParis.",
    "Apriel": f"Here are my reasoning steps:\n{THINKS}\n[BEGIN FINAL RESPONSE]\nParis.\n[END FINAL RESPONSE]",
}


@pytest.mark.parametrize("text", EMITTED.values(), ids=EMITTED)
def test_thinking_is_no_answer(text: str) -> None:
    thinking, answer = split_thinking(text)
    assert answer == "Paris."
    assert THINKS in thinking


CUT = {
    **{begin: f"{begin}{THINKS}" for begin in MARKS},
    "harmony": f"<|channel|>analysis<|message|>{THINKS}",
    "harmony, at once": "<|channel|>anal",
    "harmony without its tokens": f"analysis{THINKS}",
    "second block": f"<think>a</think><think>{THINKS}",
    "nothing after": f"{THINKS}\n</think>\n",
    "harmony without a final": f"<|channel|>analysis<|message|>{THINKS}<|end|><|start|>assistant",
}


@pytest.mark.parametrize("text", CUT.values(), ids=CUT)
def test_thinking_without_an_answer_leaves_nothing(text: str) -> None:
    assert split_thinking(text).answer == ""


SPOKEN_OF = {
    "code block": "Split it:\n```python\ntext.split('</think>')\n</think>\n```\nDone.",
    "tildes": "So:\n~~~\n<think>\nx\n</think>\n~~~\nDone.",
    "code block in a list": "1. So:\n   ```\n   </think>\n   ```\nDone.",
    "backticks": "The tag `</think>` ends it, and `<think>` begins it.",
    "quotation marks": 'It ends with "</think>" and begins with “<think>”.',
    "quoted line": "You wrote:\n> mm</think>hi\nThat is odd.",
    "JSON": '{"answer": "mm</think>hi"}',
    "lone beginning in a sentence": "Write <think> first.",
    "other tags": "<b>bold</b> <answer>Paris</answer>",
    "words": "analysis shows that the final answer is 3. Here are my reasoning steps: one, two.",
    "channel in code": "Write ```<|channel|>analysis<|message|>``` first.",
}


@pytest.mark.parametrize("text", SPOKEN_OF.values(), ids=SPOKEN_OF)
def test_an_answer_that_only_speaks_of_the_marks_stays(text: str) -> None:
    assert split_thinking(text) == ("", text)


ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What do <think> and </think> mean?"}]


def test_where_the_request_speaks_of_a_mark_it_counts_only_as_models_write_it() -> None:
    prose = "A model puts <think> before its thoughts and </think> after them."
    assert split_thinking(prose, ASKED) == ("", prose)
    assert split_thinking(f"{THINKS}\n</think>\n\n{prose}", ASKED) == (THINKS, prose)
    assert split_thinking(f"<think>{THINKS}</think>{prose}", ASKED) == (THINKS, prose)
    assert split_thinking(f"{THINKS}</think>Paris.", [{"role": "assistant", "content": "</think>"}]).answer == "Paris."


def test_code_in_the_answer_is_no_end_of_thinking() -> None:
    code = "Split it:\n```python\ntext.split('</think>')\n```\nand\n```\n</think>\n```\nDone."
    assert split_thinking(f"{THINKS}\n</think>\n\n{code}") == (THINKS, code)
    assert split_thinking(f"<think>{THINKS}</think>{code}") == (THINKS, code)
    begun = f"{THINKS}\n```python\nx = 1"  # code that the model broke off
    assert split_thinking(f"{begun}\n</think>\nSo:\n```python\ny\n```\n").answer == "So:\n```python\ny\n```"


def test_a_field_of_the_answer_keeps_its_tag() -> None:
    asked = [{"role": "system", "content": "<reasoning>\n{reasoning}\n</reasoning>\n\n<answer>\n{answer}\n</answer>"}]
    written = "<reasoning>\nmm\n</reasoning>\n\n<answer>\nParis.\n</answer>"
    assert split_thinking(written, asked) == ("", written)
    assert split_thinking(f"<think>{THINKS}</think>{written}", asked) == (THINKS, written)


def test_a_part_before_a_block_is_part_of_the_answer() -> None:
    assert split_thinking("One.\n<think>mm</think>\nTwo.").answer == "One.\n\nTwo."


WORDS = st.text(st.sampled_from("ab \n.`\"'>~{"), max_size=30)


@given(thought=WORDS, answer=WORDS, begin=st.sampled_from([*MARKS]))
def test_a_block_at_the_beginning_is_split_off_whatever_is_in_it(thought: str, answer: str, begin: str) -> None:
    thinking, rest = split_thinking(f"{begin}{thought}SECRET{MARKS[begin]}\n{answer}")
    assert (thinking, rest) == (f"{thought}SECRET".strip(), answer.strip())


@given(text=st.lists(st.one_of(WORDS, st.sampled_from([*MARKS, *MARKS.values(), "```\n", "<|channel|>final<|message|>"]))))
def test_no_text_is_too_odd_to_be_split(text: list[str]) -> None:
    whole = "".join(text)
    thinking, answer = split_thinking(whole)
    assert len(thinking) + len(answer) <= len(whole) + len(text)


@pytest.mark.parametrize(
    "token", ["<think>", "<th", "<|channel|>", "[THINK]", "◁think▷", " <thinking", "<|START_THINKING|>"]
)
def test_a_first_token_tells_that_thinking_begins(token: str) -> None:
    assert begins_thinking(token)


@pytest.mark.parametrize("token", ["Yes", "No", "<", "", "Okay", "<b>", "<|im_end|>", "t", "["])
def test_other_first_tokens_do_not(token: str) -> None:
    assert not begins_thinking(token)
