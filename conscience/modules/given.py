"""A draft from an answer that somebody else gave: as if the program had written it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dspy

from conscience._dspy.lm import field_messages
from conscience.errors import InputError
from conscience.messages.completion import Message, clean
from conscience.messages.rendering import Request, outputs_text
from conscience.messages.requests import check_request, check_string, turns
from conscience.modules.forms import AnswerForm, form_of
from conscience.modules.generate import Generate
from conscience.modules.outputs import split_reasoning, text_field, whole_reasoning
from conscience.modules.results import readable
from conscience.modules.task import asks_plainly, plain_messages, task_text
from conscience.outcome import Draft


def given_draft(
    generate: Generate,
    request: Request | Mapping[str, Any],
    response: str | Mapping[str, Any],
    reasoning: str = "",
) -> Draft:
    """The draft that ``generate`` would have made had it answered so: under its task, with its inputs, in its form.

    Args:
        generate: what stands for the task.
        request: a text, chat messages, or its inputs by name; may be empty.
        response: a text for its last text field, or its output fields by name, written reasoning among them.
        reasoning: what led to it.

    Raises:
        InputError: the response is empty or its field misspelled, or a text holds what no provider can receive.
    """
    signature = generate.signature
    outputs = dict(response) if isinstance(response, Mapping) else {text_field(signature) or "response": response}
    outputs = {str(name): clean(value) if isinstance(response, Mapping) else value for name, value in outputs.items()}
    if not outputs_text(outputs).strip() or not any(value not in (None, "") for value in outputs.values()):
        raise InputError("the response is empty", hint="say what is to be reviewed")
    generate.check_outputs(outputs)
    for name, value in {**outputs, "reasoning": reasoning}.items():
        if isinstance(value, str):
            check_string(value, f"{name}")
    outputs, written = split_reasoning(outputs)
    if signature is not None and "reasoning" in signature.output_fields and "reasoning" not in outputs:
        written = ({"reasoning": reasoning} if reasoning else {}) | written
    inputs = _inputs(generate, request)
    asked = check_request(readable(inputs)) if inputs else ""
    form = form_of(outputs, signature)
    messages: tuple[Message, ...] = turns(asked) if asked else ()
    shown = {**written, **outputs}
    if signature is not None and isinstance(generate.predict, dspy.Predict) and set(inputs) <= set(signature.input_fields):
        messages, form = _as_asked(generate.predict, signature, inputs, shown, form) or (messages, form)
    return Draft(
        request=asked,
        outputs=outputs,
        reasoning=whole_reasoning(written, [reasoning]),
        messages=messages,
        text=outputs_text(outputs) if form is None else form.write({n: v for n, v in shown.items() if n in form.names}),
        context=task_text(signature) if signature is not None else "",
        written=written,
    ).with_form(form)


def _inputs(generate: Generate, request: Request | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(request, Mapping):
        return dict(request)
    names = generate.inputs
    absent = not request.strip() if isinstance(request, str) else not request
    return {} if absent else {names[0] if len(names) == 1 else "request": request}


def _as_asked(
    predict: Any,
    signature: type[dspy.Signature],
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    form: AnswerForm | None,
) -> tuple[tuple[Message, ...], AnswerForm | None] | None:
    """The messages that its predictor would have sent for these inputs, and the form it would have been answered in; None
    where there was no request to send."""
    if not inputs:
        return None
    if asks_plainly(signature, inputs):
        return tuple(plain_messages(signature, predict.demos, inputs)), form
    messages, adapter = field_messages(signature, predict.demos, inputs)
    if set(outputs) <= set(signature.output_fields):
        form = AnswerForm(signature, adapter, {name: name for name in outputs})
    return tuple(messages), form
