"""LiteLLM's table read without importing it says what LiteLLM says, for every model that the light wire takes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from conscience.backends.models import table as model_table
from conscience.backends.models.prices import price
from conscience.backends.models.table import DIALECTS, PLAIN, route
from conscience.backends.providers import features
from tests.conftest import ROOT

COMPARED = PLAIN | {"tools", "tool_choice", "parallel_tool_calls", "reasoning_effort"}
USAGES = [(1000, 100, 0), (1000, 100, 400), (250_000, 50, 1000), (300_000, 50, 0)]


def names() -> list[str]:
    """Every name by which the table's models can be asked for, and some that it does not hold."""
    found = {f"{provider}/some-model" for provider in DIALECTS}
    found |= {"openrouter/openai/gpt-4o", "openai/gpt-4o-2024-08-06", "openai/gpt-9", "azure/my-deployment"}
    for name, row in model_table._file().items():
        provider = row.get("litellm_provider")
        if provider in DIALECTS:
            found.add(name if name.startswith(f"{provider}/") else f"{provider}/{name}")
            found |= {name} if provider == "openai" else set()
    return sorted(found)


@pytest.fixture(scope="module")
def lite() -> Any:
    from conscience._dspy.lm import litellm

    return litellm()


def test_names_features_and_parameters_are_litellms(lite: Any) -> None:
    taken = 0
    for name in names():
        if (to := route(name)) is None:
            continue
        taken += 1
        assert (to.model, to.provider) == lite.get_llm_provider(name)[:2]
        assert model_table.features(to) == features(name, None), name
        takes = set(lite.get_supported_openai_params(to.model, to.provider) or [])
        assert ((to.dialect.params - model_table.unsupported(to)) & COMPARED) <= takes, name
    assert taken > 400


def test_prices_are_litellms(lite: Any) -> None:
    from litellm.types.utils import PromptTokensDetailsWrapper, Usage

    for name in names():
        if (to := route(name)) is None:
            continue
        for prompt, completion, cached in USAGES:
            details = PromptTokensDetailsWrapper(cached_tokens=cached)
            usage = Usage(prompt, completion, prompt + completion, prompt_tokens_details=details)
            response = lite.ModelResponse(model=to.model, usage=usage, choices=[])
            try:
                theirs = lite.completion_cost(response, model=name, custom_llm_provider=to.provider) or None
            except Exception:  # how LiteLLM says that it knows no price
                theirs = None
            counts = {"prompt_tokens": prompt, "completion_tokens": completion}
            ours = price(to, {**counts, "prompt_tokens_details": {"cached_tokens": cached}})
            ours = ours or None  # that a model is free is told apart elsewhere
            assert ours == (theirs if theirs is None else pytest.approx(theirs, rel=1e-9)), (name, prompt, cached)


def test_every_provider_of_litellms_is_known(lite: Any) -> None:
    assert {str(getattr(provider, "value", provider)) for provider in lite.provider_list} <= model_table._providers()


def test_what_it_tells_without_litellm() -> None:
    script = """
import sys
from conscience.backends.models.table import address_provider, is_name, route
print([is_name(name) for name in ("nobody", "nobody/x", "anthropic/x", "gpt-4o", "claude-newer-9", "a:b")])
print([address_provider(name) for name in ("openai/x", "gpt-4o", "local", "groq/x", "anthropic/x", "nobody")])
print([route(name) and route(name).provider for name in ("gpt-4o", "openai/o1-pro", "anthropic/x", "azure/o3", "local")])
print("litellm" in sys.modules)
"""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, env=env, check=True)
    assert done.stdout.splitlines() == [
        "[False, False, True, True, None, None]",
        "['openai', 'openai', 'local', 'groq', None, 'nobody']",
        "['openai', None, None, None, None]",
        "False",
    ]
