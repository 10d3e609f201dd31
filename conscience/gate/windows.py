"""Long answers are read in windows as well: what stands at their end, or is thin in the whole, is read for itself.

A signal sees a long text poorly: an embedding only its beginning, words are diluted, and one token about eight thousand
others says little. So each window is scored like an answer, and the most doubtful one counts (2601.11516).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from conscience.gate.probes import MAX_CHARACTERS
from conscience.outcome import Draft, Verdict

WINDOW = 6000
"""Bytes of an answer, some 1,500 tokens, that a question reads well at once."""

OVERLAP = 8
"""One in so many: the share of a window that the next one reads again. What stands on a border is whole in one of them."""


def windows(draft: Draft, *, embedded: bool) -> list[Draft]:
    """A draft's windows, each as a draft of its own; none where it is short enough to be read whole.

    They keep the request and the messages that led there, and no reasoning: the whole draft is scored with it.

    Args:
        embedded: whether embeddings are read, which see less at once than a question does.
    """
    text = draft.response
    size = WINDOW * len(text) // max(1, len(text.encode("utf-8", "replace")))
    if embedded:
        size = MAX_CHARACTERS
    pieces = list(_pieces(text, size))
    if len(pieces) < 2:
        return []
    return [replace(draft, outputs={"response": piece}, text=piece, reasoning="", written={}) for piece in pieces]


def most_doubtful(whole: Verdict, parts: Sequence[Verdict]) -> Verdict:
    """The verdict on a draft of which the windows are known, too. Where one of these has no answer that counts, neither has
    the draft.

    Args:
        whole: on the draft.
        parts: on its windows, in order.
    """
    for number, part in enumerate(parts, 1):
        if part.probability is None:
            return replace(whole, probability=None, notes=(*whole.notes, *_of(number, part.notes)))
    doubts = [part.probability or 0.0 for part in parts]
    number = max(range(len(parts)), key=doubts.__getitem__)
    if doubts[number] <= (whole.probability or 0.0):
        return whole
    part = parts[number]
    return replace(part, notes=(*_of(number + 1, part.notes), f"the answer is long: part {number + 1} is the most doubtful"))


def _of(number: int, notes: Sequence[str]) -> Iterator[str]:
    return (f"part {number}: {note}" for note in notes)


def _pieces(text: str, size: int) -> Iterator[str]:
    """A text in pieces of at most so many characters, which overlap, and end between words where there are any."""
    start = 0
    while len(text) - start > size:
        end = start + size
        if blank := re.search(r"\s\S*$", text[end - size // OVERLAP : end]):
            end += blank.start() - size // OVERLAP
        yield text[start:end]
        start = end - size // OVERLAP
    if start or text:
        yield text[start:]
