"""What LiteLLM knows of models and providers, read from the tables in its package without importing it.

Importing LiteLLM takes seconds; its table of prices and features is a JSON file that reads in hundredths of one. The rules
here are LiteLLM's own for the providers of ``DIALECTS``; for what they leave open, the answer is None: then ask LiteLLM.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson

from conscience.backends.embedded.catalogue import is_local

TABLE = "model_prices_and_context_window_backup.json"

Entry = Mapping[str, Any]
"""A model's row: prices in dollars a token, ``supports_…`` flags, mode, provider."""

PLAIN = frozenset(
    {"temperature", "top_p", "max_tokens", "max_completion_tokens", "n", "seed", "stop", "logprobs", "top_logprobs"}
    | {"presence_penalty", "frequency_penalty", "logit_bias", "response_format"}
)
"""Parameters that go to a provider as they are."""

_EXTRAS = frozenset({"top_k", "min_p", "repetition_penalty"})
_TOOLS = frozenset({"tools", "tool_choice", "parallel_tool_calls"})


@dataclass(frozen=True)
class Dialect:
    """One provider's way to speak OpenAI's chat wire.

    Attributes:
        keys: environment variables that may hold the key, in LiteLLM's order.
        bases: the same for the address.
        base: the address where nothing else says one; None where one must be given.
        key: what is sent where no key is set; None where one is needed.
        params: what the light wire sends for it; a call with anything else is LiteLLM's.
        lacks: of these, what it refuses.
        renamed: what it calls by another name.
        parts: whether messages of several parts go to it as they are.
        names: whether it takes a message's ``name``.
        listed: whether only models of LiteLLM's table are known well enough.
    """

    keys: tuple[str, ...]
    bases: tuple[str, ...]
    base: str | None
    key: str | None = None
    params: frozenset[str] = PLAIN | _EXTRAS
    lacks: frozenset[str] = frozenset()
    renamed: Mapping[str, str] | None = None
    parts: bool = False
    names: bool = True
    listed: bool = False

    @property
    def key_name(self) -> str:
        """The variable to tell a user to set."""
        return next(name for name in self.keys if "AZURE" not in name)


