"""Revise: corrects a flagged draft. Every output field and type is kept; what the findings name is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

import dspy

from conscience._base.flow import Flow
from conscience._dspy.lm import ChatPredict
from conscience.backends.backend import Backend
from conscience.backends.bound import BoundBackend
from conscience.backends.models.size import is_small
from conscience.constitution.schema import Constitution
from conscience.errors import BackendError, EmptyAnswer
from conscience.gate.asking import room
from conscience.gate.choosing import likeliest
from conscience.linting.blocks import code_in
from conscience.linting.lines import replaced, replacement, statement_at
from conscience.linting.soundness import broken_by_change, with_imports
from conscience.linting.telling import told_anew
from conscience.messages.completion import Completion, clean
from conscience.messages.continuing import gone_on
from conscience.messages.conversations import FIRST, beginning, continuing
from conscience.messages.rendering import Form, as_data, content_text, outputs_text, quoted, request_text, value_text
from conscience.messages.tool_turns import ToolTurn
from conscience.messages.wordings import AGAIN, GO_ON, LINE
from conscience.modules.checks import rank, weak_lines
from conscience.modules.forms import form_of
from conscience.modules.origin import holds
from conscience.modules.outputs import split_reasoning, whole_reasoning
from conscience.outcome import Draft, Finding, Verdict

UNEXPLAINED = "It may be one of these:\n{principles}"
"""Stands in for the rule where nothing tells which one is broken."""

OTHERWISE = "Where that leaves no way to answer, say so kindly in a sentence, and offer what you can do instead."
"""What to do instead, where neither a finding nor the constitution says it."""

IN_ONE_BLOCK = "Put all the code in one block."
"""Added where the draft has a block of code: a small model leaves it out otherwise."""

REQUEST = "The request again:\n{request}"
"""Comes last: what was read last is answered."""

MOST_REPEATED = 2000
"""Characters of a request up to which it is said again; a longer one stands above."""

MOST_RULES = 4
"""Of those that a draft may break, what a small model is told in turn."""

MOST_LINES = 4
"""Of code that are written anew one by one, before the whole answer is."""

LINE_DRAWS = 3
"""Of a line at most, until linters find less in the code than before: to look again costs nothing."""

LINE_TOKENS = 200
"""For a line of code, and what a small model says about it all the same."""

TEMPERATURE = 1.0
"""Of further revisions of the same draft, where neither the model's configuration nor the draft's says another: the first
is written like the draft was, and the same words would come again."""

UNASKED = "This is the last answer:\n\n{draft}\n\n{asked}"
"""The only turn where no request is known. ``{draft}``: what was flagged; ``{asked}``: what asks for a revision."""


class ReviseSignature(dspy.Signature):  # type: ignore[misc]
    __doc__ = AGAIN
    conversation: list[dict[str, Any]] = dspy.InputField(desc="the chat messages that led to the draft")
    draft: str = dspy.InputField(desc="the answer that was flagged")
    problems: str = dspy.InputField(desc="the rules that it breaks, and what to do instead")
    closing: str = dspy.InputField(desc="the request again, and the form of the answer", default="")
    response: str = dspy.OutputField(desc="the new answer")


GO_ON_SIGNATURE = ReviseSignature.with_instructions(GO_ON)
"""Asks for what follows a text that has been shown already; made once, as every signature is a class."""


class Revise(dspy.Module):  # type: ignore[misc]
    """Writes a flagged draft anew.

    The turn that asks for it follows the very messages that led to the draft, and the draft itself: system turns, history,
    documents, tool results, media and demos are all there, whoever generated. It is written in the form of the draft, so
    every output field keeps its name and type, and under the limits of the draft (``Draft.sampling``).
    """

    def __init__(self) -> None:
        super().__init__()
        self.predict = ChatPredict(ReviseSignature, _render, Backend.of)

    def calls(self, constitution: Constitution, model: str) -> tuple[int, int]:
        """The most calls that a model makes for the first revision of a draft, and for each further one: what cannot be read
        is not asked for again."""
        by_line = is_small(model) and any(principle.cwe for principle in constitution.principles)
        return 1 + (MOST_LINES * LINE_DRAWS if by_line else 0), 1

    def rewrite(
        self,
        draft: Draft,
        verdict: Verdict,
        constitution: Constitution,
        model: BoundBackend,
        number: int = 0,
        released: str = "",
    ) -> Flow[Draft]:
        """A revised draft, with the original's messages: it is reviewed as an answer to the same request.

        Where a linter says which lines of code are at fault, a small model writes these anew first, each as a statement of
        its own: of a whole answer it copies them as well. Where that does not help, or for other models, all of it is.

        A small model is told one rule, as of several it repeats the list: first the worst that is broken, or the likeliest
        where none is known for certain, then, in further revisions of the same draft, the others in turn.

        Args:
            draft: what was flagged.
            verdict: why; its findings are the problems to remove.
            constitution: what it was judged by; its principles are shown where there are no findings.
            model: what writes.
            number: of revisions of the same draft so far; those after the first are drawn.
            released: the beginning of the draft's text that has been shown already: the revision begins with it, and what
                is written anew is what follows.

        Raises:
            BackendError: the model failed, or answered with nothing, without the fields of the draft, or with Python that no
                longer holds together.
        """
        form = draft.form or form_of(draft.outputs)
        if verdict.method == "linter" and number == 0 and not released and is_small(model.name):
            mended = yield from _by_line(draft, verdict, constitution, form, model)
            if mended is not None:
                return mended
        said_so_far = released or draft.text or draft.response
        conversation, answer = continuing(draft.messages, said_so_far, tools="tools" in draft.sampling)
        going_on = {"signature": GO_ON_SIGNATURE, "demos": []} if released else {}
        prediction = yield model.call(
            self.predict,
            {
                "conversation": conversation,
                "draft": as_data(answer),
                "problems": problems_text(_told(verdict, constitution, model, number), constitution),
                "closing": _closing(draft, form),
                "config": _limits(draft, model) | (_drawn(draft, model, number) if number else {}),
                **going_on,
            },
        )
        reply = model.exchanges[-1].completion if model.exchanges else None
        said = str(prediction.response).removeprefix(beginning(draft.messages))  # as the draft has it
        try:
            fields = _fields(draft, form, said, reply)
        except ValueError as error:
            yield from _rejected(reply, model)
            raise BackendError(f"{model.name}: the revision cannot be read: {error}") from None
        if released:
            (name, written_anew), *_ = fields.items()
            fields[name] = said = gone_on(released, draft.text, str(written_anew or ""))
        revised, written = split_reasoning(clean(fields))
        if isinstance(form, ToolTurn):  # another turn: it may call other tools, or none
            outputs = revised
        else:
            revised = {name: value for name, value in revised.items() if name in draft.outputs}
            outputs = {**draft.outputs, **revised}
        if not revised or not outputs_text(outputs).strip():
            yield from _rejected(reply, model)
            raise EmptyAnswer(f"{model.name}: the revision is empty")
        broken = _broken(draft.outputs, outputs)
        if broken and not released:
            outputs = _with_imports(draft.outputs, outputs)
            said = "" if form is not None else str(next(iter(outputs.values())))
            broken = _broken(draft.outputs, outputs)
        if broken:  # a reply that can be read is kept, as one that is flagged
            raise BackendError(f"{model.name}: the revision spoils the code: {broken}")
        written = {**_kept(draft, verdict.findings), **written}
        whole = form is None or (set(revised) == set(outputs) and said.strip() != "" and holds(said, outputs))
        return replace(
            draft,
            outputs=outputs,
            written=written,
            reasoning=whole_reasoning(written, [reply.reasoning] if reply is not None else []),
            text=said if form is None or (whole and not released) else form.write(outputs),
        ).with_form(form, reply)


def _by_line(
    draft: Draft, verdict: Verdict, constitution: Constitution, form: Form | None, model: BoundBackend
) -> Flow[Draft | None]:
    """The draft with each line of code anew in which a linter finds something; None where that does not help."""
    if isinstance(form, ToolTurn):
        return None
    conversation, answer = continuing(draft.messages, draft.text or draft.response, tools="tools" in draft.sampling)
    outputs, weak = dict(draft.outputs), weak_lines(draft.outputs, constitution)
    for _ in range(MOST_LINES):
        if not weak:
            break
        name, finding = weak[0]
        value, shown = outputs[name], draft.outputs[name]
        old = statement_at(shown, finding.quote) if isinstance(shown, str) else ""
        if not old:  # it is no text, or no line of the answer
            return None
        asked = LINE.format(line=old, rule=constitution.principle(finding.principle).short, change=finding.change)
        for drawn in range(LINE_DRAWS):
            params = room(model, LINE_TOKENS) | (_warmth(draft, model) if drawn else {})
            try:
                completion = yield model.ask(_turns(conversation, as_data(answer), asked), params, salt=drawn or None)
            except EmptyAnswer:
                return None
            new = replacement(shown, old, completion.text)
            after = outputs if new is None else {**outputs, name: with_imports(value, replaced(value, old, new))}
            if len(still := weak_lines(after, constitution)) < len(weak) and not _broken(draft.outputs, after):
                outputs, weak = after, still
                break
        else:
            return None
    if weak:
        return None
    outputs = _told_anew(draft.outputs, outputs)
    written = _kept(draft, verdict.findings)
    text = form.write(outputs) if form is not None else str(next(iter(outputs.values())))
    mended = replace(draft, outputs=outputs, written=written, reasoning=whole_reasoning(written, []), text=text)
    return mended.with_form(form)


def _rejected(reply: Completion | None, model: BoundBackend) -> Flow[None]:
    """No cache and no journal keeps a reply that cannot be used."""
    if reply is not None:
        yield model.reject(reply)


def _fields(draft: Draft, form: Form | None, said: str, reply: Completion | None) -> dict[str, Any]:
    """The outputs in a revision's text.

    Raises:
        ValueError: they are not in it.
    """
    if form is None:
        return {next(iter(draft.outputs)): said}
    if isinstance(form, ToolTurn):
        return form.fields(said, {} if reply is None else reply.message)
    return form.read(said)


def _with_imports(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs, each text with the imports that its Python lacks."""
    return {
        name: with_imports(value_text(before.get(name)), value) if isinstance(value, str) else value
        for name, value in after.items()
    }


