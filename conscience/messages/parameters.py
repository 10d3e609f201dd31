"""Chat parameters: what of a model's own settings a call takes over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SIBLINGS: Mapping[str, str] = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""Two names for one thing: providers take the one or the other."""

OF_ONE_TURN = frozenset(
    {"tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "web_search_options"}
    | {"response_format", "n", "best_of", "logprobs", "top_logprobs", "prompt_logprobs", "prediction"}
    | {"modalities", "audio", "echo", "suffix", "stream", "stream_options"}
    | {"guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "grammar", "json_schema"}
)
"""Settings that are about an answer's form, or more than its text: nothing but the answer itself is asked with them."""

OF_THE_ANSWER = OF_ONE_TURN | frozenset(
    {"stop", "stop_token_ids", "bad_words", "logit_bias", "min_tokens", "ignore_eos", "format"}
)
"""Settings that are about an answer's text as well: a revision, which takes its place, is asked with these too."""

_LEFT_OUT: Mapping[str | None, frozenset[str]] = {
    "review": OF_THE_ANSWER,
    "judge": OF_THE_ANSWER,
    "revise": OF_ONE_TURN,
    "propose": OF_ONE_TURN,
}


def settings_for(role: str | None, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a model's settings, those that make sense for whoever asks; what an ``extra_body`` holds is told apart alike.

    Args:
        role: who asks; None outside of a program call, where all of them do.
        settings: parameter → value, as the user set them on a backend or an LM.
    """
    others = _LEFT_OUT.get(role)
    more = settings.get("extra_body")
    if others is None or not (settings.keys() & others or (isinstance(more, Mapping) and more.keys() & others)):
        return settings
    kept = {name: value for name, value in settings.items() if name not in others}
    if isinstance(more, Mapping):
        kept["extra_body"] = {name: value for name, value in more.items() if name not in others}
    return kept


def merged(settings: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of one call: those that it is asked with, before a model's settings of either name."""
    kept = {name: value for name, value in settings.items() if asked.get(SIBLINGS.get(name, name)) is None}
    return {**kept, **asked}
