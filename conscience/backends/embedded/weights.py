"""Weights on this machine: where they are, whether they are what their name says, and what they are called.

What a calibration, a journal or a cached answer calls weights is their content, not their path: a model of the catalogue by
its name, however the file came here, and any other file by its own name and the beginning of its SHA-256.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from conscience._base.files import write_atomic
from conscience.backends.embedded.catalogue import (
    DIGITS,
    LOCAL,
    MODELS,
    SMOLLM2,
    Model,
    is_identity,
    is_local,
    named,
    suggestion,
    weights_named,
)
from conscience.backends.storage.cache import cache_home
from conscience.errors import ConfigurationError


@dataclass(frozen=True)
class Weights:
    """Weights that a user named.

    Attributes:
        identity: what artifacts, journals and cached answers call them.
        model: the model of the catalogue that they are, if any.
        file: a file of the user's; None for a model's own place.
    """

    identity: str
    model: Model | None
    file: Path | None = None

    @property
    def alias(self) -> str:
        """What the engine calls them."""
        return self.model.name if self.model is not None else _stem(self.file or Path(self.identity))

    @property
    def limits(self) -> dict[str, int]:
        """What bounds the engine's memory; of a file of the user's nothing is known, so it gets what the smallest gets."""
        model = self.model or SMOLLM2
        return {"context": model.context, "prompt_cache": model.prompt_cache}

    @property
    def sampling(self) -> Mapping[str, Any]:
        """The publisher's, where a call says nothing else."""
        return (self.model or SMOLLM2).sampling

    def path(self) -> Path:
        """The file, whose content is what the name says.

        Raises:
            ConfigurationError: it is not here, or it is another one.
        """
        if self.file is None:
            assert self.model is not None
            return verified(self.model)
        if weights_of(str(self.file)).identity != self.identity:
            raise ConfigurationError(f"{self.file} has changed since it was named", hint="name it anew")
        return self.file


_files: dict[str, Path] = {}
"""Identity → file, for the files that this process was given: a gate may name them again."""


def weights_of(given: str | Path | None) -> Weights:
    """What a user named.

    Args:
        given: a name of the catalogue, with or without the digest; a GGUF file; None for the built-in weights.

    Raises:
        ConfigurationError: there is neither such a model nor such a file, or it is not a GGUF file.
    """
    if given is None:
        return Weights(LOCAL, SMOLLM2)
    model = named(str(given))
    if model is not None:
        return Weights(model.identity, model)
    identity = f"{LOCAL}:{given}"
    if identity in _files:
        return Weights(identity, None, _files[identity])
    if is_identity(identity):
        raise ConfigurationError(f"no weights called {identity} were given here", hint=f"name the file: {LOCAL}:FILE.gguf")
    file = gguf_file(Path(os.path.expanduser(given)))
    sha256 = digest_of(file)
    model = next((model for model in MODELS if model.sha256 == sha256), None)
    identity = model.identity if model is not None else f"{LOCAL}:{_stem(file)}@{sha256[:DIGITS]}"
    if model is None:
        _files[identity] = file
    return Weights(identity, model, file)


def local_name(model: str) -> str:
    """A model's name as calibrations and caches have it; that of any but the embedded engine's is left as it is.

    Raises:
        ConfigurationError: see ``weights_of``.
    """
    return weights_of(weights_named(model)).identity if is_local(model) else model


def _stem(file: Path) -> str:
    return re.sub(r"[^\w.-]+", "-", file.stem)


# Where they are --------------------------------------------------------------------------------------------------------


def weights_folder() -> Path:
    """Where ``conscience pull`` keeps weights: ``CONSCIENCE_WEIGHTS``, or a folder of the user's cache.

    Raises:
        ConfigurationError: this user has no home folder.
    """
    if chosen := os.environ.get("CONSCIENCE_WEIGHTS"):
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    return cache_home() / "weights"


def places(model: Model) -> list[Path]:
    """The files by the name of a model's weights: in an installed package, and where ``conscience pull`` puts them.

    Raises:
        ConfigurationError: no package has it, and this user has no home folder.
    """
    spec = importlib.util.find_spec(model.installed) if model.installed else None  # found, not imported
    installed = [Path(folder) / model.file for folder in (spec.submodule_search_locations or () if spec else ())]
    here = [path for path in installed if path.is_file()]
    try:
        pulled = weights_folder() / model.file
    except ConfigurationError:
        if here:
            return here
        raise
    return [*here, pulled] if pulled.is_file() else here


def verified(model: Model = SMOLLM2) -> Path:
    """The file of a model's weights, if it is the one that this version knows.

    Raises:
        ConfigurationError: it is not on this machine, or another one has its name; names the command that mends it.
    """
    here = places(model)
    for path in here:
        if has_content(path, model):
            return path.resolve()
    if here:
        raise ConfigurationError(f"{here[0]} is not the file that this version knows", hint=f"run: {model.pull}")
    raise ConfigurationError(f"the weights of {model.name} are not on this machine", hint=f"run: {model.pull}")


def has_content(path: Path, model: Model) -> bool:
    """Whether a file is a model's weights.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return path.stat().st_size == model.bytes and digest_of(path) == model.sha256
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None


def gguf_file(path: Path) -> Path:
    """The real path of weights of the user's.

    Raises:
        ConfigurationError: there is no such file, or it is not a GGUF file.
    """
    if not os.path.isfile(path):  # unlike Path's own, it does not raise for a name that is too long
        is_bare = len(path.parts) == 1 and path.suffix != ".gguf"
        hint = f"the catalogue has no such model either: {suggestion(str(path))}" if is_bare else ""
        raise ConfigurationError(f"there is no weights file {str(path)[:200]}", hint=hint)
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    if magic != b"GGUF":
        raise ConfigurationError(f"{path} is not a GGUF file")
    return path.resolve()


# What is in them -------------------------------------------------------------------------------------------------------


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's content, read once: until the file changes it is remembered, by later processes too.

    A gigabyte takes seconds to read, and every process that starts asks. What is remembered goes by path, size, inode and
    both times, of which a user can set only one.
    """
    return _digest(str(path.resolve()), *_stamp(path))


def read_digest(path: Path) -> str:
    """The SHA-256 of what a file holds now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_anew(path: Path, model: Model) -> bool:
    """Whether a file is a model's weights, whatever was remembered of it.

    Raises:
        OSError: it cannot be read.
    """
    if not path.is_file() or path.stat().st_size != model.bytes:
        return False
    stamp, sha256 = _stamp(path), read_digest(path)
    _remember(str(path.resolve()), [*stamp, sha256])
    _digest.cache_clear()
    return sha256 == model.sha256


def _stamp(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns


@lru_cache(maxsize=32)
def _digest(path: str, *stamp: int) -> str:
    known = _remembered().get(path)
    if isinstance(known, list) and known[:-1] == list(stamp):
        return str(known[-1])
    sha256 = read_digest(Path(path))
    _remember(path, [*stamp, sha256])
    return sha256


def _remembered() -> dict[str, object]:
    try:
        entries = json.loads((cache_home() / "digests.json").read_bytes())
    except (ConfigurationError, OSError, ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _remember(path: str, entry: list[object]) -> None:
    """A disk that fails costs the time to read the file again."""
    try:
        folder = cache_home()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        others = [item for item in _remembered().items() if item[0] != path]
        write_atomic(folder / "digests.json", json.dumps(dict([*others[-63:], (path, entry)])))
    except (ConfigurationError, OSError):
        return
