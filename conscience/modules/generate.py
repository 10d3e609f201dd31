"""Generate: any signature, DSPy module or plain callable, and the draft that comes of it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import dspy

from conscience._base.flow import Flow, run_sync
from conscience._dspy import ChatPredict
from conscience._types import GenerateSpec
from conscience.backends.backend import Backend
from conscience.backends.bound import BoundBackend
from conscience.errors import BackendError, ConfigurationError
from conscience.messages.completion import Message, clean
from conscience.messages.rendering import outputs_text
from conscience.messages.requests import check_request, turns
from conscience.modules.outputs import exchange_of, without_reasoning
from conscience.outcome import OUTCOME_ATTRIBUTES, Draft
from conscience.usage import CallContext, UsageTracker


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

    def __init__(self, generate: GenerateSpec = "request -> response") -> None:
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
        if self.signature is not None:
            _check_names(self.signature.output_fields)

    @property
    def signature(self) -> type[dspy.Signature] | None:
        """The signature of the answer: the module's own, or that of its only predictor. A module of several steps has none:
        what it returns is not what any one step said."""
        if not isinstance(self.predict, dspy.Module):
            return None
        own = getattr(self.predict, "signature", None)
        if isinstance(own, type) and issubclass(own, dspy.Signature):
            return own
        predictors = self.predict.predictors()
        return predictors[0].signature if len(predictors) == 1 else None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of its inputs: the signature's, or those of a module's ``forward`` or a callable."""
        if self.signature is not None:
            return tuple(self.signature.input_fields)
        called = self.predict.forward if isinstance(self.predict, dspy.Module) else self.predict
        try:
            parameters = inspect.signature(called).parameters.values()
        except (TypeError, ValueError):  # builtins
            return ("request",)
        named = tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
        return named or ("request",)

    def draft(self, inputs: Mapping[str, Any], model: BoundBackend) -> Flow[Draft]:
        """The draft for these inputs.

        Raises:
            InputError: an empty request, NUL bytes or lone surrogates.
            BackendError: the model failed, or answered with nothing.
        """
        request = check_request(inputs)
        result = yield model.call(self.predict, inputs)
        outputs, reasoning = _outputs(result)
        reply = model.exchanges[-1][1] if model.exchanges else None
        if (exchange := exchange_of(outputs, model)) is not None:
            messages, reply = exchange
            text, reasoning = reply.text, reasoning or reply.reasoning
        else:
            messages, text = turns(request), outputs_text(outputs)
        draft = Draft(request=request, outputs=outputs, reasoning=reasoning, messages=messages, text=text)
        if not draft.response.strip():
            truncated = reply is not None and reply.finish_reason == "length"
            raise BackendError(
                f"{reply.model if reply else 'generate'}: the answer is empty",
                hint="it ran out of max_tokens before its first word" if truncated else "ask again, or choose another model",
            )
        return draft

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """The draft alone, unreviewed, as a prediction with the LM configured in DSPy."""
        if dspy.settings.lm is None:
            raise ConfigurationError("no model is set", hint="call dspy.configure(lm=dspy.LM(...)) first")
        model = BoundBackend(Backend.of(dspy.settings.lm), CallContext(UsageTracker(), "generate"))
        draft = run_sync(self.draft(inputs, model))
        return dspy.Prediction(**draft.outputs, **({"reasoning": draft.reasoning} if draft.reasoning else {}))


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
    messages: list[Message] = []
    if signature.instructions != _default_instructions(tuple(signature.input_fields), tuple(signature.output_fields)):
        messages.append({"role": "system", "content": signature.instructions})
    (output,) = signature.output_fields
    for demo in demos:
        demo_inputs = {name: demo[name] for name in signature.input_fields if demo.get(name) is not None}
        if demo_inputs and demo.get(output):
            messages += turns(check_request(demo_inputs))
            messages.append({"role": "assistant", "content": str(demo[output])})
    messages += turns(check_request({name: inputs.get(name) for name in signature.input_fields}))
    return [dict(message) for message in messages]


@lru_cache(maxsize=256)
def _default_instructions(inputs: tuple[str, ...], outputs: tuple[str, ...]) -> str:
    """What DSPy writes for a signature without instructions: nothing that a chat turn needs."""
    return str(dspy.Signature(f"{', '.join(inputs)} -> {', '.join(outputs)}").instructions)


def _outputs(result: Any) -> tuple[dict[str, Any], str]:
    """Output fields and written reasoning of whatever a module or callable returned."""
    if isinstance(result, str):
        return {"response": clean(result)}, ""
    if isinstance(result, dspy.Example | Mapping):
        fields = {name: clean(value) for name, value in result.items()}
    else:
        raise ConfigurationError(
            f"generate returned {type(result).__name__}", hint="return a text, a mapping of fields or a dspy.Prediction"
        )
    answer, reasoning = without_reasoning(fields)
    _check_names(answer)
    return answer, reasoning


def _check_names(outputs: Iterable[str]) -> None:
    if taken := sorted(OUTCOME_ATTRIBUTES.intersection(outputs)):
        raise ConfigurationError(f"an output field is called {taken[0]!r}, as a part of every outcome is", hint="rename it")
