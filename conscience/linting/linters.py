"""All linters on all code of a text."""

from __future__ import annotations

from typing import NamedTuple

from conscience.linting.blocks import blocks_in
from conscience.linting.python import can_read_python, weaknesses_of_python
from conscience.linting.rules import broken_rules, rules
from conscience.linting.weakness import Weakness


class Linted(NamedTuple):
    """What linters say of a text.

    Attributes:
        weaknesses: what is insecure.
        unread: languages in it that could be linted, were something installed.
    """

    weaknesses: tuple[Weakness, ...]
    unread: tuple[str, ...] = ()


def weaknesses_in(text: str) -> Linted:
    """What is insecure in the code of a text: by bandit in Python, where that is installed, and by rules in Python,
    JavaScript and shell. Without bandit no Python is read.

    Code that is no whole Python, such as a few lines out of their place, is let be: nothing is known of it.
    """
    code: dict[str, list[str]] = {}
    for block in blocks_in(text):
        code.setdefault(block.language, []).append(block.text)
    found: list[Weakness] = []
    unread: list[str] = []
    for language, pieces in code.items():
        if language == "python" and not can_read_python():
            unread.append(language)
        elif language in rules():
            for piece in pieces if language == "python" else ["\n\n".join(pieces)]:
                found += weaknesses_of(language, piece) or ()
    return Linted(tuple(found), tuple(unread))


def weaknesses_of(language: str, code: str) -> list[Weakness] | None:
    """What bandit and rules find in code of a language that they know; None where it is Python that cannot be read.

    Raises:
        ConfigurationError: it is Python, and bandit is not installed.
    """
    found = weaknesses_of_python(code) if language == "python" else []
    return None if found is None else [*found, *broken_rules(language, code)]
