"""Thinking in the text of an answer: where it begins and ends, and what is left when it is taken out.

Servers that know a model's marks put its thinking in a field beside the answer. Those that do not leave it in the text, and
where the chat template has already opened it, only its end is to be seen: all before a lone ``</think>`` is thinking.

What is no mark: one in a code block, between backticks or quotation marks, in a quoted line (``> ``) or in JSON. Where the
request itself speaks of a mark, a lone one counts only where it ends a line, as models write it, and a block only from the
text's beginning. A tag that the request gives the answer as a field (``<reasoning>{reasoning}</reasoning>``, as DSPy's
XMLAdapter does) is the field's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from conscience.messages.completion import Message

_NAMES = ("think", "thinking", "thought", "thoughts", "reasoning", "seed:think", "budget:thinking", "mm:think",
          "longcat_think", "antthinking")  # fmt: skip
MARKS: dict[str, str] = {
    **{f"<{name}>": f"</{name}>" for name in _NAMES},
    "[think]": "[/think]",  # Magistral
    "◁think▷": "◁/think▷",  # Kimi
    "<|start_thinking|>": "<|end_thinking|>",  # Cohere
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|think_start|>": "<|think_end|>",  # Step
    "<|inner_prefix|>": "<|inner_suffix|>",  # Apertus
    "<unused94>thought": "<unused95>",  # Gemma and its kin
    "<|channel>thought": "<channel|>",
}
"""Where thinking begins → where it ends, in lower case."""

_HINTS = ("think", "thought", "reasoning", "unused9", "<channel|>", "<|inner_")
"""One of these is in every mark."""

_ENDS = {end: begin for begin, end in MARKS.items()}
_MARK = re.compile("|".join(map(re.escape, sorted([*MARKS, *_ENDS], key=len, reverse=True))), re.IGNORECASE)
_WRAPPED = re.compile(
    r"\s*<\|(?:START_RESPONSE|START_TEXT|begin_of_solution)\|>(.*?)(?:<\|(?:END_RESPONSE|END_TEXT|end_of_solution)\|>\s*)?",
    re.DOTALL,
)
"""What some of these models put around the answer that follows."""

_SPOKEN = re.compile(
    r"\s*(?:Here(?:'s| is) my thought process:(?P<granite>.*?)Here(?:'s| is) my response:"
    r"|Here are my reasoning steps:(?P<apriel>.*?)\[BEGIN FINAL RESPONSE\])(?P<answer>.*?)(?:\[END FINAL RESPONSE\].*)?",
    re.DOTALL,
)
"""Granite and Apriel say so in words."""
_SPOKEN_BEGINS = re.compile(r"\s*Here(?:(?:'s| is) my thought process| are my reasoning steps):")

_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>")
_CHANNEL_ENDS = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_STRIPPED = re.compile(r"analysis(?:(.*)assistantfinal(.*)|(?=[A-Z\"'“])(.*))", re.DOTALL)
"""gpt-oss, whose special tokens a server has dropped: ``analysisThe user asks …assistantfinalParis.``"""

_FENCE = re.compile(r"^[ \t>]*(`{3,}|~{3,})[^`\n]*\n(?:(?![ \t>]*\1).*\n)*?[ \t>]*\1[`~]*[ \t]*$", re.MULTILINE)
_INLINE = re.compile(r"(?<!`)(`+)(?!`)[^\n]*?(?<!`)\1(?!`)")
_QUOTED_LINE = re.compile(r"^[ \t]*>.*$", re.MULTILINE)
_LINE_ENDS = re.compile(r"[ \t\r]*(?:\n|\Z)")
_QUOTES = "\"'“”‘’«»„"


class Thought(NamedTuple):
    """A text's two parts."""

    thinking: str
    answer: str


def split_thinking(text: str, messages: Sequence[Message] = ()) -> Thought:
    """The thinking in an answer's text, and the answer without it; thinking that does not end takes all that follows.

    Args:
        text: as the model wrote it.
        messages: what it was asked.
    """
    found = _channels(text) if "<|channel|>" in text or "<|start|>" in text else None
    if found is None and text[:60].lstrip().startswith(("analysis", "Here")):
        found = _in_words(text)
    if found is None:
        if not _may_hold_marks(text) or _is_json(text):
            return Thought("", text)
        found = _between_marks(text, messages)
    thinking, answer = found
    if (wrapped := _WRAPPED.fullmatch(answer)) is not None:
        answer = wrapped[1]
    return Thought(thinking, text if answer == text else answer.strip())


def _may_hold_marks(text: str) -> bool:
    lowered = text.lower() if "<" in text or "[" in text or "◁" in text else ""
    return any(hint in lowered for hint in _HINTS) and _MARK.search(text) is not None


def begins_thinking(token: str) -> bool:
    """Whether an answer that begins with this token, or with these few, begins with thinking."""
    begun = token.strip().casefold()
    if begun in ("<|channel|>", "<|start|>", "<|channel>", "<unused94>", "◁"):
        return True
    return len(begun) > 1 and any(mark.startswith(begun) or begun.startswith(mark) for mark in MARKS)


