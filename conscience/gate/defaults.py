"""Where an uncompiled gate starts from: the constitution's own question, or a calibration shipped for a known backend."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources

from conscience.backends.backend import Backend
from conscience.constitution.schema import Constitution
from conscience.gate.settings import GateSettings, ask_by


def settings_for(constitution: Constitution, backend: Backend | None) -> GateSettings:
    """The gate's settings for a constitution on a backend that nobody has compiled yet.

    A large model is taken at its word on the introspective question and the principles, asked as one. The embedded model's
    word is worth little, so it comes with a calibration of its own for the general constitution; see the file's
    ``about`` for how it was made and what it reaches. Another constitution is asked about in its own words.
    """
    if backend is None or backend.name != "local":
        return ask_by(constitution)
    shipped = _shipped("local")
    if constitution.fingerprint == Constitution.load("general").fingerprint:
        return shipped
    settings = ask_by(constitution)
    return settings.model_copy(update={"coverage_threshold": shipped.coverage_threshold, "critique": shipped.critique})


@lru_cache(maxsize=4)
def _shipped(name: str) -> GateSettings:
    text = resources.files("conscience.gate").joinpath("default_gates", f"{name}.json").read_text(encoding="utf-8")
    return GateSettings.model_validate(json.loads(text)["settings"])
