"""What of a draft a signal is about: all of it, or its response or its reasoning alone.

A harmless answer may stand behind a reasoning that schemes, and a harmless reasoning before an answer that harms: read
together, the longer one hides the other. Read apart and added up, either counts (2505.23575).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

from conscience.outcome import Draft

Part = Literal["draft", "response", "reasoning"]


class OfAPart(BaseModel):
    """A signal that may be about a part of a draft.

    Attributes:
        about: the whole draft, its response without its reasoning, or its reasoning alone. Of what a draft does not have, a
            signal says nothing: its value is 0.
    """

    about: Part = Field(default="draft")

    @model_serializer(mode="wrap")
    def _without_default(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is about the whole draft is written as it was before there was a choice: digests of it stay the same."""
        written: dict[str, Any] = write(self)
        if self.about == "draft":
            written.pop("about", None)
        return written

    def part(self, draft: Draft) -> Draft | None:
        """The draft as the signal is shown it; None where it has no such part."""
        if self.about == "draft":
            return draft
        if self.about == "response":
            return replace(draft, reasoning="", written={}, text=draft.response)
        if not draft.reasoning.strip():
            return None
        return replace(draft, outputs={"response": draft.reasoning}, reasoning="", written={}, text=draft.reasoning)
