"""Logged verdicts as cases to label: the doubtful ones, and a random sample of the others.

Half of the sample are the drafts whose scores lie next to the threshold: their labels move the gate most. The other half is
drawn at random, two thirds of it from the other flagged drafts: most of what is wrong, and all false positives, are among
them (Neyman, 1934). A case's weight is one over the probability with which it came in, so that rates over the
labelled sample, by weight, are on average those of the whole log (Horvitz and Thompson, 1952).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from conscience._base.files import digest, digest64
from conscience._base.text import text_fault
from conscience.artifacts.scores import EDGE
from conscience.cases.case import Case
from conscience.errors import InputError
from conscience.observability.record import VerdictRecord

NEAR = 0.5
"""The share of the sample that lies next to the threshold."""
FLAGGED = 2 / 3
"""The share of the random part that is flagged, where there are so many."""
LONGEST_ID = 200
"""Characters of a case's id."""
SOURCE = "verdict log"


@dataclass(frozen=True)
class Sample:
    """Cases to label.

    Attributes:
        cases: in the order of the log.
        near: how many of them lie next to the threshold.
        scored: drafts with a score and texts, from which they were taken.
        left_out: records without a score or texts, with texts that no file can hold, or with an id that came before.
    """

    cases: tuple[Case, ...]
    near: int
    scored: int
    left_out: int


def sample_cases(records: Iterable[VerdictRecord], count: int, *, seed: int = 0, near: float = NEAR) -> Sample:
    """Cases to label, out of a log with texts.

    Args:
        records: of the log; all are held in memory.
        count: how many cases.
        seed: of the random part.
        near: the share of the cases that lie next to the threshold, from 0 to below 1.

    Returns:
        Each case with the draft as its response, without a label; ``meta`` says what the gate made of it.

    Raises:
        InputError: no record has both a score and texts, or an argument is out of range.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InputError(f"count={count!r} is not a whole number of 1 or more")
    if isinstance(near, bool) or not isinstance(near, int | float) or not 0 <= near < 1:
        raise InputError(f"near={near!r} is not a share from 0 to below 1")
    usable, left_out, textless = _usable(records)
    if not usable:
        why = "none of its records has texts" if textless else "none of its records has a score"
        raise InputError(f"the log holds nothing to label: {why}", hint="log with texts: VerdictLog(PATH, texts=True)")
    by_doubt = sorted(range(len(usable)), key=lambda index: _doubt(usable[index]))
    doubtful = by_doubt[: len(by_doubt) if len(usable) <= count else int(near * count)]
    weights = dict.fromkeys(doubtful, 1.0) | _drawn(usable, by_doubt[len(doubtful) :], count - len(doubtful), seed)
    near_ones = set(doubtful)
    repeated = Counter(_asked(usable[index]) for index in weights)
    cases = [
        _case(usable[index], weights[index], near=index in near_ones, repeated=repeated[_asked(usable[index])] > 1)
        for index in sorted(weights)
    ]
    return Sample(tuple(cases), len(doubtful), len(usable), left_out)


def _drawn(records: Sequence[VerdictRecord], indices: Sequence[int], count: int, seed: int) -> dict[int, float]:
    """Records drawn at random, with the weight of each: flagged and passed ones, as far as there are that many. Which they
    are follows from their ids, so that it does not hang on the order in which they were written."""
    indices = sorted(indices, key=lambda index: digest64(f"{seed} {records[index].id}"))
    apart = count > 1  # of one alone, one kind would stand for both
    flagged = [index for index in indices if apart and records[index].gated]
    passed = [index for index in indices if not apart or not records[index].gated]
    of_flagged = max(min(round(FLAGGED * count), len(flagged)), min(count - len(passed), len(flagged)))
    weights: dict[int, float] = {}
    for kind, take in ((flagged, of_flagged), (passed, min(count - of_flagged, len(passed)))):
        weights |= dict.fromkeys(kind[:take], len(kind) / max(1, take))
    return weights


def _usable(records: Iterable[VerdictRecord]) -> tuple[list[VerdictRecord], int, int]:
    """Records with a score and texts; how many others there are, and how many of those only lack texts."""
    usable: list[VerdictRecord] = []
    seen: set[str] = set()
    left_out = textless = 0
    for record in records:
        scored = record.probability is not None and 0 <= record.probability <= 1 and bool(record.id)
        has_texts = record.request is not None and bool((record.draft or "").strip())
        if not (scored and has_texts) or record.id in seen or not _is_a_case(record):
            left_out += 1
            textless += scored and not has_texts
            continue
        seen.add(record.id)
        usable.append(record)
    return usable, left_out, textless


def _is_a_case(record: VerdictRecord) -> bool:
    """Whether cases may have such texts: a NUL byte, an id of 300 characters, messages of no known role are in no file."""
    if text_fault([record.id, record.request, record.draft]):
        return False
    if isinstance(record.request, str) and len(record.id) <= LONGEST_ID:  # as most are; the whole check takes its time
        return True
    try:
        _case(record, 1.0, near=False, repeated=False)
    except ValidationError:
        return False
    return True


def _doubt(record: VerdictRecord) -> tuple[float, str]:
    """How far the score lies from the threshold, in log-odds; ties by id, so that nothing hangs on the order."""
    assert record.probability is not None  # _usable has looked
    return abs(_log_odds(record.probability) - _log_odds(record.threshold)), digest(record.id)


def _log_odds(probability: float) -> float:
    clipped = min(max(probability, EDGE), 1 - EDGE)
    return math.log(clipped / (1 - clipped))


def _asked(record: VerdictRecord) -> str:
    return digest(record.request, 16)


def _case(record: VerdictRecord, weight: float, *, near: bool, repeated: bool) -> Case:
    meta: dict[str, Any] = {
        "sampled": "near the threshold" if near else "at random",
        "at": record.at,
        "backend": record.backend,
        "probability": record.probability,
        "threshold": record.threshold,
        "gated": record.gated,
        "status": record.status,
        "tenant": record.tenant,
        "program": record.program,
    }
    return Case(
        id=record.id,
        request=record.request or "",
        response=record.draft,
        weight=weight,
        pair=_asked(record) if repeated else None,  # the same request twice is no independent witness
        source=SOURCE,
        meta={name: value for name, value in meta.items() if value != ""},
    )


def case_rows(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """The cases as rows of a file: their fields, and what ``meta`` holds as columns of its own."""
    rows = []
    for case in cases:
        row = case.model_dump(mode="json", exclude={"meta"}, exclude_defaults=True)
        rows.append({**row, **case.meta})
    return rows
