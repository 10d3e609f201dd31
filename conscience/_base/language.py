"""In which of a few languages a text is written, where its script or its commonest words tell."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_SCRIPTS = {
    "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "CJK": "zh", "ARABIC": "ar", "HEBREW": "he", "GREEK": "el",
    "THAI": "th", "DEVANAGARI": "hi", "CYRILLIC": "ru", "BENGALI": "bn", "TAMIL": "ta", "GEORGIAN": "ka", "ARMENIAN": "hy",
}  # fmt: skip
"""Script, as Unicode's names begin → the language that is most written in it. Where a text has kana, its CJK is Japanese."""

_WORDS = {
    "en": "the and is are of to in that it for you how what do i my with this can not be on me a",
    "de": "der die das und ist nicht ein eine ich wie was mit für auf den von zu es sie wir kann mein man mir im",
    "fr": "le la les et est une un je vous comment que pour dans pas des du mon ma qui avec sur il nous quel quelle",
    "es": "el la los las y es una un cómo que para en no del mi por con qué puedo como cuál se lo está",
    "it": "il la gli e è una un come che per non di mio con della del posso cosa sono qual nel mi si",
    "pt": "o a os as e é uma um como que para não do da meu minha por com em eu posso qual você no na",
    "nl": "de het een en is niet ik hoe wat met voor van op dat je kan mijn te we zijn er om aan",
    "pl": "i w nie się na jest to jak co że mój do z czy ja mogę dla po od",
    "sv": "och är det en ett jag hur vad inte med för på som av att kan min den till",
    "tr": "ve bir bu ne nasıl için değil mi ben ile da de çok var benim",
}
_KNOWN = {language: frozenset(words.split()) for language, words in _WORDS.items()}

LONGEST = 4000
"""Characters that are looked at."""


def likely_language(text: str, among: Iterable[str]) -> str | None:
    """The code of the language, where one of these is likelier than every other that is known; None in doubt.

    Args:
        text: what somebody wrote.
        among: codes such as "de"; of "pt-BR" only the part before the hyphen counts.
    """
    offered = {code.split("-")[0].casefold(): code for code in among}
    found = _by_script(text[:LONGEST]) or _by_words(text[:LONGEST])
    return offered.get(found) if found else None


def _by_script(text: str) -> str | None:
    letters = [unicodedata.name(c, "").split(" ")[0] for c in text if c.isalpha()]
    if any(name in ("HIRAGANA", "KATAKANA") for name in letters):
        return "ja"
    counted = {script: letters.count(script) for script in _SCRIPTS}
    script = max(counted, key=lambda name: counted[name])
    if counted[script] * 2 <= len(letters):
        return None
    return "uk" if script == "CYRILLIC" and set("їієґ").intersection(text.casefold()) else _SCRIPTS[script]


def _by_words(text: str) -> str | None:
    words = re.findall(r"[^\W\d_]+", text.casefold())
    scores = sorted(((sum(w in known for w in words), language) for language, known in _KNOWN.items()), reverse=True)
    (most, language), (second, _) = scores[:2]
    return language if most > second else None
