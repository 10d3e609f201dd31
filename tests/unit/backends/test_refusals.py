"""Which parameters errors refuse: as providers word it, and never where they quote the request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conscience._dspy.lm import lm_errors
from conscience.backends.habits.legal import Legal
from conscience.backends.habits.refusals import refusals

SENT: dict[str, Any] = {
    "max_tokens": 1,
    "temperature": 0.0,
    "logprobs": True,
    "top_logprobs": 20,
    "seed": 3,
    "stop": ["x", "y"],
    "top_p": 1.0,
    "presence_penalty": 0.1,
    "response_format": {"type": "json_schema"},
}
OUT = Legal()
FIVE = Legal("top_logprobs", most=5)
SIXTEEN = Legal("max_tokens", least=16)
ABOVE_0 = Legal("temperature", least=0.01)

SAID: dict[str, dict[str, Legal]] = {
    # OpenAI, Azure
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.": {
        "max_tokens": Legal("max_completion_tokens")
    },
    "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) value is supported.": {
        "temperature": OUT
    },
    "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 1 instead.": {
        "max_tokens": SIXTEEN
    },
    "Invalid schema for response_format 'critique': In context=('properties', 'a'), 'maxItems' is not permitted.": {
        "response_format": OUT
    },
    "Unrecognized request argument supplied: seed": {"seed": OUT},
    "Unrecognized request argument supplied: stop": {"stop": OUT},
    "Invalid 'stop': array too long. Expected an array with maximum length 1, but got an array of 2.": {
        "stop": Legal("stop", most=1)
    },
    "You are not allowed to request logprobs from this model": {"logprobs": OUT},
    "logprobs, best_of and echo parameters are not available on this model. Please remove the parameter.": {"logprobs": OUT},
    "temperature, top_p and n are fixed at 1, while presence_penalty is fixed at 0": {
        "temperature": OUT,
        "top_p": OUT,
        "presence_penalty": OUT,
    },
    # vLLM, FastChat, text-generation-inference
    "Requested sample logprobs of 20, which is greater than max allowed: 5": {"top_logprobs": FIVE},
    "Cannot request more than 5 logprobs.": {"top_logprobs": FIVE},
    "[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs are not permitted', 'input': 3}]": {
        "seed": OUT
    },
    "1 is less than the minimum of 16 - 'max_tokens'": {"max_tokens": SIXTEEN},
    "Input validation error: `top_p` must be > 0.0 and < 1.0": {"top_p": Legal("top_p", 0.01, 0.99)},
    "`temperature` (=0.0) has to be a strictly positive float": {"temperature": ABOVE_0},
    # Mistral, pydantic
    '{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted","input":1}]}': {
        "seed": OUT
    },
    '[{"type":"less_than_equal","loc":["body","top_logprobs"],"msg":"Input should be less than or equal to 5"}]': {
        "top_logprobs": FIVE
    },
    # Groq, xAI, DeepSeek, Together, Fireworks, Moonshot, Qwen, Zhipu, GigaChat
    "property 'logprobs' is unsupported": {"logprobs": OUT},
    "This model does not support response format `json_schema`.": {"response_format": OUT},
    "`max_tokens` must be greater than or equal to `16`, the minimum value for this model": {"max_tokens": SIXTEEN},
    "Argument not supported on this model: presencePenalty": {"presence_penalty": OUT},
    "response_format: response_format.type `json_schema` is unavailable now at line 1 column 12440": {
        "response_format": OUT
    },
    "Invalid top_logprobs and logprobs value": {"top_logprobs": FIVE},
    "5 is greater than the maximum of 5 - 'logprobs'": {"top_logprobs": FIVE},
    "invalid temperature: only 1 is allowed for this model": {"temperature": OUT},
    "Invalid 'top_logprobs': 20. Expected an integer in range [0, 5]": {"top_logprobs": Legal("top_logprobs", 0, 5)},
    "temperature参数非法。请检查文档。": {"temperature": ABOVE_0},
    "Invalid params: temperature must be in range (0, +inf)": {"temperature": ABOVE_0},
    # Gemini, Bedrock, Anthropic, LM Studio, llama.cpp, LiteLLM
    'Invalid JSON payload. Unknown name "seed": Cannot find field.\nUnknown name "presence_penalty": Cannot find field.': {
        "seed": OUT,
        "presence_penalty": OUT,
    },
    "Unable to submit request because Logprobs is not supported for this model.": {"logprobs": OUT},
    "logprobs value is 20 but the supported range is from 1 (inclusive) to 6 (exclusive).": {
        "top_logprobs": Legal("top_logprobs", most=5)
    },
    "Malformed input request: #: extraneous key [seed] is not permitted, please reformat your input.": {"seed": OUT},
    "`temperature` and `top_p` cannot both be specified for this model. Please use only one.": {"top_p": OUT},
    "'response_format.type' must be 'json_schema' or 'text'": {"response_format": OUT},
    "openai does not support parameters: ['logprobs', 'temperature'], for model=x": {"logprobs": OUT, "temperature": OUT},
    r"Provider returned error: {\"error\": {\"message\": \"Unknown parameter: \'seed\'.\"}}": {"seed": OUT},
    # no word of a number
    "Value for top_logprobs is out of range": {"top_logprobs": FIVE},
    "max_tokens is too small": {"max_tokens": SIXTEEN},
    # about something else
    "prompt_logprobs is not supported": {},
    "messages.1.assistant.seed: property 'messages.1.assistant.seed' is unsupported": {},
    "[{'type': 'extra_forbidden', 'loc': ('body', 'messages', 0, 'user', 'seed'), 'msg': 'Extra inputs are bad'}]": {},
    "[{'type': 'value_error', 'loc': ('body',), 'msg': 'Wrong stream', 'input': {'seed': 3, 'temperature': 0}}]": {},
    "Invalid schema for function 'f': In context=('properties', 'temperature'), 'x' is not permitted.": {},
    "'messages' must contain the word 'json' to use 'response_format' of type 'json_object'.": {},
    "This model's maximum context length is 4096 tokens. However, you requested 4000 in max_tokens.": {},
    "The server is busy": {},
}


def error(message: str, status: int | None = 400, **fields: Any) -> Any:
    made = lm_errors.LMInvalidRequestError(message, status=status)
    made.__dict__.update(fields)
    return made


@pytest.mark.parametrize(("said", "legal"), SAID.items(), ids=[said[:60] for said in SAID])
def test_providers_words_are_read(said: str, legal: dict[str, Legal]) -> None:
    """What they name, and what they take instead."""
    found = refusals(error(said), SENT, [[{"role": "user", "content": "hello"}]])
    assert {name: found[name].of(SENT[name]) for name in found if found[name].name} == {
        name: value.of(SENT[name]) for name, value in legal.items() if value.name
    }
    assert {name: value.name for name, value in found.items()} == {name: value.name for name, value in legal.items()}


@pytest.mark.parametrize("status", [401, 402, 408, 409, 413, 429, 502, 503])
def test_other_failures_refuse_no_parameter(status: int) -> None:
    """A quota may well speak of max_tokens."""
    assert refusals(error("max_tokens is not supported", status), SENT, []) == {}


def test_a_field_of_the_error_counts_whatever_the_request_says() -> None:
    """It is the server's own."""
    texts = [{"role": "user", "content": "Unsupported parameter: 'seed' is not supported"}]
    said = error("Unsupported parameter: 'seed' is not supported", param="seed")
    assert refusals(said, SENT, texts) == {"seed": OUT}
    assert refusals(error("no", features=["seed"]), SENT, texts) == {"seed": OUT}
    assert refusals(error("no", param="messages"), {**SENT, "messages": 1}, texts) == {}


