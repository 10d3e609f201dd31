"""Who may ask what: keys, the policy behind each, and the program that serves it."""

from __future__ import annotations

import copy
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import get_args

from conscience._types import ReleaseMode
from conscience.errors import ConfigurationError
from conscience.observability.mode import ModeSpec, check_mode
from conscience.program import Conscience
from conscience.server.errors import no_such_model, unauthorized


@dataclass(frozen=True)
class Policy:
    """What a key may ask, and how strictly it is answered.

    Attributes:
        name: whom the key belongs to, as metrics and logs call it.
        key: the bearer key; in no repr.
        programs: the model's name that a client asks for → the program that answers; None for every program under its own.
        threshold: the probability from which the gate flags, in place of each program's.
        mode: "enforce", "observe" (review and log, alter nothing) or an Observe, in place of each program's.
        release: how answers are streamed, in place of what the server does; see ``Conscience.stream``.
        operator: whether the key may read the metrics and use the playground, which shows drafts.

    Raises:
        ConfigurationError: a key is empty or cannot be sent, or the threshold is no probability.
    """

    name: str
    key: str = field(repr=False)
    programs: Mapping[str, str] | None = None
    threshold: float | None = None
    mode: ModeSpec | None = None
    release: ReleaseMode | None = None
    operator: bool = False

    def __post_init__(self) -> None:
        if not self.key or not all("!" <= c <= "~" for c in self.key):
            raise ConfigurationError(
                f"the key of {self.name} is empty, or holds blanks or characters that no header can", hint="set another"
            )
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigurationError(f"the threshold of {self.name} is {self.threshold!r}", hint="a probability: 0 to 1")
        if self.mode is not None:
            check_mode(self.mode)
        if self.release not in (None, *get_args(ReleaseMode)):
            raise ConfigurationError(f"the release of {self.name} is {self.release!r}", hint="hold or window")


@dataclass(frozen=True)
class Tenant:
    """A policy with the programs that carry it out.

    Attributes:
        name: as metrics and logs call it; "" where the server has no keys.
        programs: the model's name that a client asks for → the program, whose threshold and mode are the policy's.
        release, operator: see ``Policy``.
    """

    name: str
    programs: Mapping[str, Conscience]
    release: ReleaseMode = "hold"
    operator: bool = False

    def program(self, model: str) -> Conscience:
        """The program that answers for a model.

        Raises:
            ApiError: there is none of that name, or not for this tenant.
        """
        program = self.programs.get(model)
        if program is None:
            raise no_such_model(model)
        return program


class Tenants:
    """All tenants of a server; without a policy there is one, without a name, who may do everything.

    Args:
        programs: the model's name that clients ask for → the program that answers.
        policies: a key each.
        release: how answers are streamed where a policy does not say.

    Raises:
        ConfigurationError: no program, a policy that names one that is not there, or two policies with the same key.
    """

    def __init__(self, programs: Mapping[str, Conscience], policies: Sequence[Policy], release: ReleaseMode) -> None:
        if not programs:
            raise ConfigurationError("there is no program to serve")
        self._by_digest = {_digest(policy.key): _tenant(policy, programs, release) for policy in policies}
        if len(self._by_digest) < len(policies):
            raise ConfigurationError("two policies have the same key", hint="give each its own")
        self.open = not policies
        self.all = [*self._by_digest.values()] if policies else [Tenant("", dict(programs), release, operator=True)]

    def of(self, authorization: str | None) -> Tenant:
        """The tenant of a request by its header ``Authorization``. How long the comparison takes says nothing of a key.

        Raises:
            ApiError: the key is missing or unknown.
        """
        if self.open:
            return self.all[0]
        scheme, _, given = (authorization or "").partition(" ")
        digest = _digest(given.strip() if scheme.lower() == "bearer" else "")
        found = None
        for known, tenant in self._by_digest.items():  # each is compared, whichever is right
            if hmac.compare_digest(known, digest):
                found = tenant
        if found is None:
            raise unauthorized(
                "The API key is not known here." if authorization else "No API key was sent: Authorization: Bearer KEY"
            )
        return found


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def _tenant(policy: Policy, programs: Mapping[str, Conscience], release: ReleaseMode) -> Tenant:
    names = {name: name for name in programs} if policy.programs is None else policy.programs
    if missing := sorted(set(names.values()) - set(programs)):
        raise ConfigurationError(
            f"the key of {policy.name} names the program {missing[0]!r}, which is not served",
            hint=f"there are: {', '.join(programs)}",
        )
    carried_out = {name: _under(policy, programs[name]) for name in set(names.values())}
    answering = {asked: carried_out[name] for asked, name in names.items()}
    return Tenant(policy.name, answering, policy.release or release, policy.operator)


def _under(policy: Policy, program: Conscience) -> Conscience:
    """A program with a policy's threshold and mode; what it brings with it is not copied."""
    if policy.threshold is not None:
        program = program.with_gate(program.gate_settings.with_threshold(policy.threshold))
        program.chosen_threshold = policy.threshold
    if policy.mode is not None:
        program = copy.copy(program)
        program.mode = policy.mode
    return program
