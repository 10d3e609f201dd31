"""Programs as data: what an artifact says of them, the names of their models, and the name of what generates.

A program is sent only where the same one comes out of its data: it is made again here first, and compared. Prompts, gate and
policy travel as they are. A module or a callable that generates does not: workers import it by the name under which a module
has it, and what is more to it than its predictors is as that module makes it.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import dspy

from conscience._dspy.lm import settings
from conscience.artifacts.io import to_artifact
from conscience.artifacts.schema import Artifact
from conscience.backends.backend import Backend
from conscience.distributed.data import is_json
from conscience.distributed.models import backend_data, backend_from_data, roles_data, roles_from_data
from conscience.distributed.names import name_of, named
from conscience.errors import ConfigurationError
from conscience.modules.critique import Critique
from conscience.modules.generate import Generate
from conscience.modules.review import Review
from conscience.modules.revise import Revise
from conscience.program import Conscience
from conscience.usage import Budget

_MODULES: Mapping[str, Any] = {"Predict": dspy.Predict, "ChainOfThought": dspy.ChainOfThought}
"""DSPy's modules that are no more than their signature."""


def program_data(program: Any) -> dict[str, Any]:
    """A program as JSON types.

    Raises:
        ConfigurationError: a part of it exists in this process only; names the part.
        InputError: it holds what no file may say.
    """
    if not isinstance(program, Conscience) or (kind := name_of(type(program))) is None:
        raise _stays(f"a {type(program).__name__}", "workers know programs by classes of Conscience that they can import")
    for part, known in ((program.review, Review), (program.review.critique, Critique), (program.revise, Revise)):
        if type(part) is not known:
            raise _stays(f"a {known.__name__} of your own ({type(part).__name__})")
    for principle in program.constitution.principles:
        if principle.check is not None:
            raise _stays(f"the check of {principle.id}, a function", "write it as a pattern")
    with warnings.catch_warnings(action="ignore"):  # of what is sent beside it
        artifact = to_artifact(program)
    bare = artifact.model_copy(update={"provenance": None, "calibrations": artifact.calibrations[:1]})
    data = {
        "class": kind,
        "name": program.name,
        "generate": _generate_data(program.generate),
        "artifact": bare.model_dump(mode="json"),
        "refusal": _refusal_data(program.refusal),
        "roles": roles_data(program.roles),
        "lms": {
            name: backend_data(Backend.of(predictor.lm))
            for name, predictor in program.named_predictors()
            if predictor.lm is not None
        },
    }
    _compare(program, program_from_data(data))
    return data


def program_from_data(data: Mapping[str, Any]) -> Conscience:
    """The program that ``program_data`` wrote.

    Raises:
        ConfigurationError: something of it cannot be imported in this process.
    """
    artifact = Artifact.model_validate(data["artifact"])
    policy, refusal = artifact.policy, data["refusal"]
    program: Conscience = named(data["class"])(
        _generate_from_data(data["generate"]),
        constitution=artifact.constitution,
        lm=roles_from_data(data["roles"]),
        review=artifact.calibrations[0],
        max_revisions=policy.max_revisions,
        samples=policy.samples,
        on_unresolved=policy.on_unresolved,
        on_error=policy.on_error,
        refusal=named(refusal["name"]) if isinstance(refusal, Mapping) and "name" in refusal else refusal,
        budget=Budget.of(policy.budget),
        name=data["name"],
    )
    for name, predictor in program.named_predictors():
        prompt = artifact.predictors[name]
        predictor.signature = predictor.signature.with_instructions(prompt.instructions)
        predictor.demos = [dspy.Example(demo) for demo in prompt.demos]
        if name in data["lms"]:
            predictor.lm = backend_from_data(data["lms"][name]).lm
    return program


