"""Revise: corrects a flagged draft. Every output field and type is kept; what the findings name is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import dspy

from conscience._base.flow import Flow
from conscience._dspy.lm import ChatPredict
from conscience.backends.backend import Backend
from conscience.backends.bound import BoundBackend
from conscience.constitution.schema import Constitution
from conscience.errors import BackendError, EmptyAnswer
from conscience.messages.completion import clean
from conscience.messages.rendering import as_data, outputs_text, quoted, request_text, value_text
from conscience.modules.forms import form_of
from conscience.modules.generate import Generate
from conscience.modules.origin import leaves
from conscience.modules.outputs import split_reasoning, whole_reasoning
from conscience.outcome import Draft, Finding, Verdict

INSTRUCTIONS = """Your last answer must not be sent as it is. Write it again so that the problems below are gone. Keep all \
that is right and helpful in it. Where the request itself cannot be met rightly, say so kindly in a sentence and offer what \
you can do instead. Write the new answer only, as if it were your first: no apology, no mention of this review."""
"""The turn that asks for a revision; an optimizer may rewrite it."""

UNEXPLAINED = "It may go against one of these principles:\n{principles}"
"""Stands in for findings where the critique is off or found no words for it."""

UNASKED = "This is the last answer:\n\n{draft}\n\n{asked}"
"""The only turn where no request is known. ``{draft}``: what was flagged; ``{asked}``: what asks for a revision."""


class ReviseSignature(dspy.Signature):  # type: ignore[misc]
    __doc__ = INSTRUCTIONS
    conversation: list[dict[str, Any]] = dspy.InputField(desc="the chat messages that led to the draft")
    draft: str = dspy.InputField(desc="the answer that was flagged")
    problems: str = dspy.InputField(desc="what is wrong with it")
    response: str = dspy.OutputField(desc="the new answer")


class Revise(dspy.Module):  # type: ignore[misc]
    """Writes a flagged draft anew.

    The turn that asks for it follows the very messages that led to the draft, and the draft itself: system turns, history,
    documents, tool results, media and demos are all there, whoever generated. It is written in the form of the draft, so
    every output field keeps its name and type, and under the limits of the draft (``Draft.sampling``).

    Args:
        generate: whose drafts it revises; any, as each draft says what its answer is made of.
    """

    plain = True
    """One call a revision: what cannot be read is not asked for again."""

    def __init__(self, generate: Generate | None = None) -> None:
        super().__init__()
        self.predict = ChatPredict(ReviseSignature, _render, Backend.of)

    def rewrite(
        self,
        draft: Draft,
        verdict: Verdict,
        constitution: Constitution,
        model: BoundBackend,
    ) -> Flow[Draft]:
        """A revised draft, with the original's messages: it is reviewed as an answer to the same request.

        Args:
            draft: what was flagged.
            verdict: why; its findings are the problems to remove.
            constitution: what it was judged by; its principles are shown where there are no findings.
            model: what writes.

        Raises:
            BackendError: the model failed, or answered with nothing or without the fields of the draft.
        """
        form = draft.form or form_of(draft.outputs)
        problems = problems_text(verdict.findings, constitution)
        prediction = yield model.call(
            self.predict,
            {
                "conversation": list(draft.messages),
                "draft": as_data(draft.text or draft.response),
                "problems": problems if form is None else f"{problems}\n\n{form.request()}",
                "config": _limits(draft, model),
            },
        )
        reply = model.exchanges[-1].completion if model.exchanges else None
        said = str(prediction.response)
        try:
            fields = {next(iter(draft.outputs)): said} if form is None else form.read(said)
        except ValueError as error:
            if reply is not None:
                yield model.reject(reply)
            raise BackendError(f"{model.name}: the revision cannot be read: {error}") from None
        revised, written = split_reasoning(clean(fields))
        revised = {name: value for name, value in revised.items() if name in draft.outputs}
        outputs = {**draft.outputs, **revised}
        if not revised or not outputs_text(outputs).strip():
            if reply is not None:
                yield model.reject(reply)
            raise EmptyAnswer(f"{model.name}: the revision is empty")
        written = {**_kept(draft, verdict.findings), **written}
        whole = form is None or (set(revised) == set(outputs) and said.strip() != "" and _holds(said, outputs))
        return replace(
            draft,
            outputs=outputs,
            written=written,
            reasoning=whole_reasoning(written, reply),
            text=said if form is None or whole else form.write(outputs),
        ).with_form(form)


_NOT_FOR_REASONING = frozenset({"max_tokens", "max_completion_tokens", "temperature"})


def _limits(draft: Draft, model: BoundBackend) -> dict[str, Any]:
    """The draft's limits, as far as the model that revises sets none of its own; a reasoning model counts tokens apart."""
    own = {*model.backend.sampling, *(_NOT_FOR_REASONING if model.supports("reasoning") else ())}
    return {name: value for name, value in draft.sampling.items() if name not in own}


def _kept(draft: Draft, findings: Sequence[Finding]) -> dict[str, Any]:
    """What of the written reasoning a revision keeps, to be reviewed with it once more: the record of an agent's steps,
    unless a finding quotes it. Any other reasoning was about the old answer: its field stays, empty."""
    kept: dict[str, Any] = dict.fromkeys(draft.written)
    if (steps := draft.written.get("trajectory")) is not None:
        shown = value_text(steps)
        if not any(f.quote and f.quote in shown and f.quote not in draft.response for f in findings):
            kept["trajectory"] = steps
    return kept


def _holds(text: str, outputs: Mapping[str, Any]) -> bool:
    return all(leaf in text for value in outputs.values() for leaf in leaves(value))


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
    asked = f"{signature.instructions}\n\n{inputs['problems']}"
    if len(conversation) == len(lead):  # nobody knows what was asked: a chat does not begin with an answer
        return [
            *lead,
            *messages,
            {"role": "user", "content": UNASKED.format(draft=quoted(answer=inputs["draft"]), asked=asked)},
        ]
    return [
        *lead,
        *messages,
        *conversation[len(lead) :],
        {"role": "assistant", "content": inputs["draft"]},
        {"role": "user", "content": asked},
    ]
