"""Rate limits: slots are evenly spaced, and the tokens of a call push back those that follow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from conscience._base.flow import IOStep
from conscience.backends.rate_limit import RateLimiter
from conscience.usage import measure_idle_time


def test_requests_are_spaced_evenly() -> None:
    """600 a minute are a tenth of a second apart."""
    limiter = RateLimiter(requests=600)
    assert [limiter.claim() for _ in range(3)] == pytest.approx([0, 0.1, 0.2], abs=0.02)


def test_tokens_push_back_what_follows() -> None:
    """100 tokens at 6,000 a minute take a second."""
    limiter = RateLimiter(tokens=6000)
    assert limiter.claim() == 0
    limiter.record(100)
    assert limiter.claim() == pytest.approx(1, abs=0.05)


def test_without_limits_nothing_waits() -> None:
    """However much was used."""
    limiter = RateLimiter()
    limiter.record(1_000_000)
    assert limiter.claim() == 0


async def _awaited(step: IOStep) -> None:
    await step.arun()


DRIVERS: dict[str, Callable[[IOStep], None]] = {
    "sync": lambda step: step.run(),
    "async": lambda step: asyncio.run(_awaited(step)),
}


@pytest.mark.parametrize("drive", DRIVERS.values(), ids=DRIVERS)
def test_waiting_for_a_slot_is_idle_time(drive: Callable[[IOStep], None]) -> None:
    """It is not the program's own."""
    limiter = RateLimiter(requests=600)
    with measure_idle_time() as idle_time:
        drive(limiter.acquire())
        drive(limiter.acquire())
    assert idle_time.seconds == pytest.approx(0.1, abs=0.05)