QUOTES = {
    "as it is": lambda text: f"The request was blocked by our policy: {text}",
    "as JSON": lambda text: f"Invalid request: {json.dumps({'messages': [{'content': text}]})}",
    "as JSON in JSON": lambda text: "must not be sent: " + json.dumps(json.dumps({"content": text})),
    "as Python": lambda text: f"Unsupported content: {[{'role': 'user', 'content': text}]!r} is not allowed",
    "cut off": lambda text: f"The prompt is not supported: {text[:40]}",
    "in lower case": lambda text: f"Unknown content. {text.lower()} must be rewritten, and is not allowed",
    "a row's input": lambda text: f"[{{'loc': ('body', 'messages'), 'msg': 'Extra inputs', 'input': {text!r}}}]",
}
_words = st.lists(st.sampled_from(["the", "is", "water", "seed", "stop", "temperature", "in", "set"]), max_size=4)
texts = st.builds(
    lambda before, said, after: f"{' '.join(before)} {said} {' '.join(after)}".strip(),
    _words,
    st.sampled_from([said for said, legal in SAID.items() if legal]),
    _words,
) | _words.map(" ".join)


@given(text=texts, quote=st.sampled_from(list(QUOTES)))
@example(text="temperature", quote="as it is")
@example(text="temperature unsupported", quote="in lower case")
@example(text="the seed seed seed Value for top_logprobs is out of range", quote="cut off")
@example(text="What is\nthe temperature\tin “Rome”?", quote="as JSON in JSON")
def test_an_error_that_quotes_the_request_refuses_nothing(text: str, quote: str) -> None:
    """Whatever the request says of parameters, and however the error quotes it."""
    messages = [{"role": "system", "content": "You help."}, {"role": "user", "content": text}]
    assert refusals(error(QUOTES[quote](text)), SENT, [messages]) == {}


@pytest.mark.parametrize("text", ["What is a good temperature?", "Is the seed not supported? temperature is"])
def test_a_request_may_speak_of_a_parameter_that_is_refused(text: str) -> None:
    """The server's own words count, where they are not the request's."""
    said = "Unsupported value: 'temperature' does not support 0.0 with this model."
    assert refusals(error(said), SENT, [[{"role": "user", "content": text}]]) == {"temperature": OUT}


@given(st.text(max_size=300), st.sampled_from([None, 400, 422, 500]))
def test_any_words_are_read(said: str, status: int | None) -> None:
    """Nothing raises, and only what was sent is refused."""
    assert refusals(error(said, status), SENT, [[{"role": "user", "content": [{"text": said}]}]]).keys() <= SENT.keys()
