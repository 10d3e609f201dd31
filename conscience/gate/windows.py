"""Long answers are read in windows as well: what stands at their end, or is thin in the whole, is read for itself.

A signal sees a long text poorly: an embedding only its beginning, words are diluted, and one token about eight thousand
others says little. So each window is scored like an answer, and the most doubtful one counts (2601.11516).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from conscience.errors import ConscienceError
from conscience.gate.probes import MAX_CHARACTERS
from conscience.messages.rendering import as_data
from conscience.outcome import Draft, Verdict

WINDOW = 6000
"""Bytes of an answer, some 1,500 tokens, that a question reads well at once."""

TOGETHER = WINDOW * 3 // 2
"""Bytes of a reasoning and a response, neither of them long, that are read at once."""

OVERLAP = 8
"""One in so many: the share of a window that the next one reads again. What stands on a border is whole in one of them."""


def windows(draft: Draft, *, embedded: bool, apart: bool = False) -> list[Draft]:
    """A draft's windows, each as a draft of its own; none where both response and reasoning are short.

    Those of the response keep the request and the messages that led there, and no reasoning; those of the reasoning keep
    the beginning of the response.

    Args:
        embedded: whether embeddings are read, which see less at once than a question does.
        apart: whether a signal is about the reasoning alone: then it counts in every window, as far as it fits into one.
    """
    response = as_data(draft.response) if embedded else draft.response  # it counts as an embedding is shown it
    said = list(_pieces(response, MAX_CHARACTERS if embedded else WINDOW, in_bytes=not embedded))
    thought = list(_pieces(draft.reasoning, WINDOW))  # no embedding is shown it
    together = len(f"{draft.response}{draft.reasoning}".encode("utf-8", "replace"))
    if len(said) < 2 and len(thought) < 2 and together <= TOGETHER:
        return []
    kept = draft if apart and len(thought) < 2 else replace(draft, reasoning="")
    parts = [replace(kept, outputs={"response": piece}, text=piece, written={}) for piece in said]
    begun = next(_pieces(draft.response, WINDOW // OVERLAP), "")
    short = draft if begun == draft.response else replace(draft, outputs={"response": begun}, text=begun)
    return parts + [replace(short, text=begun, reasoning=piece, written={}) for piece in thought]


@dataclass(frozen=True)
class Unjudged:
    """A window on which there is no verdict, and why."""

    error: ConscienceError


def most_doubtful(whole: Verdict, parts: Sequence[Verdict | Unjudged]) -> Verdict:
    """The verdict on a draft of which the windows are known, too: where one of them is flagged, the draft is, whatever
    became of the others.

    Args:
        whole: on the draft.
        parts: on its windows, in order.

    Returns:
        Where nothing is flagged and one window has no answer that counts, neither has the draft.

    Raises:
        ConscienceError: nothing is flagged, and a window could not be judged.
    """
    known = {number: part for number, part in enumerate(parts, 1) if isinstance(part, Verdict)}
    doubt = sorted(known, key=lambda number: known[number].probability or 0.0, reverse=True)
    if flagged := tuple(number for number in doubt if known[number].flagged):
        return _about(flagged, known[flagged[0]], at_least=whole.probability or 0.0)
    if whole.flagged:
        return whole
    for part in parts:
        if isinstance(part, Unjudged):
            raise part.error
    if unread := tuple(number for number in known if known[number].probability is None):
        notes = (note for number in unread for note in _of(number, known[number].notes))
        return replace(whole, probability=None, notes=(*whole.notes, *notes), parts=unread)
    if whole.probability is None or not doubt or (known[doubt[0]].probability or 0.0) <= whole.probability:
        return whole
    return _about((doubt[0],), known[doubt[0]])


def _about(numbers: tuple[int, ...], first: Verdict, at_least: float = 0.0) -> Verdict:
    """The verdict on a draft that is the one on its most doubtful window."""
    notes = (*_of(numbers[0], first.notes), f"the answer is long: part {numbers[0]} is the most doubtful")
    return replace(first, probability=max(first.probability or 0.0, at_least), notes=notes, parts=numbers)


def _of(number: int, notes: Sequence[str]) -> Iterator[str]:
    return (f"part {number}: {note}" for note in notes)


def _pieces(text: str, size: int, *, in_bytes: bool = True) -> Iterator[str]:
    """A text in pieces of at most so many bytes, or characters, which overlap, and end between words where there are any."""
    wide = in_bytes and not text.isascii()
    if (len(text.encode("utf-8", "replace")) if wide else len(text)) <= size:  # as nearly every text
        yield from [text] if text else []
        return
    ends = list(accumulate(len(letter.encode("utf-8", "replace")) for letter in text)) if wide else range(1, len(text) + 1)
    start, before = 0, 0
    while ends[-1] - before > size:
        end = max(start + 1, bisect_right(ends, before + size))
        least = max(start + 1, bisect_right(ends, before + size - size // OVERLAP))
        if blank := re.search(r"\s\S*$", text[least:end]):
            end = least + blank.start()
        yield text[start:end]
        start = max(start + 1, bisect_right(ends, ends[end - 1] - size // OVERLAP))
        before = ends[start - 1]
    yield text[start:]
