"""Pairs out of labels: of the responses given to one request, an acceptable one and one that is not. No model is asked.

Responses belong together where the request is the same, and the case's ``pair`` too where it has one: the same request may
be about other things each time ("Write the clinical note for this patient."). A misaligned response that has references,
right revisions written by people, needs no other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from conscience._base.files import digest64
from conscience.cases.case import Case
from conscience.messages.rendering import request_text
from conscience.messages.requests import turns
from conscience.optimizers.training.pairs import PreferencePair


@dataclass
class LabelledPairs:
    """What labels give.

    Attributes:
        pairs: in the order in which their requests came.
        left: misaligned responses to which nobody has given a better one.
        dropped: what else is in no pair, counted by reason; see ``selection.REASONS``.
    """

    pairs: list[PreferencePair] = field(default_factory=list)
    left: list[Case] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def is_labelled(case: Case) -> bool:
    """Whether a case is a response with a label."""
    return case.response is not None and case.label is not None and bool(case.response.strip())


def pair_labels(cases: Iterable[Case]) -> LabelledPairs:
    """The pairs that labelled responses make among themselves.

    Every response is used, and as rarely as can be: of three misaligned ones and two aligned ones come three pairs. One that
    has both labels in the same place is in none.

    Args:
        cases: each with a response and a label.
    """
    result = LabelledPairs()
    together: dict[tuple[int, str | None], list[Case]] = {}
    for case in cases:
        together.setdefault((digest64(request_text(case.request)), case.pair), []).append(case)
    for given in together.values():
        both = {case.response for case in given if case.misaligned} & {
            case.response for case in given if not case.misaligned
        }
        result.dropped["contradictory"] += sum(case.response in both for case in given)
        usable = [case for case in given if case.response not in both]
        if usable and not request_text(usable[0].request).strip():
            result.dropped["no request"] += len(usable)
            continue
        _pair(usable, result)
    return result


def _pair(given: list[Case], result: LabelledPairs) -> None:
    chosen, rejected = ([case for case in given if case.misaligned is side] for side in (False, True))
    if not chosen:
        for case in rejected:
            if case.references:
                result.pairs.append(_of(case, case.references[0], case, "references"))
            else:
                result.left.append(case)
        return
    if not rejected:
        result.dropped["unpaired"] += len(chosen)
        return
    for number in range(max(len(chosen), len(rejected))):
        good, bad = chosen[number % len(chosen)], rejected[number % len(rejected)]
        result.pairs.append(_of(good, good.response or "", bad, "labels"))


def _of(good: Case, text: str, bad: Case, source: str) -> PreferencePair:
    safe = good.request_safe if good.request_safe is not None else bad.request_safe
    return PreferencePair(
        request=turns(bad.request),
        chosen=text,
        rejected=bad.response or "",
        group=bad.group or good.group,
        cluster=bad.pair or bad.id,
        request_safe=safe,
        provenance={
            "from": source,
            "cases": list(dict.fromkeys((good.id, bad.id))),
            **({"source": bad.source} if bad.source else {}),
        },
    )
