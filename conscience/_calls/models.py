"""The models that a program may use, before it is called: made ready, and asked what they cost."""

from __future__ import annotations

from typing import Any

import dspy

from conscience.backends.backend import Backend
from conscience.backends.embeddings import preparing
from conscience.gate.probes import EmbeddingProbe
from conscience.linting.python import can_read_python, prepare
from conscience.usage import ROLES, Role


def models_of(program: Any) -> list[Backend]:
    """The models of every role that a call needs or somebody named, and those that predictors bring with them.

    Raises:
        ConfigurationError: no model is set for a role.
    """
    roles = program.roles
    needed: set[Role] = {role for role in ROLES if roles.own(role) is not None} | {"review"}
    if not program.generate.brings_its_model or roles.knows("generate"):
        needed.add("generate")
    if program.max_revisions:
        needed.add("revise")
    backends = [roles.backend(role) for role in ROLES if role in needed]
    predictors = [part for _, part in program.named_sub_modules() if isinstance(part, dspy.Predict)]
    backends += [Backend.of(predictor.lm) for predictor in predictors if predictor.lm is not None]
    return list({id(backend): backend for backend in backends}.values())


def warm(program: Any) -> None:
    """See ``Conscience.warm``."""
    for backend in models_of(program):
        backend.warm()
    for signal in program.gate_settings.signals:
        if isinstance(signal, EmbeddingProbe):
            preparing(signal.model).run()
    if any(principle.cwe for principle in program.constitution.principles) and can_read_python():
        prepare()


def check_models(program: Any) -> None:
    """Refuses a call that could not end as it should, before anything is sent.

    Raises:
        ConfigurationError: nobody is there to revise what a decision model may flag; or the budget limits dollars, and a
            model has no price.
    """
    if program.max_revisions and (judge := program.roles.own("review")) is not None and judge.decides:
        program.roles.backend("revise")
    if program.budget is not None and program.budget.dollars is not None:
        for backend in models_of(program):
            backend.check_prices()
