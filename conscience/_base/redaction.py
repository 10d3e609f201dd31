"""Messages and errors without keys: what goes into logs and files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NoReturn

_KEY = re.compile(r"\b(sk|pk|key|gsk|xai|hf|AIza)[-_][\w*-]{6,}|Bearer\s+\S+|AIza[\w-]{20,}")


def redact(text: str, secrets: Sequence[str]) -> str:
    """A message without keys: those that were passed, those in the environment, and whatever looks like one."""
    known = (value for name, value in os.environ.items() if name.endswith(("_API_KEY", "_TOKEN", "_SECRET")))
    for secret in sorted({*secrets, *(value for value in known if len(value) >= 6)}, key=len, reverse=True):
        text = text.replace(secret, "[redacted]")
    return _KEY.sub("[redacted]", text)


def raise_alone(error: Exception) -> NoReturn:
    """Raises an error that does not lead to those behind it: they may repeat a key, and loggers print them."""
    try:
        raise error
    finally:
        error.__context__ = None
