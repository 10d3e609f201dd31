"""Names of decision models: "decisions:" before a LiteLLM model string, and who serves such models."""

from __future__ import annotations

from dataclasses import dataclass

from conscience.backends.embedded.catalogue import is_local
from conscience.backends.models import table as model_table
from conscience.errors import ConfigurationError

PREFIX = "decisions:"
"""Before a LiteLLM model string: the model is asked by its provider's decisions route, not as a chat model."""


@dataclass(frozen=True)
class DecisionRoute:
    """Where a provider takes Yes/No questions, in one of the two forms that there are.

    Attributes:
        keys: environment variables that may hold the key, in LiteLLM's order.
        bases: the same for the address.
        base: the address where nothing else says one; None where one must be given.
        system_one: whether it speaks System One's form (a state and named "noul" questions), else OpenAI's.
    """

    keys: tuple[str, ...]
    bases: tuple[str, ...]
    base: str | None
    system_one: bool = True

    @property
    def path(self) -> str:
        return "/v1/systemone" if self.system_one else "/v1/decisions"

    @property
    def needs_key(self) -> bool:
        """Servers of one's own ask for none."""
        return not self.system_one


ROUTES = {
    "openai": DecisionRoute(
        ("OPENAI_API_KEY",), ("OPENAI_BASE_URL", "OPENAI_API_BASE"), "https://api.openai.com", system_one=False
    ),
    "hosted_vllm": DecisionRoute(("HOSTED_VLLM_API_KEY",), ("HOSTED_VLLM_API_BASE",), None),
    "lm_studio": DecisionRoute(("LM_STUDIO_API_KEY",), ("LM_STUDIO_API_BASE",), None),
    "ollama": DecisionRoute(("OLLAMA_API_KEY",), ("OLLAMA_API_BASE",), "http://localhost:11434"),
}
"""Those that are asked over the light wire; all others are LiteLLM's."""


def only_decides(name: str) -> bool:
    """Whether a model's name is that of a decision model."""
    return name.startswith(PREFIX)


def check_name(model: str) -> None:
    """Refuses what no decisions route serves, without importing LiteLLM.

    Args:
        model: what stands after the prefix.

    Raises:
        ConfigurationError: it is no model string, or its provider has no such route.
    """
    provider, slash, rest = model.partition("/")
    hint = "write decisions:provider/model, such as decisions:openai/gpt-6-luna"
    if not model or (slash and not rest):
        raise ConfigurationError(f"{PREFIX + model!r} names no model", hint=hint)
    if is_local(model):
        raise ConfigurationError(f"{PREFIX + model!r}: the embedded model has no route for decisions", hint=hint)
    served = model_table.decision_providers()
    if slash and served and provider.removesuffix("_chat") not in served:  # ollama_chat is served by ollama
        raise ConfigurationError(f"{provider} serves no decision models that LiteLLM knows", hint=f"{', '.join(served)} do")


def writes_nothing(name: str, wanted_for: str) -> ConfigurationError:
    """The error where a decision model is given work that takes a chat model."""
    return ConfigurationError(
        f"{name} answers Yes/No questions and writes nothing: it cannot {wanted_for}",
        hint=f'let it review, and a chat model do the rest: lm={{"generate": "openai/gpt-4o-mini", "review": "{name}"}}'
        " (--lm and --review-lm)",
    )
