"""From a critique's answer to typed findings. What is in doubt never clears a draft: it is asked again.

The answer is JSON as a whole, inside one code fence or bare; or it ends with the object, after thinking or prose. An object
that is quoted, that is followed by more prose, or that repeats what the draft itself says may raise a finding but clears
nothing, and neither do objects that disagree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from conscience.constitution.schema import Constitution
from conscience.messages.completion import clean
from conscience.messages.conversations import parts_of
from conscience.outcome import Draft, Finding

MAX_FINDINGS = 4

_THINKING = re.compile(r"<(think|thinking|reasoning|thought)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_THINKING_ENDS = re.compile(r"</(think|thinking|reasoning|thought)>", re.IGNORECASE)
_THINKING_BEGINS = re.compile(r"<(think|thinking|reasoning|thought)>", re.IGNORECASE)
_WHOLE_FENCE = re.compile(r"\s*(`{3,}|~{3,})[^\n`]*\n(.*?)\n?\s*\1\s*", re.DOTALL)
_AFTER_THE_ANSWER = re.compile(r"[\s`~.]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SAYS_FINDINGS = re.compile(r"""findings["'\\]*\s*:""", re.IGNORECASE)


def parse_findings(text: str, constitution: Constitution, draft: Draft) -> tuple[Finding, ...]:
    """The findings of a critique's answer, at most ``MAX_FINDINGS``; empty where it clearly says that there are none.

    A finding that names no principle of the constitution is left out.

    Args:
        text: the critique's answer, thinking and all.
        constitution: whose principles it was asked about.
        draft: what it judges.

    Raises:
        ValueError: it is in doubt what the answer says; the message says why.
    """
    rows = _rows_of_the_whole(text.strip())
    if rows is None:
        answer = _without_thinking(text)
        rows = _rows_of_the_whole(answer)
        if rows is None:
            rows = _rows_at_the_end(answer, draft)
    return _findings(rows, constitution, draft)


def _without_thinking(text: str) -> str:
    """The answer behind any thinking; a lone closing tag ends thinking that began before the text did.

    Raises:
        ValueError: the thinking never ends, or ends inside an object that does not.
    """
    answer = _THINKING.sub("", text).strip()
    spans = [(start, end) for _, start, end in _objects(answer)]
    outside = [tag for tag in _THINKING_ENDS.finditer(answer) if not any(a < tag.start() < b for a, b in spans)]
    if outside:
        thinking, answer = answer[: outside[-1].start()], answer[outside[-1].end() :].strip()
        for start, end in reversed([span for span in spans if span[1] <= len(thinking)]):
            thinking = thinking[:start] + thinking[end:]
        if _SAYS_FINDINGS.search(thinking):
            raise ValueError("its thinking ends inside an object")
    if _THINKING_BEGINS.search(_STRING.sub("", answer)):
        raise ValueError("its thinking does not end")
    return answer


def _rows_of_the_whole(answer: str) -> list[Any] | None:
    """The findings of an answer that is JSON and nothing else; None where it is more than that."""
    fence = _WHOLE_FENCE.fullmatch(answer)
    body = fence.group(2) if fence else answer
    try:
        data = clean(json.loads(body))  # JSON can spell what no text may hold
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    except ValueError:
        return None
    if isinstance(data, list) and all(isinstance(row, Mapping) for row in data):
        return data
    if isinstance(data, Mapping) and (rows := _rows_of(data)) is not None:
        return rows
    if isinstance(data, Mapping) and isinstance(data.get("principle"), str):
        return [data]
    raise ValueError("it holds no list of findings")