def _told_anew(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs, without the sentences in which they tell of code that they no longer have."""
    old, new = ("\n".join(code_in(value) for value in each.values() if isinstance(value, str)) for each in (before, after))
    return {name: (isinstance(value, str) and told_anew(value, old, new)) or value for name, value in after.items()}


def _broken(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What of the Python in some field no longer holds together; empty where nothing is."""
    return next(filter(None, (broken_by_change(value_text(before.get(n)), value_text(after[n])) for n in after)), "")


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


def _told(verdict: Verdict, constitution: Constitution, model: BoundBackend, number: int) -> Sequence[Finding]:
    """The findings that a revision is told; those that are only likely where there are none."""
    findings = verdict.findings or likeliest(verdict.principles, constitution)
    if not is_small(model.name):
        return findings
    if not any(finding.quote or finding.why for finding in findings):  # chosen: how likely the others are is known
        findings = likeliest(verdict.principles, constitution, at_least=0.0, most=MOST_RULES) or findings
    else:
        findings = tuple(worst_first(findings))
    return findings and [findings[number % len(findings)]]


def _drawn(draft: Draft, model: BoundBackend, number: int) -> dict[str, Any]:
    """What makes a further revision another one."""
    return {"rollout_id": number, **_warmth(draft, model)}


def _warmth(draft: Draft, model: BoundBackend) -> dict[str, Any]:
    if model.supports("reasoning"):
        return {}
    return {"temperature": model.backend.sampling.get("temperature") or draft.sampling.get("temperature") or TEMPERATURE}


def problems_text(findings: Sequence[Finding], constitution: Constitution) -> str:
    """The rules that are broken, the worst first, each with what to do instead; the principles where none is known."""
    if not findings:
        return UNEXPLAINED.format(principles=constitution.render())
    told = [_problem(finding, constitution) for finding in worst_first(findings)]
    return told[0] if len(told) == 1 else "\n\n".join(f"{number}. {text}" for number, text in enumerate(told, 1))


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """The findings by severity; of equals, in the order in which they were found."""
    return sorted(findings, key=rank)


def _problem(finding: Finding, constitution: Constitution) -> str:
    principle = constitution.principle(finding.principle)
    said = f'In the answer: "{finding.quote}"' if finding.quote else ""
    change = finding.change or principle.change or OTHERWISE
    lines = [f"Rule: {' '.join(principle.text.split())}", said, finding.why, f"Instead: {change}"]
    return "\n".join(filter(None, lines))


def _closing(draft: Draft, form: Form | None) -> str:
    """What stands last in the turn: how code is written, the request again, the form of the answer."""
    request = _last_request(draft).strip()
    parts = [
        IN_ONE_BLOCK if "```" in draft.response else "",
        REQUEST.format(request=as_data(request)) if 0 < len(request) <= MOST_REPEATED else "",
        "" if form is None else form.request(),
    ]
    return "\n\n".join(filter(None, parts))


def _last_request(draft: Draft) -> str:
    """What the user asked last."""
    if isinstance(draft.request, str):
        return draft.request
    asked = [message for message in draft.request if message.get("role") == "user"]
    return content_text(asked[-1].get("content")) if asked else ""


def _render(
    signature: type[dspy.Signature], demos: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any]
) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    for demo in demos:
        if all(demo.get(k) for k in ("conversation", "draft", "problems", "response")):
            shown += [
                {"role": "user", "content": request_text(demo["conversation"])},
                {"role": "assistant", "content": str(demo["draft"])},
                {"role": "user", "content": _turn(signature, demo)},
                {"role": "assistant", "content": str(demo["response"])},
            ]
    return _turns(inputs["conversation"], inputs["draft"], _turn(signature, inputs), shown)


def _turns(
    asked_before: Sequence[Mapping[str, Any]], draft: str, asked: str, shown: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """The conversation, the draft and the turn that asks about it, after the turns that show how it is done."""
    conversation = [dict(message) for message in asked_before]
    lead = list(takewhile(lambda message: message.get("role") in FIRST, conversation))
    if len(conversation) == len(lead):  # nobody knows what was asked: a chat does not begin with an answer
        return [
            *lead,
            *shown,
            {"role": "user", "content": UNASKED.format(draft=quoted(answer=draft), asked=asked)},
        ]
    return [
        *lead,
        *shown,
        *conversation[len(lead) :],
        {"role": "assistant", "content": draft},
        {"role": "user", "content": asked},
    ]


def _turn(signature: type[dspy.Signature], inputs: Mapping[str, Any]) -> str:
    return "\n\n".join(filter(None, (signature.instructions, str(inputs["problems"]), str(inputs.get("closing") or ""))))