def dspy_data() -> dict[str, Any]:
    """What of DSPy's settings a program goes by besides its LM: the adapter.

    Raises:
        ConfigurationError: it is one of the user's own.
    """
    if (adapter := settings.adapter) is None:
        return {}
    kind = type(adapter)
    if not kind.__module__.startswith("dspy.") or vars(adapter) != vars(kind()):
        raise _stays(f"the adapter {kind.__name__} that is set in DSPy", "set one of DSPy's own, or none")
    return {"adapter": f"{kind.__module__}:{kind.__qualname__}"}


def dspy_from_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that ``dspy_data`` wrote."""
    return {"adapter": named(data["adapter"])()} if "adapter" in data else {}


def _generate_data(generate: Generate) -> Any:
    if type(generate) is not Generate:
        raise _stays(f"a Generate of your own ({type(generate).__name__})")
    if generate.declared is not None:
        return {"signature": generate.declared}
    given = generate.given.value
    if given is not None and (name := name_of(given)) is not None:
        return {"name": name}
    text = None if generate.signature is None else _text_of(generate.signature)
    if text is not None and type(generate.predict) is dspy.Predict:
        return {"signature": text}
    if text is not None and type(generate.predict) is dspy.ChainOfThought:
        return {"module": "ChainOfThought", "signature": text}
    what = getattr(given, "__qualname__", None) or type(generate.predict if given is None else given).__name__
    raise _stays(f"what generates ({what})", "give it a name in a module that workers can import, other than __main__")


def _generate_from_data(data: Mapping[str, str]) -> Any:
    if "name" in data:
        return copy.deepcopy(named(data["name"]))
    return _MODULES[data["module"]](data["signature"]) if "module" in data else data["signature"]


def _text_of(signature: type[dspy.Signature]) -> str | None:
    """A signature as DSPy reads it from a text; None where it has types that no text says."""
    sides = []
    for fields in (signature.input_fields, signature.output_fields):
        shown = {name: field.annotation for name, field in fields.items()}
        if signature.output_fields is fields and len(shown) > 1 and next(iter(shown)) == "reasoning":
            del shown["reasoning"]  # as ChainOfThought adds it
        if not all(isinstance(kind, type) and kind.__module__ == "builtins" for kind in shown.values()):
            return None
        sides.append(", ".join(f"{name}: {getattr(kind, '__name__', kind)}" for name, kind in shown.items()))
    return " -> ".join(sides)


def _refusal_data(refusal: Any) -> Any:
    if refusal is None or isinstance(refusal, str) or is_json(refusal):
        return refusal
    if (name := name_of(refusal)) is None:
        raise _stays("refusal=, a function", "give it a name in a module that workers can import")
    return {"name": name}


def _compare(program: Conscience, again: Conscience) -> None:
    """Makes sure that two programs would do the same.

    Raises:
        ConfigurationError: names what differs.
    """
    before, after = _parts(program), _parts(again)
    if changed := [name for name, part in before.items() if part != after[name]]:
        raise _stays(f"its {changed[0]}")


def _parts(program: Conscience) -> dict[str, Any]:
    """What a call goes by, as far as it can be compared."""
    return {
        "predictors": {
            name: {k: v for k, v in predictor.dump_state().items() if k not in ("lm", "traces", "train")}
            for name, predictor in program.named_predictors()
        },
        "inputs": (program.generate.inputs, program.generate.plain, type(program.generate.predict)),
        "models": {role: _asked(backend) for role, backend in program.roles.named.items()},
        "predictors' models": [p.lm and _asked(Backend.of(p.lm)) for _, p in program.named_predictors()],
        "constitution": program.constitution.fingerprint,
        "gate": program.gate_settings,
        "policy": (program.max_revisions, program.samples, program.on_unresolved, program.on_error, program.budget),
        "refusal": program.refusal,
    }


def _asked(backend: Backend) -> list[Any]:
    return [(transport.identity({}), backend.timeout, backend.retries) for transport in backend.transports]


def _stays(what: str, hint: str = "") -> ConfigurationError:
    return ConfigurationError(
        f"the program cannot be sent to workers: {what} exists in this process only", hint=hint or 'use executor="local"'
    )
