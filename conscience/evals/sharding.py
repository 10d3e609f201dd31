"""What the folder of a shard says about the whole that it is part of: ``shard.json``, written before anything is paid for.

Shards of one whole agree on everything in it but which shard they are, and how many cases fell to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from conscience._base.files import write_atomic
from conscience.cases.drawing import Drawn
from conscience.cases.shards import Shard
from conscience.errors import InputError

SHARD_FORMAT = "conscience-shard/1"


@dataclass(frozen=True)
class ShardManifest:
    """One shard of a whole.

    Attributes:
        number, of: which shard it is, from 1, and how many there are.
        cases: how many fell to it.
        whole: how many all shards have together.
        digest: of those, in whatever order.
        limit, seed: how they were drawn.
        sources: names of the files, packs or datasets.
        skipped: rows of these that could not be read.
        program: what the records depend on besides their cases: names, and digests of what is long.
    """

    number: int
    of: int
    cases: int
    whole: int
    digest: str
    limit: int | None
    seed: int
    sources: tuple[str, ...]
    skipped: int
    program: Mapping[str, Any]

    @classmethod
    def of_draw(cls, drawn: Drawn | None, program: Mapping[str, Any]) -> Self | None:
        """The manifest of what was drawn; None where that is no shard."""
        if drawn is None or (shard := drawn.shard) is None:
            return None
        return cls(
            shard.number,
            shard.of,
            drawn.count,
            drawn.whole,
            drawn.digest,
            drawn.limit,
            drawn.seed,
            drawn.sources,
            drawn.skipped,
            program,
        )

    @property
    def shard(self) -> Shard:
        return Shard(self.number, self.of)

    def to_json(self) -> dict[str, Any]:
        return {"format": SHARD_FORMAT} | asdict(self)


def read_shard(path: Path) -> ShardManifest | None:
    """The manifest in a file; None where there is no file.

    Raises:
        InputError: it cannot be read, or is of another format.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if not isinstance(data, dict) or data.pop("format", None) != SHARD_FORMAT:
        raise InputError(f"{path}: says nothing of a shard that this version understands")
    try:
        manifest = TypeAdapter(ShardManifest).validate_python(data)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise InputError(f"{path}: {place}: {error.errors()[0]['msg']}") from None
    return manifest


def shard_file(place: Path) -> Path:
    """Where the manifest of a place is: in a run's folder, or beside a file of verdicts."""
    return place / "shard.json" if place.is_dir() else place.with_name(f"{place.name}.shard.json")


def claim_shard(place: Path, manifest: ShardManifest | None) -> None:
    """Makes a place this shard's, or makes sure that it already is; the cases may have been corrected since.

    Args:
        place: a run's folder, or a file of verdicts.
        manifest: of the shard; None for a whole run.

    Raises:
        InputError: it is another shard's, or a whole run's, or of another program, or cannot be written.
    """
    path = shard_file(place)
    before, hint = read_shard(path), "give each shard an --out of its own"
    if manifest is None:
        if before is not None:
            raise InputError(f"{place} holds shard {before.shard} of a run", hint=f"add --shard {before.shard}; or {hint}")
        return
    if before is None and (place / "run.json" if place.is_dir() else place).exists():
        raise InputError(f"{place} holds a whole run, no shard", hint=hint)
    if before is not None and before.shard != manifest.shard:
        raise InputError(f"{place} holds shard {before.shard}, this is {manifest.shard}", hint=hint)
    if before is not None and (changed := first_difference(before.program, manifest.program)):
        raise InputError(f"{place} holds a run with another {changed}", hint="choose another --out")
    try:
        write_atomic(path, json.dumps(manifest.to_json(), indent=1))
    except OSError as error:
        raise InputError(f"{place}: cannot be used: {error}") from None


def first_difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    """The name of the first entry that differs, in order of the names; None where all are alike."""
    return next((name for name in sorted({*first, *second}) if first.get(name) != second.get(name)), None)
