"""What prose tells of the code beside it: a sentence about code that is no longer there is left out."""

from __future__ import annotations

import re

from conscience.linting.blocks import FENCED, blocks_in, code_in

_NAMED = re.compile(r"`([^`\n]+)`|(?<![\w.])[^\W\d]\w*+(?:(?:\.[^\W\d]\w*+)++|=\w++)")
"""What is quoted as code, a name with that of its module, or an argument with its value."""
_ITEM = re.compile(r"^(?=[ \t]*(?:(?:[-*+]|\d+[.)]|#+)[ \t]|\||\r?\n))|(?<=\n\n)|(?<=\n\r\n)", re.MULTILINE)
"""Where an item of a list, a heading, a row of a table or a paragraph begins."""
_MARKER = re.compile(r"[ \t]*(?:(?:[-*+]|\d+[.)]|#+)[ \t]+)?")
_SENTENCE_ENDS = re.compile(r"[.!?:][*_)\"']*\s+(?=[^\sa-z])|[。！？]")


def told_anew(text: str, before: str, after: str) -> str:
    """A text without the sentences of its prose that name code which was there, and no longer is.

    Args:
        text: of an answer. Its blocks of code stay as they are; so does all of it where it is code and nothing else.
        before: the answer's code as it was.
        after: as it is now.
    """
    fenced = list(FENCED.finditer(text))
    if not fenced and blocks_in(text):
        return text
    parts, place = [], 0
    for block in fenced:
        parts += [_prose(text[place : block.start()], before, after), block[0]]
        place = block.end()
    told = "".join([*parts, _prose(text[place:], before, after)])
    return told if code_in(told) == code_in(text) else text


def _prose(text: str, before: str, after: str) -> str:
    kept: list[str] = []
    gone = False
    for item in filter(None, _ITEM.split(text)):
        left = _item(item, before, after)
        if left and not (gone and left.isspace() and kept and kept[-1].isspace()):  # one blank line, where two would meet
            kept.append(left)
        gone = not left
    return "".join(kept)


def _item(item: str, before: str, after: str) -> str:
    """A paragraph or item of a list without what is told of code that is gone; nothing where a title is all that is left."""
    marker = _MARKER.match(item)
    head = marker[0] if marker else ""
    said = item[len(head) :]
    ends = [found.end() for found in _SENTENCE_ENDS.finditer(said)]
    sentences = [said[start:end] for start, end in zip([0, *ends], [*ends, len(said)], strict=True)]
    kept = [each for each in sentences if not any(_gone(named, before, after) for named in _NAMED.finditer(each))]
    if len(kept) == len(sentences):
        return item
    left = "".join(kept).rstrip()
    titled = left.endswith((":", ":**")) and kept[-1] is not sentences[-1]
    return head + left + said[len(said.rstrip()) :] if left and not titled else ""


def _gone(named: re.Match[str], before: str, after: str) -> bool:
    name = (named[1] or named[0]).strip().removesuffix("()").rstrip(";,")
    return _is_in(name, before) and not _is_in(name, after)


def _is_in(name: str, code: str) -> bool:
    words = name.split()
    if not words or words[0] not in code:  # soon known, and so it is of most
        return False
    sought = r"\s*".join(map(re.escape, words))
    return re.search(rf"(?<![\w.]){sought}(?!\w)", code) is not None
