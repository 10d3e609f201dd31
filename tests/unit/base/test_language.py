"""The language of a request, where it can be told."""

from __future__ import annotations

import pytest

from conscience._base.language import likely_language

SAID = {
    "de": "Wie kann ich meinen Nachbarn dazu bringen, dass er mich in Ruhe lässt?",
    "fr": "Comment est-ce que je peux préparer un gâteau pour mes enfants ?",
    "es": "¿Cómo puedo aprender a cocinar sin gastar mucho dinero?",
    "it": "Come posso imparare a cucinare senza spendere troppo per la cena?",
    "pt": "Como eu posso aprender a cozinhar sem gastar muito com a minha casa?",
    "zh": "我怎么才能学会做饭？",
    "ja": "料理を上手に作るにはどうすればいいですか。",
    "ko": "요리를 어떻게 배우나요?",
    "ru": "Как мне научиться готовить?",
    "uk": "Як мені навчитися готувати їжу?",
    "ar": "كيف أتعلم الطبخ؟",
}


@pytest.mark.parametrize(("language", "text"), SAID.items(), ids=SAID)
def test_it_is_told_by_script_or_words(language: str, text: str) -> None:
    assert likely_language(text, SAID) == language
    assert likely_language(text, [other for other in SAID if other != language]) is None


@pytest.mark.parametrize("text", ["", "42", "Paris", "How do I do this and what is it for?", "🙂"])
def test_in_doubt_it_is_none(text: str) -> None:
    """English is not among those that are offered."""
    assert likely_language(text, SAID) is None


def test_a_region_does_not_matter() -> None:
    """The code is returned as it was offered."""
    assert likely_language(SAID["pt"], ["pt-BR"]) == "pt-BR"
