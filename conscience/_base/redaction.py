"""Messages without keys: what goes into errors, logs and files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

_KEY = re.compile(r"\b(sk|pk|key|gsk|xai|hf|AIza)[-_][\w*-]{6,}|Bearer\s+\S+|AIza[\w-]{20,}")


def redact(text: str, secrets: Sequence[str]) -> str:
    """A message without keys: those that were passed, those in the environment, and whatever looks like one."""
    known = [v for k, v in os.environ.items() if k.endswith(("_API_KEY", "_TOKEN", "_SECRET")) and len(v) >= 6]
    for secret in sorted({*secrets, *known}, key=len, reverse=True):
        text = text.replace(secret, "[redacted]")
    return _KEY.sub("[redacted]", text)
