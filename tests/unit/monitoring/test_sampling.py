"""Cases to label: doubtful and random ones, with weights that make figures on them those of the log."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conscience.cases.case import load_cases
from conscience.errors import InputError
from conscience.monitoring import sample_cases
from conscience.monitoring.sampling import case_rows
from tests.unit.monitoring.traffic import probability, record, traffic, without_texts

RECORDS = [record(n, probability(n / 10 - 6), 0.5) for n in range(100)]


def test_half_are_next_to_the_threshold_and_half_are_drawn() -> None:
    """In the order of the log, without a label; the weights add up to the log."""
    sample = sample_cases(RECORDS, 20)
    near = {case.id for case in sample.cases if case.meta["sampled"] == "near the threshold"}
    assert {f"r{n}" for n in range(56, 65)} <= near  # r55 and r65 are as near as each other
    assert (len(sample.cases), sample.near, sample.scored, sample.left_out) == (20, 10, 100, 0)
    assert [case.id for case in sample.cases] == sorted((case.id for case in sample.cases), key=lambda i: int(i[1:]))
    assert {case.weight for case in sample.cases if case.id in near} == {1.0}
    assert sum(case.weight for case in sample.cases) == pytest.approx(100)
    assert all(case.label is None for case in sample.cases)
    assert sample == sample_cases(RECORDS, 20)
    assert sample != sample_cases(RECORDS, 20, seed=1)


def test_rates_by_weight_are_those_of_the_log_on_average() -> None:
    """The false positive rate over 200 samples of 40 labels; without the weights it would be far off."""
    logged = traffic(random.Random(0), 0.2, count=300, drift_at=300)
    labels = {one.id: label for one, label in logged}
    fine = [one for one, label in logged if label == "aligned"]
    truth = sum(one.gated for one in fine) / len(fine)
    rates, plain = [], []
    for seed in range(200):
        cases = [c for c in sample_cases((one for one, _ in logged), 40, seed=seed).cases if labels[c.id] == "aligned"]
        flagged = [case for case in cases if case.meta["gated"]]
        rates.append(sum(case.weight for case in flagged) / len(fine))
        plain.append(len(flagged) / len(cases))
    assert sum(rates) / 200 == pytest.approx(truth, rel=0.15)
    assert sum(plain) / 200 > 2 * truth


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(1, 40), st.floats(0, 0.99), st.integers(0, 9))
def test_the_weights_add_up_to_the_log(scores: list[float], count: int, near: float, seed: int) -> None:
    """Whatever the scores: every draft had a chance, and as many cases come as were asked for."""
    sample = sample_cases([record(n, score) for n, score in enumerate(scores)], count, seed=seed, near=near)
    assert len(sample.cases) == min(count, len(scores))
    assert sum(case.weight for case in sample.cases) == pytest.approx(len(scores))


def test_a_small_log_is_taken_whole() -> None:
    """Each with the weight of one."""
    sample = sample_cases(RECORDS[:7], 40)
    assert [case.weight for case in sample.cases] == [1.0] * 7


def test_cases_come_back_from_their_file(tmp_path: Path) -> None:
    """As they were written, chat messages too, and what the gate made of them beside."""
    chat = replace(RECORDS[0], request=({"role": "user", "content": "Hello?"},), tenant="acme")
    sample = sample_cases([chat, *RECORDS[1:]], 100)
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in case_rows(sample.cases)))
    told: list[str] = []
    assert load_cases(path, on_reading=told.append) == list(sample.cases)
    assert told == []
    assert sample.cases[0].meta["tenant"] == "acme"


def test_the_same_request_twice_is_a_pair() -> None:
    """It is no second witness, and stays on one side of a split."""
    twice = [replace(one, request="Again?") if n < 3 else one for n, one in enumerate(RECORDS[:10])]
    pairs = [case.pair for case in sample_cases(twice, 10).cases]
    assert len(set(pairs[:3])) == 1
    assert pairs[0] is not None
    assert pairs[3:] == [None] * 7


def test_what_cannot_be_labelled_is_left_out_and_counted() -> None:
    """No score, no text, a text that no file can hold, an id that came before."""
    odd = [
        record(200, None),
        replace(record(201, 0.3), draft=""),
        replace(record(202, 0.3), draft="\0"),
        RECORDS[0],
        replace(record(203, 0.3), probability=7.0),
        replace(record(205, 0.3), id="x" * 300),
        replace(record(206, 0.3), request=({"role": "critic", "content": "?"},)),
        replace(record(207, 0.3), request=({"role": "user", "content": None},)),
        *without_texts([record(204, 0.2)]),
    ]
    sample = sample_cases([*RECORDS, *odd], 200)
    assert (len(sample.cases), sample.left_out) == (100, 9)


@pytest.mark.parametrize(
    ("records", "options", "said"),
    [
        (without_texts(RECORDS), {"count": 5}, "none of its records has texts"),
        ([record(1, None)], {"count": 5}, "none of its records has a score"),
        ([], {"count": 5}, "nothing to label"),
        (RECORDS, {"count": 0}, "count=0"),
        (RECORDS, {"count": True}, "count=True"),
        (RECORDS, {"count": 5, "near": 1.0}, "near=1.0"),
    ],
)
def test_what_cannot_be_done_is_said(records: list[object], options: dict[str, object], said: str) -> None:
    """In one line."""
    with pytest.raises(InputError, match=said):
        sample_cases(records, **options)  # type: ignore[arg-type]