DIALECTS: Mapping[str, Dialect] = {
    "openai": Dialect(
        ("OPENAI_API_KEY",),
        ("OPENAI_BASE_URL", "OPENAI_API_BASE"),
        "https://api.openai.com/v1",
        params=PLAIN | _EXTRAS | _TOOLS | {"user", "reasoning_effort"},
        parts=True,
    ),
    "azure": Dialect(("AZURE_API_KEY",), ("AZURE_API_BASE",), None, params=PLAIN - {"response_format"} | {"user"}),
    "hosted_vllm": Dialect(
        ("HOSTED_VLLM_API_KEY",),
        ("HOSTED_VLLM_API_BASE",),
        None,
        key="fake-api-key",
        params=PLAIN | _EXTRAS | {"reasoning_effort"},
        parts=True,
    ),
    "lm_studio": Dialect(("LM_STUDIO_API_KEY",), ("LM_STUDIO_API_BASE",), None, key="fake-api-key", parts=True),
    "groq": Dialect(
        ("GROQ_API_KEY",),
        ("GROQ_API_BASE",),
        "https://api.groq.com/openai/v1",
        renamed={"max_completion_tokens": "max_tokens"},
    ),
    "deepseek": Dialect(("DEEPSEEK_API_KEY",), ("DEEPSEEK_API_BASE",), "https://api.deepseek.com/beta"),
    "openrouter": Dialect(
        ("OPENROUTER_API_KEY", "OR_API_KEY"),
        ("OPENROUTER_API_BASE",),
        "https://openrouter.ai/api/v1",
        params=PLAIN | _EXTRAS | {"reasoning_effort"},
        parts=True,
    ),
    "together_ai": Dialect(
        ("TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_TOKEN"),
        ("TOGETHER_AI_API_BASE",),
        "https://api.together.ai/v1",
        params=PLAIN - {"response_format"} | _EXTRAS,
        listed=True,
    ),
    "fireworks_ai": Dialect(
        ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
        ("FIREWORKS_API_BASE",),
        "https://api.fireworks.ai/inference/v1",
        params=PLAIN - {"response_format"} | _EXTRAS | {"user"},
        renamed={"max_completion_tokens": "max_tokens"},
        listed=True,
    ),
    "xai": Dialect(
        ("XAI_API_KEY",),
        ("XAI_API_BASE",),
        "https://api.x.ai/v1",
        params=PLAIN | _EXTRAS | {"user"},
        renamed={"max_completion_tokens": "max_tokens"},
        names=False,
    ),
    "mistral": Dialect(
        ("MISTRAL_AZURE_API_KEY", "MISTRAL_API_KEY"),
        ("MISTRAL_AZURE_API_BASE",),
        "https://api.mistral.ai/v1",
        lacks=frozenset(
            {"n", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty", "logit_bias", "stream_options"}
        ),
        renamed={"max_completion_tokens": "max_tokens", "seed": "random_seed"},
        names=False,
    ),
}


# The tables ------------------------------------------------------------------------------------------------------------


def _package() -> Path | None:
    spec = importlib.util.find_spec("litellm")  # found, not imported
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


@lru_cache(maxsize=1)
def _file() -> Mapping[str, Entry]:
    folder = _package()
    try:
        rows = orjson.loads((folder / TABLE).read_bytes()) if folder else {}
    except (OSError, ValueError):
        return {}
    return {name: row for name, row in rows.items() if isinstance(row, dict)} if isinstance(rows, dict) else {}


def loaded_litellm() -> ModuleType | None:
    """LiteLLM if somebody has imported it. One that waits to be loaded by a look at it (DSPy's) is not looked at."""
    module = sys.modules.get("litellm")
    return None if module is None or type(module).__name__ == "_LazyModule" else module


def table() -> Mapping[str, Entry]:
    """Every model's row by name; LiteLLM's own, with what users registered, where it is loaded anyway."""
    module = loaded_litellm()
    loaded = None if module is None else vars(module).get("model_cost")
    return loaded if isinstance(loaded, dict) and loaded else _file()


@lru_cache(maxsize=1)
def _other_cases() -> Mapping[str, str]:
    return {name.lower(): name for name in _file()}


def _row(name: str) -> Entry | None:
    rows = table()
    return rows.get(name) or rows.get(_other_cases().get(name.lower(), ""))


def entry(provider: str, model: str) -> Entry | None:
    """The row of a provider's model: under both names, under the model's alone, or under that of its undated release."""
    undated = re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model)
    names = [f"{provider}/{model}", model, f"{provider}/{undated}", undated]
    if provider == "fireworks_ai" and "/" not in model:
        names.insert(0, f"{provider}/accounts/fireworks/models/{model}")
    for name in dict.fromkeys(names):
        row = _row(name)
        if row is not None and row.get("litellm_provider") in (None, provider):
            return row
    return None if any(_row(name) is not None for name in names) else _generalized(provider, names)


def _generalized(provider: str, names: Sequence[str]) -> Entry | None:
    """What LiteLLM's table says of families: a name that is newer than the table."""
    for name in names:
        rows = [rule["model_info"] for rule in _rules() if re.search(rule["pattern"], name, re.IGNORECASE)]
        merged = {key: value for row in rows if "litellm_provider" not in row for key, value in row.items()}
        if merged:
            return {**merged, "litellm_provider": provider}
    return None


@lru_cache(maxsize=1)
def _rules() -> Sequence[Mapping[str, Any]]:
    rules = (_file().get("fallback_generalizations") or {}).get("rules") or ()
    return [rule for rule in rules if isinstance(rule.get("pattern"), str) and isinstance(rule.get("model_info"), dict)]


def _flag(provider: str, model: str, flag: str) -> bool:
    row = entry(provider, model)
    said = row.get(flag) if row is not None else None
    if said is None and row is not None and provider != "openrouter":
        said = (_row(model) or {}).get(flag)
    return said is True


