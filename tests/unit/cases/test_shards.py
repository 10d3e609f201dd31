"""Shards: each case falls to exactly one, and a job learns from its environment which one it is."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conscience import Case, Shard
from conscience.cases.drawing import draw
from conscience.errors import ConfigurationError

CASES = [Case(id=f"c{i}", request=f"question {i}") for i in range(60)]


@settings(max_examples=40)
@given(of=st.integers(1, 9), limit=st.none() | st.integers(1, 70), seed=st.integers(0, 3), order=st.randoms())
def test_the_shards_add_up_to_one_draw(of: int, limit: int | None, seed: int, order: random.Random) -> None:
    """And know it: how many cases there are, and which, whatever the order of the rows."""
    whole = draw(lambda: CASES, limit, seed)
    shards = [draw(lambda: CASES, limit, seed, Shard(number, of)) for number in range(1, of + 1)]
    read = [case.id for shard in shards for case in shard.read()]
    assert sorted(read) == sorted(case.id for case in whole.read())
    assert sum(shard.count for shard in shards) == len(read) == whole.count
    assert {(shard.whole, shard.digest) for shard in shards} == {(whole.count, shards[0].digest)}
    mixed = order.sample(CASES, len(CASES))
    if limit is None:
        again = draw(lambda: mixed, None, seed, Shard(1, of))
        assert {case.id for case in again.read()} == {case.id for case in shards[0].read()}
        assert again.digest == shards[0].digest


def test_other_rows_move_no_case() -> None:
    """A row that is added, dropped or corrected leaves the others where they were; its own shard keeps a corrected one."""
    shard = Shard(2, 4)
    corrected = [CASES[0].model_copy(update={"request": "corrected"}), *CASES[7:], Case(id="new", request="new")]
    assert shard.holds(CASES[0]) == shard.holds(corrected[0])
    before, after = draw(lambda: CASES, shard=shard), draw(lambda: corrected, shard=shard)
    assert {c.id for c in after.read()} - {"new"} == {c.id for c in before.read()} - {c.id for c in CASES[1:7]}
    assert before.digest != after.digest


def test_a_draw_is_at_random_and_streams() -> None:
    """The same seed draws the same cases; a limit above the number takes all."""
    drawn = draw(lambda: CASES, 3, 1)
    ids = [case.id for case in drawn.read()]
    assert drawn.count == drawn.whole == len(ids) == 3
    assert ids == [case.id for case in draw(lambda: CASES, 3, 1).read()]
    assert any([c.id for c in draw(lambda: CASES, 3, seed).read()] != ids for seed in range(2, 9))
    assert draw(lambda: CASES, 99, 0).count == len(CASES)
    assert [case.id for case in draw(lambda: CASES).read()] == [case.id for case in CASES]


def test_shards_are_of_much_the_same_size() -> None:
    """Give or take the square root."""
    cases = [Case(id=f"c{i}", request="q") for i in range(4000)]
    sizes = [draw(lambda: cases, shard=Shard(number, 8)).count for number in range(1, 9)]
    assert sum(sizes) == 4000
    assert all(abs(size - 500) < 5 * 500**0.5 for size in sizes)


SLURM = {"SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_STEP": "1"}
TOLD: list[tuple[str, Mapping[str, str], str]] = [
    ("2/4", {"CI_NODE_INDEX": "3", "CI_NODE_TOTAL": "4"}, "2/4"),
    (" 3 / 4 ", {}, "3/4"),
    ("auto", SLURM | {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "3"}, "1/4"),
    ("auto", SLURM | {"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "4"}, "4/4"),
    (
        "auto/4",
        SLURM
        | {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "10"}
        | {"SLURM_ARRAY_TASK_STEP": "3"},
        "3/4",
    ),
    (  # as a batch script of one task sees it
        "auto",
        SLURM
        | {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "3"}
        | {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"},
        "3/4",
    ),
    ("auto", {"SLURM_PROCID": "7", "SLURM_NTASKS": "8"}, "8/8"),
    ("auto", {"SLURM_PROCID": "1", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "2"}, "2/2"),
    ("auto/5", {"JOB_COMPLETION_INDEX": "4"}, "5/5"),
    ("auto", {"CI_NODE_INDEX": "1", "CI_NODE_TOTAL": "3"}, "1/3"),
    ("auto", {"BUILDKITE_PARALLEL_JOB": "0", "BUILDKITE_PARALLEL_JOB_COUNT": "3"}, "1/3"),
    ("auto", {"CIRCLE_NODE_INDEX": "2", "CIRCLE_NODE_TOTAL": "3"}, "3/3"),
    ("auto", {"AWS_BATCH_JOB_ARRAY_INDEX": "9", "AWS_BATCH_JOB_ARRAY_SIZE": "10"}, "10/10"),
    ("auto", {"CLOUD_RUN_TASK_INDEX": "0", "CLOUD_RUN_TASK_COUNT": "2"}, "1/2"),
    ("auto", {"BATCH_TASK_INDEX": "1", "BATCH_TASK_COUNT": "2"}, "2/2"),
    ("auto", {"CI_NODE_TOTAL": "1", "CIRCLE_NODE_INDEX": "0", "CIRCLE_NODE_TOTAL": "1"}, "1/1"),
]


@pytest.mark.parametrize(("text", "environment", "shard"), TOLD)
def test_a_shard_is_said_or_told_by_the_scheduler(text: str, environment: Mapping[str, str], shard: str) -> None:
    """Which counts from 0, from 1 or as it was told; what told it is kept, to be shown."""
    told = Shard.parse(text, environment)
    assert str(told) == shard
    assert bool(told.told_by) == text.startswith("auto")


REFUSED: list[tuple[str, Mapping[str, str], str]] = [
    ("0/4", {}, "count from 1"),
    ("5/4", {}, "1/4 to 4/4"),
    ("1/0", {}, "0 shards"),
    ("1/999999", {}, "999999 shards"),
    ("2", {}, "2/4 for the second of four"),
    ("", {}, "is none"),
    ("2/4/8", {}, "is none"),
    ("-1/4", {}, "is none"),
    ("auto", {}, "SLURM_ARRAY_TASK_ID"),
    ("auto", {"JOB_COMPLETION_INDEX": "1"}, "auto/4"),
    ("auto", {"JOB_COMPLETION_INDEX": "one"}, "no number"),
    ("auto/2", {"JOB_COMPLETION_INDEX": "2"}, "1/2 to 2/2"),
    ("auto/5", {"CI_NODE_INDEX": "1", "CI_NODE_TOTAL": "4"}, "there are 4"),
    ("auto", {"CI_NODE_INDEX": "1", "CI_NODE_TOTAL": "4", "SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, "SLURM_PROCID=0"),
    (  # one task of an array that was sent again alone: nobody says of how many
        "auto",
        {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_MIN": "2", "SLURM_ARRAY_TASK_MAX": "2"}
        | {"SLURM_ARRAY_TASK_COUNT": "1"},
        "sent again",
    ),
    (
        "auto",
        {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "3"}
        | {"SLURM_ARRAY_TASK_COUNT": "2"},
        "sent again",
    ),
]


@pytest.mark.parametrize(("text", "environment", "why"), REFUSED)
def test_what_says_no_shard_is_refused_in_one_line(text: str, environment: Mapping[str, str], why: str) -> None:
    """Never the whole instead, which would be paid for once a job."""
    with pytest.raises(ConfigurationError) as error:
        Shard.parse(text, environment)
    assert why in str(error.value)
    assert "\n" not in str(error.value)
