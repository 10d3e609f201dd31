"""The page itself: one file that draws itself with one script, and a policy for the browser that lets nothing else run.

What a model wrote reaches it as JSON, and becomes text nodes; the policy forbids a script to make markup at all.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from importlib import resources

_POLICY = (
    "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


@dataclass(frozen=True)
class Page:
    """A page as it is sent.

    Attributes:
        body: its bytes.
        headers: of the response; the content security policy names script and style by their digests.
    """

    body: bytes
    headers: dict[str, str]


def page() -> Page:
    """The playground, whole: no other file belongs to it."""
    files = resources.files("conscience.server.playground")
    script = (files / "playground.js").read_text(encoding="utf-8")
    text = (files / "page.html").read_text(encoding="utf-8").replace("{{script}}", script)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": _POLICY.format(script=_source(script), style=_source(style)),
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
    }
    return Page(text.encode(), headers)


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
