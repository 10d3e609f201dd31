"""Preference pairs as data: what is written is what is read, and what is none is told by file, line and field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience.errors import CaseError, InputError
from conscience.optimizers.training.pairs import PreferencePair, read_pairs, write_pairs

words = st.text(min_size=1).filter(lambda text: text.strip() and "\0" not in text and text.isprintable())
lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip)


@given(request=lines, chosen=lines, rejected=lines, group=st.none() | words, margin=st.none() | st.floats(-1, 1))
def test_a_pair_outlives_its_json(request: str, chosen: str, rejected: str, group: str | None, margin: float | None) -> None:
    """Whatever stands in its texts."""
    pair = PreferencePair(request=request, chosen=chosen, rejected=rejected, group=group, margin=margin)
    assert PreferencePair.from_json(json.loads(json.dumps(pair.to_json()))) == pair


def test_a_file_of_pairs_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Line breaks of every kind in a text end no row."""
    pairs = [
        PreferencePair(
            request=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "What\u2028now?"}],
            chosen="This.\x85\n",
            rejected="That.",
            verdicts={"rejected": {"flagged": True}},
            provenance={"from": "revision"},
        ),
        PreferencePair(request="And?", chosen="Yes", rejected="No", request_safe=True, cluster="c"),
    ]
    write_pairs(pairs, tmp_path / "made" / "pairs.jsonl")
    assert list(read_pairs(tmp_path / "made" / "pairs.jsonl")) == pairs


def test_the_id_follows_from_request_and_texts() -> None:
    """However the request is written; the cluster is the pair's own where none is named."""
    plain = PreferencePair(request="Hi", chosen="a", rejected="b")
    chat = PreferencePair(request=[{"role": "user", "content": "Hi"}], chosen="a", rejected="b", group="g")
    other = PreferencePair(request="Hi", chosen="b", rejected="a")
    assert plain.id == chat.id == plain.cluster != other.id


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"request": "x", "chosen": "a"}, "field 'rejected' is missing"),
        ({"request": "x", "chosen": " ", "rejected": "b"}, "field 'chosen': is empty"),
        ({"request": [], "chosen": "a", "rejected": "b"}, "field 'request'"),
        ({"request": [{"content": "x"}], "chosen": "a", "rejected": "b"}, "no message with a role"),
        ({"request": "x", "chosen": "a\0", "rejected": "b"}, "NUL byte"),
        ({"request": "x", "chosen": "a", "rejected": "b", "margin": 2}, "field 'margin'"),
        ({"request": "x", "chosen": "a", "rejected": "b", "chosn": 2}, "'chosn' is unknown"),
        ([1], "no preference pair"),
    ],
)
def test_what_is_no_pair_is_told(row: object, said: str, tmp_path: Path) -> None:
    """By file, line and field."""
    with pytest.raises(InputError, match=said):
        PreferencePair.from_json(row)
    path = tmp_path / "pairs.jsonl"
    path.write_text(f"\n{json.dumps(row)}\n")
    with pytest.raises(CaseError, match=rf"pairs\.jsonl:2: .*{said}"):
        list(read_pairs(path))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """In one line."""
    with pytest.raises(CaseError, match="No such file"):
        list(read_pairs(tmp_path / "none.jsonl"))