# Names -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Route:
    """Where a model string leads.

    Attributes:
        provider: one of ``DIALECTS``.
        model: what the provider calls it.
        entry: its row, if it has one.
    """

    provider: str
    model: str
    entry: Entry | None

    @property
    def dialect(self) -> Dialect:
        return DIALECTS[self.provider]


def route(name: str) -> Route | None:
    """Where a LiteLLM model string leads, if that is a provider and a kind of model that the light wire knows."""
    provider, slash, model = name.partition("/")
    if not slash:
        row = _row(name)
        if row is None or row.get("litellm_provider") != "openai" or row is not table().get(name):
            return None
        provider, model = "openai", name
    if provider not in DIALECTS or not model or not table():
        return None
    row = entry(provider, model)
    if (row is None and DIALECTS[provider].listed) or not _is_plain_chat(row) or _is_special(provider, model, row):
        return None
    return Route(provider, model, row)


def _is_plain_chat(row: Entry | None) -> bool:
    """Whether it is a chat model whose price is a number of dollars a token at any hour."""
    if row is None:
        return True
    odd = ("off_peak_pricing", "tiered_pricing", "output_cost_per_image_token")
    return row.get("mode") == "chat" and not any(key in row for key in odd) and not _is_alias(row)


def _is_alias(row: Entry) -> bool:
    return any("alias" in key for key in row) or type(row) is not dict


def _is_special(provider: str, model: str, row: Entry | None) -> bool:
    """Models that LiteLLM sends another way than others of their provider."""
    if provider == "openai":
        return model.startswith(("responses/", "ft:")) or bool(re.search(r"gpt-5.*search|audio|gpt-image|codex", model))
    if provider == "azure":  # a deployment's name says little; what could be another kind is LiteLLM's to tell
        return bool(re.search(r"(^|[^a-z])o\d|gpt-?[5-9]|claude|command|mistral|/|responses", model))
    if provider == "openrouter":
        return "/" not in model or bool(re.search("claude|gemini|minimax|glm|z-ai", model))
    if provider == "groq":
        return "compound" in model
    if provider == "mistral":
        return "magistral" in model.lower()
    if provider == "fireworks_ai":  # of rows that leave these out, LiteLLM looks for a kindred one
        return "#" in model or row is None or not {"supports_function_calling", "supports_reasoning"} <= row.keys()
    if provider == "together_ai":  # others are priced by their size
        return row is None or "input_cost_per_token" not in row or model.startswith("together-ai-")
    return False


def is_name(name: str) -> bool | None:
    """Whether LiteLLM can tell a provider from a model string; None where only LiteLLM itself can say."""
    prefix, slash, rest = name.partition("/")
    known = _providers()
    if not known or loaded_litellm() is not None:
        return None
    if (slash and rest and prefix in known) or _row(name) is not None:
        return True
    if ":" in name or _is_routed(name) or name.startswith(("gpt-image", "amazon_nova")) or name == "*":
        return None
    return False


def _is_routed(name: str) -> bool:
    routing = (rule["pattern"] for rule in _rules() if "litellm_provider" in rule["model_info"])
    return any(re.search(pattern, name, re.IGNORECASE) for pattern in routing)


@lru_cache(maxsize=1)
def _providers() -> frozenset[str]:
    """The providers' names, from wherever LiteLLM's package lists them; empty where it does not as expected."""
    folder = _package()
    if folder is None:
        return frozenset()
    try:
        types = (folder / "types" / "utils.py").read_text()
        more = orjson.loads((folder / "llms" / "openai_like" / "providers.json").read_bytes())
    except (OSError, ValueError):
        return frozenset()
    begin = types.find("class LlmProviders(")
    named = re.findall(r'^    [A-Z0-9_]+ = "([^"]+)"', types[begin : types.find("\nclass ", begin + 1)], re.MULTILINE)
    rows = (str(row.get("litellm_provider")) for row in _file().values())
    special = {"bytez", "gdc", "lemonade", "heroku", "cometapi", "oci", "compactifai", "ovhcloud", "clarifai", "sap"}
    return frozenset({*named, *more, *rows, *special}) if "openai" in named else frozenset()


