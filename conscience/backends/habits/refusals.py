"""Which parameters an error refuses, and what it would take in their place.

Servers say it in a field of their error ("param", a validation's "loc") or in words only. Words count where they refuse a
parameter that was sent, and are the server's own: an error that quotes the request says nothing about its parameters, so
what stands in the request's texts as it stands in the error is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from conscience._dspy.lm import LMError, lm_errors
from conscience.backends.habits.bounds import bounds
from conscience.backends.habits.legal import Legal
from conscience.messages.parameters import SIBLINGS

FEW_CANDIDATES = 5
"""Of a token, where a server refuses more and does not say how many it gives: most give so many."""

FEW_TOKENS = 16
"""Of an answer, where a server refuses fewer and does not say how many it takes."""

LONGEST = 8000
"""Characters of an error that are read."""

_SPELLINGS: Mapping[str, str] = {
    "top_logprobs": r"top[_ -]?log[_ -]?prob(?:s|abilities)?|top_n_tokens",
    "logprobs": r"(?:response[_ -]?)?log[_ -]?prob(?:s|abilities)?",
    "max_tokens": r"max(?:imum)?[_ -]?(?:(?:completion|output|new)[_ -]?)?tokens|num_predict",
    "response_format": r"response[_ -]?(?:format|schema|mime[_ -]?type)(?:\.type)?|json[_ -]?(?:schema|object|mode)"
    r"|structured[_ -]?outputs?|guided[_ -]?(?:decoding|json)|text\.format",
    "temperature": r"temperature",
    "top_p": r"top[_ -]?p",
    "top_k": r"top[_ -]?k",
    "min_p": r"min[_ -]?p",
    "presence_penalty": r"presence[_ -]?penalty",
    "frequency_penalty": r"frequency[_ -]?penalty",
    "repetition_penalty": r"repetition[_ -]?penalty",
    "logit_bias": r"logit[_ -]?bias",
    "reasoning_effort": r"reasoning[_ -]?effort",
    "parallel_tool_calls": r"parallel[_ -]?tool[_ -]?calls",
    "seed": r"(?:random[_ -]?)?seed",
    "stop": r"stop[_ -]?sequences?|(?<=['\"`])stop(?=['\"`])|(?<=parameter )stop|(?<=argument )stop"
    r"|(?<=supplied: )stop|(?<=model: )stop",
    "stream_options": r"stream[_ -]?options(?:\.\w+)?|include[_ -]?usage",
    "stream": r"streaming|(?<=['\"`])stream(?=['\"`])|(?<=parameter )stream|(?<=supplied: )stream",
}
"""What parameters are called in errors, in any case; those that LiteLLM calls otherwise than the provider, too."""

_ANY_NAME = re.compile(
    r"(?<![A-Za-z0-9_.])(?:body\.|\w*config\.)?(?:"
    + "|".join(f"(?P<{name}>{spelled})" for name, spelled in _SPELLINGS.items())
    + r")(?![A-Za-z0-9_])",
    re.IGNORECASE,
)
_REFUSES = re.compile(
    r"unsupported|\bnot\b|n['’]t\b|cannot|unrecogni[sz]ed|unknown|unexpected|extra|invalid|illegal|only|must|should"
    r"|ha(?:s|ve) to|range|exceed|than|\btoo\b|at most|at least|m(?:ax|in)imum|between|remove|unavailable|disabled"
    r"|deprecated|instead|require|incompatible|forbidden|fixed|expected|[<>≤≥]|不|无效|非法|必须|只能|范围",
    re.IGNORECASE,
)
_ABSENT = re.compile(
    r"unsupported|unrecogni[sz]ed|unknown|unexpected|extra|unavailable|disabled|deprecated|forbidden|remove|fixed"
    r"|(?:not|n['’]t|cannot|no longer)\s+(?:\w+\s+)?(?:be\s+)?"
    r"(?:support|permit|allow|available|enabled|accept|implement|specif|recogni|applicable|compatible)|不支持",
    re.IGNORECASE,
)
_ROW = re.compile(
    r"""['"]loc['"]\s*:\s*[\[(](?P<place>[^\])]*)[\])]\s*,\s*['"]msg['"]\s*:\s*(?P<quote>['"])(?P<said>.*?)(?P=quote)\s*[,}]"""
)
_PATH = re.compile(r"(?:messages|input|tools|functions)(?:\[\d+\]|\.\d+)[\w.\[\]]*", re.IGNORECASE)
_ABOUT_A_TOOL = re.compile(r"\bfor function\b|function_declarations|\bin context=|tool schema", re.IGNORECASE)
_ABOUT_THE_PROMPT = re.compile(
    r"must contain the word|context (?:length|window|size)|context_length_exceeded", re.IGNORECASE
)
_ONE_OF_THEM = re.compile(r"\bboth\b|only one|same time|mutually exclusive|together with", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z0-9_]+|[^\W\x00-\x7f]")
_COUNTS = frozenset({*SIBLINGS, "top_logprobs", "logprobs", "top_k", "stop"})
_THE_REQUEST = frozenset(
    {"messages", "model", "tools", "tool_choice", "functions", "function_call", "extra_body", "questions"}
)
"""What nothing can take the place of."""
_STATUSES = frozenset({None, 400, 403, 404, 405, 415, 422, 500, 501})


