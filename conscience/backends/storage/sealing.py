"""What ties a kept answer to its request: keys that tell callers apart, and a seal that shows what was changed since.

Both hang on a secret of the folder, a file that only its owner can read. So a file of answers gives away no credential, not
even one that is short enough to be guessed, and an entry that was edited, cut, forged or moved to another key is not used.
Whoever may read the secret can forge: a seal does not protect a user from himself.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

SECRET = "secret"
_DIGITS = 64
_KEY, _MAC, _VALUE = b'{"key":"', b'","mac":"', b'","value":'
_MAC_AT = len(_KEY) + _DIGITS
_VALUE_AT = _MAC_AT + len(_MAC) + _DIGITS
_HEAD = _VALUE_AT + len(_VALUE)

NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
"""Flags for a file that must be the one of that name, and no pipe that nobody writes to."""


def request_key(parts: Mapping[str, Any], credentials: Mapping[str, Any], secret: bytes) -> str:
    """The key of a request: 64 hexadecimal digits.

    Args:
        parts: everything that shapes the answer, as JSON.
        credentials: what tells who asks; empty where nobody does, and then the secret plays no part.
        secret: the folder's.
    """
    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    if not credentials:
        return hashlib.sha256(orjson.dumps(parts, default=str, option=options)).hexdigest()
    canonical = orjson.dumps({**parts, "credentials": credentials}, default=str, option=options)
    return hmac.digest(secret, canonical, "sha256").hex()


def seal(secret: bytes, key: str, value: Mapping[str, Any] | None) -> bytes:
    """A value as a line of JSON that says its key, without a line feed."""
    content = orjson.dumps(value)
    return b"".join((_KEY, key.encode(), _MAC, _mac(secret, key, content), _VALUE, content, b"}"))


def unseal(secret: bytes, key: str, line: bytes) -> dict[str, Any] | None:
    """The value that was sealed under the key; None for anything else."""
    if sealed_key(line) != key or line[_VALUE_AT:_HEAD] != _VALUE or not line.endswith(b"}"):
        return None
    content = line[_HEAD:-1]
    if not hmac.compare_digest(line[_MAC_AT + len(_MAC) : _VALUE_AT], _mac(secret, key, content)):
        return None
    value = orjson.loads(content)
    return value if isinstance(value, dict) else None


def sealed_key(line: bytes) -> str | None:
    """The key that a line says it was sealed under; None where it is no such line."""
    if not line.startswith(_KEY) or line[_MAC_AT : _MAC_AT + len(_MAC)] != _MAC:
        return None
    return line[len(_KEY) : _MAC_AT].decode("latin-1")


def _mac(secret: bytes, key: str, content: bytes) -> bytes:
    return hmac.digest(secret, key.encode() + b"\0" + content, "sha256").hex().encode()


def folder_secret(folder: Path) -> bytes:
    """The secret of a folder of answers; made where there is none.

    Raises:
        OSError: it cannot be read or made, or belongs to somebody else.
    """
    path = folder / SECRET
    for _ in range(2):
        if (secret := _read(path)) is not None:
            return secret
        _make(path)
    raise OSError(f"{path} cannot be read back")


def _read(path: Path) -> bytes | None:
    try:
        file = os.open(path, os.O_RDONLY | NO_LINKS)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is no file")
        if hasattr(os, "geteuid"):
            if status.st_uid != os.geteuid() != 0:
                raise PermissionError(f"{path} belongs to somebody else")
            if status.st_mode & 0o077:
                os.fchmod(file, 0o600)
        text = os.read(file, 2 * _DIGITS).strip()
    finally:
        os.close(file)
    try:
        return bytes.fromhex(text.decode("ascii")) if len(text) == _DIGITS else None
    except ValueError:
        return None


def _make(path: Path) -> None:
    """Puts a new secret in place; that of another process, which came first, stays."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, secrets.token_hex(_DIGITS // 2).encode())
        os.close(file)
        if path.exists():  # what is there is no secret
            os.replace(partial, path)
            return
        try:
            os.link(partial, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
