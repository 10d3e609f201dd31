"""The form of an answer: how its fields stand in the text that a model wrote, and how such a text is asked for again.

A plain chat turn has no form: its text is the answer. Everything else was written in the format of one of DSPy's adapters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import dspy

from conscience._dspy.lm import AdapterParseError, settings
from conscience.messages.rendering import value_text
from conscience.messages.values import plain_value
from conscience.modules.outputs import REASONING_FIELDS, text_field

_SIMPLE = (str, bool, int, float, list, dict)


class AnswerForm:
    """One signature in the format of one adapter.

    Args:
        signature: whose output fields stand in the text.
        adapter: whose format the text has.
        names: output field of the draft → field of the signature; by default they have the same names.
    """

    def __init__(self, signature: type[dspy.Signature], adapter: Any, names: Mapping[str, str] | None = None) -> None:
        self.signature = signature
        self.adapter = adapter
        self.names = dict(names) if names is not None else {name: name for name in signature.output_fields}

    def request(self) -> str:
        """What asks for a text in this form, after everything else was said."""
        asking = getattr(self.adapter, "user_message_output_requirements", None)
        asked = asking(self.signature) if asking is not None else None
        return str(asked) if asked else "Write it in the form of your last answer, with the same fields."

    def read(self, text: str) -> dict[str, Any]:
        """The draft's fields in a text of this form, and whatever else the signature has beside them (reasoning).

        Reasoning may be left out. A text without any marks of the form is the answer itself where the answer is one text.

        Raises:
            ValueError: the text is not in this form.
        """
        try:
            _, fields = _read(self.adapter, self.signature, text)
        except ValueError:
            name = self._only_text()
            if name is None or self._has_marks(text) or not text.strip():
                raise
            return {name: text}
        renamed = {name: fields[inner] for name, inner in self.names.items() if inner in fields}
        return {**{name: value for name, value in fields.items() if name not in self.names.values()}, **renamed}

    def write(self, outputs: Mapping[str, Any]) -> str:
        """These outputs as a model would have written them in this form; those that the signature has not, too."""
        values = {inner: plain_value(outputs[name]) for name, inner in self.names.items() if name in outputs}
        others = {name: value for name, value in outputs.items() if name not in self.names}
        try:
            text = str(self.adapter.format_assistant_message_content(self.signature, values))
        except NotImplementedError:
            text = _marked(values)
        return f"{_marked(others)}\n\n{text}" if others else text

    def _has_marks(self, text: str) -> bool:
        tagged = any(f"<{name}>" in text for name in self.signature.output_fields)
        return tagged or "[[ ##" in text or text.lstrip().startswith(("{", "```json"))

    def _only_text(self) -> str | None:
        texts = [name for name, inner in self.names.items() if self.signature.output_fields[inner].annotation is str]
        written = [name for name in texts if name not in REASONING_FIELDS]
        return written[0] if len(written) == 1 else None


def adapters() -> list[Any]:
    """The adapters that may have written an answer, likeliest first: the configured one, and what DSPy falls back to. None
    that would ask a model to read it."""
    configured = settings.adapter
    known = [dspy.ChatAdapter(), dspy.JSONAdapter(), dspy.XMLAdapter()]
    readable = isinstance(configured, dspy.Adapter) and not isinstance(configured, dspy.TwoStepAdapter)
    return [configured, *known] if readable else known


def parsed(adapter: Any, signature: type[dspy.Signature], text: str) -> dict[str, Any]:
    """The fields in a text.

    Raises:
        ValueError: they are not in it.
    """
    try:
        with settings.context(callbacks=[]):  # a trial is nobody's event
            fields: dict[str, Any] = dict(adapter.parse(signature, text))
    except (AdapterParseError, AttributeError, TypeError, KeyError) as error:  # adapters trip over texts that are not theirs
        raise ValueError(f"the text does not hold the fields {', '.join(signature.output_fields)}") from error
    return fields


def _read(adapter: Any, signature: type[dspy.Signature], text: str) -> tuple[type[dspy.Signature], dict[str, Any]]:
    """The fields in a text, and the signature that has them: the given one, or it without its reasoning, which DSPy takes
    out where a model thinks by itself.

    Raises:
        ValueError: it is in no such form.
    """
    answer = [name for name, field in signature.output_fields.items() if not _is_reasoning(name, field.annotation)]
    try:
        return signature, parsed(adapter, signature, text)
    except ValueError:
        if not 0 < len(answer) < len(signature.output_fields):
            raise
        alone = _only(signature, answer)
        return alone, parsed(adapter, alone, text)


def _is_reasoning(name: str, annotation: Any) -> bool:
    return name in REASONING_FIELDS or annotation is dspy.Reasoning


def written_by(signatures: Iterable[type[dspy.Signature]], text: str, outputs: Mapping[str, Any]) -> AnswerForm | None:
    """The form in which the text holds every one of these outputs, under its own name or another; None where it does not."""
    for signature in signatures:
        for adapter in adapters():
            try:
                form, fields = _read(adapter, signature, text)
            except ValueError:
                continue
            if (names := _names(fields, outputs)) is not None:
                return AnswerForm(form, adapter, names)
    return None


def made_of(signatures: Iterable[type[dspy.Signature]], text: str, name: str) -> AnswerForm | None:
    """The form of a text of which a module made its only output, a text: in place of the field that is one; None where it
    has none."""
    for signature in signatures:
        for adapter in adapters():
            try:
                form, _ = _read(adapter, signature, text)
            except ValueError:
                continue
            if (field := text_field(form)) is not None:
                return AnswerForm(form, adapter, {name: field})
    return None


def with_field(text: str, signature: type[dspy.Signature], name: str, value: str) -> str:
    """A text of this signature with another value in one field; the value alone where the text has no form."""
    for adapter in adapters():
        try:
            fields = parsed(adapter, signature, text)
        except ValueError:
            continue
        return AnswerForm(signature, adapter).write({**fields, name: value})
    return value


def form_of(outputs: Mapping[str, Any], known: type[dspy.Signature] | None = None) -> AnswerForm | None:
    """A form for outputs that no model wrote as they are: the known signature's where it has them all, else one made from
    their types. None where the only output is a text: then the text is the answer."""
    if len(outputs) == 1 and isinstance(next(iter(outputs.values())), str):
        return None
    if known is not None and set(outputs) <= set(known.output_fields):
        names = {name: name for name in outputs}
        return AnswerForm(_only(known, outputs), dspy.ChatAdapter(), names)
    fields = {name: (kind, dspy.OutputField()) for name, value in outputs.items() if (kind := _kind(value)) is not None}
    if not fields:
        return None
    return AnswerForm(dspy.Signature(fields, "Write the answer."), dspy.ChatAdapter())


def _only(signature: type[dspy.Signature], names: Iterable[str]) -> type[dspy.Signature]:
    for name in list(signature.output_fields):
        if name not in names:
            signature = signature.delete(name)
    return signature


def _kind(value: Any) -> Any:
    if hasattr(type(value), "extract_custom_type_from_annotation"):
        return None  # media and the like: shown to reviewers, and no text that could be written anew
    if hasattr(type(value), "model_fields"):
        return type(value)
    return next((kind for kind in _SIMPLE if type(value) is kind), None)


def _names(fields: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, str] | None:
    names = {}
    for name, value in outputs.items():
        shown = value_text(value).strip()
        same = [inner for inner, other in fields.items() if value_text(other).strip() == shown]
        if not same:
            return None
        names[name] = name if name in same else same[0]
    return names


def _marked(values: Mapping[str, Any]) -> str:
    return "\n\n".join(f"[[ ## {name} ## ]]\n{value_text(value)}" for name, value in values.items())