def refusals(error: LMError, sent: Mapping[str, Any], texts: Sequence[Any]) -> dict[str, Legal]:
    """Parameter → what to send in its place, of those that were sent and that the error refuses; empty where it is about
    something else.

    Args:
        error: what a call failed with.
        sent: the parameters of that call.
        texts: messages, tools, schemas: whatever of the request the error may quote.
    """
    if error.status not in _STATUSES or isinstance(error, lm_errors.ContextWindowExceededError | lm_errors.LMTransportError):
        return {}
    said = _plain(error.message[:LONGEST])
    if _ABOUT_THE_PROMPT.search(said):
        return {}
    found: dict[str, str] = {}
    for field in _fields(error):
        found |= dict.fromkeys(_sent_as(field, sent), said)
    if not found:
        request = _request_words(texts)
        for name, sentence in _said_of(said, request):
            for parameter in _sent_as(name, sent):
                found.setdefault(parameter, sentence)
    return _legal(found, sent)


def _fields(error: LMError) -> Iterator[str]:
    """The names of parameters that stand in a field of the error, not in its words."""
    yield from map(str, getattr(error, "features", None) or ())
    cause: BaseException | None = error
    while cause is not None:
        param = getattr(cause, "param", None)
        if isinstance(param, str) and param:
            yield param
        cause = cause.__cause__


def _plain(message: str) -> str:
    """An error's words without the escapes of the JSON texts that it may be packed in."""
    text = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), message)
    return re.sub(r"\\+([nrt\"'])", lambda match: " " if match[1] in "nrt" else match[1], text)


def _said_of(said: str, request: str) -> Iterator[tuple[str, str]]:
    """Names of parameters, each with the words that refuse it, in the server's own words."""
    rows = [(row["place"], row["said"], row[0]) for row in _ROW.finditer(said)]
    for place, sentence, row in rows:
        path = [part for part in re.findall(r"\w+", place) if part != "body"]
        if path and _spelled(path[0]) and " ".join(_words(row)) not in request:
            yield path[0], sentence
    texts = [sentence for place, sentence, _ in rows if "," not in place.strip(", ")] if rows else [said]
    for text in texts:
        text = _PATH.sub(" ", text)
        tool = _ABOUT_A_TOOL.search(text) is not None
        start = 0
        for sentence in re.split(r"(?<=[\w'\"`)\]])[.;]\s+|\n", text):
            start = text.index(sentence, start)
            if not _REFUSES.search(sentence):
                continue
            for match in _ANY_NAME.finditer(text, start, start + len(sentence)):
                if not (tool and match.lastgroup != "response_format") and not _is_quoted(text, match, request):
                    yield match[0], text[start : start + 300]


def _spelled(name: str) -> str | None:
    match = _ANY_NAME.fullmatch(name) or _ANY_NAME.fullmatch(f"'{name}'", 1, len(name) + 1)
    return match.lastgroup if match else None


