"""Where an uncompiled gate starts from: the constitution's own question, or a calibration shipped for a known backend."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources

from conscience.backends.roles import Roles
from conscience.constitution.schema import Constitution
from conscience.gate.settings import GateSettings, ask_by, one_question

LOCAL_THRESHOLD = 0.8
"""For the embedded model's answer to a constitution's own question, which says Yes to nearly every answer with .3 to .7."""


def settings_for(constitution: Constitution, roles: Roles) -> GateSettings:
    """The gate's settings for a constitution on a reviewing model that nobody has compiled yet.

    A large model is taken at its word on the introspective question and the principles, asked as one. The embedded model's
    word is worth little. For the general constitution it comes with a calibration of its own; see the file's ``about`` for
    how it was made and what it reaches. Of another it is asked the question alone: asked which principle is broken, it says
    Yes with .9 whatever the answer is. Nor has its critique a vote, be it on a decision model's verdict.
    """
    backend, shipped = roles.own("review"), _shipped("local")
    if backend is None or backend.name != "local":
        settings, writer = ask_by(constitution), roles.own("generate")
        if backend is not None and backend.decides and writer is not None and writer.name == "local":
            return settings.model_copy(update={"critique": shipped.critique})
        return settings
    if constitution.fingerprint == Constitution.load("general").fingerprint:
        return shipped
    settings = one_question(constitution.question)
    return settings.model_copy(update={"threshold": LOCAL_THRESHOLD, "critique": shipped.critique})


@lru_cache(maxsize=4)
def _shipped(name: str) -> GateSettings:
    text = resources.files("conscience.gate").joinpath("default_gates", f"{name}.json").read_text(encoding="utf-8")
    return GateSettings.model_validate(json.loads(text)["settings"])