def begins_in_words(text: str) -> bool:
    """Whether a text begins as the thinking of a model that says so in words, and its end is not to be seen."""
    return _SPOKEN_BEGINS.match(text) is not None


def _between_marks(text: str, messages: Sequence[Message]) -> Thought:
    thoughts: list[str] = []
    kept: list[str] = []
    begun, place = "", 0  # the mark that is open, and where the part that is being read begins
    closed, inner = False, 0
    marks = list(_marks(text, messages))
    last = {mark.ends: number for number, mark in enumerate(marks)}
    last_plain = {mark.ends: number for number, mark in enumerate(marks) if not mark.guarded}
    for number, mark in enumerate(marks):
        if begun:
            ends_later = last_plain.get(begun, -1) > number
            if mark.begins == begun and not mark.guarded:
                inner += 1
            elif mark.ends == begun and inner and ends_later and not mark.guarded:
                inner -= 1
            elif mark.ends == begun and not (mark.guarded and ends_later):
                thoughts.append(text[place : mark.start])
                begun, place, closed, inner = "", mark.end, True, 0
        elif mark.guarded:
            continue
        elif mark.ends:
            if mark.ends_line or not (closed or mark.named):
                thoughts += [*kept, text[place : mark.start]]
                kept, place = [], mark.end
        elif not (text[place : mark.start].strip() or any(map(str.strip, kept))) or (
            not mark.named and (mark.begins_line or last.get(mark.begins, -1) > number)
        ):
            kept.append(text[place : mark.start])
            begun, place = mark.begins, mark.end
    (thoughts if begun else kept).append(text[place:])
    return Thought("\n".join(filter(None, map(str.strip, thoughts))), "".join(kept))


class _Mark(NamedTuple):
    """A mark in a text: what it begins, or the beginning that it ends; whether it is quoted, or spoken of in the request."""

    start: int
    end: int
    begins: str
    ends: str
    guarded: bool
    named: bool
    begins_line: bool
    ends_line: bool


def _marks(text: str, messages: Sequence[Message]) -> Iterator[_Mark]:
    guarded = bytearray(len(text) + 1)
    for pattern in (_FENCE, _INLINE, _QUOTED_LINE):
        for found in pattern.finditer(text):
            first, last = found.span()
            guarded[first:last] = b"\1" * (last - first)
    asked = _asked(messages)

    @cache
    def is_field(begins: str) -> bool:
        name = begins.strip("<>")
        return name.isalpha() and re.search(rf"<{name}>\s*{{{name}}}", asked) is not None

    @cache
    def is_named(begins: str) -> bool:
        return begins in asked or MARKS[begins] in asked

    for match in _MARK.finditer(text):
        mark, (start, end) = match.group().lower(), match.span()
        begins, ends = (mark, "") if mark in MARKS else ("", _ENDS[mark])
        if is_field(begins or ends):
            continue
        quoted = start > 0 and end < len(text) and text[start - 1] in _QUOTES and text[end] in _QUOTES
        yield _Mark(
            start,
            end,
            begins,
            ends,
            guarded=quoted or bool(guarded[start]),
            named=is_named(begins or ends),
            begins_line=not text[text.rfind("\n", 0, start) + 1 : start].strip(),
            ends_line=_LINE_ENDS.match(text, end) is not None,
        )


def _asked(messages: Sequence[Message]) -> str:
    texts: list[str] = []
    for message in messages:
        if message.get("role") != "assistant":
            content = message.get("content")
            parts = content if isinstance(content, list) else [{"text": content}]
            texts += [str(part.get("text") or "") for part in parts if isinstance(part, dict)]
    return "\n".join(texts).lower()


def _channels(text: str) -> Thought | None:
    """gpt-oss's channels: what is in ``final`` is the answer, everything else led to it."""
    begun = _CHANNEL.search(text)
    if begun is None or (text[: begun.start()].strip() and "<|channel|>final" not in text) or _is_guarded(text, begun):
        head = text.lstrip()
        return Thought(head, "") if head.startswith(("<|channel|>", "<|start|>assistant")) and begun is None else None
    thoughts, answers = [text[: begun.start()]], list[str]()
    for match in _CHANNEL.finditer(text):
        rest = text[match.end() :]
        end = _CHANNEL_ENDS.search(rest)
        (answers if match[1] == "final" else thoughts).append(rest[: end.start()] if end else rest)
    cleaned = (re.sub(r"<\|(?:end|start)\|>(?:assistant)?", "", thought).strip() for thought in thoughts)
    return Thought("\n".join(filter(None, cleaned)), "\n".join(answers))


def _is_guarded(text: str, match: re.Match[str]) -> bool:
    return any(
        a <= match.start() < b for pattern in (_FENCE, _INLINE) for a, b in (m.span() for m in pattern.finditer(text))
    )


def _in_words(text: str) -> Thought | None:
    if (stripped := _STRIPPED.fullmatch(text)) is not None:
        return Thought(stripped[1] or stripped[3] or "", stripped[2] or "")
    if (spoken := _SPOKEN.fullmatch(text)) is not None:
        return Thought((spoken["granite"] or spoken["apriel"] or "").strip(), spoken["answer"])
    return None


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
