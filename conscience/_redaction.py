"""Texts without credentials: what goes into errors, events, logs, reports and files. The one place for it.

A credential is known from where it was given: an argument whose name says so (``api_key``, ``azure_ad_token``,
``vertex_credentials``, ``password``, …, also inside mappings and JSON), the value of a header, an environment variable whose
name says so, and the user and the query keys of an address. Each is taken out of a text as it is and in the forms that
servers and libraries give it: percent-encoded, escaped as in JSON, Python or HTML, as base64 and as hexadecimal digits. What
looks like a key, whoever's it is, goes too.

What is too short or too plain to be a secret protects nothing, and is left alone, or "no" would be cut out of every
sentence. ``is_worth_hiding`` says what counts. A part of a credential, as in "sk-ab***yz", is left too.

Every ``ConscienceError`` and every event passes here. Answers, drafts and what is reviewed never do.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import os
import re
import weakref
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NoReturn, Protocol
from urllib.parse import unquote, urlsplit

HIDDEN = "[redacted]"
SHORTEST = 8
"""Characters of a credential that is hidden."""
SHORTEST_PLAIN = 12
"""The same where all are of one kind, such as lower-case letters."""
FEWEST_DIFFERENT = 4

PLACEHOLDERS = frozenset(
    {"not-needed", "not_needed", "not-required", "not_required", "no-key-required", "sk-no-key-required", "fake-api-key"}
    | {"fake_api_key", "your-api-key", "your_api_key", "your-api-key-here", "placeholder", "redacted", "[redacted]"}
    | {"service_account", "authorized_user", "application/json", "text/event-stream", "dspy-conscience"}
)
"""What people write where a key is asked for and none is needed, and words that stand beside keys."""

_PARTS = frozenset(
    {"key", "keys", "token", "tokens", "secret", "secrets", "password", "passwd", "passphrase", "passcode", "pass", "pwd"}
    | {"credential", "credentials", "creds", "authorization", "auth", "cookie", "cookies", "signature", "sig", "sas", "jwt"}
    | {"bearer", "dsn", "pat"}
)
_ENDINGS = (
    *("apikey", "aikey", "subscriptionkey", "secretkey", "privatekey", "authkey", "accesskey"),
    *("token", "secret", "password", "credentials", "authorization"),
)
_PLAIN_HEADERS = frozenset({"accept", "accept-encoding", "content-type", "host", "user-agent", "connection"})
_HEADERS = frozenset({"headers", "extra_headers", "default_headers"})
_NO_SECRETS = frozenset({"PWD", "OLDPWD"})

_PREFIXES = ("sk", "pk", "rk", "gsk", "xai", "hf", "nvapi", "pplx", "ghp", "gho", "glpat", "xoxa", "xoxb", "xoxp")
_LOOKS_LIKE_ONE = re.compile(
    rf"(?<![\w-])(?:{'|'.join(_PREFIXES)})[-_](?=[\w-]{{0,256}}[\d*])[\w*-]{{8,}}"
    r"|\bAIza[\w-]{20,}|\b(?:AKIA|ASIA)[A-Z0-9]{12,}"
    r"|\b(?i:bearer|basic)\s+(?=[^\s\"']{0,256}\d)[^\s\"',;]{8,}"
    r"|(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]+)?"
)
_BEGINNINGS = (*(prefix + mark for prefix in _PREFIXES for mark in "-_"), "aiza", "akia", "asia", "bearer", "basic", "eyj")
"""One of these, in lower case, is in whatever looks like a key: to find them is fifty times faster."""
_USER = re.compile(r"(?<=://)[^\s/@:]{0,256}:[^\s/@]{1,512}@")
_QUERY = re.compile(r"(?i)([?&](?:api[-_]?key|key|(?:access[-_]?)?token|sig|signature|password|secret)=)[^\s&#\"'<>]{4,}")


class Holder(Protocol):
    """Something that has credentials as long as it lives."""

    def secrets(self) -> list[str]: ...


_holders: dict[int, weakref.ref[Any]] = {}


def watch(holder: Holder) -> None:
    """Takes the holder's credentials out of every text from now on, for as long as it lives."""
    number = id(holder)
    _holders[number] = weakref.ref(holder, lambda _: _holders.pop(number, None) and None)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without credentials: these, those of living holders and of the environment, and what looks like one."""
    known = {piece for secret in secrets for piece in _pieces(secret)}
    known.update(*map(_held, list(_holders.values())), _environment())
    for secret in sorted(known, key=len, reverse=True):
        text = _without(text, secret)
    text = _QUERY.sub(rf"\1{HIDDEN}", _USER.sub(f"{HIDDEN}@", text))
    lower = text.lower()
    return _LOOKS_LIKE_ONE.sub(HIDDEN, text) if any(beginning in lower for beginning in _BEGINNINGS) else text


def raise_alone(error: Exception) -> NoReturn:
    """Raises an error that does not lead to those behind it: they may repeat a key, and loggers print them."""
    try:
        raise error
    finally:
        error.__context__ = None


# What is a credential --------------------------------------------------------------------------------------------------


def is_worth_hiding(value: str) -> bool:
    """Whether a value can be a secret: of 8 characters and more of two kinds (lower case, upper case, digits, others), or of
    12 of one kind, at least 4 of them different, and none of ``PLACEHOLDERS``."""
    if len(value) < SHORTEST or len(set(value)) < FEWEST_DIFFERENT or value.lower() in PLACEHOLDERS:
        return False
    rest = value[0].lower() + value[1:]  # a capital at the beginning is a sentence's
    kinds = [str.islower, str.isupper, str.isdigit, lambda c: not c.isalnum() and c not in "-_. "]
    return len(value) >= SHORTEST_PLAIN or sum(any(map(kind, rest)) for kind in kinds) >= 2


@lru_cache(maxsize=4096)
def names_a_secret(name: str) -> bool:
    """Whether an argument, a key, a header or a variable of this name holds a credential."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    parts = [part for part in re.split(r"[^a-z0-9]+", snake) if part]
    return any(part in _PARTS or part.endswith(_ENDINGS) for part in parts)


