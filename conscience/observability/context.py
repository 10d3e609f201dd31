"""Which request a call belongs to: its id, its tenant and its mode, from whoever knows them to whatever runs below."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar, Token
from typing import Any

from conscience.observability.mode import ModeSpec, check_mode

request_id: ContextVar[str] = ContextVar("conscience_request_id", default="")
"""The id of the request that is being answered; empty outside of one. A call that is logged makes its own without one."""

tenant: ContextVar[str] = ContextVar("conscience_tenant", default="")
"""For whom; empty where nobody said so."""

call_mode: ContextVar[ModeSpec | None] = ContextVar("conscience_call_mode", default=None)
"""The mode of the calls below, in place of their programs' own; None leaves it to these."""

LONGEST_NAME = 200
"""Characters of an id or a tenant that are kept: they may come from a client's header."""


@contextmanager
def request_context(*, id: str | None = None, tenant: str | None = None, mode: ModeSpec | None = None) -> Iterator[None]:
    """Every call inside, in this task or thread and those that it starts with its context, belongs to this request.

    Args:
        id: of the request. Unprintable characters are dropped, and the end of a long one.
        tenant: for whom it is; treated alike.
        mode: in place of the program's own: "enforce", "observe" or an Observe. What is left out stays as it is.

    Raises:
        ConfigurationError: there is no such mode.
    """
    with ExitStack() as stack:
        for variable, name in ((request_id, id), (_tenant, tenant)):
            if name is not None:
                stack.callback(_reset, variable, variable.set(printable(name)))
        if mode is not None:
            stack.callback(_reset, call_mode, call_mode.set(check_mode(mode)))
        yield


def _reset(variable: ContextVar[Any], token: Token[Any]) -> None:
    try:
        variable.reset(token)
    except ValueError:  # it was set in a context that has ended, as a framework's generators are begun in one thread and
        pass  # ended in another


_tenant = tenant  # which an argument hides


def printable(name: str) -> str:
    """A name that can stand in a line of a log."""
    text = str(name)[:LONGEST_NAME]
    return text if text.isprintable() else "".join(filter(str.isprintable, text))


class RequestIdFilter(logging.Filter):
    """Gives every record of a handler the attribute ``request_id``, for its format; outside of a request it is "-".

    handler.addFilter(RequestIdFilter())
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if not getattr(record, "request_id", ""):
            record.request_id = printable(request_id.get()) or "-"
        return True
