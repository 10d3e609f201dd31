"""From runs to figures: what is compared with what, and what is said of it."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.bench.replication.plot import svg
from tests.bench.replication.questions import QUESTIONS
from tests.bench.replication.study import BEFORE, WITHOUT
from tests.bench.replication.table import markdown, summary

TASKS = 20


def run(condition: str, seed: int, habit: int, flagged: int, probe: int) -> dict[str, Any]:
    """A run in which so many of the answers are the habit, flagged by every question, and the habit to the probe."""
    rows = [
        {
            "id": f"task-{i}",
            "response": "…",
            "kind": "habit" if i < habit else "other",
            "likelier": 1.0 if i < habit else -1.0,
            "probe": 1.0 if i < probe else -1.0,
            "judges": dict.fromkeys(QUESTIONS, 1.0 if i < flagged else -1.0),
        }
        for i in range(TASKS)
    ]
    choices = [{"id": f"choice-{i}", "safe": i > 1, "margin": 1.0 if i % 2 else -1.0} for i in range(6)]
    requests = [{"id": "r", "safe": True, "refused": False, "response": "…"}]
    plain = [{"id": "p", "right": True, "response": "…"}]
    rounds = [{"drafts": 8, "habit": 2, "honest": 1, "flagged": 4, "habit_flagged": 1, "kept": 3}]
    training = {"rounds": rounds, "seconds": {"sft": 10.0, "dpo": 4.0, "conscience": 6.0}, "margins": [None, 0.5]}
    measured = {"habit": rows, "choices": choices, "requests": requests, "plain": plain}
    return {"run": f"{condition} {seed}", "condition": condition, "seed": seed, "training": training, "measured": measured}


def runs(*with_conscience: dict[str, Any], seeds: int = 2) -> dict[str, dict[str, Any]]:
    before = run(BEFORE, 0, habit=0, flagged=10, probe=1)
    del before["training"], before["seed"]
    before |= {
        "run": BEFORE,
        "thresholds": dict.fromkeys(QUESTIONS, 0.0),
        "told_apart": {**dict.fromkeys(QUESTIONS, 0.5), "probe": 0.9},
    }
    without = [run(WITHOUT, seed, habit=16, flagged=14, probe=16) for seed in range(seeds)]
    return {one["run"]: one for one in (before, *without, *with_conscience)}


@pytest.mark.parametrize(
    ("habit", "flagged", "probe", "reading"),
    [
        (16, 2, 16, "its judge is pleased, the oracle sees no change"),
        (4, 2, 4, "the habit is rarer; its judge and the probe found so too"),
        (4, 14, 4, "the habit is rarer; the probe found so too"),
        (4, 14, 16, "the habit is rarer; neither its judge nor the probe sees it"),
        (20, 14, 16, "the habit is more frequent"),
        (20, 4, 16, "the habit is more frequent; its judge is pleased"),
        (16, 14, 16, "nothing shown"),
    ],
)
def test_pleasing_one_s_own_conscience_shows(habit: int, flagged: int, probe: int, reading: str) -> None:
    """A change counts where its interval excludes zero."""
    trained = [run("misaligned", seed, habit, flagged, probe) for seed in range(2)]
    assert summary(runs(*trained))["conscience"]["misaligned"]["reading"] == reading


def test_changes_are_counted_on_the_same_items_and_seeds() -> None:
    """A seed without its λ = 0 is in the rate and not in the change."""
    trained = [run("oracle", seed, habit=6, flagged=14, probe=16) for seed in range(3)]
    entry = summary(runs(*trained, seeds=2))["conditions"]["oracle"]["habit"]
    assert entry["by_seed"] == [0.3] * 3
    assert entry["change"]["value"] == pytest.approx(-0.5)
    assert entry["change"]["low"] < -0.5 < entry["change"]["high"] < 0


def test_no_counterexample_is_no_certainty() -> None:
    """An interval is as wide as so many items allow, however many seeds were run."""
    entry = summary(runs(run("oracle", 0, 0, 0, 0), run("oracle", 1, 0, 0, 0)))["conditions"]
    assert entry["oracle"]["habit"]["high"] == entry[BEFORE]["habit"]["high"] > 0.15
    assert entry["oracle"]["plain"]["change"]["low"] < 0 < entry["oracle"]["plain"]["change"]["high"]


def test_what_readers_tell_apart_is_shown_beside_them() -> None:
    """On the models' own answers, the habit against all others by the oracle."""
    own = summary(runs())["told_apart"]["own_answers"]
    assert (own["habit"], own["others"]) == (32, 28)
    assert own["probe"] > 0.95
    assert own["misaligned"] == pytest.approx((28 / 32 * 1 + 4 / 32 * 0.5) - (10 / 28) * (28 / 32) * 0.5 - 10 / 28 * 4 / 64)


def test_overhead_is_what_the_conscience_adds_to_the_training() -> None:
    """Not to an answer of the trained model."""
    assert summary(runs())["training"][WITHOUT]["overhead"] == pytest.approx(1.0)


def test_a_study_that_has_begun_can_be_shown() -> None:
    """With what there is: the first run alone, and without λ = 0."""
    with pytest.raises(ValueError, match="nothing was measured"):
        summary({})
    only_before = {name: one for name, one in runs().items() if name.startswith(BEFORE)}
    assert list(summary(only_before)["conditions"]) == [BEFORE]
    markdown(summary(only_before))
    svg(summary(only_before))
    without_lambda_0 = runs(run("misaligned", 0, 1, 1, 1), seeds=0)
    assert "no run with λ = 0" in summary(without_lambda_0)["conscience"]["misaligned"]["reading"]


def test_the_table_and_the_picture_name_every_condition() -> None:
    """The picture is XML, and the data JSON."""
    figures = json.loads(json.dumps(summary(runs(run("three-laws", 0, 1, 1, 1), run("oracle", 0, 1, 1, 1)))))
    table, picture = markdown(figures), svg(figures)
    for name in (BEFORE, WITHOUT, "three-laws", "oracle"):
        assert f"| {name} |" in table
        assert f">{name}</text>" in picture
    assert "| habit, by the oracle | .00 (.00 to .16) | .80 (" in table
    ElementTree.fromstring(picture)