def credentials_in(options: Mapping[str, Any]) -> list[str]:
    """The credentials among a model's options: by their names, at any depth, in headers and in addresses."""
    return list(dict.fromkeys(piece for value in _values(options, secret=False) for piece in _pieces(value)))


def without_credentials(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without those that hold a credential, at any depth: what may be pickled."""
    return {
        name: value
        for name, value in options.items()
        if name not in _HEADERS and not (names_a_secret(name) and isinstance(value, str | bytes | Mapping | list | tuple))
        and not (isinstance(value, str) and any(_of_address(value))) and not credentials_in({name: value})
    }  # fmt: skip


def _values(value: Any, *, secret: bool, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            own = str(key)
            if name in _HEADERS:
                yield from _values(inner, secret=own.lower() not in _PLAIN_HEADERS, name=own)
            else:
                yield from _values(inner, secret=names_a_secret(own), name=own)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from _values(inner, secret=secret, name=name)
    elif isinstance(value, bytes):
        yield from _values(value.decode(errors="replace"), secret=secret, name=name)
    elif isinstance(value, str):
        yield from _of_address(value)
        if not secret or _is_path(value):
            return
        if value.lstrip().startswith("{"):
            try:
                inner = json.loads(value)
            except ValueError:
                inner = None
            if isinstance(inner, dict):
                yield from _values(inner, secret=True)
                return
        yield value
    elif secret and callable(reveal := getattr(value, "get_secret_value", None)):  # pydantic's SecretStr
        yield str(reveal())


def _is_path(value: str) -> bool:
    """Credentials are often named by their file."""
    return value.startswith(("/", "~", ".")) and "\n" not in value and os.path.exists(os.path.expanduser(value))


def _of_address(value: str) -> Iterator[str]:
    """The user's name and password in an address, and what its query calls a key."""
    if "://" not in value:
        return
    try:
        parts = urlsplit(value.strip())
        user, password = parts.username, parts.password
    except ValueError:
        return
    if password:
        yield password
        yield unquote(password)
        yield base64.b64encode(f"{unquote(user or '')}:{unquote(password)}".encode()).decode()
    elif user:
        yield user
        yield unquote(user)
    for pair in parts.query.split("&"):
        name, _, given = pair.partition("=")
        if given and names_a_secret(unquote(name)):
            yield given
            yield unquote(given)


def _pieces(value: str) -> Iterator[str]:
    """The value and the parts of it that are secrets themselves: after "Bearer", in cookies, the lines of a key file."""
    whole = value.strip()
    candidates = [whole]
    scheme, _, rest = whole.partition(" ")
    if scheme.lower() in ("bearer", "basic", "token", "digest", "apikey", "api-key"):
        candidates = [rest.strip()]
        if scheme.lower() == "basic":
            candidates += _basic(rest.strip())
    if "=" in whole and (";" in whole or whole.count("=") == 1):
        candidates += [part.partition("=")[2].strip() for part in whole.split(";")]
    if len(words := whole.split()) > 1:
        candidates += [word for word in words if len(word) >= 16]
    yield from filter(is_worth_hiding, candidates)


def _basic(text: str) -> list[str]:
    try:
        return [base64.b64decode(text, validate=True).decode().partition(":")[2]]
    except (binascii.Error, ValueError):
        return []


def _held(reference: weakref.ref[Any]) -> list[str]:
    holder = reference()
    return [] if holder is None else [piece for secret in holder.secrets() for piece in _pieces(secret)]


def _environment() -> tuple[str, ...]:
    variables = getattr(os.environ, "_data", os.environ)  # undecoded: every line of a log comes here
    return _of_environment(tuple(variables.items()))


@lru_cache(maxsize=4)
def _of_environment(variables: tuple[tuple[str | bytes, str | bytes], ...]) -> tuple[str, ...]:
    found: list[str] = []
    for name, value in (map(os.fsdecode, variable) for variable in variables):
        if "://" in value or (names_a_secret(name) and name not in _NO_SECRETS):
            secret = names_a_secret(name) and name not in _NO_SECRETS
            found.extend(piece for given in _values(value, secret=secret) for piece in _pieces(given))
    return tuple(found)


# The forms of a credential ---------------------------------------------------------------------------------------------


def _without(text: str, secret: str) -> str:
    run, pattern, others = _forms(secret)
    if run in text:
        text = pattern.sub(HIDDEN, text)
    for form in others:
        if form in text:
            text = text.replace(form, HIDDEN)
    return text


@lru_cache(maxsize=1024)
def _forms(secret: str) -> tuple[str, re.Pattern[str], tuple[str, ...]]:
    """The longest run of letters and digits, which no escaping changes; the secret however it is escaped; other forms."""
    runs = re.findall(r"[A-Za-z0-9]+", secret)
    pattern = re.compile("".join(map(_escaped, secret)))
    raw = secret.encode(errors="surrogatepass")
    others = {raw.hex(), raw.hex().upper()}
    for before in range(3):  # by where in the encoded text it begins
        begin, end = (8 * before + 5) // 6, 8 * (before + len(raw)) // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            others.add(encode(b"\0" * before + raw).decode()[begin:end])
    return max(runs, key=len, default=""), pattern, tuple(form for form in others if len(form) >= SHORTEST)


@lru_cache(maxsize=512)
def _escaped(character: str) -> str:
    """A pattern of a character as it is, percent-encoded once or twice, and escaped as in JSON, Python or HTML."""
    if character.isascii() and character.isalnum():
        return character
    raw = character.encode(errors="surrogatepass")
    units = character.encode("utf-16-be", errors="surrogatepass")
    forms = [re.escape(character)]
    forms.append("(?i:" + "".join(f"%(?:25)?{byte:02x}" for byte in raw) + ")")
    forms.append(r"(?i:" + "".join(rf"\\+u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)) + ")")
    forms.append(r"(?i:" + "".join(rf"\\+x{byte:02x}" for byte in raw) + ")")
    forms.append(rf"(?i:&#(?:x0*{ord(character):x}|0*{ord(character)});)")
    named = html.escape(character)
    forms += [re.escape(named)] if named != character else []
    if character.isspace():
        forms += [r"\s+", r"\+", r"\\+[nrt]"]
    elif character.isascii():
        forms.append(rf"\\+{re.escape(character)}" if character != "\\" else r"\\+")
    else:
        forms.append(rf"(?i:\\+x{ord(character):02x})" if ord(character) < 256 else rf"(?i:\\+U0*{ord(character):x})")
    return f"(?:{'|'.join(forms)})"
