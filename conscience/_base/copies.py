"""Objects whose copies and pickles hold what their ``__getstate__`` gives, and nothing else."""

from __future__ import annotations

import copy
from typing import Any, Self

import cloudpickle


class StateCopied:
    """Copies, deep copies and pickles of an object, by its state."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__setstate__(copy.deepcopy(self.__getstate__(), memo))  # type: ignore[attr-defined]
        return copied

    def __copy__(self) -> Self:
        copied = type(self).__new__(type(self))
        copied.__setstate__(self.__getstate__())  # type: ignore[attr-defined]
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickle by value, as signatures made from text, functions and classes of a notebook need it, for plain ``pickle``
        and ``multiprocessing`` too. It holds no credentials."""
        return _unpickled, (type(self), cloudpickle.dumps(self.__getstate__()))


def _unpickled(build: Any, state: bytes) -> Any:
    made = build.__new__(build)
    made.__setstate__(cloudpickle.loads(state))
    return made
