"""What a model takes in place of a parameter that it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Legal:
    """What is sent in a parameter's place; by default nothing.

    Attributes:
        name: what it is called; None where it is left out.
        least, most: the bounds of its value; of a list, ``most`` is of its length.
        value: the only value; None for any.
    """

    name: str | None = None
    least: float | None = None
    most: float | None = None
    value: Any = None

    def __str__(self) -> str:
        if self.name is None:
            return "left out"
        parts = [f"sent as {self.name}"] if self.least is self.most is self.value is None else []
        parts += [f"at least {self.least:g}"] if self.least is not None else []
        parts += [f"at most {self.most:g}"] if self.most is not None else []
        parts += [f"only {self.value!r}"] if self.value is not None else []
        return ", ".join(parts)

    def of(self, value: Any) -> Any:
        """The legal value nearest to this one.

        A whole number stays one.
        """
        if self.value is not None:
            return self.value
        if isinstance(value, list | tuple):
            return list(value)[: int(self.most)] if self.most is not None else list(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        near = value if self.least is None else max(value, self.least)
        near = near if self.most is None else min(near, self.most)
        return type(value)(near) if isinstance(value, int) and near == int(near) else near

    def changes(self, name: str, value: Any) -> bool:
        """Whether a parameter of this name and value is sent otherwise."""
        return self.name != name or self.of(value) != value


def adapted(params: Mapping[str, Any], legal: Mapping[str, Legal]) -> dict[str, Any]:
    """The parameters of a call as a model takes them.

    Args:
        params: as they were asked for.
        legal: parameter → what is taken in its place.
    """
    sent = dict(params)
    for name in legal.keys() & params.keys():
        rule, value = legal[name], sent.pop(name)
        if rule.name is None or value is None or (rule.name != name and rule.name in params):
            continue
        other = legal.get(rule.name) if rule.name != name else None
        if other is None or other.name == rule.name:
            sent[rule.name] = rule.of(value) if other is None else other.of(rule.of(value))
    if "logprobs" not in sent:
        sent.pop("top_logprobs", None)  # which no provider takes alone
    return sent
