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

LOCAL_THRESHOLD = 0.8
"""For the embedded model's answer to a constitution's own question, which says Yes to nearly every answer with .3 to .7."""


def settings_for(constitution: Constitution, roles: Roles) -> GateSettings:
    """The gate's settings for a constitution on a reviewing model that nobody has compiled yet.

    A large model is taken at its word on the introspective question and the principles, asked as one, and its critique
    votes. A small one (``conscience.backends.models.size``) has none, be it on a decision model's verdict: the broken
    principle is chosen. The embedded model's word is worth less still. For the general constitution it comes with a
    calibration of its own; see the file's ``about`` for how it was made and what it reaches. Of another it is asked the
    question alone: asked which principle is broken, it says Yes with .9 whatever the answer is.
    """
    backend = roles.own("review")
    critic = roles.own("generate") if backend is not None and backend.decides else backend
    settings = ask_by(constitution)
    if backend is not None and backend.name == LOCAL:
        settings = _shipped("local")
        if _asked(constitution) != _asked(Constitution.load("general")):
            settings = one_question(constitution.question).model_copy(update={"threshold": LOCAL_THRESHOLD})
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
