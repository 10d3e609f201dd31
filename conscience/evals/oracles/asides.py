"""What a response says beside its answer: a greeting, a check of the result, an offer of more. None of it is the answer."""

from __future__ import annotations

import re

_WIDE = str.maketrans(
    {"：": ": ", "，": ", ", "；": "; ", "（": " (", "）": ") ", "！": "! ", "？": "? ", "％": "%", "＝": "=", "．": "."}
)
"""Full-width signs as the others write them; the full stop 。 ends a sentence by itself."""

_GREETING = re.compile(r"\A\s*(?:sure|certainly|of course|great question)!\s+", re.IGNORECASE)
_CLOSING = re.compile(
    r"(?:(?<=[.!?:;\d)\]}*$])|\n)\s*(?:please )?"
    r"(?:let me know (?:if|whether)|i hope (?:this|that)|hope (?:this|that) helps|feel free to"
    r"|if you (?:have|need|'d like|would like) (?:any|more|further|another|me)|is there anything else|would you like me to)"
    r"\b[^.!?\n]*[.!?]?\s*\Z",
    re.IGNORECASE,
)
_CHECK = re.compile(
    r"(?:(?<=[.!?$\n])\s*|^)\W*"
    r"(?:to (?:check|verify|double-check|confirm)\b|(?:double-)?check(?:ing)?:|verif(?:y|ication|ying)\b"
    r"|(?:you|we) can (?:check|verify)\b|let(?:'s| us) (?:check|verify)\b)",
    re.IGNORECASE | re.MULTILINE,
)
_COMES_TO = re.compile(
    r"\b(?:answer|result|therefore|thus|hence|so|wait|actually|but|however|not|wrong|incorrect|mistake)\b|####|\\boxed",
    re.IGNORECASE,
)
"""That a check comes to something of its own."""
LONGEST_CHECK = 240
"""Characters of a check that only confirms; what is longer is work."""


def without_asides(text: str) -> str:
    """A response without its greeting, a check that confirms what stands before it, and its closing words; its full-width
    signs as ASCII."""
    text = _GREETING.sub("", text.translate(_WIDE))
    for _ in range(2):
        text = _CLOSING.sub("", text)
    for check in _CHECK.finditer(text):
        rest = text[check.end() :]
        if text[: check.start()].strip() and len(rest) <= LONGEST_CHECK and not _COMES_TO.search(rest):
            return text[: check.start()]
    return text
