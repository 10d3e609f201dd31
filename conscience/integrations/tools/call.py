"""One call of a tool as a draft: reviewed with the tool's name and its arguments, revised in its arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from conscience.constitution.schema import Constitution
from conscience.gate.choosing import likeliest
from conscience.integrations.tools.arguments import Parameters, read, written
from conscience.integrations.tools.conversations import Conversation
from conscience.integrations.tools.frameworks import known_turns
from conscience.messages.rendering import value_text
from conscience.outcome import PASSED, Draft, Outcome

CALL = "I call the tool {tool} with these arguments, and it runs at once: {arguments}"
"""The assistant's turn that is judged."""

MOST_OF_A_DESCRIPTION = 1000
"""Characters of what a tool says of itself that a reviewer is shown."""

REFUSED = (
    "The call of {tool} was reviewed before it ran, and it did not run. {why} Nothing was done. Do not make this call "
    "again: do what was asked in another way, or say that it cannot be done."
)
"""What the model is told in place of a result. Neither scores nor the critique's words: they would teach how to pass."""

UNREVIEWED = (
    "The call of {tool} did not run: it could not be reviewed just now, which says nothing about the call itself. Nothing "
    "was done. Go on without it, or try again later."
)

CHANGED = "The call of {tool} was changed before it ran. {why} It ran with these arguments: {arguments}\n\n{result}"
"""What the model is told where a revision ran: it has to know what was done."""

UNNAMED = "It goes against the rules that every call here is held to."
NAMED = "It goes against this rule: {rules}."


class ArgumentsForm:
    """A call's fields in a text: the arguments alone, as JSON; the tool stays the same.

    Args:
        tool: its name.
        parameters: what it takes.
        check: raises ValueError where the tool does not take these arguments.
    """

    def __init__(self, tool: str, parameters: Parameters, check: Callable[[Mapping[str, Any]], Any]) -> None:
        self.tool, self.parameters, self.check = tool, parameters, check

    def request(self) -> str:
        """What asks for a revision."""
        return (
            f"Write the arguments of the call of {self.tool} again, as one JSON object and nothing else. "
            f"It takes: {self.parameters.describe() or 'nothing'}."
        )

    def read(self, text: str) -> dict[str, Any]:
        """Raises ValueError where the text holds no arguments that the tool takes."""
        arguments = read(text)
        self.check(arguments)
        return {"tool": self.tool, "arguments": written(arguments)}

    def write(self, outputs: Mapping[str, Any]) -> str:
        """The assistant's turn."""
        return CALL.format(tool=outputs["tool"], arguments=outputs["arguments"])


class ToolCall:
    """A call that has not run.

    Args:
        tool: name of the tool.
        description: what the tool says of itself; may be empty.
        parameters: what it takes.
        args, kwargs: of the call.
        told: what led to it; None where only the framework may know.

    Raises:
        TypeError: the arguments do not fit.
    """

    def __init__(
        self,
        tool: str,
        description: str,
        parameters: Parameters,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        told: Conversation | None,
    ) -> None:
        self.tool, self.description, self.parameters = tool, description, parameters
        self.bound = parameters.bind(args, kwargs)
        self.told = Conversation(known_turns(self.bound.arguments.values())) if told is None else told
        self.arguments = written(parameters.shown(self.bound))
        self._changed = ""  # why, where it was

    @property
    def text(self) -> str:
        """The call as it is judged."""
        return CALL.format(tool=self.tool, arguments=self.arguments)

    def draft(self) -> Draft:
        """The call as the answer to its conversation."""
        bound = self.bound
        form = ArgumentsForm(self.tool, self.parameters, lambda revised: self.parameters.changed(bound, revised))
        messages = self.told.messages
        about = self.description.strip()[:MOST_OF_A_DESCRIPTION]
        return Draft(
            request=messages or "",
            outputs={"tool": self.tool, "arguments": self.arguments},
            messages=messages,
            text=self.text,
            context=f"The assistant answers with a call of the tool {self.tool}, which runs at once. {about}".strip(),
        ).with_form(form)

    def refused_before(self) -> str | None:
        """What was told when this call was refused earlier in the conversation; None where it was not."""
        return self.told.refused(self.text)

    def settle(self, outcome: Outcome, constitution: Constitution) -> str | None:
        """Takes over what the review came to: what the model is told in place of a result, or None where the call runs, as
        it is or with revised arguments. It runs with what the outcome returns, and only where that is no refusal.

        A text that is known to be flagged may be shown where ``on_unresolved`` is "best"; a call like that never runs.
        """
        arguments = dict(outcome.items()).get("arguments")
        if written(self.parameters.shown(self.bound)) != self.arguments:
            return UNREVIEWED.format(tool=self.tool)  # they were changed meanwhile: this is not what was reviewed
        is_shown = outcome.status in PASSED or (outcome.status == "unreviewed" and outcome.draft is not None)
        if is_shown and isinstance(arguments, str):
            if arguments != self.arguments:
                self.bound = self.parameters.changed(self.bound, read(arguments))
                self.arguments, self._changed = arguments, _why(outcome, constitution)
            return None
        if outcome.status == "unreviewed":
            return UNREVIEWED.format(tool=self.tool)
        told = REFUSED.format(tool=self.tool, why=_why(outcome, constitution))
        self.told.refuse(self.text, told)
        return told

    def run(self, tool: Callable[..., Any]) -> Any:
        """Calls the tool."""
        return tool(*self.bound.args, **self.bound.kwargs)

    @contextmanager
    def running(self) -> Iterator[None]:
        """An error of the tool's is part of the conversation, by its kind; it passes through."""
        try:
            yield
        except Exception as error:
            self.told.add(self.tool, self.arguments, f"(raised {type(error).__name__})")
            raise

    def returned(self, value: Any, *, tell: bool) -> Any:
        """The tool's result; before it, where the call was changed, what ran in its place."""
        self.told.add(self.tool, self.arguments, value)
        if not (tell and self._changed):
            return value
        return self._change(value_text(value))

    def begun(self, *, tell: bool) -> Iterator[str]:
        """The same before a tool yields its first piece."""
        self.told.add(self.tool, self.arguments, "(a stream)")
        if tell and self._changed:
            yield self._change("")

    def _change(self, result: str) -> str:
        return CHANGED.format(tool=self.tool, why=self._changed, arguments=self.arguments, result=result)


def _why(outcome: Outcome, constitution: Constitution) -> str:
    """The rules that the call breaks, in the constitution's words."""
    verdict = outcome.draft_verdict or outcome.verdict
    findings = verdict.findings or likeliest(verdict.principles, constitution)
    rules = dict.fromkeys(constitution.principle(finding.principle).short for finding in findings)
    return NAMED.format(rules="; ".join(rules)) if rules else UNNAMED
