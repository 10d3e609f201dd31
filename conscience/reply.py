"""One answer of a model: the OpenAI chat body as plain JSON, and typed views of the parts that this library reads.

Every backend's answer is brought to this form first, so caching, capabilities and accounting are written once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Message = Mapping[str, Any]
"""A chat message: ``{"role": …, "content": …}`` and whatever else its role needs (tool_calls, tool_call_id, name)."""

Body = dict[str, Any]
"""An OpenAI chat completion as plain JSON types."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer.

    Attributes:
        body: the whole answer, JSON types only.
        model: the backend that gave it, as the user named it.
        dollars: its price, or None where the model has none on LiteLLM's list.
        cached: whether it came from the response cache.
    """

    body: Body
    model: str
    dollars: float | None = None
    cached: bool = False

    @property
    def message(self) -> Mapping[str, Any]:
        choices = self.body.get("choices") or [{}]
        message: Mapping[str, Any] = choices[0].get("message") or {}
        return message

    @property
    def text(self) -> str:
        """The written answer; a provider's refusal field counts as what the model said."""
        content = self.message.get("content")
        if isinstance(content, list):
            content = "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
        return str(content or self.message.get("refusal") or "")

    @property
    def reasoning(self) -> str:
        """The provider's own reasoning content, where it shows any."""
        return str(self.message.get("reasoning_content") or self.message.get("reasoning") or "")

    @property
    def finish_reason(self) -> str:
        choices = self.body.get("choices") or [{}]
        return str(choices[0].get("finish_reason") or "")

    @property
    def first_token(self) -> Sequence[tuple[str, float]]:
        """The candidates for the first token with their log-probabilities (nats), likeliest first; may be empty."""
        choices = self.body.get("choices") or [{}]
        content = (choices[0].get("logprobs") or {}).get("content") or []
        if not content:
            return ()
        first = content[0]
        candidates = {str(t["token"]): float(t["logprob"]) for t in first.get("top_logprobs") or ()}
        if first.get("token") is not None and first.get("logprob") is not None:
            candidates.setdefault(str(first["token"]), float(first["logprob"]))
        return sorted(candidates.items(), key=lambda item: -item[1])

    def tokens(self) -> tuple[int, int, int]:
        """Input, output and reused input tokens."""
        usage = self.body.get("usage") or {}
        details = usage.get("prompt_tokens_details") or {}
        return (
            int(usage.get("prompt_tokens") or 0),
            int(usage.get("completion_tokens") or 0),
            int(details.get("cached_tokens") or 0),
        )
