"""From a program to its artifact, and back: ``program.save``, ``program.load`` and ``conscience.load``."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, Unpack, get_args

import dspy
from pydantic import ValidationError

from conscience._types import GenerateSpec, PolicyArgs, RolesSpec
from conscience.artifacts.policy import as_argument, stricter
from conscience.artifacts.schema import FORMAT, Artifact, Policy, Prompt, Provenance, fault_text
from conscience.backends.backend import Backend
from conscience.backends.embedded.catalogue import is_local
from conscience.backends.embeddings import runs_in_process
from conscience.backends.providers import provider_name
from conscience.errors import ArtifactError, ConfigurationError
from conscience.gate.probes import EmbeddingProbe
from conscience.gate.settings import GateSettings
from conscience.messages.rendering import value_text
from conscience.modules.generate import Generate

P = TypeVar("P")


def to_artifact(program: Any, provenance: Provenance | None = None) -> Artifact:
    """All that a compiler may have changed about a program, and its policy; its models stay with the process.

    Raises:
        ArtifactError: there is something about it that no file may say.
    """
    settings = program.gate_settings
    others = tuple(other for other in program.calibrations if other.backend != settings.backend)
    budget = {} if program.budget is None else {k: v for k, v in asdict(program.budget).items() if v is not None}
    if program.refusal is not None and not isinstance(program.refusal, str):
        what = "a mapping" if isinstance(program.refusal, Mapping) else "a function"
        warnings.warn(f"refusal= is {what}, which no file holds: give it again when the program is loaded", stacklevel=3)
    if checked := [principle.id for principle in program.constitution.principles if principle.check is not None]:
        warnings.warn(
            f"the check of {checked[0]} is a function, which no file holds: set the constitution again", stacklevel=3
        )
    try:
        return Artifact(
            format=FORMAT,
            constitution=program.constitution,
            signature=program.generate.declared,
            fields=None if program.generate.declared is not None else _fields(program.generate),
            calibrations=(settings, *others),
            predictors={
                name: Prompt(instructions=predictor.signature.instructions, demos=tuple(map(_demo, predictor.demos)))
                for name, predictor in program.named_predictors()
            },
            policy=Policy(
                max_revisions=program.max_revisions,
                samples=program.samples,
                on_unresolved=program.on_unresolved,
                on_error=program.on_error,
                budget=budget or None,
                refusal=program.refusal if isinstance(program.refusal, str) else None,
            ),
            provenance=provenance or program.provenance,
        )
    except ValidationError as error:
        raise ArtifactError(f"the program cannot be saved: {fault_text(error)}") from None


def open_program(
    build: Callable[..., P],
    path: str | Path,
    *,
    lm: RolesSpec | None = None,
    generate: GenerateSpec | None = None,
    **policy: Unpack[PolicyArgs],
) -> P:
    """A new program from a file.

    Args:
        build: the program's class.
        path: a file that ``to_artifact`` led to.
        lm: as for the program's class.
        generate: what answers, where the file says that a module or callable did.
        policy: what the caller decides; the rest is the stricter of the file's and the class's defaults.

    Raises:
        ArtifactError: the file is not a program, or not one for this ``generate``.
    """
    artifact = Artifact.read(path)
    program = build(
        _generate(artifact, str(path)) if generate is None else generate,
        constitution=artifact.constitution,
        lm=lm,
        review=artifact.calibrations[0],
        **policy,
    )
    decided = frozenset(name for name, value in policy.items() if not _left(name, value))
    load_into(program, artifact, str(path), decided=decided)
    return program


def _left(name: str, value: Any) -> bool:
    """Whether an argument leaves the choice to the file; ``budget=None`` is a choice: no budget."""
    return value is None and name != "budget"


def load_into(program: Any, source: Artifact | str | Path, name: str = "", *, decided: frozenset[str] = frozenset()) -> None:
    """Loads a file into a program that is already there; its models and what generates stay as they are, and its policy
    only gets stricter.

    Args:
        decided: the settings of the policy that the file has no say in.

    Raises:
        ArtifactError: the file is not a program, or its predictors are not this program's.
    """
    artifact = source if isinstance(source, Artifact) else Artifact.read(source)
    name = name or str(source)
    predictors = _matching_predictors(program, artifact, name)
    reviewer = program.roles.own("review")
    settings = _settings_for(artifact, reviewer, name)
    for model in _embedders_elsewhere(settings, reviewer):
        warnings.warn(f"{name} sends requests and responses to the embedding model {model} too", stacklevel=3)
    for predictor_name, prompt in artifact.predictors.items():
        predictor = predictors[predictor_name]
        predictor.signature = predictor.signature.with_instructions(prompt.instructions)
        predictor.demos = [dspy.Example(demo) for demo in prompt.demos]
    program.set_constitution(artifact.constitution)
    if (threshold := program.chosen_threshold) is not None:
        lowest = threshold if "threshold" in decided else min(threshold, settings.threshold)
        settings = settings.with_threshold(lowest)
    program.review.gate_settings = settings
    _load_policy(program, artifact.policy, name, decided)
    program.calibrations = artifact.calibrations
    program.provenance = artifact.provenance


def _load_policy(program: Any, policy: Policy, name: str, decided: frozenset[str]) -> None:
    """The stricter of the program's policy and the file's; what the file would have loosened is told."""
    for key in ("max_revisions", "samples", "on_unresolved", "on_error", "budget"):
        if key in decided:
            continue
        own, asked = getattr(program, key), getattr(policy, key)
        value, looser = stricter(key, own, asked)
        setattr(program, key, value)
        if looser:
            asks, keeps = as_argument(key, asked), as_argument(key, value)
            warnings.warn(f"{name} asks for {asks}; the program keeps {keeps}: to take it, pass {asks}", stacklevel=4)
    if program.refusal is None:
        program.refusal = policy.refusal


def _matching_predictors(program: Any, artifact: Artifact, name: str) -> dict[str, dspy.Predict]:
    """The program's predictors by name, where they are those of the file and can show its demos."""
    predictors = dict(program.named_predictors())
    if extra := sorted(set(predictors) ^ set(artifact.predictors)):
        where = "this program" if extra[0] in artifact.predictors else "the file"
        hint = "was it compiled around something else?"
        raise ArtifactError(f"{name}: predictor {extra[0]!r} is not in {where}", hint=hint)
    for predictor_name, prompt in artifact.predictors.items():
        for number, demo in enumerate(prompt.demos):
            if not demo.keys() & predictors[predictor_name].signature.fields.keys():
                raise ArtifactError(f"{name}: demos[{number}] of predictor {predictor_name!r} has none of its fields")
    return predictors


