"""What a response says beside its answer: a greeting, a check of the result, an offer of more. None of it is the answer."""

from __future__ import annotations

import re

_WIDE = str.maketrans(
    {"：": ": ", "，": ", ", "；": "; ", "（": " (", "）": ") ", "！": "! ", "？": "? ", "％": "%", "＝": "=", "．": "."}
)
"""Full-width signs as the others write them; the full stop 。 ends a sentence by itself."""

LONGEST = 240
"""Characters of a check that only confirms, or of a closing sentence: what is longer is work. They stand at the end, so no
more than that is looked through."""

_GREETING = re.compile(r"\A\s*(?:sure|certainly|of course|great question)!\s+", re.IGNORECASE)
_CLOSING = re.compile(
    r"(?<!\w)(?:please )?(?:let me know (?:if|whether)|i hope (?:this|that)|hope (?:this|that) helps|feel free to"
    r"|if you (?:have|need|'d like|would like) (?:any|more|further|another|me)|is there anything else|would you like me to)"
    r"\b[^.!?\n]*[.!?]?\Z",
    re.IGNORECASE,
)
_CHECK = re.compile(
    r"(?<!\w)(?:to (?:check|verify|double-check|confirm)\b|(?:double-)?check(?:ing)?:|verif(?:y|ication|ying)\b"
    r"|(?:you|we) can (?:check|verify)\b|let(?:'s| us) (?:check|verify)\b)",
    re.IGNORECASE,
)
_COMES_TO = re.compile(
    r"\b(?:answer|result|therefore|thus|hence|so|wait|actually|but|however|not|wrong|incorrect|mistake)\b|####|\\boxed",
    re.IGNORECASE,
)
"""That a check comes to something of its own."""


def without_asides(text: str) -> str:
    """A response without its greeting, a check that confirms what stands before it, and its closing words; its full-width
    signs as ASCII."""
    text = _GREETING.sub("", text.translate(_WIDE))
    return _without_check(_without_closing(_without_closing(text)))


def _without_closing(text: str) -> str:
    """A text without its last sentence, where that closes a conversation."""
    whole = text.rstrip()
    for closing in _CLOSING.finditer(whole, max(0, len(whole) - LONGEST)):
        before = whole[: closing.start()].rstrip()
        if before and ("\n" in whole[len(before) : closing.start()] or before[-1] in ".!?:;)]}*$" or before[-1].isdigit()):
            return before
    return text


def _without_check(text: str) -> str:
    """A text without the check at its end."""
    for check in _CHECK.finditer(text, max(0, len(text) - 2 * LONGEST)):
        start = check.start()
        while start and not (text[start - 1].isalnum() or text[start - 1] == "_"):
            start -= 1
        ends = re.search(r"[.!?$\n]", text[start : check.start()])
        if start and ends and len(text) - check.end() <= LONGEST and not _COMES_TO.search(text, check.end()):
            return text[: start + ends.end()]
    return text
