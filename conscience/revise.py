"""Revise: mends a flagged draft. Every output field and type is kept; what the findings name is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from conscience.backends import Backend
from conscience.constitution import Constitution
from conscience.dspy_seam import Account, ChatPredict, calling
from conscience.errors import BackendError
from conscience.flow import Flow
from conscience.generate import REASONING_FIELDS, Generate
from conscience.rendering import as_data, outputs_text, request_text
from conscience.verdict import Draft, Finding, Verdict

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
        constitution: shown where there are no findings.
    """

    def __init__(self, generate: Generate, constitution: Constitution) -> None:
        super().__init__()
        self.constitution = constitution
        signature = None if generate.plain else generate.signature
        self.plain = signature is None
        self.predict = (
            ChatPredict(ReviseSignature, _render, Backend.of) if signature is None else dspy.Predict(_revising(signature))
        )

    def flow(self, draft: Draft, verdict: Verdict, inputs: Mapping[str, Any], backend: Backend, who: Account) -> Flow[Draft]:
        """A revised draft, with the original's messages: it is reviewed as an answer to the same request.

        Raises:
            BackendError: the model failed, or answered with nothing.
        """
        problems = problems_text(verdict.findings, self.constitution)
        if self.plain:
            asked = {
                "conversation": list(draft.messages),
                "draft": as_data(draft.text or draft.response),
                "problems": problems,
            }
            prediction = yield calling(self.predict, asked, backend.lm, who)
            revised = {self._text_field(draft): prediction.response}
        else:
            known: dict[str, Any] = {
                name: inputs.get(name) for name in self.predict.signature.input_fields if name in inputs
            }
            asked = {**known, "draft": outputs_text(draft.outputs), "problems": problems}
            prediction = yield calling(self.predict, asked, backend.lm, who)
            revised = dict(prediction.items())
        reasoning = "\n".join(str(revised.pop(name)) for name in REASONING_FIELDS if name in revised and len(revised) > 1)
        outputs = {**draft.outputs, **revised}
        if not outputs_text(outputs).strip():
            raise BackendError(f"{backend.name}: the revision is empty")
        text = who.exchanges[-1][1].text if who.exchanges else outputs_text(outputs)
        return Draft(request=draft.request, outputs=outputs, reasoning=reasoning, messages=draft.messages, text=text)

    @staticmethod
    def _text_field(draft: Draft) -> str:
        return list(draft.outputs)[-1]


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


def _revising(signature: type[dspy.Signature]) -> type[dspy.Signature]:
    """The signature with the draft and its problems as further inputs; outputs as they are."""
    task = signature.instructions
    extended = signature.append("draft", dspy.InputField(desc="your last answer, which must not be sent as it is"), str)
    extended = extended.append("problems", dspy.InputField(desc="what is wrong with the draft"), str)
    revised: type[dspy.Signature] = extended.with_instructions(f"{task}\n\n{INSTRUCTIONS}")
    return revised
