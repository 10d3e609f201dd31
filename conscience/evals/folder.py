"""A run's folder: what the run is of, its records, and which of them belong to the cases that it was last called with.

run.json     a ``RunManifest``; another program, model, judge or seed is refused in the same folder
rows.jsonl   a ``CaseRecord`` or a ``FailedCase`` a line; many go on in ``rows-2.jsonl`` and so on, see ``rows.py``
keys.txt     the keys of the cases of the last call: rows of other cases may stand beside theirs
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from conscience._base.files import write_atomic
from conscience.backends.storage.keyset import KeySet
from conscience.errors import InputError
from conscience.evals.records import RUN_FORMAT, Record, record_from_json
from conscience.evals.rows import lines, parse


@dataclass(frozen=True)
class RunManifest:
    """What the records of a run depend on; digests where the thing itself is long or secret.

    Attributes:
        name: of the program in the report.
        oracle: its name, or "by case".
        seed: of whatever is drawn.
        roles: role → the name of its model.
        sampling: role → a digest of its models and their default parameters.
        constitution: its name and version.
        fingerprint: the constitution's.
        threshold, critique, signals: the gate's.
        max_revisions, samples, on_unresolved, on_error: the program's policy; one sample a revision is not told.
        state: a digest of the program's prompts, demos and weights.
    """

    name: str
    oracle: str = "by case"
    seed: int = 0
    roles: Mapping[str, str] = field(default_factory=dict)
    sampling: Mapping[str, str] = field(default_factory=dict)
    constitution: str | None = None
    fingerprint: str | None = None
    threshold: float | None = None
    critique: str | None = None
    signals: tuple[str, ...] | None = None
    max_revisions: int | None = None
    samples: int | None = None
    on_unresolved: str | None = None
    on_error: str | None = None
    state: str | None = None

    @property
    def models(self) -> str:
        """The names of its models, each once."""
        return ", ".join(dict.fromkeys(self.roles.values()))

    def to_json(self) -> dict[str, Any]:
        """JSON form, with the folder's format; what does not apply to the program is left out."""
        entries = {f.name: getattr(self, f.name) for f in fields(self)}
        entries["signals"] = None if self.signals is None else list(self.signals)
        return {"format": RUN_FORMAT} | {name: value for name, value in entries.items() if value is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The manifest that ``to_json`` wrote.

        Raises:
            TypeError: it is none.
        """
        entries = {name: value for name, value in data.items() if name != "format"}
        if "signals" in entries:
            entries["signals"] = tuple(entries["signals"])
        return cls(**entries)


def read_manifest(folder: Path) -> RunManifest:
    """What a run is of.

    Raises:
        InputError: the folder holds no run, or one of another format.
    """
    path = folder / "run.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _no_run(folder, error) from None
    except ValueError:
        data = None
    if isinstance(data, dict) and data.get("format", "conscience-run/1") != RUN_FORMAT:
        version = str(data.get("format", "conscience-run/1"))[:40]
        hint = "run conscience eval again with another --out"
        raise InputError(f"{folder}: holds a run of format {version!r}, and this version reads {RUN_FORMAT}", hint=hint)
    try:
        return RunManifest.from_json(data)
    except (AttributeError, TypeError):
        raise InputError(f"{path}: does not say what the run is of", hint="choose another folder") from None


def read_records(folder: Path) -> Iterator[Record]:
    """The records of a run, streamed: those of the cases that it was last called with. A folder may hold others.

    Raises:
        InputError: the folder holds no run or one of another format, or something else among its rows.
    """
    read_manifest(folder)
    path, last_call = folder / "rows.jsonl", _last_call(folder)
    try:
        path.stat()  # a folder without rows holds no run
        for place, line in lines(path):
            if not line.endswith(b"\n"):
                continue
            try:
                record = record_from_json(parse(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise InputError(f"{place}: not a row of a run") from None
            if last_call is None or record.key in last_call:
                yield record
    except OSError as error:
        raise _no_run(folder, error) from None


_CALLED = {
    "name": "program",
    "roles": "model",
    "sampling": "model, or other parameters of it",
    "fingerprint": "text of its constitution",
    "signals": "gate",
    "state": "prompt, demo or weight",
}
"""What people call a part of a manifest."""


def cases_of(folder: Path) -> int:
    """How many cases a run was last called with; 0 where that is not known."""
    return len(_last_call(folder) or ())


def _last_call(folder: Path) -> KeySet | None:
    """The keys of the cases that a run was last called with; None where that is not known."""
    try:
        with (folder / "keys.txt").open(encoding="utf-8") as file:
            return KeySet(line.rstrip("\n") for line in file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _no_run(folder, error) from None


_WRITTEN = ("report.json", "report.html", "rows.jsonl", "keys.txt")
"""What a run writes, after its manifest."""


def claim(folder: Path, manifest: RunManifest) -> None:
    """Makes the folder this run's, or makes sure that it already is.

    Raises:
        InputError: it holds another run, or cannot be written.
    """
    path = folder / "run.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            if theirs := next((name for name in _WRITTEN if (folder / name).exists()), None):
                raise InputError(f"{folder / theirs} exists, and no run made it", hint="choose another --out")
            write_atomic(path, json.dumps(manifest.to_json(), indent=1))
    except OSError as error:
        raise InputError(f"{folder}: cannot be used: {error}") from None
    before = read_manifest(folder)
    changed = [f.name for f in fields(manifest) if getattr(before, f.name) != getattr(manifest, f.name)]
    if changed:
        name = next((name for name in ("roles", "constitution") if name in changed), changed[0])
        raise InputError(f"{folder} holds a run with another {_CALLED.get(name, name)}", hint="choose another --out")


def _no_run(folder: Path, error: OSError) -> InputError:
    return InputError(f"{folder}: holds no run: {error.strerror}", hint="make one with: conscience eval")
