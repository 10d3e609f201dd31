"""Whether the engine serves what was trained: the same requests, to torch and to the engine, token by token."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conscience.backends.embedded.local import Endpoint, endpoint
from conscience.errors import BackendError
from conscience.messages.completion import Message
from conscience.optimizers.training.weights.policy import Policy
from conscience.optimizers.training.weights.tokens import Encoder

COMPARED = 10
"""Likeliest tokens whose log-probabilities are compared, a request."""

WIDE = 0.5
"""In nats, on average: more is no rounding. The engine, whose activations have 8 bits, differs by a tenth of it."""


@dataclass(frozen=True)
class ServedDifference:
    """How far the engine's log-probabilities are from torch's.

    Attributes:
        mean, largest: in nats, over the likeliest first tokens of some answers.
        requests: so many were asked.
        same_tokens: whether both read the requests as equally many tokens; None where the engine does not say.
    """

    mean: float
    largest: float
    requests: int
    same_tokens: bool | None

    @property
    def agrees(self) -> bool:
        """Whether what differs is rounding."""
        return self.mean <= WIDE and self.same_tokens is not False


def served_difference(
    policy: Policy, encoder: Encoder, gguf: Path, requests: Sequence[Sequence[Message]]
) -> ServedDifference | None:
    """Asks the engine, which it starts where it must; None without requests.

    Raises:
        ConfigurationError, BackendError: the engine is missing, or cannot serve the file.
    """
    server = endpoint(str(gguf))
    differences: list[float] = []
    lengths: list[bool] = []
    compared = 0
    for request in requests:
        prompt = encoder.prompt(request)
        ours = policy.next_token(prompt)
        answer = _asked(server, request)
        if (read := answer.get("usage", {}).get("prompt_tokens")) is not None:
            lengths.append(read == len(prompt))
        told = (answer["choices"][0].get("logprobs") or {}).get("content")
        if not told:  # the answer is empty: it ends before its first token
            continue
        compared += 1
        theirs = {candidate["id"]: candidate["logprob"] for candidate in told[0]["top_logprobs"]}
        likeliest = ours.topk(COMPARED).indices.tolist()
        differences += [abs(float(ours[token]) - theirs[token]) for token in likeliest if token in theirs]
    if not differences:
        return None
    mean = sum(differences) / len(differences)
    return ServedDifference(mean, max(differences), compared, all(lengths) if lengths else None)


def _asked(server: Endpoint, request: Sequence[Message]) -> dict[str, Any]:
    """The engine's own answer: its candidates have token ids, which LiteLLM drops."""
    body: dict[str, Any] = {
        "model": server.model,
        "messages": [dict(message) for message in request],
        "max_tokens": 1,
        "temperature": 0.0,
        "logprobs": True,
        "top_logprobs": 20 * COMPARED,
    }
    asked = urllib.request.Request(
        f"{server.base_url}/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {server.api_key}"},
    )
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback is asked past any proxy
        with opener.open(asked, timeout=120) as answered:
            found: dict[str, Any] = json.load(answered)
    except (OSError, ValueError) as error:
        raise BackendError(f"the engine does not serve the trained weights: {error}") from None
    return found
