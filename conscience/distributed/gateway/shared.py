"""One run at a gateway, as whoever began it sees it: what they share goes there, and what it has become comes back."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from typing import Self

from conscience.distributed.gateway.requests import NOTHING, Run, Spent
from conscience.distributed.gateway.starting import GatewayProcess
from conscience.distributed.tasks import Shared
from conscience.usage import CallUsage

LOOK_SECONDS = 0.5


class GatewayRun:
    """A run that a gateway serves, from ``async with`` on.

    The caller's meter and rate limiter follow what is spent there, about twice a second. A gateway that has ended by itself
    is started anew.

    Args:
        gateway: serves it.
        shared: what the run's calls have in common. Nothing else may spend from it meanwhile.
    """

    def __init__(self, gateway: GatewayProcess, shared: Shared) -> None:
        self.name = secrets.token_hex(8)
        self._gateway, self._shared = gateway, shared
        self._known = NOTHING

    async def __aenter__(self) -> Self:
        await self._begin()
        self._looking = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._looking.cancel()
        with suppress(asyncio.CancelledError):
            await self._looking
        if self._gateway.alive:
            self._follow(await asyncio.wrap_future(self._gateway.client.request("ended", self.name)))

    async def _begin(self) -> None:
        shared, journal = self._shared, self._shared.journal
        run = Run(
            self.name,
            None if journal is None else journal.path.absolute(),
            frozenset() if journal is None else frozenset(journal.used),
            shared.rate_limiter,
            shared.meter,
        )
        await asyncio.wrap_future(self._gateway.client.request("run", run))
        self._known = NOTHING

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not self._gateway.alive:
                await asyncio.to_thread(self._gateway.restart)
                await self._begin()
            elif self._shared.meter is not None:
                self._follow(await asyncio.wrap_future(self._gateway.client.request("spent", self.name)))

    def _follow(self, spent: Spent) -> None:
        shared, before = self._shared, self._known
        if shared.meter is not None:
            new = {role: usage - before.by_role.get(role, CallUsage()) for role, usage in spent.by_role.items()}
            shared.meter.absorb(spent.calls - before.calls, new)
        if shared.journal is not None:
            shared.journal.used |= spent.used
        if shared.rate_limiter is not None and spent.rate_limiter is not None:
            shared.rate_limiter.follow(spent.rate_limiter)
        self._known = spent
