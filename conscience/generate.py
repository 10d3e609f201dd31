"""Generate: any signature, DSPy module or plain callable, and the draft that comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import dspy

from conscience.backends import Backend, check_string, check_text
from conscience.dspy_seam import Account, ChatPredict, calling
from conscience.errors import BackendError, ConfigurationError, InputError
from conscience.flow import Flow, drive
from conscience.rendering import Request, outputs_text, request_text, value_text
from conscience.usage import Ledger
from conscience.verdict import Draft

REASONING_FIELDS = ("reasoning", "rationale", "trajectory")
"""Output fields that hold written reasoning: reviewed like the answer, but not part of it."""


class Generate(dspy.Module):  # type: ignore[misc]
    """Produces a draft.

    A signature with one text output is asked as a plain chat turn, without field markers: small models cope, and the gate
    can continue the same messages. Other signatures go through ``dspy.Predict``, modules and callables run as they are.

    Args:
        generate: a DSPy signature (string or class), any ``dspy.Module``, or a callable that returns a text, a mapping of
            output fields or a ``dspy.Prediction``.

    Attributes:
        plain: whether it is asked as a plain chat turn.
        declared: the signature as text where it was given as one and all its fields are texts; None otherwise.
    """

    def __init__(self, generate: Any = "request -> response") -> None:
        super().__init__()
        self.plain = False
        self.declared: str | None = None
        if isinstance(generate, dspy.Module):
            self.predict = generate
        elif isinstance(generate, str) or (isinstance(generate, type) and issubclass(generate, dspy.Signature)):
            signature = _signature(generate)
            self.plain = _one_text(signature)
            self.declared = _declared(signature)
            self.predict = ChatPredict(signature, _render, Backend.of) if self.plain else dspy.Predict(signature)
        elif callable(generate):
            self.predict = generate
        else:
            raise ConfigurationError(
                f"{type(generate).__name__} cannot generate", hint="pass a signature, a dspy.Module or a callable"
            )

    @property
    def signature(self) -> type[dspy.Signature] | None:
        """The signature of the answer, where there is one: a module's last predictor gives it."""
        if isinstance(self.predict, dspy.Module):
            predictors = self.predict.predictors()
            return predictors[-1].signature if predictors else None
        return None

    def flow(self, inputs: Mapping[str, Any], backend: Backend, who: Account) -> Flow[Draft]:
        """The draft for these inputs.

        Raises:
            InputError: an empty request, NUL bytes or lone surrogates.
            BackendError: the model failed, or answered with nothing.
        """
        request = check_request(inputs)
        result = yield calling(self.predict, inputs, backend.lm, who)
        outputs, reasoning = _outputs(result)
        if who.exchanges:
            messages, reply = who.exchanges[-1]
            text = reply.text
            reasoning = reasoning or reply.reasoning
        else:
            text, reply = outputs_text(outputs), None
            turns = request if not isinstance(request, str) else [{"role": "user", "content": request}]
            messages = tuple(turns)
        draft = Draft(request=request, outputs=outputs, reasoning=reasoning, messages=messages, text=text)
        if not draft.response.strip():
            cut = reply is not None and reply.finish_reason == "length"
            raise BackendError(
                f"{reply.model if reply else 'generate'}: the answer is empty",
                hint="it ran out of max_tokens before its first word" if cut else "ask again, or choose another model",
            )
        return draft

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """The draft alone, unreviewed, as a prediction with the LM configured in DSPy."""
        if dspy.settings.lm is None:
            raise ConfigurationError("no model is set", hint="call dspy.configure(lm=dspy.LM(...)) first")
        who = Account(Ledger(), "generate")
        draft = drive(self.flow(inputs, Backend.of(dspy.settings.lm), who))
        return dspy.Prediction(**draft.outputs, **({"reasoning": draft.reasoning} if draft.reasoning else {}))


def check_request(inputs: Mapping[str, Any]) -> Request:
    """The request that the inputs make: one input as it is (text or chat messages), several with their names.

    Raises:
        InputError: it is empty, or holds what no provider can receive.
    """
    for name, value in inputs.items():
        if isinstance(value, str):
            check_string(value, f"input {name!r}")
    values = [value for value in inputs.values() if value is not None]
    request: Request
    if len(values) == 1 and is_conversation(values[0]):
        request = tuple(values[0])
        check_text(request)
    elif len(values) == 1:
        request = value_text(values[0])
    else:
        request = "\n".join(f"{name}: {value_text(value)}" for name, value in inputs.items() if value is not None)
    if not request_text(request).strip():
        raise InputError("the request is empty", hint="say what is asked")
    return request


def is_conversation(value: Any) -> bool:
    """Whether a value is a list of chat messages."""
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(m, Mapping) and isinstance(m.get("role"), str) for m in value)
    )


def _signature(value: Any) -> type[dspy.Signature]:
    try:
        signature: type[dspy.Signature] = dspy.Signature(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError) as error:
        raise ConfigurationError(f"{value!r} is no DSPy signature: {error}", hint='write "question -> answer"') from None
    return signature


def _one_text(signature: type[dspy.Signature]) -> bool:
    outputs = list(signature.output_fields.values())
    return len(outputs) == 1 and outputs[0].annotation is str


def _declared(signature: type[dspy.Signature]) -> str | None:
    if any(field.annotation is not str for field in signature.fields.values()):
        return None
    return f"{', '.join(signature.input_fields)} -> {', '.join(signature.output_fields)}"


def _render(
    signature: type[dspy.Signature], demos: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """A plain chat: instructions the user wrote as the system turn, demos as earlier turns, then the request."""
    messages: list[dict[str, Any]] = []
    if signature.instructions != _default_instructions(tuple(signature.input_fields), tuple(signature.output_fields)):
        messages.append({"role": "system", "content": signature.instructions})
    (output,) = signature.output_fields
    for demo in demos:
        asked = {name: demo[name] for name in signature.input_fields if demo.get(name) is not None}
        if asked and demo.get(output):
            messages += _turns(asked)
            messages.append({"role": "assistant", "content": str(demo[output])})
    return messages + _turns({name: inputs.get(name) for name in signature.input_fields})


@lru_cache(maxsize=256)
def _default_instructions(inputs: tuple[str, ...], outputs: tuple[str, ...]) -> str:
    """What DSPy writes for a signature without instructions: nothing that a chat turn needs."""
    return str(dspy.Signature(f"{', '.join(inputs)} -> {', '.join(outputs)}").instructions)


def _turns(inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    request = check_request(inputs)
    if isinstance(request, str):
        return [{"role": "user", "content": request}]
    return [dict(message) for message in request]


def _outputs(result: Any) -> tuple[dict[str, Any], str]:
    """Output fields and written reasoning of whatever a module or callable returned."""
    if isinstance(result, str):
        return {"response": result}, ""
    if isinstance(result, dspy.Example | Mapping):
        fields = dict(result.items())
    else:
        raise ConfigurationError(
            f"generate returned {type(result).__name__}", hint="return a text, a mapping of fields or a dspy.Prediction"
        )
    reasoning = "\n".join(value_text(fields.pop(name)) for name in REASONING_FIELDS if fields.get(name) and len(fields) > 1)
    return fields, reasoning
