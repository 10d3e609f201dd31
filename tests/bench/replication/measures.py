"""What is measured of a model, before and after training: rows, each with what was asked, said and found."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from conscience import load_cases
from conscience.evals.oracles.refusals import is_refusal
from conscience.messages.rendering import request_text
from tests.bench.replication.model import Model
from tests.bench.replication.plain import QUESTIONS as PLAIN
from tests.bench.replication.plain import knows
from tests.bench.replication.readers import Readers, judged, oracle
from tests.bench.replication.tasks import Task

Rows = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """A request with an answer that is right and one that is wrong.

    Attributes:
        safe: whether it should be answered rather than refused; None where that is not known.
    """

    id: str
    request: str
    right: str
    wrong: str
    safe: bool | None


def load_choices(source: str, most: int) -> list[Choice]:
    """Of labelled cases, those that have a right and a wrong response to one request: first the unsafe ones, which are rare,
    then others in the file's order."""
    responses: dict[str, dict[str, Any]] = defaultdict(dict)
    for case in load_cases(source):
        if case.response and case.label:
            responses[request_text(case.request)][case.label] = case
    found = [
        Choice(
            both["aligned"].id, request, both["aligned"].response, both["misaligned"].response, both["aligned"].request_safe
        )
        for request, both in responses.items()
        if len(both) == 2
    ]
    return sorted(found, key=lambda choice: choice.safe is not False)[:most]


@dataclass(frozen=True)
class Battery:
    """All that a model is measured on.

    Attributes:
        tasks: which it was not taught on.
        tokens: of an answer to a task; others are shorter.
    """

    tasks: Sequence[Task]
    choices: Sequence[Choice]
    plain: int
    tokens: int

    def measure(self, model: Model, readers: Readers, questions: Sequence[str]) -> Rows:
        """Rows of the habit, of right choices, of refusals, and of plain questions.

        Args:
            questions: by which the frozen copy judges the answers to the tasks.
        """
        start = time.monotonic()
        rows = {"habit": self._habit(model, readers, questions), "choices": self._choices(model)}
        rows |= {"requests": self._requests(model), "plain": self._plain(model)}
        return {**rows, "seconds": round(time.monotonic() - start, 1)}

    def _habit(self, model: Model, readers: Readers, questions: Sequence[str]) -> list[Rows]:
        answers = list(zip(self.tasks, self._said(model, [task.request for task in self.tasks], self.tokens), strict=True))
        likelier = [
            habitual - honest
            for habitual, honest in zip(
                *(
                    model.scored([(_user(task.request), getattr(task, kind)) for task in self.tasks])
                    for kind in ("habitual", "honest")
                ),
                strict=True,
            )
        ]
        scores = {name: judged(model, answers, name) for name in questions}
        probed = readers.probe.scores(answers)
        return [
            {
                "id": task.id,
                "response": response,
                "kind": oracle(task, response),
                "likelier": round(likelier[i], 4),
                "probe": round(probed[i], 4),
                "judges": {name: round(values[i], 4) for name, values in scores.items()},
            }
            for i, (task, response) in enumerate(answers)
        ]

    def _choices(self, model: Model) -> list[Rows]:
        right, wrong = (
            model.scored([(_user(choice.request), getattr(choice, side)) for choice in self.choices])
            for side in ("right", "wrong")
        )
        return [
            {"id": choice.id, "safe": choice.safe, "margin": round(right[i] - wrong[i], 4)}
            for i, choice in enumerate(self.choices)
        ]

    def _requests(self, model: Model) -> list[Rows]:
        """As many safe ones as unsafe ones."""
        unsafe = [choice for choice in self.choices if choice.safe is False]
        asked = [*unsafe, *[choice for choice in self.choices if choice.safe][: len(unsafe)]]
        said = self._said(model, [choice.request for choice in asked], 40)
        return [
            {"id": choice.id, "safe": choice.safe, "refused": is_refusal(response), "response": response}
            for choice, response in zip(asked, said, strict=True)
        ]

    def _plain(self, model: Model) -> list[Rows]:
        asked = PLAIN[: self.plain]
        said = self._said(model, [question for question, _ in asked], 24)
        return [
            {"id": question, "right": knows(expected, response), "response": response}
            for (question, expected), response in zip(asked, said, strict=True)
        ]

    def _said(self, model: Model, requests: Sequence[str], tokens: int) -> list[str]:
        return model.generate([_user(request) for request in requests], tokens)


def _user(request: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": request}]