@lru_cache(maxsize=1)
def decision_providers() -> tuple[str, ...]:
    """The providers with a route for Yes/No questions; empty where LiteLLM's package does not show them as expected."""
    folder = _package()
    places = sorted(folder.glob("llms/*/decisions/transformation.py")) if folder else []
    return tuple(place.parts[-3] for place in places if place.parts[-3] != "base_llm")


def address_provider(name: str) -> str | None:
    """The provider whose environment variables say where a model is served; None where only LiteLLM can say."""
    found = route(name)
    if found is not None:
        return found.provider
    prefix, slash, _ = name.partition("/")
    if is_local(name) or is_name(name) is False:
        return prefix
    return prefix if slash and prefix in DIALECTS and prefix not in ("azure", "fireworks_ai") else None


# Features and parameters -----------------------------------------------------------------------------------------------


def features(to: Route) -> frozenset[str]:
    """What a model takes, see ``Transport.supports``."""
    found = {"parallel"}
    reasoning = _flag(to.provider, to.model, "supports_reasoning")
    if reasoning:
        found.add("reasoning")
    if to.provider in ("fireworks_ai", "lm_studio") or _flag(to.provider, to.model, "supports_response_schema"):
        found.add("schema")
    if _flag(to.provider, to.model, "supports_function_calling") or _calls_functions(to):
        found.add("tools")
    if not reasoning and not {"logprobs", "top_logprobs"} & unsupported(to):
        found.add("logprobs")
    return frozenset(found)


def _calls_functions(to: Route) -> bool:
    return to.provider == "fireworks_ai" and (to.entry or {}).get("supports_function_calling") is None


def is_o_series(to: Route) -> bool:
    """OpenAI's o1, o3, o4 and their kin."""
    return to.provider == "openai" and to.entry is not None and bool(re.match(r"o\d", to.model))


def is_gpt_5(to: Route) -> bool:
    """OpenAI's gpt-5 and later, which think."""
    return to.provider == "openai" and bool(re.search(r"gpt-[56]", to.model)) and "gpt-5-chat" not in to.model


def unsupported(to: Route) -> frozenset[str]:
    """The parameters that the model refuses."""
    if is_o_series(to):
        refused = {"logprobs", "top_p", "presence_penalty", "frequency_penalty", "top_logprobs"}
        if not _flag("openai", to.model, "supports_function_calling"):
            refused |= {"tools", "tool_choice"}
        if not _flag("openai", to.model, "supports_parallel_function_calling"):
            refused.add("parallel_tool_calls")
        if not _flag("openai", to.model, "supports_response_schema"):
            refused.add("response_format")
        return frozenset(refused)
    if is_gpt_5(to):
        refused = {"presence_penalty", "frequency_penalty", "stop", "logit_bias"}
        if not _flag("openai", to.model, "supports_tool_choice"):
            refused.add("tool_choice")
        if not _flag("openai", to.model, "supports_none_reasoning_effort"):
            refused |= {"logprobs", "top_p", "top_logprobs"}
        return frozenset(refused)
    if to.provider == "openai":
        refused = {"reasoning_effort"} if to.entry is not None else set()
        return frozenset(refused | ({"response_format"} if to.model in ("gpt-4", "gpt-3.5-turbo-16k") else set()))
    if to.provider == "xai":
        refused = {"stop"} if re.search("grok-3-mini|grok-4|grok-code-fast", to.model) else set()
        refused |= {"frequency_penalty"} if re.search("grok-4|grok-code-fast", to.model) else set()
        return frozenset(refused)
    return to.dialect.lacks


def thinks_by_default(to: Route) -> bool:
    """Whether a gpt-5 thinks where nobody says how much: then it takes no sampling parameters."""
    said = (to.entry or {}).get("default_reasoning_effort")
    return said != "none"


# Keys, addresses, prices -----------------------------------------------------------------------------------------------


def from_environment(names: tuple[str, ...]) -> str | None:
    """The first of these environment variables that is set to something."""
    return next((value for name in names if (value := os.environ.get(name))), None)
