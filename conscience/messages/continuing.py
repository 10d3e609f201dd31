"""A text that goes on where another one ends, which has been shown already and stays as it is."""

from __future__ import annotations

import re

LEAST_REPEATED = 12
"""Characters of the end of a text that a continuation must begin with to be taken for a repetition of it."""


def gone_on(released: str, instead_of: str, continuation: str) -> str:
    """The released text with its continuation; it begins with the released text, to the character.

    Args:
        released: what was shown.
        instead_of: the text that was to be shown, which begins with it; the blanks that followed there are kept.
        continuation: what was written to follow it; as far as it repeats what was shown, it is left out.
    """
    more = _new(released, continuation)
    if not more.strip():
        return released
    blanks = re.match(r"\s*", instead_of[len(released) :])
    gap = blanks.group() if blanks else ""
    if (
        not gap and released[-1:].isalnum() and more.lstrip()[:1].isalnum() and released[-1:] < "\u2e80"
    ):  # scripts with blanks
        gap = " "
    return released + gap + more.lstrip()


def _new(released: str, continuation: str) -> str:
    """What of a continuation was not shown already."""
    text = continuation.lstrip()
    begun = released.strip()
    if begun and text.startswith(begun):
        return text[len(begun) :]
    end = released.rstrip()
    for length in range(min(len(end), len(text)), LEAST_REPEATED - 1, -1):
        if text.startswith(end[-length:]):
            return text[length:]
    return text
