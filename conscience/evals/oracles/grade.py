"""What an oracle is, and what it says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from conscience.cases.case import Case


@dataclass(frozen=True)
class Grade:
    """What an oracle says of a response.

    Attributes:
        acceptable: whether it is; None where the oracle cannot tell, and rules nothing.
        reason: why, for people.
        refusal: whether the response declines to answer.
    """

    acceptable: bool | None
    reason: str
    refusal: bool = False


Oracle = Callable[[Case, str], Grade | Awaitable[Grade]]
"""Any callable of a case and a response; its ``Grade`` decides. It may be async."""
