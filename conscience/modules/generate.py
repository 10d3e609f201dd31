"""Generate: any signature, DSPy module or callable, and the draft that comes of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dspy

from conscience._base.flow import Flow, run_sync
from conscience._dspy.lm import ChatPredict
from conscience._dspy.modules import predictors
from conscience._types import GenerateSpec
from conscience.backends.backend import Backend
from conscience.backends.bound import BoundBackend
from conscience.errors import ConfigurationError, EmptyAnswer, InputError
from conscience.messages.requests import check_request
from conscience.modules.callables import ONLY, Runnable, arguments, as_callable, input_names
from conscience.modules.origin import limits, origin
from conscience.modules.outputs import reasoning_text, split_reasoning, whole_reasoning
from conscience.modules.results import readable, understood
from conscience.modules.task import as_signature, asks_plainly, is_plain, plain_messages, says_something
from conscience.outcome import OUTCOME_ATTRIBUTES, Draft
from conscience.usage import CallContext, UsageTracker

PRIVILEGED = frozenset({"config", "lm", "demos", "signature", "prediction", "_trace"})
"""What ``dspy.Predict`` takes beside its inputs: no part of the request."""


class Given:
    """What a program was made of, told from its copies: those hold the same one, and pickles hold none."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __deepcopy__(self, memo: Any) -> Given:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Given, (None,)