def _rows_at_the_end(answer: str, draft: Draft) -> list[Any]:
    """The findings of the last object in an answer that holds prose too.

    Raises:
        ValueError: there is none, or it would clear the draft without being beyond doubt.
    """
    objects = list(_objects(answer))
    lists = [(rows, start, end) for value, start, end in objects if (rows := _rows_of(value)) is not None]
    if not lists:
        if alone := [value for value, _, _ in objects if isinstance(value.get("principle"), str)]:
            return alone  # an answer that was cut off: what it says in whole is a finding
        raise ValueError("there is no JSON object with findings in it")
    rows, start, end = lists[-1]
    if rows:
        return rows
    if any(earlier for earlier, _, _ in lists):
        raise ValueError("its objects disagree")
    if not _AFTER_THE_ANSWER.fullmatch(answer[end:]):
        raise ValueError("it goes on after an empty list of findings")
    if re.search(r"[`\"'“‘«]$", answer[:start].rstrip(" ")) and not answer[:start].rstrip().endswith("```"):
        raise ValueError("its empty list of findings is a quotation")
    if answer[:start].strip(" \n`~") and _SAYS_FINDINGS.search(f"{draft.reasoning}\n{draft.response}\n{draft.text}"):
        raise ValueError("its empty list of findings may be the draft's own words")
    return rows


def _rows_of(value: Mapping[str, Any]) -> list[Any] | None:
    """The list of findings of an object; None where it has none."""
    lists = [inner for key, inner in value.items() if key.casefold() == "findings" and isinstance(inner, list)]
    return lists[0] if len(lists) == 1 else None


def _objects(text: str) -> Iterator[tuple[dict[str, Any], int, int]]:
    """The JSON objects of a text that are inside no other, with where each begins and ends."""
    decoder, place = json.JSONDecoder(), text.find("{")
    while place >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except RecursionError:
            raise ValueError("its JSON is nested too deeply") from None
        except ValueError:
            end = place + 1
        else:
            yield clean(value), place, end
        place = text.find("{", end)


def _findings(rows: Sequence[Any], constitution: Constitution, draft: Draft) -> tuple[Finding, ...]:
    severity = {principle.id: principle.severity for principle in constitution.principles}
    shown = fold(f"{draft.reasoning}\n{draft.response}")
    findings = []
    for row in rows[:MAX_FINDINGS]:
        fields = {"principle": row} if isinstance(row, str) else row
        if not isinstance(fields, Mapping):
            raise ValueError("a finding is not an object of texts")
        principle = _principle_id(_text(fields, "principle"), list(severity))
        if principle is None:
            continue
        quote = _text(fields, "quote")
        findings.append(
            Finding(
                principle=principle,
                quote=quote,
                why=_text(fields, "why"),
                change=_text(fields, "change"),
                severity=severity[principle],
                grounded=bool(quote) and fold(quote) in shown,
            )
        )
    if rows and not findings:
        raise ValueError("no finding names a principle of the constitution")
    return tuple(findings)


def accuse_earlier_turns(findings: Sequence[Finding], draft: Draft) -> bool:
    """Whether there are findings, and each quotes words of earlier turns that the draft does not say again. That is a fault
    of the critique's, and no ground to clear the draft: whoever writes the earlier turns could put bait there."""
    told = parts_of(draft.request)
    before = fold(f"{told.earlier}\n{told.since}")
    said = fold(told.begun)
    return bool(findings) and all(
        finding.quote and not finding.grounded and fold(finding.quote) in before and fold(finding.quote) not in said
        for finding in findings
    )


def _text(fields: Mapping[str, Any], name: str) -> str:
    """A field's text; an absent or null one is empty.

    Raises:
        ValueError: it is something else.
    """
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"the field {name!r} of a finding is not a text")
    return value.strip()


def _principle_id(name: str, ids: Sequence[str]) -> str | None:
    """The id that a name spells, whatever its case and punctuation, or the only one that it holds."""
    spelled = re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-")
    if spelled in ids:
        return spelled
    held = [id for id in ids if re.search(rf"(^|-){re.escape(id)}(-|$)", spelled)]
    return held[0] if len(held) == 1 else None


def fold(text: str) -> str:
    """A text without what quoting it may change: case, spaces, the form of quotation marks."""
    return " ".join(text.casefold().replace("’", "'").replace("“", '"').replace("”", '"').split())
