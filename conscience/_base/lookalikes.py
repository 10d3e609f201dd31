"""Whether two texts look the same to a reader: invisible and look-alike characters make no other text.

The letters are the commonest of Unicode's confusables (UTS 39): those of Cyrillic, Greek, Armenian and the phonetic alphabet
that pass for Latin ones. Full-width, mathematical and other dressed-up letters are undone by NFKC.
"""

from __future__ import annotations

import unicodedata

_LATIN = {
    "a": "аαɑ", "b": "ƅьвβ", "c": "сϲⅽ", "d": "ԁɗժ", "e": "еҽє℮ɛε", "f": "ғƒẝ", "g": "ɡցġ", "h": "һհн", "i": "іιɩ1|lӏ∣ⵏ!",
    "j": "јϳ", "k": "кκ", "m": "м", "n": "ոпη", "o": "оοօ0σ", "p": "рρ", "q": "ԛզ", "r": "гᴦ", "s": "ѕʂ", "t": "тτᴛ",
    "u": "υսʋᴜ", "v": "νѵᴠ", "w": "ԝωᴡ", "x": "хχ×", "y": "уүγʏ", "z": "ᴢʐ", "'": "’‘ʼ`´", '"': "“”„", "-": "‐‑‒–—−",
}  # fmt: skip
"""Latin letter → the small letters and signs that pass for it."""

_CAPITALS = str.maketrans("ΗΝΥΡΒΜΚΖΤΧΙΕΑΟНВМКТХСРУЕАОІЅЈԌԚԜ", "hnypbmkztxieaohbmktxcpyeaoisjgqw")
"""Capitals first: some small letters of theirs pass for others (Ν for N, ν for v)."""

_FOLD = str.maketrans({other: latin for latin, others in _LATIN.items() for other in others.casefold()})
_UNSEEN = frozenset({"Cc", "Cf", "Mn", "Me", "Zs", "Zl", "Zp", "Cn", "Co"})
_BLANK = "\u115f\u1160\u3164\uffa0\u2800"
"""Letters and signs that show nothing: the Hangul fillers and the empty Braille pattern."""


def skeleton(text: str) -> str:
    """The text without case, spaces, accents, invisible characters and the differences between look-alikes."""
    plain = unicodedata.normalize("NFKC", text).translate(_CAPITALS).casefold()
    seen = (c for c in unicodedata.normalize("NFD", plain) if unicodedata.category(c) not in _UNSEEN and c not in _BLANK)
    return "".join(seen).translate(_FOLD)


def looks_like(first: str, second: str) -> bool:
    """Whether a reader would take one for the other."""
    return first == second or skeleton(first) == skeleton(second)
