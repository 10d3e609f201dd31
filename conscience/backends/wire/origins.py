"""Where a request goes: the server that an address names, and the proxy on the way to it.

Proxies are read from the environment as curl reads them. Nothing stands between a process and its own machine.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address, ip_network
from urllib.parse import quote, unquote, urlsplit

PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy.

    Attributes:
        credentials: the value of Proxy-Authorization, if it wants one.
    """

    host: str
    port: int
    credentials: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Origin:
    """A server and the way to it."""

    scheme: str
    host: str
    port: int
    proxy: Proxy | None = None

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


class UnknownScheme(ValueError):
    """An address, or a proxy's, that this client does not speak."""


@lru_cache(maxsize=256)
def locate(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and request target of an address; blanks and other letters in its path are escaped.

    Raises:
        UnknownScheme: it is not http or https, names no host, or carries a user's name and password.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise UnknownScheme(str(error)) from None
    if parts.scheme not in PORTS or not parts.hostname or parts.username is not None:
        raise UnknownScheme("not the address of an HTTP server")
    host = parts.hostname
    if not host.isascii():
        try:
            host = host.encode("idna").decode()
        except UnicodeError as error:
            raise UnknownScheme(str(error)) from None
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (
        f"?{quote(parts.query, safe='/%:@!$&()*+,;=~-._?')}" if parts.query else ""
    )
    return parts.scheme, host, port or PORTS[parts.scheme], target


# Proxies ---------------------------------------------------------------------------------------------------------------


def proxy_settings() -> tuple[str, ...]:
    """What the environment says of proxies, now: http, https, all, none."""
    get = os.environ.get
    # Under CGI, HTTP_PROXY is a header that a client sent.
    http = get("http_proxy") or (None if "REQUEST_METHOD" in os.environ else get("HTTP_PROXY"))
    secure, all_of_them = get("https_proxy") or get("HTTPS_PROXY"), get("all_proxy") or get("ALL_PROXY")
    return (http or "", secure or "", all_of_them or "", get("no_proxy") or get("NO_PROXY") or "")


@lru_cache(maxsize=256)
def origin(scheme: str, host: str, port: int, settings: tuple[str, ...]) -> Origin:
    """The server, and the proxy to it where the settings name one. Nothing stands between a process and its own machine.

    Raises:
        UnknownScheme: the proxy is none of HTTP (SOCKS, TLS to the proxy).
    """
    if is_loopback(host):
        return Origin(scheme, host, port)
    http, secure, all_of_them, exempt = settings
    named = (secure if scheme == "https" else http) or all_of_them
    if not named or _is_exempt(host, port, exempt):
        return Origin(scheme, host, port)
    parts = urlsplit(named if "://" in named else f"http://{named}")
    try:
        place = parts.hostname, parts.port or 80
    except ValueError:
        place = None, 0
    if parts.scheme != "http" or not place[0]:
        raise UnknownScheme("not the address of an HTTP proxy")
    credentials = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        credentials = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return Origin(scheme, host, port, Proxy(str(place[0]), place[1], credentials))


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


def _is_exempt(host: str, port: int, exempt: str) -> bool:
    """NO_PROXY as curl, Go and Python read it: names with all below them, addresses, networks, a port, or *."""
    entries = exempt.replace(",", " ").lower().split()
    return any(entry == "*" or _matches(host.lower(), port, entry) for entry in entries)


def _matches(host: str, port: int, entry: str) -> bool:
    if "/" in entry:
        try:
            return ip_address(host) in ip_network(entry, strict=False)
        except ValueError:
            return False
    name, _, of_port = entry.rpartition(":") if entry.count(":") == 1 else (entry, "", "")
    if entry.startswith("["):
        name, _, of_port = entry[1:].partition("]")
        of_port = of_port.lstrip(":")
    if of_port and of_port != str(port):
        return False
    name = name.removeprefix("*").lstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))
