"""Revise: corrects a flagged draft. Every output field and type is kept; what the findings name is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from conscience._base.flow import Flow
from conscience._dspy import ChatPredict
from conscience.backends.backend import Backend
from conscience.backends.bound import BoundBackend
from conscience.constitution.schema import Constitution
from conscience.errors import BackendError
from conscience.messages.completion import clean
from conscience.messages.rendering import as_data, outputs_text, request_text
from conscience.messages.requests import turns
from conscience.modules.generate import Generate
from conscience.modules.outputs import exchange_of, without_reasoning
from conscience.outcome import Draft, Finding, Verdict

INSTRUCTIONS = """Your last answer must not be sent as it is. Write it again so that the problems below are gone. Keep all \
that is right and helpful in it. Where the request itself cannot be met rightly, say so kindly in a sentence and offer what \
you can do instead. Write the new answer only, as if it were your first: no apology, no mention of this review."""
"""The turn that asks for a revision; an optimizer may rewrite it."""

UNEXPLAINED = "It may go against one of these principles:\n{principles}"
"""Stands in for findings where the critique is off or found no words for it."""


class ReviseSignature(dspy.Signature):  # type: ignore[misc]
    __doc__ = INSTRUCTIONS
    conversation: list[dict[str, Any]] = dspy.InputField(desc="the chat messages that led to the draft")
    draft: str = dspy.InputField(desc="the answer that was flagged")
    problems: str = dspy.InputField(desc="what is wrong with it")
    response: str = dspy.OutputField(desc="the new answer")


class Revise(dspy.Module):  # type: ignore[misc]
    """Writes a flagged draft anew.

    Args:
        generate: whose drafts it revises; gives the output fields.
    """

    def __init__(self, generate: Generate) -> None:
        super().__init__()
        signature = None if generate.plain else generate.signature
        self.plain = signature is None
        self.continues = generate.plain
        self.added = _free("draft", signature), _free("problems", signature)
        self.predict = (
            ChatPredict(ReviseSignature, _render, Backend.of)
            if signature is None
            else dspy.Predict(_revising(signature, *self.added))
        )

    def rewrite(
        self,
        draft: Draft,
        verdict: Verdict,
        constitution: Constitution,
        inputs: Mapping[str, Any],
        model: BoundBackend,
    ) -> Flow[Draft]:
        """A revised draft, with the original's messages: it is reviewed as an answer to the same request.

        Args:
            draft: what was flagged.
            verdict: why; its findings are the problems to remove.
            constitution: what it was judged by; its principles are shown where there are no findings.
            inputs: the program's inputs, by name.
            model: what writes.

        Raises:
            BackendError: the model failed, or answered with nothing.
        """
        problems = problems_text(verdict.findings, constitution)
        if self.plain:
            field = _text_field(draft)
            revise_inputs = {
                "conversation": list(draft.messages if self.continues else turns(draft.request)),
                "draft": as_data(draft.outputs[field]),
                "problems": problems,
            }
            prediction = yield model.call(self.predict, revise_inputs)
            revised = {field: prediction.response}
        else:
            known: dict[str, Any] = {
                name: inputs.get(name) for name in self.predict.signature.input_fields if name in inputs
            }
            revise_inputs = {**known, **dict(zip(self.added, (outputs_text(draft.outputs), problems), strict=True))}
            prediction = yield model.call(self.predict, revise_inputs)
            revised = clean(dict(prediction.items()))
        revised, reasoning = without_reasoning(revised)
        revised = {name: value for name, value in revised.items() if name in draft.outputs}
        outputs = {**draft.outputs, **revised}
        if not revised or not outputs_text(outputs).strip():
            raise BackendError(f"{model.name}: the revision is empty")
        text = outputs_text(outputs)
        if (exchange := exchange_of(outputs, model)) is not None:
            _, reply = exchange
            text, reasoning = reply.text, reasoning or reply.reasoning
        return Draft(request=draft.request, outputs=outputs, reasoning=reasoning, messages=draft.messages, text=text)


def _text_field(draft: Draft) -> str:
    """The last text among a draft's outputs; the others stay, and are reviewed again with it."""
    texts = [name for name, value in draft.outputs.items() if isinstance(value, str)]
    if not texts:
        raise BackendError("the draft has no text that could be rewritten")
    return texts[-1]


def problems_text(findings: Sequence[Finding], constitution: Constitution) -> str:
    """The findings as a numbered list; the principles where there are none."""
    if not findings:
        return UNEXPLAINED.format(principles=constitution.render())
    lines = []
    for number, finding in enumerate(findings, 1):
        quote = f' ("{finding.quote}")' if finding.quote else ""
        change = f" Change: {finding.change}" if finding.change else ""
        lines.append(f"{number}. {constitution.principle(finding.principle).text}{quote} {finding.why}{change}")
    return "\n".join(lines)


def _render(
    signature: type[dspy.Signature], demos: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any]
) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for demo in demos:
        if all(demo.get(k) for k in ("conversation", "draft", "problems", "response")):
            messages += [
                {"role": "user", "content": request_text(demo["conversation"])},
                {"role": "assistant", "content": str(demo["draft"])},
                {"role": "user", "content": f"{signature.instructions}\n\n{demo['problems']}"},
                {"role": "assistant", "content": str(demo["response"])},
            ]
    conversation = [dict(message) for message in inputs["conversation"]]
    lead = conversation[:1] if conversation and conversation[0].get("role") == "system" else []
    return [
        *lead,
        *messages,
        *conversation[len(lead) :],
        {"role": "assistant", "content": inputs["draft"]},
        {"role": "user", "content": f"{signature.instructions}\n\n{inputs['problems']}"},
    ]


def _free(name: str, signature: type[dspy.Signature] | None) -> str:
    """A name for a further input that is no field yet."""
    while signature is not None and name in signature.fields:
        name = f"last_{name}"
    return name


def _revising(signature: type[dspy.Signature], draft: str, problems: str) -> type[dspy.Signature]:
    """The signature with the draft and its problems as further inputs; outputs as they are."""
    task = signature.instructions
    extended = signature.append(draft, dspy.InputField(desc="your last answer, which must not be sent as it is"), str)
    extended = extended.append(problems, dspy.InputField(desc="what is wrong with the last answer"), str)
    revised: type[dspy.Signature] = extended.with_instructions(f"{task}\n\n{INSTRUCTIONS}")
    return revised
