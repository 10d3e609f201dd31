"""A decisions server on loopback, in both forms, for ``Loopback(behaviour)``; chat calls are answered as ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.loopback import Behaviour, Body, Loopback, Raw, well_behaved

KEY = "sk-test-secret-0123"
Probability = Callable[[str, str], float]
"""(the text judged, a question's words) → the probability of Yes."""


def badword(text: str, question: str) -> float:
    return 0.9 if "BADWORD" in text else 0.04


def asked(body: Body) -> dict[str, str]:
    """Name → words of the questions of a request."""
    questions = body["questions"]
    if isinstance(questions, dict):
        return {name: question["instructions"] for name, question in questions.items()}
    return {question["name"]: question["instructions"] for question in questions}


def is_decision(body: Body) -> bool:
    return "questions" in body


def decided(body: Body, probability: Probability = badword) -> Body:
    """A well-formed answer in the form of the request."""
    text = str(body.get("input") or body.get("state"))
    values = {name: probability(text, words) for name, words in asked(body).items()}
    if "input" not in body:
        nouls = {name: {"type": "noul", "noul": value} for name, value in values.items()}
        return {
            "model": body["model"],
            "answers": nouls,
            "usage": {"input_tokens": 100, "output_tokens": 3, "cached_tokens": 40},
        }
    predicates = [{"type": "predicate", "name": name, "probability": value} for name, value in values.items()]
    usage = {"input_tokens": 100, "output_tokens": 3, "total_tokens": 103, "input_tokens_details": {"cached_tokens": 40}}
    return {"model": body["model"], "answers": predicates, "usage": usage}


def deciding(probability: Probability = badword, chat: Behaviour = well_behaved) -> Behaviour:
    """Answers decisions by probability, and chats as told."""

    def answer(body: Body, number: int) -> Body | Raw:
        if is_decision(body):
            return decided(body, probability)
        return chat(body, number) if "messages" in body else Raw(404, "{}")

    return answer


def decision_backend(server: Loopback, model: str = "openai/gpt-6-luna", **options: Any) -> Any:
    """A backend of a decision model that reaches this server."""
    from conscience import Backend

    options = {"cache": False, "retries": 1, "timeout": 20.0, "api_base": server.url, "api_key": KEY, **options}
    return Backend(f"decisions:{model}", **options)