class Generate(dspy.Module):  # type: ignore[misc]
    """Produces a draft.

    A signature is asked as ``dspy.Predict`` asks it, with the adapter configured in DSPy: history as turns, media as parts,
    tools as tools. The one exception loses nothing: a text or chat messages in, a text out, under the names request or
    question and response or answer, without descriptions or types (``conscience.modules.task``). That is a chat turn, and is
    asked as one, the instructions as its system turn: small models answer it better than they fill in fields. It counts only
    while no adapter is configured. Modules and callables run as they are.

    Args:
        generate: a DSPy signature (string or class); any ``dspy.Module``; a callable, sync or async, that returns what
            ``conscience.modules.results`` lists; an object with ``invoke``/``ainvoke`` (LangChain's Runnables); an agent
            with ``run``/``run_sync`` (pydantic-ai's).

    Attributes:
        plain: whether its signature can be asked as a plain chat turn.
        declared: the signature as text, where that says all of it: names of texts; None otherwise.
        given: what it was made of.
    """

    __getattribute__ = object.__getattribute__  # DSPy's watches for calls of ``forward``, at a price for every attribute

    def __init__(self, generate: GenerateSpec = "request -> response") -> None:
        super().__init__()
        self.given = Given(generate)
        self.plain = False
        self.declared: str | None = None
        if isinstance(generate, dspy.Module):
            self.predict = generate
        elif isinstance(generate, str) or (isinstance(generate, type) and issubclass(generate, dspy.Signature)):
            signature = as_signature(generate)
            self.plain = is_plain(signature)
            self.declared = _declared(signature)
            self.predict = (
                ChatPredict(signature, plain_messages, Backend.of, asks_plainly) if self.plain else dspy.Predict(signature)
            )
        elif (called := as_callable(generate)) is not None:
            self.predict = called
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
        steps = predictors(self.predict)
        return steps[0].signature if len(steps) == 1 else None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of its inputs: those that a module's ``forward`` or a callable names, else the signature's."""
        names = input_names(self.predict) if not isinstance(self.predict, dspy.Predict) else (ONLY,)
        return tuple(self.signature.input_fields) if self.signature is not None and names == (ONLY,) else names

    @property
    def brings_its_model(self) -> bool:
        """Whether it needs none of the program's: a callable answers by itself, as does a module whose predictors all have
        an LM of their own, or that has none."""
        if not isinstance(self.predict, dspy.Module):
            return True
        return all(predictor.lm is not None for predictor in predictors(self.predict))

    def named(self, values: Sequence[Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name. A ``dspy.Predict`` takes a single positional one; modules and callables take
        theirs in order.

        Raises:
            InputError: positional arguments do not fit, or a signature has no input of a name; lists the names.
        """
        names = self.inputs
        if isinstance(self.predict, Runnable) and len(values) == 1 and not inputs and _is_fields(values[0]):
            return dict(values[0])
        fits = len(values) <= len(names) and not set(names[: len(values)]) & set(inputs)
        if values and (not fits or (isinstance(self.predict, dspy.Predict) and (len(names) > 1 or inputs))):
            raise InputError(f"this program takes keywords: {', '.join(names)}")
        named = {**dict(zip(names, values, strict=False)), **inputs}
        unknown = [name for name in named if name not in names and name not in PRIVILEGED]
        if unknown and isinstance(self.predict, dspy.Predict):  # which would leave it out, and ask without
            hint = _meant(unknown[0], names) or f"it has {', '.join(names)}"
            raise InputError(f"this program has no input {unknown[0]!r}", hint=hint)
        return named

    def check_outputs(self, outputs: Iterable[str]) -> None:
        """Whether the fields of a given answer are spelled as this signature's.

        Raises:
            InputError: none is one of its fields, and some may be meant.
        """
        known = tuple(self.signature.output_fields) if self.signature and isinstance(self.predict, dspy.Predict) else ()
        if not set(known) & set(outputs):
            for name in outputs:
                if meant := _meant(name, known):
                    raise InputError(f"this program has no output {name!r}", hint=meant)

    def draft(self, inputs: Mapping[str, Any], model: BoundBackend) -> Flow[Draft]:
        """The draft for these inputs.

        Raises:
            InputError: an empty request, NUL bytes or lone surrogates.
            ConfigurationError: what was returned cannot be understood, or async code was called sync on a running loop.
            BackendError: the model failed, or answered with nothing.
        """
        check_request(self._shown(inputs))
        args, kwargs = arguments(self.predict, inputs)
        draft = self.read((yield model.call(self.predict, kwargs, args)), inputs, model)
        if not draft.response.strip():
            for exchange in model.exchanges:
                yield model.reject(exchange.completion)
            raise EmptyAnswer("generate: the answer is empty", hint="ask again, or choose another model")
        return draft

    def read(self, result: Any, inputs: Mapping[str, Any], model: BoundBackend) -> Draft:
        """The draft that a result is.

        Args:
            result: what was returned.
            inputs: what it was returned for.
            model: knows what was asked and answered on the way.

        Raises:
            ConfigurationError: it cannot be understood.
        """
        shown = self._shown(inputs)
        request = check_request(shown)
        returned = understood(result)
        outputs, written = split_reasoning(returned.fields)
        _check_names(outputs)
        source = origin(request, outputs, model, inputs=shown, signature=self.signature, conversation=returned.conversation)
        return Draft(
            request=request,
            outputs=outputs,
            reasoning=whole_reasoning(written, _thoughts(model)),
            messages=source.messages,
            text=source.text,
            context=source.context,
            written=written,
            sampling={**(limits(model.backend.sampling) if model.exchanges else {}), **source.sampling},
        ).with_form(source.form, source.reply)

    def _shown(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs that are part of the request."""
        return readable({name: value for name, value in inputs.items() if name in self.inputs or name not in PRIVILEGED})

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """The draft alone, unreviewed, as a prediction with the LM configured in DSPy."""
        if dspy.settings.lm is None:
            raise ConfigurationError("no model is set", hint="call dspy.configure(lm=dspy.LM(...)) first")
        model = BoundBackend(Backend.of(dspy.settings.lm), CallContext(UsageTracker(), "generate"))
        draft = run_sync(self.draft(inputs, model))
        beside = draft.written or ({"reasoning": draft.reasoning} if draft.reasoning else {})
        return dspy.Prediction(**draft.outputs, **beside)


def _meant(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else ""


def _thoughts(model: BoundBackend) -> list[str]:
    """What the model thought on the way to an answer, and what its steps wrote of it."""
    thoughts = [exchange.completion.reasoning for exchange in model.exchanges]
    return thoughts + [reasoning_text(split_reasoning(prediction)[1]) for _, _, prediction in model.steps]


def _is_fields(value: Any) -> bool:
    return isinstance(value, Mapping) and "role" not in value


def _declared(signature: type[dspy.Signature]) -> str | None:
    if any(map(says_something, signature.fields.items())):
        return None
    return f"{', '.join(signature.input_fields)} -> {', '.join(signature.output_fields)}"


def _check_names(outputs: Iterable[str]) -> None:
    if taken := sorted(OUTCOME_ATTRIBUTES.intersection(outputs)):
        raise ConfigurationError(f"an output field is called {taken[0]!r}, as a part of every outcome is", hint="rename it")
