"""Shards put together: the folder that one run over all cases would have left, or the one file of verdicts.

A merge is a run that gets its records from folders and not from models. What is in ``out`` already stays, a record is taken
once whatever stands twice, and killed half-way the same call goes on. The shards' folders are only read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from conscience._base.files import write_atomic
from conscience._base.locks import locked_file, locked_folder
from conscience.backends.storage.keyset import KeySet
from conscience.cases.shards import Shard
from conscience.errors import InputError
from conscience.evals import report
from conscience.evals.folder import RunManifest, claim
from conscience.evals.results import EvalReport
from conscience.evals.rows import PART, LineFile, finished, lines, parse
from conscience.evals.sharding import ShardManifest, first_difference, read_shard, shard_file
from conscience.evals.summary import summarise


@dataclass(frozen=True)
class ShardPlace:
    """Where a shard is: a run's folder, or a file of verdicts.

    Attributes:
        path: the folder or file.
        manifest: what it is of.
        left: cases of the shard that have no record here.
    """

    path: Path
    manifest: ShardManifest
    left: int

    @property
    def is_run(self) -> bool:
        return self.path.is_dir()

    def case_keys(self) -> Iterator[str]:
        """Of the cases of a run's last call; none for a file of verdicts, in which every row counts."""
        with suppress(FileNotFoundError), (self.path / "keys.txt").open(encoding="utf-8") as file:
            yield from (line.rstrip("\n") for line in file if line.endswith("\n"))

    def rows(self) -> Iterator[tuple[str, bool, bytes]]:
        """Key, whether the case failed, and line of each record of the last call. A torn last line is passed over."""
        last_call = KeySet(self.case_keys()) if self.is_run else None
        for place, line in lines(self.path / "rows.jsonl") if self.is_run else _numbered(self.path):
            if line.endswith(b"\n"):
                try:
                    row = parse(line)
                    key, is_failed = row["key"], "error" in row
                except (ValueError, KeyError, TypeError):
                    raise InputError(f"{place}: not a row of a run") from None
                if last_call is None or key in last_call:
                    yield key, is_failed, line


class Merged(NamedTuple):
    """Cases in what was merged: done, and failed."""

    done: int
    failed: int


@dataclass(frozen=True)
class Whole:
    """Shards of one whole, as far as they are there.

    Attributes:
        places: at least one; a shard may stand in several.
        missing: the shards that stand in none.
    """

    places: tuple[ShardPlace, ...]
    missing: tuple[Shard, ...]

    @property
    def manifest(self) -> ShardManifest:
        """Of the first; all agree but in which shard they are."""
        return self.places[0].manifest

    @property
    def left(self) -> int:
        """Cases of the whole that have no record."""
        cases: dict[int, int] = {}
        left: dict[int, int] = {}
        for place in self.places:
            number = place.manifest.number
            cases[number] = place.manifest.cases
            left[number] = min(left.get(number, place.left), place.left)
        return self.manifest.whole - sum(cases.values()) + sum(left.values())

    def gaps(self) -> list[str]:
        """What is missing, a line each: shards, and cases of shards that ended early."""
        done = {place.manifest.number for place in self.places if not place.left}
        return [
            *(f"shard {shard} is missing" for shard in self.missing),
            *(
                f"{place.path}: {place.left} of the {place.manifest.cases} cases of shard {place.manifest.shard} are not "
                "done; its command goes on there"
                for place in self.places
                if place.manifest.number not in done
            ),
        ]


def gather(paths: Sequence[Path]) -> Whole:
    """The shards in these folders of runs, or in these files of verdicts.

    Raises:
        InputError: one of them holds no shard, or they are of different programs, cases, oracles or divisions: by name.
    """
    places: list[ShardPlace] = []
    for path in paths:
        manifest = _manifest(path)
        if places:
            _check_alike(places[0], ShardPlace(path, manifest, 0))
        places.append(ShardPlace(path, manifest, 0))
    there = {place.manifest.number for place in places}
    of = places[0].manifest.of
    missing = tuple(Shard(number, of) for number in range(1, of + 1) if number not in there)
    return Whole(tuple(replace(place, left=_left(place)) for place in places), missing)


def merge(whole: Whole, out: Path) -> Merged:
    """Puts the records of all shards into one run's folder, or one file of verdicts.

    Raises:
        InputError: ``out`` is one of the shards, holds another run, is in use, or cannot be written.
    """
    if read_shard(shard_file(out)) is not None:
        raise InputError(f"{out} is a shard itself", hint="choose another --out")
    if not whole.places[0].is_run:
        with suppress(OSError):  # which the lock tells better
            out.parent.mkdir(parents=True, exist_ok=True)
        with locked_file(out):
            return _add_rows(whole, out, None)
    with locked_folder(out):
        claim(out, _run_manifest(whole.places[0]))
        merged = _add_rows(whole, out / "rows.jsonl", PART)
        try:
            write_atomic(out / "keys.txt", _all_keys(whole.places))
        except OSError as error:
            raise InputError(f"{out}: cannot be written: {error.strerror}") from None
        return merged


