"""Real providers, a row for each habit: what their servers were seen to do, and what a program is to make of it.

The facts come from reports and documentation, named with each row; the words of errors are theirs. ``python -m
tests.support.providers`` prints the table of docs/backends.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.support.habits import (
    Habit,
    always,
    anthropic,
    as_parts,
    as_raw,
    at_least,
    at_most,
    bare_tokens,
    dangling,
    failure,
    hidden,
    legacy_logprobs,
    once,
    only,
    openai_error,
    parsed,
    parts_with_reasoning,
    plain,
    refuses,
    refuses_if,
    serves,
    tagged,
    thinks,
    with_choice,
    with_fields,
    without_logprobs,
)
from tests.support.loopback import Behaviour, Body, Raw, chat


@dataclass(frozen=True)
class Row:
    """One habit of one provider.

    Attributes:
        provider: whose server it is.
        habit: what it does, for the table.
        seen: where that was reported or documented.
        model: the one string that a user writes.
        answers: how the model answers.
        habits: what the server does before that.
        options: what else the user sets.
        fails: words of the error that a call ends in; empty where it is answered.
        method: how the gate reads its questions once the backend is known.
        calls: of the first request, and of one once the backend is known.
        event: words of an event of some request.
        happens: what a program does, for the table; by default what ``fails`` and ``method`` say.
    """

    provider: str
    habit: str
    seen: str
    model: str
    answers: Any = plain
    habits: Sequence[Habit] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    fails: str = ""
    method: Literal["logprobs", "verbalised"] = "logprobs"
    calls: tuple[int, int] = (2, 2)
    event: str = ""
    happens: str = ""

    @property
    def behaviour(self) -> Behaviour:
        return serves(self.answers, *self.habits)

    @property
    def outcome(self) -> str:
        """What a program does, for the table."""
        if self.happens:
            return self.happens
        if self.fails:
            return "an error that says so, at once" if self.calls[0] == 1 else "an error that says so, after the retries"
        return "log-probabilities" if self.method == "logprobs" else "written scores"


def _pydantic(where: str, kind: str = "extra_forbidden") -> Body:
    return {"type": kind, "loc": ["body", where], "msg": "Extra inputs are not permitted", "input": True}


CLOUDFLARE = (
    "<!DOCTYPE html><html><head><title>api.example.com | 524: A timeout occurred</title></head><body>524</body></html>"
)
FILTERED = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. "
    "Please modify your prompt and retry."
)
UPSTREAM = {
    "message": "Provider returned error",
    "code": 502,
    "metadata": {"raw": "upstream error", "provider_name": "Azure"},
}
ONE_TEMPERATURE = (
    "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."
)
RENAMED = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
PROXY_REFUSES = (
    "litellm.UnsupportedParamsError: anthropic does not support parameters: ['logprobs', 'top_logprobs'], for "
    "model=claude-sonnet-4-5. To drop these, set `litellm.drop_params=True`. Received Model Group=claude"
)
PROXY_HANDS_ON = f"litellm.BadRequestError: GithubException - Error code: 400 - {openai_error(RENAMED, 'max_tokens')}"
SIXTEEN = "Invalid '{name}': integer below minimum value. Expected a value >= 16, but got 1 instead."


def _openrouter_sixteen(body: Body) -> str | None:
    return "max_output_tokens" if (body.get("max_tokens") or 99) < 16 else None


ROWS: tuple[Row, ...] = (
    # OpenAI and Azure
    Row("OpenAI", "20 candidates a token (gpt-4o)", "platform.openai.com/docs/api-reference/chat", "openai/gpt-4o"),
    Row(
        "OpenAI",
        "gpt-5 and the o-series refuse `max_tokens`, `temperature` and `logprobs`",
        "github.com/griptape-ai/ComfyUI-Griptape/issues/312",
        "openai/gpt-5",
        answers=thinks(hidden),
        habits=[
            refuses(
                "max_tokens",
                "logprobs",
                says=openai_error(
                    "Unsupported parameter: '{name}' is not supported with this model.", "{name}", "unsupported_parameter"
                ),
            ),
            only(
                "temperature",
                1,
                openai_error(
                    ONE_TEMPERATURE,
                    "temperature",
                    "unsupported_value",
                ),
            ),
        ],
        method="verbalised",
        happens="known from LiteLLM's table: written scores, with room to think",
    ),
    Row(
        "OpenAI",
        "the same under a name that no table knows",
        "github.com/griptape-ai/ComfyUI-Griptape/issues/312",
        "openai/our-gpt",
        answers=thinks(hidden),
        habits=[
            refuses(
                "max_tokens",
                says=openai_error(
                    RENAMED,
                    "max_tokens",
                    "unsupported_parameter",
                ),
            ),
            only(
                "temperature",
                1,
                openai_error(
                    ONE_TEMPERATURE,
                    "temperature",
                    "unsupported_value",
                ),
            ),
            refuses(
                "logprobs",
                "top_logprobs",
                says=openai_error(
                    "Unsupported parameter: '{name}' is not supported with this model.", "{name}", "unsupported_parameter"
                ),
            ),
        ],
        method="verbalised",
        calls=(7, 2),
    ),
    Row(
        "OpenAI",
        "status 403 for log-probabilities of a reasoning model",
        "github.com/confident-ai/deepeval/pull/2184",
        "openai/our-o4",
        answers=thinks(hidden),
        habits=[
            refuses("logprobs", status=403, says=openai_error("You are not allowed to request logprobs from this model"))
        ],
        method="verbalised",
        calls=(4, 2),
    ),
    Row(
        "OpenAI",
        "old models do not know `logprobs`",
        "github.com/openai/openai-python/issues/1080",
        "openai/our-gpt-4",
        answers=without_logprobs,
        habits=[refuses("logprobs", says=openai_error("This model does not support the 'logprobs' parameter.", "logprobs"))],
        method="verbalised",
        calls=(4, 2),
    ),
    Row(
        "Azure",
        "refuses a prompt by its content filter",
        "github.com/compl-ai/compl-ai/issues/20",
        "azure/our-deployment",
        habits=[
            always(
                failure(
                    400,
                    {
                        "error": {
                            "message": FILTERED,
                            "type": None,
                            "param": "prompt",
                            "code": "content_filter",
                            "status": 400,
                            "innererror": {"code": "ResponsibleAIPolicyViolation"},
                        }
                    },
                )
            )
        ],
        fails="content management policy",
        calls=(1, 1),
    ),
    Row(
        "Azure",
        "filters an answer: no content, `finish_reason` content_filter",
        "learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter",
        "azure/our-deployment",
        habits=[always(chat(None, finish="content_filter"))],
        fails="content filter",
        calls=(3, 3),
    ),
    Row(
        "Azure",
        "adds filter results to prompts and choices",
        "learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter",
        "azure/our-deployment",
        answers=with_choice(
            with_fields(prompt_filter_results=[{"prompt_index": 0}]), content_filter_results={"hate": {"filtered": False}}
        ),
    ),
    Row(
        "Azure",
        "wants at least 16 tokens",
        "github.com/dotnet/extensions/issues/6945",
        "azure/our-deployment",
        habits=[at_least("max_tokens", 16, openai_error(SIXTEEN, "{name}", "integer_below_min_value"))],
        calls=(3, 2),
    ),
    # Servers of one's own
    Row(
        "vLLM",
        "shows at most 5 candidates (`--max-logprobs`)",
        "github.com/vllm-project/vllm/issues/5299",
        "hosted_vllm/our-model",
        habits=[
            at_most(
                "top_logprobs",
                5,
                {
                    "object": "error",
                    "message": "Requested sample logprobs of 20, which is greater than max allowed: 5",
                    "type": "BadRequestError",
                    "param": None,
                    "code": 400,
                },
            )
        ],
        calls=(3, 2),
    ),
    Row(
        "vLLM",
        "refuses a field it does not know, in a pydantic list",
        "github.com/vllm-project/vllm/issues/3657",
        "hosted_vllm/our-model",
        habits=[
            refuses(
                "logprobs",
                says={
                    "object": "error",
                    "message": "[{'type': 'extra_forbidden', 'loc': ('body', '{name}'), 'msg': 'Extra inputs …'}]",
                    "type": "BadRequestError",
                    "param": None,
                    "code": 400,
                },
            )
        ],
        method="verbalised",
        calls=(4, 2),
    ),
    Row(
        "vLLM",
        "has no log-probabilities on some hardware",
        "github.com/vllm-project/vllm-gaudi/pull/1098",
        "hosted_vllm/our-model",
        habits=[
            refuses(
                "logprobs",
                says={
                    "error": {
                        "message": "Gaudi doesn't support logprobs. Please remove 'logprobs' from your request.",
                        "type": "BadRequestError",
                        "param": None,
                        "code": 400,
                    }
                },
            )
        ],
        method="verbalised",
        calls=(4, 2),
    ),
    Row(
        "vLLM",
        "a reasoning parser puts thoughts into `reasoning_content`; cut, the content is null",
        "github.com/vllm-project/vllm/pull/17369",
        "hosted_vllm/our-model",
        answers=thinks(parsed),
        method="verbalised",
        calls=(3, 2),
    ),
    Row(
        "vLLM",
        "without a parser, thoughts are in `<think>` tags",
        "github.com/vllm-project/vllm/issues/17346",
        "hosted_vllm/our-model",
        answers=thinks(tagged),
        method="verbalised",
        calls=(3, 2),
    ),
    Row(
        "vLLM",
        "Qwen3 thinking models: only the closing tag is seen",
        "github.com/vllm-project/vllm/issues/22507",
        "hosted_vllm/our-model",
        answers=thinks(dangling),
        method="verbalised",
        calls=(3, 2),
    ),
    Row(
        "vLLM",
        "a parser that takes the whole answer for thoughts: content null",
        "github.com/vllm-project/vllm/issues/17349",
        "hosted_vllm/our-model",
        habits=[always(chat(None, reasoning_content="Paris."))],
        fails="said nothing",
        calls=(3, 3),
    ),
    Row(
        "SGLang",
        "status 500 where a log-probability is minus infinity",
        "github.com/sgl-project/sglang/issues/5984",
        "openai/our-sglang",
        habits=[
            once(
                failure(
                    500,
                    openai_error("Out of range float values are not JSON compliant", type="InternalServerError", code=500),
                ),
                number=2,
            )
        ],
        calls=(3, 2),
        happens="tried again; log-probabilities",
    ),
    Row(
        "SGLang",
        "a candidate of minus infinity, written as -Infinity",
        "github.com/sgl-project/sglang/issues/5984",
        "openai/our-sglang",
        answers=bare_tokens(),
        habits=[
            lambda body, n: (
                None
                if not body.get("logprobs")
                else Raw(
                    text=as_raw()(body).text.replace(
                        str(plain(body)["choices"][0]["logprobs"]["content"][0]["top_logprobs"][-1]["logprob"]), "-Infinity"
                    )
                )
            )
        ],
    ),
    Row(
        "TGI",
        "wants a temperature above 0",
        "github.com/vibrantlabsai/ragas/issues/264",
        "openai/our-tgi",
        habits=[
            refuses_if(
                lambda body: "temperature" if body.get("temperature") == 0 else None,
                {"error": "Input validation error: `temperature` must be strictly positive", "error_type": "validation"},
                422,
            )
        ],
        calls=(3, 2),
    ),
    Row(
        "TGI",
        "shows at most 5 candidates, and calls them by another name",
        "github.com/huggingface/text-generation-inference (validation.rs)",
        "openai/our-tgi",
        habits=[
            at_most(
                "top_logprobs",
                5,
                {
                    "error": "Input validation error: `top_n_tokens` must be >= 0 and <= 5. Given: 20",
                    "error_type": "validation",
                },
                422,
            )
        ],
        calls=(3, 2),
    ),
    Row(
        "llama.cpp",
        "adds ids and bytes to candidates, and timings",
        "github.com/ggml-org/llama.cpp/tree/master/tools/server",
        "openai/our-llama.cpp",
        answers=with_fields(timings={"prompt_n": 3, "predicted_ms": 1.5}, system_fingerprint="b1"),
    ),
    Row(
        "Ollama",
        "`/v1` takes `logprobs` and shows none",
        "github.com/ollama/ollama/issues/2415",
        "openai/our-llama3.2",
        answers=without_logprobs,
        method="verbalised",
        calls=(4, 2),
        event="log-probabilities",
    ),
    Row(
        "LM Studio",
        "takes no `response_format` but json_schema and text",
        "github.com/lmstudio-ai/lmstudio-bug-tracker/issues/189",
        "lm_studio/our-model",
        habits=[
            refuses_if(
                lambda body: "x" if (body.get("response_format") or {"type": "text"})["type"] == "json_object" else None,
                {"error": "'response_format.type' must be 'json_schema' or 'text'"},
            )
        ],
    ),
    Row(
        "LM Studio",
        "shows no log-probabilities",
        "lmstudio.ai/docs/app/api/endpoints/openai",
        "lm_studio/our-model",
        answers=without_logprobs,
        method="verbalised",
        calls=(4, 2),
    ),
    # Hosted models
    Row(
        "Groq",
        "refuses `logprobs`",
        "github.com/groq/groq-python/issues/25",
        "groq/llama-3.3-70b-versatile",
        habits=[refuses("logprobs", "top_logprobs", says=openai_error("`{name}` is not supported with this model"))],
        method="verbalised",
        calls=(4, 2),
    ),
    Row(
        "DeepSeek",
        "sends blank lines while it is busy",
        "api-docs.deepseek.com/quick_start/rate_limit",
        "deepseek/deepseek-chat",
        answers=as_raw(before="\n\n\n"),
    ),
    Row(
        "DeepSeek",
        "deepseek-reasoner thinks, and refuses sampling parameters",
        "github.com/deepseek-ai/DeepSeek-R1/issues/7",
        "deepseek/deepseek-reasoner",
        answers=thinks(parsed),
        habits=[
            refuses(
                "temperature",
                "logprobs",
                "top_logprobs",
                says=openai_error("deepseek-reasoner does not support the parameter `{name}`", code="invalid_request_error"),
            )
        ],
        method="verbalised",
    ),
    Row(
        "DeepSeek",
        "V3.2 shows 0 or -9999, and no candidates",
        "github.com/deepseek-ai/DeepSeek-V3.2-Exp/issues/49",
        "deepseek/deepseek-chat",
        answers=bare_tokens(),
        happens="log-probabilities, which then say only Yes or No",
    ),
    Row(
        "DeepSeek",
        "refuses a prompt: Content Exists Risk",
        "github.com/deepseek-ai/awesome-deepseek-integration/issues/13",
        "deepseek/deepseek-chat",
        habits=[always(failure(400, openai_error("Content Exists Risk", code="invalid_request_error")))],
        fails="Content Exists Risk",
        calls=(1, 1),
    ),
    Row(
        "OpenRouter",
        "an error in a body with status 200",
        "github.com/anomalyco/opencode/issues/22448",
        "openrouter/meta-llama/llama-3.3-70b-instruct",
        habits=[once({"error": UPSTREAM, "user_id": "u"})],
        calls=(3, 2),
        happens="tried again; log-probabilities",
    ),
    Row(
        "OpenRouter",
        "an error in a choice with status 200",
        "openrouter.ai/docs/api-reference/errors",
        "openrouter/meta-llama/llama-3.3-70b-instruct",
        habits=[
            once(
                {
                    **chat(""),
                    "choices": [
                        {
                            "index": 0,
                            "finish_reason": "error",
                            "error": UPSTREAM,
                            "message": {"role": "assistant", "content": "Par"},
                        }
                    ],
                }
            )
        ],
        calls=(3, 2),
        happens="tried again; log-probabilities",
    ),
    Row(
        "OpenRouter",
        "changes its provider: log-probabilities come and go",
        "openrouter.ai/docs/features/provider-routing",
        "openrouter/meta-llama/llama-3.3-70b-instruct",
        habits=[once(chat("No"), number=2)],
        calls=(3, 2),
        happens="asked once more; log-probabilities",
    ),
    Row(
        "OpenRouter",
        "hands on the real reason in `metadata.raw` only",
        "github.com/vectorize-io/hindsight/issues/58",
        "openrouter/meta-llama/llama-3.3-70b-instruct",
        habits=[
            refuses_if(
                _openrouter_sixteen,
                {
                    "error": {
                        "message": "Provider returned error",
                        "code": 400,
                        "metadata": {
                            "raw": json.dumps(
                                openai_error(SIXTEEN.replace("{name}", "max_output_tokens"), "max_output_tokens")
                            ),
                            "provider_name": "Azure",
                        },
                    },
                    "user_id": "u",
                },
            )
        ],
        calls=(3, 2),
    ),
    Row(
        "Together",
        "log-probabilities in the form of completions of old",
        "github.com/togethercomputer/together-python/issues/251",
        "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo",
        answers=legacy_logprobs,
    ),
    Row(
        "Together",
        "shows one candidate",
        "github.com/lmg-anon/mikupad/issues/55",
        "openai/our-together",
        habits=[at_most("top_logprobs", 1, openai_error("20 is greater than the maximum of 1 - '{name}'", "{name}"))],
        calls=(3, 2),
    ),
    Row(
        "Fireworks",
        "shows at most 5 candidates",
        "docs.fireworks.ai/api-reference/post-chatcompletions",
        "fireworks_ai/accounts/fireworks/models/llama-v3p3-70b-instruct",
        habits=[
            at_most(
                "top_logprobs",
                5,
                openai_error(
                    "1 request validation error: Input should be less than or equal to 5, field: 'top_logprobs', value: 20"
                ),
            )
        ],
        calls=(3, 2),
    ),
    Row(
        "Mistral",
        "status 422 for fields it does not know",
        "github.com/mistralai/platform-docs-public/issues/7",
        "mistral/mistral-small-latest",
        habits=[
            refuses(
                "logprobs",
                "top_logprobs",
                "max_completion_tokens",
                status=422,
                says={
                    "object": "error",
                    "message": {"detail": [_pydantic("{name}")]},
                    "type": "invalid_request_error",
                    "param": None,
                    "code": None,
                },
            )
        ],
        method="verbalised",
        happens="known from LiteLLM's table: written scores",
    ),
    Row(
        "Mistral",
        "the same, reached as any OpenAI-like server",
        "github.com/editor-code-assistant/eca/issues/231",
        "openai/mistral-small-latest",
        habits=[
            refuses(
                "logprobs",
                "top_logprobs",
                status=422,
                says={
                    "object": "error",
                    "message": {"detail": [_pydantic("{name}")]},
                    "type": "invalid_request_error",
                    "param": None,
                    "code": None,
                },
            )
        ],
        method="verbalised",
        calls=(4, 2),
    ),
    Row(
        "xAI",
        "refuses an argument that the user set for the answer (`stop`)",
        "github.com/lobehub/lobehub/issues/8381",
        "openai/our-grok",
        habits=[
            refuses(
                "stop",
                says={"code": "Client specified an invalid argument", "error": "Argument not supported on this model: stop"},
            )
        ],
        options={"stop": ["END"]},
        calls=(3, 2),
        event="stop",
        happens="sent without it, which is recorded; log-probabilities",
    ),
    Row(
        "Perplexity",
        "citations and search results beside the answer, no log-probabilities, turns must alternate",
        "github.com/perplexityai/api-discussion/issues/265",
        "perplexity/sonar",
        answers=with_fields(
            without_logprobs, citations=["https://example.com"], search_results=[{"title": "t", "url": "u"}]
        ),
        habits=[
            refuses_if(
                lambda body: (
                    "x"
                    if any(a["role"] == b["role"] for a, b in zip(body["messages"], body["messages"][1:], strict=False))
                    else None
                ),
                {
                    "error": {
                        "message": "After the (optional) system message(s), user and assistant roles should be alternating.",
                        "type": "invalid_message",
                        "code": 400,
                    }
                },
            )
        ],
        method="verbalised",
        happens="known from LiteLLM's table: written scores",
    ),
    Row(
        "Cohere",
        "its OpenAI-like API shows the token, and no candidates",
        "docs.cohere.com/docs/compatibility-api",
        "openai/command-a-03-2025",
        answers=bare_tokens(-0.03),
    ),
    Row(
        "Gemini",
        "errors of its OpenAI-like API are in a list",
        "github.com/RUC-NLPIR/Arbor/issues/49",
        "openai/gemini-2.5-flash-lite",
        habits=[
            refuses(
                "logprobs",
                "top_logprobs",
                says=[
                    {
                        "error": {
                            "code": 400,
                            "message": 'Invalid JSON payload received. Unknown name \\"{name}\\": Cannot find field.',
                            "status": "INVALID_ARGUMENT",
                        }
                    }
                ],
            )
        ],
        method="verbalised",
        calls=(4, 2),
    ),
    Row(
        "Gemini",
        "Logprobs is not enabled for this model",
        "github.com/mscraftsman/generative-ai/issues/135",
        "openai/gemini-2.5-pro",
        habits=[
            refuses(
                "logprobs",
                says=[
                    {
                        "error": {
                            "code": 400,
                            "message": "Logprobs is not enabled for models/gemini-2.5-pro",
                            "status": "INVALID_ARGUMENT",
                        }
                    }
                ],
            )
        ],
        answers=thinks(hidden),
        method="verbalised",
        calls=(4, 2),
    ),
    Row(
        "Gemini",
        "an answer blocked for safety: a message without content",
        "github.com/GoogleCloudPlatform/generative-ai/pull/791",
        "openai/gemini-2.5-flash",
        habits=[
            always({**chat(None), "choices": [{"index": 0, "finish_reason": "SAFETY", "message": {"role": "assistant"}}]})
        ],
        fails="content filter",
        calls=(3, 3),
    ),
    Row(
        "Anthropic",
        "no log-probabilities",
        "platform.claude.com/docs/en/api/messages",
        "anthropic/claude-3-haiku-20240307",
        answers=anthropic(),
        method="verbalised",
        happens="known from LiteLLM's table: written scores",
    ),
    Row(
        "Anthropic",
        "thinking comes in a block of its own",
        "platform.claude.com/docs/en/build-with-claude/extended-thinking",
        "anthropic/claude-sonnet-4-5",
        answers=anthropic(thinking=True),
        method="verbalised",
        happens="known from LiteLLM's table: written scores, with room to think",
    ),
    Row(
        "Anthropic",
        "status 529 when overloaded",
        "platform.claude.com/docs/en/api/errors",
        "anthropic/claude-3-haiku-20240307",
        answers=anthropic(),
        habits=[once(failure(529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}))],
        method="verbalised",
        calls=(3, 2),
        happens="tried again; written scores",
    ),
    Row(
        "Anthropic",
        "its OpenAI-like API ignores `logprobs`",
        "platform.claude.com/docs/en/api/openai-sdk",
        "openai/claude-sonnet-4-5",
        answers=with_choice(without_logprobs, logprobs=None),
        method="verbalised",
        calls=(4, 2),
    ),
    Row(
        "Bedrock gateway",
        "another name for the end of an answer, no log-probabilities",
        "github.com/aws-samples/bedrock-access-gateway",
        "openai/anthropic.claude-3-haiku",
        answers=with_choice(without_logprobs, finish_reason="end_turn"),
        method="verbalised",
        calls=(4, 2),
    ),
    Row(
        "Cloudflare",
        "a page with status 524",
        "github.com/anthropics/claude-code/issues/16737",
        "openai/behind-cloudflare",
        habits=[once(failure(524, CLOUDFLARE))],
        calls=(3, 2),
        happens="tried again; log-probabilities",
    ),
    Row(
        "Cloudflare",
        "a page with status 200: a challenge, a login",
        "developers.cloudflare.com/cloudflare-challenges",
        "openai/behind-cloudflare",
        habits=[always(failure(200, "<!DOCTYPE html><html><title>Just a moment...</title></html>"))],
        fails="no JSON object",
        calls=(3, 3),
    ),
    Row(
        "Cloudflare Workers AI",
        "errors in a list of its own",
        "developers.cloudflare.com/workers-ai/platform/errors",
        "openai/@cf/meta/llama-3.1-8b-instruct",
        habits=[
            once(
                failure(
                    429,
                    {
                        "success": False,
                        "result": None,
                        "messages": [],
                        "errors": [{"code": 3040, "message": "AiError: Capacity temporarily exceeded, please try again."}],
                    },
                    retry_after="0",
                )
            )
        ],
        calls=(3, 2),
        happens="tried again; log-probabilities",
    ),
    Row(
        "NVIDIA NIM",
        "status 422 with problem details",
        "github.com/NVIDIA/garak/issues/748",
        "openai/our-nim",
        habits=[
            refuses(
                "logprobs",
                status=422,
                says={
                    "type": "urn:inference-service:problem-details:unprocessable-entity",
                    "title": "Unprocessable Entity",
                    "status": 422,
                    "detail": "body -> {name}\\n  Extra inputs are not permitted (type=extra_forbidden)",
                    "instance": "/v2/nvcf/pexec/functions/x",
                },
            )
        ],
        method="verbalised",
        calls=(4, 2),
    ),
    Row(
        "NVIDIA NIM",
        "busy behind a gateway: status 200 and `choices` null",
        "github.com/decolua/9router/issues/2727",
        "openai/our-nim",
        habits=[once({**chat(""), "choices": None})],
        calls=(3, 2),
        happens="tried again; log-probabilities",
    ),
    Row(
        "Hugging Face",
        "status 503 while a model is loaded",
        "huggingface.co/docs/inference-providers",
        "openai/our-hf-endpoint",
        habits=[
            once(failure(503, {"error": "Model HuggingFaceH4/zephyr-7b-beta is currently loading", "estimated_time": 20.0}))
        ],
        calls=(3, 2),
        happens="tried again; log-probabilities",
    ),
    Row(
        "Hugging Face",
        "the router knows no provider for the model",
        "huggingface.co/docs/inference-providers",
        "openai/our-hf-router",
        habits=[
            always(
                failure(
                    400,
                    openai_error(
                        "The requested model 'x' is not supported by any provider you have enabled.",
                        "model",
                        "model_not_supported",
                    ),
                )
            )
        ],
        fails="not supported by any provider",
        calls=(1, 1),
    ),
    Row(
        "DashScope",
        "Qwen3 thinks, which is for streams only",
        "github.com/langchain4j/langchain4j/issues/3974",
        "dashscope/qwen3-8b",
        habits=[
            refuses_if(
                lambda body: None if body.get("enable_thinking") is False else "x",
                openai_error(
                    "parameter.enable_thinking must be set to false for non-streaming calls", code="invalid_parameter_error"
                ),
            )
        ],
        fails="enable_thinking",
        calls=(1, 1),
        happens='an error that says so; pass `extra_body={"enable_thinking": False}`',
    ),
    Row(
        "DashScope",
        'the same with `extra_body={"enable_thinking": False}`',
        "github.com/langchain4j/langchain4j/issues/3974",
        "openai/qwen3-8b",
        habits=[
            refuses_if(
                lambda body: None if body.get("enable_thinking") is False else "x",
                openai_error(
                    "parameter.enable_thinking must be set to false for non-streaming calls", code="invalid_parameter_error"
                ),
            )
        ],
        options={"extra_body": {"enable_thinking": False}},
    ),
    Row(
        "DashScope",
        "content is a list of parts without a type",
        "help.aliyun.com/zh/model-studio/qwen-vl",
        "openai/qwen-vl-plus",
        answers=lambda body: as_parts(body, kind=False),
    ),
    Row(
        "Moonshot",
        "takes one temperature only, 1 or .6",
        "github.com/QuantumNous/new-api/issues/5372",
        "openai/kimi-k2.6",
        habits=[only("temperature", 1, openai_error("invalid temperature: only 1 is allowed for this model"))],
        calls=(3, 2),
    ),
    Row(
        "Zhipu",
        "refuses a prompt, code 1301",
        "github.com/langchain4j/langchain4j/issues/1079",
        "openai/glm-4-plus",
        habits=[
            always(failure(400, {"error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"}}))
        ],
        fails="敏感内容",
        calls=(1, 1),
    ),
    Row(
        "Zhipu",
        "breaks an answer off, `finish_reason` sensitive",
        "github.com/langgenius/dify/issues/7559",
        "openai/glm-4-plus",
        habits=[always(chat("", finish="sensitive"))],
        fails="content filter",
        calls=(3, 3),
    ),
    Row(
        "Zhipu",
        "`finish_reason` network_error with part of an answer",
        "github.com/mozilla-ai/any-llm/pull/1204",
        "openai/glm-4.6",
        habits=[once(chat("Par", finish="network_error"))],
        calls=(3, 2),
        happens="tried again; log-probabilities",
    ),
    Row(
        "MiniMax",
        "thoughts in `<think>` tags before the answer",
        "platform.minimax.io/docs/api-reference/text-openai-api",
        "openai/MiniMax-M2",
        answers=thinks(tagged, shows_logprobs=False),
        method="verbalised",
        calls=(3, 2),
    ),
    Row(
        "MiniMax",
        "an error as `base_resp`, with status 200 and no choices",
        "github.com/edenai/edenai-apis/pull/360",
        "openai/MiniMax-M2",
        habits=[once({"id": "x", "choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}})],
        calls=(3, 2),
        happens="tried again; log-probabilities",
    ),
    Row(
        "MiniMax",
        "the same for good: no balance",
        "github.com/adrianlyjak/obsidian-aloud-tts/pull/114",
        "openai/MiniMax-M2",
        habits=[
            always({"id": "x", "choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}})
        ],
        fails="insufficient balance",
        calls=(3, 3),
    ),
    Row(
        "Baidu",
        "wants at least 2 tokens",
        "github.com/QuantumNous/new-api/issues/737",
        "openai/ernie-4.0-turbo-8k",
        habits=[
            at_least(
                "max_tokens",
                2,
                openai_error("parameter check failed, max_completion_tokens range is [2, 4096]", code="invalid_argument"),
            )
        ],
        calls=(3, 2),
    ),
    Row(
        "Volcengine",
        "refuses `max_tokens` beside `max_completion_tokens`",
        "github.com/HKUDS/nanobot/issues/2548",
        "openai/doubao-seed",
        habits=[
            refuses_if(
                lambda body: "x" if body.get("max_tokens") and body.get("max_completion_tokens") else None,
                {
                    "error": {
                        "code": "InvalidParameter",
                        "message": "max_tokens and max_completion_tokens cannot be set at the same time.",
                        "param": "max_tokens",
                        "type": "BadRequest",
                    }
                },
            )
        ],
        answers=thinks(parsed),
        options={"max_tokens": 2000},
        method="verbalised",
        calls=(3, 2),
    ),
    Row(
        "GigaChat",
        "wants a temperature above 0, status 422",
        "github.com/ai-forever/gigachain/issues/237",
        "openai/GigaChat",
        habits=[
            refuses_if(
                lambda body: "temperature" if body.get("temperature") == 0 else None,
                {"status": 422, "message": "Invalid params: temperature must be in range (0, +inf)"},
                422,
            )
        ],
        calls=(3, 2),
    ),
    Row(
        "LiteLLM proxy",
        "its own refusal, by class name",
        "github.com/BerriAI/litellm/issues/6724",
        "openai/claude-behind-litellm",
        answers=without_logprobs,
        habits=[
            refuses(
                "logprobs",
                says={
                    "error": {
                        "message": PROXY_REFUSES,
                        "type": "None",
                        "param": "None",
                        "code": "400",
                    }
                },
            )
        ],
        method="verbalised",
        calls=(4, 2),
    ),
    Row(
        "LiteLLM proxy",
        "an upstream error as a text in its message",
        "github.com/BerriAI/litellm/issues/8199",
        "openai/behind-litellm",
        answers=thinks(hidden),
        habits=[
            refuses(
                "max_tokens",
                says={
                    "error": {
                        "message": PROXY_HANDS_ON,
                        "type": None,
                        "param": None,
                        "code": "400",
                    }
                },
            )
        ],
        method="verbalised",
        calls=(5, 2),
    ),
    Row(
        "Databricks",
        "content is a list: reasoning, then text",
        "github.com/tidyverse/ellmer/issues/822",
        "databricks/databricks-gpt-oss-120b",
        answers=parts_with_reasoning,
        method="verbalised",
        happens="known from LiteLLM's table: written scores",
    ),
    Row(
        "SambaNova",
        "`logprobs` is not documented and does nothing",
        "github.com/Portkey-AI/gateway/pull/548",
        "sambanova/Meta-Llama-3.3-70B-Instruct",
        answers=without_logprobs,
        method="verbalised",
        happens="known from LiteLLM's table: written scores",
    ),
    Row(
        "Cerebras",
        "refuses a property, its error without an envelope",
        "github.com/anomalyco/opencode/issues/6648",
        "openai/our-cerebras",
        habits=[
            refuses(
                "top_logprobs",
                "logprobs",
                says={
                    "message": "body.{name}: property 'body.{name}' is unsupported",
                    "type": "invalid_request_error",
                    "param": "validation_error",
                    "code": "wrong_api_format",
                },
            )
        ],
        method="verbalised",
        calls=(5, 2),
    ),
    Row(
        "GitHub Models",
        "status 429 for the rest of the day",
        "docs.github.com/github-models",
        "openai/our-github-model",
        habits=[
            always(
                failure(
                    429,
                    openai_error(
                        "Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 40000 seconds.",
                        code="RateLimitReached",
                    ),
                    retry_after="40000",
                )
            )
        ],
        fails="Rate limit of 50",
        calls=(1, 1),
    ),
    Row(
        "Portkey",
        "status 246 where a guardrail of its own objects, with the answer",
        "portkey.ai/docs/product/guardrails",
        "openai/behind-portkey",
        answers=lambda body: Raw(246, as_raw(with_fields(hook_results={"before_request_hooks": []}))(body).text),
    ),
    Row(
        "Portkey",
        "status 446 where the guardrail denies",
        "portkey.ai/docs/product/guardrails",
        "openai/behind-portkey",
        habits=[
            always(failure(446, openai_error("The guardrail checks defined in the config failed.", type="hooks_failed")))
        ],
        fails="guardrail checks",
        calls=(1, 1),
    ),
    Row(
        "Replicate and others",
        "status 201 for an answer",
        "replicate.com/docs/reference/http",
        "openai/our-replicate",
        answers=lambda body: Raw(201, as_raw()(body).text),
    ),
)


def table() -> str:
    """The rows as docs/backends.md shows them."""
    head = ["| provider | what it does | what a program does | calls |", "|---|---|---|---|"]
    rows = (f"| {row.provider} | {row.habit} | {row.outcome} | {row.calls[0]}, {row.calls[1]} |" for row in ROWS)
    return "\n".join([*head, *rows])


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
