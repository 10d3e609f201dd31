"""Which backend serves which role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conscience._dspy.lm import settings
from conscience.backends.backend import Backend
from conscience.backends.bound import BoundBackend
from conscience.backends.decisions.naming import writes_nothing
from conscience.backends.rate_limit import RateLimiter
from conscience.backends.storage.journal import Journal
from conscience.errors import ConfigurationError
from conscience.usage import ROLES, CallContext, Role, UsageTracker


class Roles:
    """Which backend serves which role.

    A role without one of its own takes: revise ← generate; review ← generate (a frozen copy of itself judges);
    judge ← review; propose ← generate. With none at all, the LM configured in DSPy at the time of the call; without that,
    revise ← review. A decision model takes the role review and no other: past it, judge ← generate, and the critique, which
    belongs to the review, is written by the model that generates.

    Raises:
        ConfigurationError: a decision model has another role than review.
    """

    _instead: Mapping[str, Role] = {"review": "generate", "revise": "generate", "judge": "review", "propose": "generate"}

    def __init__(self, backends: Mapping[str, Backend]) -> None:
        self._backends = dict(backends)
        for role, backend in backends.items():
            if backend.decides and role != "review":
                raise writes_nothing(backend.name, role)

    @classmethod
    def of(cls, lm: Any, *, alone: Role = "generate") -> Roles:
        """From one model for every role, or a mapping from role to model.

        Args:
            alone: the role of a decision model that is given alone.
        """
        if lm is None:
            return cls({})
        if isinstance(lm, Roles):
            return lm
        if isinstance(lm, Mapping):
            unknown = sorted(set(lm) - set(ROLES))
            if unknown:
                raise ConfigurationError(f"role {unknown[0]!r} does not exist", hint=f"roles are {', '.join(ROLES)}")
            return cls({role: Backend.of(model) for role, model in lm.items()})
        backend = Backend.of(lm)
        return cls({alone if backend.decides else "generate": backend})

    def backend(self, role: Role) -> Backend:
        """The backend of a role.

        Raises:
            ConfigurationError: no model is set anywhere; names both ways to set one.
        """
        if (own := self.own(role)) is not None:
            return own
        if settings.lm is None and role == "revise" and (judge := self.own("review")) is not None:
            if judge.decides:
                raise writes_nothing(judge.name, role)
            return judge  # a callable generated: the only model there is revises too
        if settings.lm is None:
            raise ConfigurationError(
                f"no model is set for the role {role}",
                hint='pass lm="openai/gpt-4o-mini" (or lm="local"), or call dspy.configure(lm=dspy.LM(...)) first',
            )
        backend = Backend.of(settings.lm)
        if backend.decides and role != "review":
            raise writes_nothing(backend.name, role)
        return backend

    def bound(self, role: Role, ctx: CallContext) -> BoundBackend:
        """The backend of a role, bound to a call that pays for it.

        Raises:
            ConfigurationError: see ``backend``.
        """
        backend = self.backend(role)
        return BoundBackend(backend, ctx, self.writer(role) if backend.decides else None)

    def writer(self, role: Role) -> Backend | None:
        """What writes for a role: its own backend, or the one that generates where that only decides; None without any."""
        candidates = (self.own(role), self.own("generate"), None if settings.lm is None else Backend.of(settings.lm))
        return next((backend for backend in candidates if backend is not None and not backend.decides), None)

    @property
    def named(self) -> Mapping[str, Backend]:
        """Role → its own backend; DSPy's LM has the role generate where no other has it.

        Raises:
            ConfigurationError: see ``backend``.
        """
        return self._backends or {"generate": self.backend("generate")}

    def for_run(self, journal: Journal, rate_limiter: RateLimiter | None = None, meter: UsageTracker | None = None) -> Roles:
        """The same roles for one run, see ``Backend.for_run``; DSPy's LM takes the role generate where no other has it."""
        return Roles({role: backend.for_run(journal, rate_limiter, meter) for role, backend in self.named.items()})

    def knows(self, role: Role) -> bool:
        """Whether a model is set for the role, here or in DSPy."""
        return self.own(role) is not None or settings.lm is not None

    def own(self, role: Role) -> Backend | None:
        """The backend of a role where these roles say it themselves, without DSPy's."""
        candidate: str | None = role
        while candidate is not None:
            backend = self._backends.get(candidate)
            if backend is not None and (role == "review" or not backend.decides):
                return backend
            candidate = self._instead.get(candidate)
        return None

    def __repr__(self) -> str:
        return f"Roles({self._backends!r})"
