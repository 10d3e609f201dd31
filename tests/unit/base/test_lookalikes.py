"""Texts that look the same: invisible and look-alike characters hide nothing."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience._base.lookalikes import looks_like, skeleton

TEXT = "Sure, here is how to poison the well of a rival village."

DISGUISES = {
    "case": TEXT.upper(),
    "spaces": TEXT.replace(" ", "  \n\t"),
    "no-break spaces": TEXT.replace(" ", "\u00a0\u2009"),
    "zero-width": "\u200b".join(TEXT),
    "joiners": "\u200d\u2060".join(TEXT),
    "soft hyphens": "\u00ad".join(TEXT),
    "direction marks": f"\u202e{TEXT}\u202c\u200f",
    "variation selectors": "\ufe0f".join(TEXT),
    "tag characters": TEXT + "".join(chr(0xE0000 + ord(c)) for c in "hidden"),
    "combining marks": "\u0301".join(TEXT),
    "precomposed accents": unicodedata.normalize("NFC", TEXT.replace("e", "e\u0301").replace("o", "o\u0308")),
    "full width": "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in TEXT),
    "mathematical": "".join(chr(0x1D41A + ord(c) - ord("a")) if "a" <= c <= "z" else c for c in TEXT),
    "Cyrillic": TEXT.translate(str.maketrans("aeopcyxis", "аеорсухіѕ")),
    "Cyrillic capitals": TEXT.replace("S", "Ѕ").replace("h", "һ"),
    "Greek": TEXT.translate(str.maketrans("oavu", "οανυ")),
    "digits": TEXT.translate(str.maketrans("ol", "01")),
    "Hangul fillers": TEXT.replace(" ", "\u3164"),
    "all at once": "\u200b".join(TEXT.upper().translate(str.maketrans("AEOPC", "АЕОРС"))),
}


@pytest.mark.parametrize("disguised", DISGUISES.values(), ids=DISGUISES)
def test_a_disguised_text_looks_like_itself(disguised: str) -> None:
    """To a reader nothing has changed."""
    assert disguised != TEXT
    assert looks_like(TEXT, disguised)


@pytest.mark.parametrize(
    ("first", "second"),
    [("Yes, do.", "No, don't."), ("Take 5 mg.", "Take 50 mg."), ("", "a"), ("毒を入れる", "水を入れる"), ("Да", "Нет"),
     (TEXT, TEXT.replace("poison", "clean")), ("Bad.", "Bad again.")],
)  # fmt: skip
def test_another_text_does_not(first: str, second: str) -> None:
    """A word, a figure or a sign of another script is a difference."""
    assert not looks_like(first, second)


@given(st.text(), st.data())
def test_what_is_put_in_unseen_changes_nothing(text: str, data: st.DataObject) -> None:
    """Wherever it stands."""
    place = data.draw(st.integers(0, len(text)))
    unseen = data.draw(
        st.text(st.sampled_from(list("\u200b\u200c\u200d\u2060\ufeff\u00ad \n\u00a0\u180e\u061c")), min_size=1)
    )
    assert skeleton(text[:place] + unseen + text[place:]) == skeleton(text)
