"""A fifth of all calls fails, in every way that servers fail: nothing leaks, nothing is crossed, and little is lost."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from conscience import Backend, Conscience
from tests.support.faulty_server import ONE_REPLY, Served, faulty_server
from tests.support.traffic import WAYS, Ended

SECONDS = 12.0
"""The budget of one request."""
LATE = 2.0
"""Seconds past the budget that a busy machine may take to say so."""
RETRIES = 2
MODELS = ("one", "two")


def program(url: str, timeout: float) -> Conscience:
    options = {"api_base": url, "api_key": "sk-test", "cache": False, "timeout": timeout, "retries": RETRIES}
    first, second = (f"openai/{model}" for model in MODELS)
    return Conscience(
        "question -> answer",
        lm=Backend(first, fallbacks=[Backend(second, **options)], **options),
        budget={"seconds": SECONDS},
    )


def tried_everything(calls: Sequence[Served]) -> bool:
    """Whether the last thing that was asked failed as often as it may be asked, with each model."""
    last = calls[-1].stage
    failed = Counter(call.model for call in calls if call.stage == last and call.fault)
    return all(failed[model] > RETRIES for model in MODELS)


def answered_twice(calls: Sequence[Served]) -> bool:
    """Whether a caller's draft was asked for again although it had been given."""
    return sum(call.stage == "generate" and call.fault in ("", "slow") for call in calls) > 1


def written_for_a_reason(calls: Sequence[Served]) -> bool:
    """Whether a written score was the best that could be had: a reply without candidates came, or the last try was cut off
    before its first word, as the answer of a model is that thinks."""
    gate = [call for call in calls if call.stage == "gate"]
    one_reply = any(call.fault in ONE_REPLY["gate"] for call in gate)
    return one_reply or (gate[-1].fault == "no word" and tried_everything(gate))


def check(ends: Sequence[Ended], log: dict[str, list[Served]], timeout: float, capsys: pytest.CaptureFixture[str]) -> None:
    lost = [end for end in ends if end.lost]
    found = {
        "leaked": [end for end in ends if end.leaked],
        "crossed": [end for end in ends if end.crossed] + [caller for caller in log if "+" in caller],
        "doubled": [end for end in ends if end.seconds < timeout and answered_twice(log[end.caller])],
        "late": [end for end in ends if end.seconds > SECONDS + LATE],
        "lost before all was tried": [
            end for end in lost if end.seconds < SECONDS and not tried_everything(log[end.caller])
        ],
        "written without a reason": [
            end for end in ends if end.method == "verbalised" and not written_for_a_reason(log[end.caller])
        ],
    }
    faults = Counter(call.fault for calls in log.values() for call in calls)
    told = f"{len(ends)} requests, {sum(faults.values())} calls, {1 - faults[''] / sum(faults.values()):.1%} faulty: "
    told += f"{len(lost)} lost, " + ", ".join(f"{len(these)} {name}" for name, these in found.items())
    told += f"; read by {dict(Counter(end.method for end in ends))}; slowest {max(end.seconds for end in ends):.1f} s"
    with capsys.disabled():
        sys.stdout.write(f"\n{told}\n")
    wrong = [f"{name}: {end} {log.get(getattr(end, 'caller', ''))}" for name, these in found.items() for end in these[:3]]
    assert not wrong, "\n".join(wrong)


@pytest.mark.long
def test_three_hundred_requests_of_a_bad_day(capsys: pytest.CaptureFixture[str]) -> None:
    """In threads and on an event loop at once, over one program."""
    with faulty_server(0.2, seed=1) as server, ThreadPoolExecutor() as pool:
        asked = program(server.url, timeout=2.0)
        halves = [pool.submit(WAYS[way], asked, range(n, 300, 2)) for n, way in enumerate(WAYS)]
        ends = [end for half in halves for end in half.result()]
        check(ends, server.log(), 2.0, capsys)


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_five_thousand_requests_of_a_bad_day(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Half of them in threads, half on an event loop."""
    with faulty_server(0.2, seed=2) as server:
        ends = WAYS[way](program(server.url, timeout=3.0), range(2500))
        check(ends, server.log(), 3.0, capsys)
