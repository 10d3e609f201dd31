"""What a server says of a failed call, where it repeats what it was sent: drafts and prompts do not come back in errors.

An error is shown, logged and kept; a draft that was not reviewed is not. So a server's words that share a stretch with the
messages of the call, or hold what looks like a chat body, are left out as a whole: no cutting finds every form of an echo.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote

from conscience.messages.rendering import content_text

LEFT_OUT = "(the server's words are left out: they may repeat what it was sent, or an answer)"
STRETCH = 12
"""So many letters and digits in a row, blanks and marks aside, are an echo."""
FEWEST = 2
"""Letters of a whole message that can be told from chance; shorter ones are no text."""

_BODY = re.compile(r"""["'](?:choices|content|delta|messages|prompt|input)\\*["']\s*:""")
_UNREADABLE = re.compile(
    r"reverse proxy or model server|invalid response|(?:raw|received|unexpected|original|model|completion)[ _]response"
    r"|response(?: body| text|_object|_text)?\s*[:=]|received(?: output)?\s*[:=]"
    r"|unable to (?:get|parse)|error (?:parsing|converting)"
    r"|expecting value|jsondecode|failed to (?:parse|decode)",
    re.IGNORECASE,
)
"""How LiteLLM says that it cannot read an answer, which it goes on to quote: the answer is a draft that nobody reviewed."""

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}")
_LETTERS = re.compile(r"[^\w]|_")


def without_echo(words: str, texts: Iterable[Any]) -> str:
    """A server's words, or in place of them that they are left out.

    Args:
        words: what the server said.
        texts: what it was sent: texts, or the content of chat messages.
    """
    if not words:
        return words
    if _BODY.search(words) or _UNREADABLE.search(words):
        return LEFT_OUT
    said = list(dict.fromkeys(_readings(words)))
    plain = [_letters(reading) for reading in said]
    for text in texts:
        sent = _letters(text if isinstance(text, str) else content_text(text))
        if len(sent) < FEWEST:
            continue
        if len(sent) < STRETCH:
            if any(sent in {_letters(part) for part in _spans(reading, text)} for reading in said):
                return LEFT_OUT
        elif any(_share(sent, reading) for reading in plain):
            return LEFT_OUT
    return words


def _readings(words: str) -> Iterator[str]:
    """The words, and what they say once escapes are undone."""
    yield words
    yield re.sub(r"\\+u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), words)
    yield re.sub(r"\\+[nrt]", " ", words)
    yield unquote(html.unescape(words))
    for match in _BASE64.findall(words):
        for alphabet in (base64.b64decode, base64.urlsafe_b64decode):
            try:
                yield alphabet(match + "=" * (-len(match) % 4)).decode()
            except (binascii.Error, ValueError):
                continue


def _letters(text: str) -> str:
    return _LETTERS.sub("", text).casefold()


def _spans(reading: str, text: Any) -> Iterator[str]:
    """Pieces of a reading as many words long as a short text."""
    words = re.findall(r"\w+", reading)
    count = len(re.findall(r"\w+", text if isinstance(text, str) else content_text(text)))
    return (" ".join(words[i : i + count]) for i in range(len(words) - count + 1))


def _share(sent: str, said: str) -> bool:
    """Whether the two have a stretch in common: linear in both."""
    pieces = {sent[i : i + STRETCH] for i in range(len(sent) - STRETCH + 1)}
    return any(said[i : i + STRETCH] in pieces for i in range(len(said) - STRETCH + 1))
