"""Where a text may be cut while more of it is to come: at the ends of sentences and lines, and in the end anywhere.

A window ends after its last visible character; the blanks that follow belong to the next one. What is cut decides nothing
about safety, since each window is reviewed with all before it: it decides how soon text can leave, and what a review costs.
"""

from __future__ import annotations

import re
import unicodedata

LEAST = 12
"""Characters of the first window; "Yes." alone is not worth a review of its own."""

GROWTH = 0.5
"""A window has at least this share of all that was released before it, up to ``LARGEST_LEAST``, so that the reviews of an
answer of some paragraphs, each of which reads it from its beginning where the server has no prefix cache, read a few times
its length. One of 30 KB is read 75 times: a reader is not kept waiting for more than a few sentences."""

LARGEST_LEAST = 400
"""Characters that a window need not exceed, however long the answer has become."""

MOST = 600
"""Characters after which a text without any end of a sentence or line is cut all the same."""

_CLOSING = "\"'”’»›)\\]}*_`」』】）》〉"
_END = re.compile(
    rf"[.!?…]+[{_CLOSING}]*(?=\s+(?P<next>\S))"  # Latin, Cyrillic, Greek: a blank must follow
    rf"|[。！？｡．]+[{_CLOSING}]*(?=[^。！？｡．{_CLOSING}])"  # Chinese, Japanese: none does
    rf"|[।॥؟۔։።။៕༎]+[{_CLOSING}]*(?=[\s\S])"  # Devanagari, Arabic, Urdu, Armenian, Ethiopic, Burmese, Khmer, Tibetan
    r"|(?<=\S)(?=[^\S\n]*\n)"  # a line: of code, of a list
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'“‘])(?:[^\W\d_]|\d+|(?:[^\W\d_]\.)+[^\W\d_]"  # an initial, a number in a list, e.g., z.B., U.S.
    r"|mr|mrs|ms|dr|prof|st|jr|sr|vs|etc|cf|fig|no|nr|vol|pp?|ca|approx|inc|ltd|bzw|usw|evtl|ggf|vgl|sog|abb|str|hr|fr|mme?|mlle"
    r"|art|al|op|ed|dept|est|gen|rev|sen|gov|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec)\.$",
    re.IGNORECASE,
)
_LOOK_BACK = 24
"""Characters before a full stop that are looked at for an abbreviation."""

_JOINERS = "\u200d\u200c\ufe0e\ufe0f\u20e3"


def least_window(released: int) -> int:
    """Characters that the next window has at least, after so many that were released."""
    return max(LEAST, min(LARGEST_LEAST, int(released * GROWTH)))


def window_end(text: str, start: int) -> int | None:
    """Where the next window ends; None where more of the text must come first.

    Args:
        text: all of the answer so far; more may follow.
        start: how much of it was released.
    """
    ends = [end for end in _ends(text, start) if end - start <= MOST]
    if ends and ends[-1] - start >= least_window(start):
        return ends[-1]
    if len(text) - start <= MOST + len(_JOINERS):
        return None
    return ends[-1] if ends else _anywhere(text, start)


def _ends(text: str, start: int) -> list[int]:
    """The ends of sentences and lines after a place."""
    return [
        match.end()
        for match in _END.finditer(text, start)
        if match.end() > start and text[start : match.end()].strip() and not _goes_on(text, match)
    ]


def _goes_on(text: str, match: re.Match[str]) -> bool:
    """Whether a full stop is no end: after an abbreviation, or before a small letter."""
    if match["next"] is None or match.group().rstrip(_CLOSING) != ".":
        return False
    if match["next"].islower():
        return True
    stop = match.start() + 1
    return _ABBREVIATION.search(text[max(0, stop - _LOOK_BACK) : stop]) is not None


def _anywhere(text: str, start: int) -> int:
    """A place to cut a text that has no end for long: before a blank, else between two characters that show as two."""
    last = start + MOST
    for place in range(last, start + MOST // 2, -1):
        if text[place].isspace() and not text[place - 1].isspace():
            return place
    for place in range(last, last - 32, -1):
        if not _is_joined(text, place):
            return place
    return last


def _is_joined(text: str, place: int) -> bool:
    """Whether the characters on both sides of a place show as one, or may be the two halves of a mark (``<think>``)."""
    before, after = text[place - 1], text[place]
    return (
        unicodedata.category(after).startswith("M")
        or after in _JOINERS
        or before in "\u200d<"
        or "\U0001f3fb" <= after <= "\U0001f3ff"
        or ("\U0001f1e6" <= before <= "\U0001f1ff" and "\U0001f1e6" <= after <= "\U0001f1ff")
    )
