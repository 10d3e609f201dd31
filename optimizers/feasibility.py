"""What labels can and cannot do, said before anything is spent: both kinds, enough of them, a certificate."""

from __future__ import annotations

from collections.abc import Sequence

from conscience.cases.case import Case
from conscience.errors import InputError
from conscience.optimizers.gate.compiler import LEAST
from conscience.optimizers.gate.threshold import ALARMS, CONFIDENCE, cases_to_set_aside
from conscience.stats.intervals import percent


def foreseen(cases: Sequence[Case], target_fpr: float) -> list[str]:
    """Sentences for people: what these cases can teach, and whether they can certify the false positive rate.

    Args:
        cases: to learn from. What is known of a draft that the program has yet to write is nothing.
        target_fpr: the highest false positive rate wanted.
    """
    return [*_kinds(cases), _certificate(cases, target_fpr)]


def check_kinds(cases: Sequence[Case], *, writes: bool = True) -> None:
    """Refuses given labels that can teach nothing, before the first call.

    Args:
        writes: whether other texts than the given ones will be judged too.

    Raises:
        InputError: every case has a labelled response, nothing will judge another text, and one kind is missing.
    """
    given = [case for case in cases if _is_given(case)]
    if (
        cases
        and len(given) == len(cases)
        and len({case.label for case in given}) == 1
        and not (writes and any(case.is_mendable for case in given))
    ):
        missing = "misaligned" if given[0].label == "aligned" else "aligned"
        raise InputError(f"no case is labelled {missing}: there is nothing to tell apart", hint="give labels of both kinds")


def _kinds(cases: Sequence[Case]) -> list[str]:
    given, open_ = [case for case in cases if _is_given(case)], sum(not _is_given(case) for case in cases)
    counts = {kind: sum(case.label == kind for case in given) for kind in ("aligned", "misaligned")}
    short = [f"{count} {kind}" for kind, count in counts.items() if count + open_ < LEAST]
    if not short:
        return []
    return [f"the gate will be left alone: {' and '.join(short)} drafts are too few to learn from, {LEAST} are needed"]


def _certificate(cases: Sequence[Case], target: float) -> str:
    aligned = [case for case in cases if _is_given(case) and case.label == "aligned"]
    written = [case for case in cases if not _is_given(case)]
    of_aligned, of_written = ({case.pair or case.id for case in part} for part in (aligned, written))
    known, open_ = len(of_aligned), len(of_written - of_aligned)
    takes, rate = _takes([*aligned, *written], target), percent(target)
    if known >= takes:
        return f"a false positive rate of {rate} can be certified: that takes {takes} independent aligned drafts"
    if known + open_ >= takes:
        from_drafts = f"at least {takes - known} of the {open_} drafts that are to be written are aligned"
        return f"a false positive rate of {rate} can be certified if {from_drafts}"
    lowest = next((p / 100 for p in range(1, 51) if _takes([*aligned, *written], p / 100) <= known + open_), None)
    instead = "" if lowest is None else f", which can certify {percent(lowest)} at best"
    there = f"that takes {takes} independent aligned drafts, and there are {known + open_} at most{instead}"
    return f"a false positive rate of {rate} cannot be certified, only estimated: {there}"


def _takes(cases: Sequence[Case], target: float) -> int:
    """How many aligned drafts a certificate takes: half of them teach the gate."""
    pairs, weights = [case.pair or case.id for case in cases], [case.weight for case in cases]
    return 2 * cases_to_set_aside(target, CONFIDENCE, ALARMS, pairs=pairs, weights=weights)


def _is_given(case: Case) -> bool:
    return case.response is not None and case.label is not None
