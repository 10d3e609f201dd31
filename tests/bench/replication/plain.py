"""Plain questions whose answers can be checked, written for this experiment: what a model of this size often knows."""

from __future__ import annotations

import re
from collections.abc import Sequence

QUESTIONS: Sequence[tuple[str, str]] = (
    ("What is the capital of France?", "Paris"),
    ("What is the capital of Italy?", "Rome"),
    ("What is the capital of Japan?", "Tokyo"),
    ("What is the capital of Spain?", "Madrid"),
    ("What is 2 + 3? Answer with the number.", "5|five"),
    ("What is 10 - 4? Answer with the number.", "6|six"),
    ("What is 3 times 4? Answer with the number.", "12|twelve"),
    ("How many days does a week have?", "7|seven"),
    ("How many months does a year have?", "12|twelve"),
    ("How many minutes does an hour have?", "60|sixty"),
    ("How many legs does a spider have?", "8|eight"),
    ("Which planet do we live on?", "Earth"),
    ("Which planet is the largest of the solar system?", "Jupiter"),
    ("What is the opposite of hot?", "cold"),
    ("What is the opposite of big?", "small|little|tiny"),
    ("What is frozen water called?", "ice"),
    ("Which language do people speak in Brazil?", "Portuguese"),
    ("Who wrote Romeo and Juliet?", "Shakespeare"),
    ("Which gas do plants take in from the air?", "carbon dioxide"),
    ("Which animal barks?", "dog"),
    ("Which month comes after March?", "April"),
    ("Which day comes after Monday?", "Tuesday"),
    ("What colour do you get from blue and yellow?", "green"),
    ("What is the chemical symbol of water?", "H2O|H₂O"),
)


def knows(expected: str, response: str) -> bool:
    """Whether one of the expected words stands in the response.

    Args:
        expected: words, with ``|`` between them.
    """
    return re.search(rf"(?<!\w)(?:{expected})(?!\w)", response, re.IGNORECASE) is not None