def _settings_for(artifact: Artifact, backend: Backend | None, name: str) -> GateSettings:
    """The calibration for the backend that reviews; the first one, with a warning, where there is none for it."""
    first = artifact.calibrations[0]
    if backend is None:
        return first
    settings = artifact.settings_for(backend.name)
    if settings is None and first.backend:
        warnings.warn(
            f"{name} is calibrated for {first.backend}, not for {backend.name}: its probabilities and its threshold may be "
            f"off. Refit them: conscience recalibrate {name} CASES --lm {backend.name} --out NEW.json",
            stacklevel=4,
        )
    return settings or first


def _embedders_elsewhere(settings: GateSettings, backend: Backend | None) -> list[str]:
    """The embedding models of a gate that are served by somebody else than the models that review."""
    probes = (signal for signal in settings.signals if isinstance(signal, EmbeddingProbe))
    models = sorted({probe.model for probe in probes if not is_local(probe.model) and not runs_in_process(probe.model)})
    providers = {provider_name(transport.name) for transport in backend.transports} if models and backend else set()
    return [model for model in models if provider_name(model) not in providers]


def _generate(artifact: Artifact, name: str) -> Generate:
    if artifact.signature is None:
        if artifact.fields is None:
            raise ArtifactError(f"{name}: a module or callable answers in this program", hint="pass it: generate=…")
        who, _, fields = artifact.fields.partition(": ")
        raise ArtifactError(f"{name}: {who} answers in this program: {fields}", hint="pass it: generate=…")
    try:
        return Generate(artifact.signature)
    except ConfigurationError as error:
        raise ArtifactError(f"{name}: key 'signature': {error.message}", hint=error.hint) from None
    except Exception as error:  # pydantic keeps some names for itself, and says so in many ways
        reason = str(error).partition("\n")[0]
        raise ArtifactError(f"{name}: key 'signature': {artifact.signature!r} cannot be used: {reason}") from None


def _fields(generate: Generate) -> str | None:
    """What answers, with its fields and their types, for people to read: types are code, and no file holds code."""
    if (signature := generate.signature) is None:
        return None
    asked, given = (
        ", ".join(f"{name}: {_type(field.annotation)}" for name, field in fields.items())
        for fields in (signature.input_fields, signature.output_fields)
    )
    own = isinstance(generate.predict, dspy.Predict)
    who = f"the signature {signature.__name__}" if own else f"a module ({type(generate.predict).__name__})"
    return f"{who}: {asked} -> {given}"


def _type(annotation: Any) -> str:
    text = annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", text)


def _demo(demo: Any) -> dict[str, Any]:
    fields: Mapping[str, Any] = demo if isinstance(demo, Mapping) else demo.toDict()
    return {name: value if _is_json(value) else value_text(value) for name, value in fields.items()}


def _is_json(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_json(inner) for key, inner in value.items())
    return value is None or isinstance(value, str | int | float | bool)
