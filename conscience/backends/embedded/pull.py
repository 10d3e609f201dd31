"""Fetches a model's weights: from the first source that gives them, checked by their digest, put in place at once.

What came so far is kept in a file beside the place, ``….partial``, whichever source gave it: interrupted, the next pull goes
on from there. Its lock lets one pull at a time write it; another one waits, and finds the weights there.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conscience._base.files import sync_folder
from conscience.backends.embedded.catalogue import Model
from conscience.backends.embedded.sources import Source, Unavailable, sources_of
from conscience.backends.embedded.weights import check_anew, places, read_digest, weights_folder
from conscience.errors import BackendError, ConfigurationError, InputError


@dataclass(frozen=True)
class PullProgress:
    """Where a pull stands.

    Attributes:
        source: who gives the bytes; empty while another pull of the same file is waited for.
        done: bytes that are here.
        total: of the file.
    """

    source: str
    done: int
    total: int


@dataclass(frozen=True)
class Pulled:
    """Weights that are in place.

    Attributes:
        path: the file.
        source: who gave its last bytes; empty where it was there already.
        notes: a line for each source that could not.
    """

    path: Path
    source: str
    notes: tuple[str, ...] = ()


Watch = Callable[[PullProgress], None]


def pull(
    model: Model, *, given: str | None = None, folder: Path | None = None, watch: Watch = lambda progress: None
) -> Pulled:
    """Fetches a model's weights and checks them; does nothing where they are already in place.

    Args:
        model: of the catalogue.
        given: the only source: a file, a folder that holds it, or an address; by default the catalogue's sources, in order.
        folder: where to keep them; by default ``weights_folder()``.
        watch: is told of the progress.

    Raises:
        BackendError: no source gave the file; names all that were tried.
        InputError: the source that was given did not.
        ConfigurationError: the folder cannot be written, or the disk is too small.
    """
    path = (folder or weights_folder()) / model.file
    try:
        for there in places(model) if folder is None else [path]:
            if check_anew(there, model):
                return Pulled(there, "")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _partial(path, model, watch) as partial:
            if check_anew(path, model):  # the pull that was waited for has put it there
                return Pulled(path, "")
            source, notes = _fetched(partial, sources_of(model, given), model, watch)
            partial.put_in_place(path)
        if not check_anew(path, model):
            raise ConfigurationError(f"{path} is not what was written there", hint="is the disk in order?")
        return Pulled(path, source.name, tuple(notes))
    except _NoneLeft as failure:
        tried = "; ".join(failure.notes)
        if given is not None:
            raise InputError(f"{model.name}: {tried}") from None
        hint = f"check the network, or bring the file: {model.pull_from}"
        raise BackendError(f"{model.name} could not be fetched: {tried}", hint=hint) from None
    except OSError as error:
        hint = "set CONSCIENCE_WEIGHTS to a folder that can be written"
        raise ConfigurationError(f"{error.filename or path}: {error.strerror or error}", hint=hint) from None


class _NoneLeft(Exception):
    def __init__(self, notes: Sequence[str]) -> None:
        super().__init__()
        self.notes = notes


def _fetched(partial: _Partial, sources: Sequence[Source], model: Model, watch: Watch) -> tuple[Source, list[str]]:
    """The source that completed the file, and why the ones before it did not.

    Raises:
        _NoneLeft: none did.
        ConfigurationError: the disk is too small.
    """
    notes: list[str] = []
    for source in sources:
        _check_space(partial.path.parent, model.bytes - partial.size + source.scratch)
        try:
            _take(partial, source, model, watch)
        except Unavailable as reason:
            notes.append(f"{source.name}: {reason}")
        else:
            return source, notes
    raise _NoneLeft(notes)


def _take(partial: _Partial, source: Source, model: Model, watch: Watch) -> None:
    """Completes the file from a source. Where the bytes are wrong and another one may be to blame, it is asked for all.

    Raises:
        Unavailable: it ended too soon, or all of it is another file.
    """
    alone = partial.size == 0
    watch(PullProgress(source.name, partial.size, model.bytes))
    for chunk in source.read(partial.size, partial.path.parent):
        partial.append(chunk[: model.bytes - partial.size])
        watch(PullProgress(source.name, partial.size, model.bytes))
        if partial.size == model.bytes:
            break
    if partial.size < model.bytes:
        raise Unavailable(f"it ended after {partial.size:,} of {model.bytes:,} bytes")
    if read_digest(partial.path) == model.sha256:
        return
    partial.clear()
    if alone:
        raise Unavailable(f"its content is not the publisher's (SHA-256 {model.sha256[:12]}…)")
    _take(partial, source, model, watch)


def _check_space(folder: Path, needed: int) -> None:
    if (free := shutil.disk_usage(folder).free) < needed:
        raise ConfigurationError(
            f"{folder} has {free / 1e6:,.0f} MB free, and {needed / 1e6:,.0f} MB are needed",
            hint="make room, or set CONSCIENCE_WEIGHTS to a folder on another disk",
        )


# The file that is being written ----------------------------------------------------------------------------------------


class _Partial:
    """What came so far, under a lock."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor
        self.size = os.fstat(descriptor).st_size

    def append(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            written = os.write(self._descriptor, view)
            self.size += written
            view = view[written:]

    def clear(self) -> None:
        os.ftruncate(self._descriptor, 0)
        self.size = 0

    def put_in_place(self, path: Path) -> None:
        os.fsync(self._descriptor)
        os.replace(self.path, path)
        sync_folder(path.parent)

    def drop_if_empty(self) -> None:
        if not os.fstat(self._descriptor).st_size and _is_same(self._descriptor, self.path):
            self.path.unlink()


@contextmanager
def _partial(path: Path, model: Model, watch: Watch) -> Iterator[_Partial]:
    """The file beside the place, once nobody else writes it."""
    beside = path.with_name(f"{path.name}.partial")
    descriptor = _locked(beside, model, watch)
    try:
        partial = _Partial(beside, descriptor)
        if partial.size > model.bytes:
            partial.clear()
        try:
            yield partial
        finally:
            partial.drop_if_empty()
    finally:
        os.close(descriptor)  # and with it the lock


def _locked(beside: Path, model: Model, watch: Watch) -> int:
    while True:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            _lock(descriptor, model, watch)
            if _is_same(descriptor, beside):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever had it has put it in place


def _lock(descriptor: int, model: Model, watch: Watch) -> None:
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            watch(PullProgress("", os.fstat(descriptor).st_size, model.bytes))
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):  # some network file systems have no locks
            raise


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        named = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), named)
