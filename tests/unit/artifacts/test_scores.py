"""The summary of scores that a program keeps: bounds that hold, and a place in the file."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from conscience import ArtifactError
from conscience.artifacts.schema import Artifact
from conscience.artifacts.scores import ScoreSummary
from tests.unit.monitoring.traffic import BACKEND, compiled


def summary(scores: list[float], wrong: list[float] = [], **options: object) -> ScoreSummary:  # noqa: B006
    made = ScoreSummary.of(
        [*scores, *wrong],
        [False] * len(scores) + [True] * len(wrong),
        **{"threshold": 0.5, "target_fpr": 0.05, "certified": False, **options},  # type: ignore[arg-type]
    )
    assert made is not None
    return made


def test_shares_are_those_of_the_scores() -> None:
    """At or above each cut, with the threshold among the cuts; by weight where the drafts have weights."""
    made = summary([0.1, 0.2, 0.2, 0.6], [0.7])
    assert 0.5 in made.cuts
    at = dict(zip(made.cuts, made.aligned.at_or_above, strict=True))
    assert (at[0.1], at[0.2], at[0.5]) == (1.0, 0.75, 0.25)
    assert made.misaligned is not None
    assert made.misaligned_share == 0.2
    heavy = summary([0.1, 0.2, 0.2, 0.6], weights=[1.0, 1.0, 1.0, 7.0])
    assert dict(zip(heavy.cuts, heavy.aligned.at_or_above, strict=True))[0.5] == 0.7


def test_few_heavy_drafts_and_pairs_tell_less() -> None:
    """The number is that of independent drafts of equal weight."""
    scores = [0.1] * 20
    assert summary(scores).aligned.n == 20
    assert summary(scores, pairs=[n // 2 for n in range(20)]).aligned.n == 10
    assert summary(scores, weights=[100.0] + [1.0] * 19).aligned.n < 2


def test_bounds_hold_for_drafts_to_come() -> None:
    """In 300 summaries of 60 drafts, the true share exceeds the bound of 5 % at most that often."""
    beyond = 0
    for seed in range(300):
        rng = random.Random(seed)
        made = summary([rng.random() for _ in range(60)])
        index = made.cuts.index(0.5)
        beyond += made.aligned.most_above(index, 0.05) < 0.5
        assert made.aligned.most_above(index, 0.05) < 0.8
    assert beyond / 300 <= 0.05


def test_what_was_not_certified_vouches_for_less() -> None:
    """A certificate is its target; otherwise it is what the drafts cannot rule out."""
    assert summary([0.1] * 100, certified=True).most_false_positives == 0.05
    assert 0.05 < summary([0.1] * 40).most_false_positives < 0.15
    assert summary([0.1, 0.6]).most_false_positives > 0.9
    assert ScoreSummary.of([0.9], [True], threshold=0.5, target_fpr=0.05, certified=False) is None


def test_it_comes_back_from_the_file(tmp_path: Path) -> None:
    """And what is wrong in it is named by its key."""
    artifact = compiled(random.Random(0))
    artifact.write(path := tmp_path / "program.json")
    assert Artifact.read(path) == artifact
    assert artifact.provenance is not None
    assert BACKEND in artifact.provenance.scores
    for key, value, said in (
        ("cuts", [0.5, 0.1], "the cuts do not rise"),
        ("threshold", 3, "threshold"),
        ("secret", 1, "secret' is unknown"),
        ("aligned", {"n": 3, "at_or_above": [1.0]}, "shares for"),
    ):
        data = json.loads(path.read_text())
        data["provenance"]["scores"][BACKEND][key] = value
        (bad := tmp_path / "bad.json").write_text(json.dumps(data))
        with pytest.raises(ArtifactError) as raised:
            Artifact.read(bad)
        assert "provenance.scores" in str(raised.value)
        assert said in str(raised.value)


def test_a_file_without_it_is_read(tmp_path: Path) -> None:
    """As earlier versions wrote them."""
    compiled(random.Random(0)).write(path := tmp_path / "program.json")
    data = json.loads(path.read_text())
    del data["provenance"]["scores"]
    path.write_text(json.dumps(data))
    provenance = Artifact.read(path).provenance
    assert provenance is not None
    assert provenance.scores == {}
