"""Long answers are read in windows as well: what stands at their end, or is thin in the whole, is read for itself.

A signal sees a long text poorly: an embedding only its beginning, words are diluted, and one token about eight thousand
others says little. So each window is scored like an answer, and the most doubtful one counts (2601.11516).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from conscience.errors import ConscienceError
from conscience.gate.probes import MAX_CHARACTERS
from conscience.outcome import Draft, Verdict

WINDOW = 6000
"""Bytes of an answer, some 1,500 tokens, that a question reads well at once."""

OVERLAP = 8
"""One in so many: the share of a window that the next one reads again. What stands on a border is whole in one of them."""


def windows(draft: Draft, *, embedded: bool, apart: bool = False) -> list[Draft]:
    """A draft's windows, each as a draft of its own; none where it is short enough to be read whole.

    Those of the response keep the request and the messages that led there, and no reasoning; those of a reasoning that is
    long keep the response, or its beginning.

    Args:
        embedded: whether embeddings are read, which see less at once than a question does.
        apart: whether a signal is about the reasoning alone: then it counts in every window.
    """
    said = _windows_of(draft.response, embedded=embedded)
    thought = _windows_of(draft.reasoning, embedded=False)  # no embedding is shown it
    kept = draft if apart else replace(draft, reasoning="")
    parts = [replace(kept, outputs={"response": piece}, text=piece, written={}) for piece in said]
    if thought:
        short = replace(draft, outputs={"response": said[0]}, text=said[0]) if said else draft
        parts += [replace(short, text=short.response, reasoning=piece, written={}) for piece in thought]
    return parts


def _windows_of(text: str, *, embedded: bool) -> list[str]:
    """A text's windows; none where it is one."""
    size = MAX_CHARACTERS if embedded else WINDOW * len(text) // max(1, len(text.encode("utf-8", "replace")))
    pieces = list(_pieces(text, size))
    return pieces if len(pieces) > 1 else []


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
    number = max(known, key=lambda n: (known[n].flagged, known[n].probability or 0.0), default=0)
    part = known.get(number, whole)
    if not part.flagged and not whole.flagged:
        for failed in parts:
            if isinstance(failed, Unjudged):
                raise failed.error
        for unread, other in known.items():
            if other.probability is None:
                return replace(whole, probability=None, notes=(*whole.notes, *_of(unread, other.notes)))
    if (part.flagged, part.probability or 0.0) <= (whole.flagged, whole.probability or 0.0):
        return whole
    notes = (*_of(number, part.notes), f"the answer is long: part {number} is the most doubtful")
    return replace(part, part=number, notes=notes)


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
