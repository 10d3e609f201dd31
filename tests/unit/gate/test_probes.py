"""Probes: what they read of an exchange, and what they come to."""

from __future__ import annotations

import pytest

from conscience import Draft, EmbeddingProbe, LexicalProbe
from conscience.backends.embeddings import pack
from conscience.gate.probes import MAX_CHARACTERS, exchange_texts


def test_a_wording_cannot_reach_into_objects() -> None:
    """It is filled in, not formatted."""
    draft = Draft(request="{response} r", outputs={"response": "{request} a"})
    assert exchange_texts(draft, ["{request.__class__}{response}", "{request} {response} {request}"]) == [
        "{request.__class__}{request} a",
        "{response} r {request} a {response} r",
    ]


def test_the_requests_end_and_the_responses_beginning_are_read() -> None:
    """Servers refuse what is too long; none of the texts is empty, which they refuse too."""
    draft = Draft(request="r" * MAX_CHARACTERS + "R", outputs={"response": "A" + "a" * MAX_CHARACTERS})
    (request,), (response,) = exchange_texts(draft, ["{request}"]), exchange_texts(draft, ["{response}"])
    assert (len(request), request[-1]) == (MAX_CHARACTERS, "R")
    assert (len(response), response[0]) == (MAX_CHARACTERS, "A")
    assert exchange_texts(Draft(request="", outputs={"response": "So."}), ["{request}"]) == [" "]


def test_a_probe_is_linear_in_its_embeddings() -> None:
    """Weights times numbers, scaled, and the constant; embeddings of another size are refused."""
    wordings = ("{request}", "{response}")
    probe = EmbeddingProbe(name="e", model="e5", wordings=wordings, weights=pack([0.5, -0.25]), scale=2.0, bias=1.0)
    assert probe.value([[1.0], [4.0]]) == pytest.approx(1.0 + 2.0 * (0.5 - 1.0))
    with pytest.raises(ValueError, match="gives 4 numbers, the probe 'e' reads 2"):
        probe.value([[1.0, 2.0], [3.0, 4.0]])


def test_a_lexical_probe_reads_the_responses_words() -> None:
    """A word that it knows moves the log-odds by its weight; another does not."""
    probe = LexicalProbe(name="words", features={"bad": (1.5, 2.0)}, bias=-1.0)
    assert probe.value(Draft.of("bad?", "fine")) == pytest.approx(-1.0)
    assert probe.value(Draft.of("fine?", "bad")) > 0