def _sent_as(name: str, sent: Mapping[str, Any]) -> list[str]:
    """The parameters that a name in an error stands for, of those that were sent."""
    known = _spelled(name.removeprefix("body.").removesuffix(".type")) or name
    if known in _THE_REQUEST:
        return []
    names = [known, SIBLINGS["max_tokens"]] if known == "max_tokens" else [known]
    there = [n for n in names if sent.get(n) is not None]
    return [name] if name in there else there


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _request_words(value: Any) -> str:
    """All words of a request's texts, lower case, a blank between them, and a stroke between texts."""
    if isinstance(value, str):
        return " ".join(_words(_plain(value)))
    parts = [*value.keys(), *value.values()] if isinstance(value, Mapping) else value
    return " / ".join(map(_request_words, parts)) if isinstance(parts, list | tuple) else ""


def _is_quoted(said: str, match: re.Match[str], request: str) -> bool:
    """Whether a name stands in the error as it stands in the request: with the same words before it, or after it."""
    name = " ".join(_words(match[0]))
    if name not in request:
        return False
    before = _words(said[max(0, match.start() - 80) : match.start()])[-2:]
    after = _words(said[match.end() : match.end() + 80])[:2]
    beside = [f"/ {name} /"]
    beside += [f" {' '.join(before)} {name} "] if len(before) == 2 else []
    beside += [f" {name} {' '.join(after)} "] if len(after) == 2 else []
    beside += [f"/ {before[-1]} {name} "] if before else []  # where a text of the request begins, or ends
    if after:
        beside += [f" {name} {after[0]} /"]
    else:  # a quote may be cut off within the name
        beside += [f" {' '.join(before)} {name}"] if len(before) == 2 else []
    return any(words in f"/ {request} /" for words in beside)


# What to send instead --------------------------------------------------------------------------------------------------


def _legal(found: Mapping[str, str], sent: Mapping[str, Any]) -> dict[str, Legal]:
    if len(found) > 1 and all(map(_ONE_OF_THEM.search, found.values())):
        found = dict([list(found.items())[-1]])
    legal = {name: _instead(name, sent[name], sentence, sent) for name, sentence in found.items()}
    if "logprobs" in legal and sent.get("top_logprobs") is not None and not _ABSENT.search(found["logprobs"]):
        # Both are often named for the one that has a number; a server that gives none at all says so.
        limit = legal.pop("logprobs")
        fewer = limit if limit.most is not None else Legal("top_logprobs", most=FEW_CANDIDATES)
        legal["top_logprobs"] = Legal("top_logprobs", most=fewer.most)
    return {name: value for name, value in legal.items() if value.changes(name, sent[name])}


def _bounds(name: str, sentence: str) -> tuple[float | None, float | None]:
    """The bounds that are named after the parameter, or else before it."""
    names = (match for match in _ANY_NAME.finditer(sentence) if match.lastgroup in (_spelled(name), "logprobs"))
    place = next((match.end() for match in names), 0)
    whole = name in _COUNTS
    found = bounds(sentence[place:], whole=whole)
    return bounds(sentence, whole=whole) if found == (None, None) else found


def _instead(name: str, value: Any, sentence: str, sent: Mapping[str, Any]) -> Legal:
    """What to send for one parameter, by what was said of it."""
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if numeric or name in ("stop", "logprobs"):
        number = sent.get("top_logprobs", value) if name == "logprobs" else value
        number = len(number) if isinstance(number, list | tuple) else number
        limit = Legal(name, *_bounds(name, sentence))
        if isinstance(number, int | float) and not isinstance(number, bool) and limit.of(number) != number:
            return Legal() if limit.of(number) <= 0 else limit
    other = SIBLINGS.get(name)
    if other and sent.get(other) is None and (re.search(rf"\b{other}\b", sentence) or _ABSENT.search(sentence)):
        return Legal(other)
    if _ABSENT.search(sentence) or not numeric:
        return Legal()
    if name == "top_logprobs" and value > FEW_CANDIDATES:
        return Legal(name, most=FEW_CANDIDATES)
    if name in SIBLINGS and value < FEW_TOKENS:
        return Legal(name, least=FEW_TOKENS)
    if name == "temperature" and value == 0 and "only" not in sentence:
        return Legal(name, least=0.01)
    return Legal()
