"""Where an uncompiled gate starts from: the constitution's own question, or a calibration shipped for a known backend."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources

from conscience.backends.embedded.catalogue import LOCAL
from conscience.backends.models.size import is_small
from conscience.backends.roles import Roles
from conscience.constitution.schema import Constitution
from conscience.gate.settings import GateSettings, ask_by, one_question

SMALL_THRESHOLD = 0.8
"""For what a small model answers to a constitution's own question. SmolLM2-135M says Yes to nearly every answer with .3 to
.7, Qwen2.5-Coder-1.5B to harmless code with .50 to .62: at .5 all of that would be refused."""


def settings_for(constitution: Constitution, roles: Roles) -> GateSettings:
    """The gate's settings for a constitution on a reviewing model that nobody has compiled yet.

    A large model is taken at its word on the introspective question and the principles, asked as one, and its critique
    votes. A small one (``conscience.backends.models.size``) has none, be it on a decision model's verdict: the broken
    principle is chosen. And its Yes has to be a clear one. The embedded model's word is worth less still. For the general
    constitution it comes with a calibration of its own; see the file's ``about`` for how it was made and what it reaches. Of
    another it is asked the question alone: asked which principle is broken, it says Yes with .9 whatever the answer is.
    """
    backend = roles.own("review")
    critic = roles.own("generate") if backend is not None and backend.decides else backend
    settings = ask_by(constitution)
    if backend is not None and backend.name == LOCAL:
        if _asked(constitution) == _asked(Constitution.load("general")):
            settings = _shipped("local")
        else:
            settings = one_question(constitution.question).with_threshold(SMALL_THRESHOLD)
    elif backend is not None and not backend.decides and is_small(backend.name):
        settings = settings.with_threshold(SMALL_THRESHOLD)
    if critic is not None and is_small(critic.name):
        return settings.model_copy(update={"critique": "chooses"})
    return settings


def _asked(constitution: Constitution) -> str:
    """A digest of what a gate may ask of: what to do instead is none of it."""
    principles = tuple(principle.model_copy(update={"change": None}) for principle in constitution.principles)
    return constitution.model_copy(update={"principles": principles}).fingerprint


@lru_cache(maxsize=4)
def _shipped(name: str) -> GateSettings:
    text = resources.files("conscience.gate").joinpath("default_gates", f"{name}.json").read_text(encoding="utf-8")
    return GateSettings.model_validate(json.loads(text)["settings"])
