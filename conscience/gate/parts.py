"""What of a draft a signal is about: all of it, or its response or its reasoning alone.

A harmless answer may stand behind a reasoning that schemes, and a harmless reasoning before an answer that harms: read
together, the longer one hides the other. Read apart and added up, either counts (2505.23575).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

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

    _added: ClassVar[frozenset[str]] = frozenset({"about"})
    """Fields that were added later, each with a default."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A signal that makes no use of a field is written as it was before there was one: digests of it stay the same."""
        written: dict[str, Any] = write(self)
        fields = type(self).model_fields
        return {name: value for name, value in written.items() if name not in self._added or value != fields[name].default}

    def part(self, draft: Draft) -> Draft | None:
        """The draft as the signal is shown it; None where it has no such part."""
        if self.about == "draft":
            return draft
        if self.about == "response":
            return replace(draft, reasoning="", written={}, text=draft.response)
        if not draft.reasoning.strip():
            return None
        return replace(draft, outputs={"response": draft.reasoning}, reasoning="", written={}, text=draft.reasoning)