def merge_runs(folders: Iterable[str | Path], out: str | Path, *, partial: bool = False) -> EvalReport:
    """Puts the shards of a run together: what ``conscience merge`` does, as one call.

    Args:
        folders: of the shards, in any order.
        out: the folder that one run over all cases would have left. The same call goes on there where it was interrupted.
        partial: whether cases may be missing; the report's claims say how many are.

    Returns:
        The figures of all cases, with the record of each as ``.rows``.

    Raises:
        InputError: a shard, or a case of one, is missing and ``partial`` is off; or the shards are not of one whole.
    """
    whole = gather([Path(folder) for folder in folders])
    if not partial and (gaps := whole.gaps()):
        raise InputError("; ".join(gaps), hint="partial=True takes what there is")
    with locked_folder(Path(out)):
        merge(whole, Path(out))
        result = reported(whole, Path(out))
        report.save(result, Path(out))
    return result


def reported(whole: Whole, out: Path) -> EvalReport:
    """The report of a merged run."""
    manifest = whole.manifest
    result = summarise(
        out,
        sources=manifest.sources,
        skipped=manifest.skipped,
        limit=manifest.limit,
        seed=manifest.seed,
        left=whole.left,
    )
    if left := whole.left:
        shards = f", with the shards {', '.join(map(str, whole.missing))}" if whole.missing else ""
        claim = f"{left} of {manifest.whole} cases are missing{shards}: they are in no figure"
        result = replace(result, claims=(claim, *result.claims[1:]))
    return result


def _manifest(path: Path) -> ShardManifest:
    if (manifest := read_shard(shard_file(path))) is not None:
        return manifest
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if path.is_dir() and (inside := sorted(path.glob("*/shard.json"))):
        raise InputError(f"{path}: holds folders of shards", hint=f"name them, as in {inside[0].parent}")
    holds = "holds no shard, but a whole run" if (path / "run.json").exists() else "holds no shard"
    where = f"; {shard_file(path).name} belongs beside it" if path.is_file() else ""
    raise InputError(f"{path}: {holds}{where}", hint="make one with: conscience eval --shard I/N")


def _run_manifest(place: ShardPlace) -> RunManifest:
    try:
        return RunManifest.from_json(place.manifest.program)
    except TypeError:
        raise InputError(f"{shard_file(place.path)}: is of a run that this version does not understand") from None


def _check_alike(first: ShardPlace, other: ShardPlace) -> None:
    one, two = first.manifest, other.manifest
    if first.is_run != other.is_run:
        raise InputError(f"{first.path} and {other.path}: one is a run's folder, the other a file of verdicts")
    if one.of != two.of:
        raise InputError(f"{first.path} is shard {one.shard}, {other.path} {two.shard}: of different divisions")
    if changed := first_difference(one.program, two.program):
        raise InputError(f"{other.path} holds a run with another {changed} than {first.path}", hint="name shards of one run")
    if (one.whole, one.digest) != (two.whole, two.digest):
        how = next((name for name in ("sources", "limit", "skipped") if getattr(one, name) != getattr(two, name)), "content")
        raise InputError(
            f"{other.path} is of other cases than {first.path}: another {how}",
            hint="run all shards on the same files, with the same --limit, --seed and --column",
        )


def _left(place: ShardPlace) -> int:
    answered = KeySet(key for key, _, _ in place.rows())
    if not place.is_run:
        return max(0, place.manifest.cases - len(answered))
    listed, keys = 0, KeySet()
    for key in place.case_keys():
        listed += 1
        keys.add(key)
    return max(0, place.manifest.cases - listed) + len(keys) - len(answered)


def _add_rows(whole: Whole, out: Path, part: int | None) -> Merged:
    """Adds the records that are not there yet; of a case, a record rather than its failure."""
    there, failed = finished(out, in_parts=part is not None).keys, 0
    with LineFile(out, "ab", part) as file:
        with_failures = []
        for place in whole.places:
            has_failures = False
            for key, is_failed, line in place.rows():
                has_failures |= is_failed
                if not is_failed and key not in there:
                    there.add(key)
                    file.add(line.decode().rstrip("\n"))
            if has_failures:
                with_failures.append(place)
        for place in with_failures:
            for key, is_failed, line in place.rows():
                if is_failed and key not in there:
                    there.add(key)
                    failed += 1
                    file.add(line.decode().rstrip("\n"))
    return Merged(len(there) - failed, failed)


def _all_keys(places: Iterable[ShardPlace]) -> Iterator[bytes]:
    seen = KeySet()
    for place in places:
        for key in place.case_keys():
            if key not in seen:
                seen.add(key)
                yield f"{key}\n".encode()


def _numbered(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.exists():
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield f"{path}:{number}", line
