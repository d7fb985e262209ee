"""How this side connects with a site's hosts. TLS, proxies and HTTP are loaded only where an address needs them."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from toolkit_client.errors import ServiceUnavailable

if TYPE_CHECKING:
    from http.client import HTTPConnection

__all__ = ["AWAY", "SILENCE_S", "Interrupted", "connect", "connected_socket"]

#: Seconds without a byte in either direction after which a connection counts as broken.
SILENCE_S = 300.0
_CONNECT_S = 10.0
#: Statuses by which a part of the site says that another one is away for a moment.
AWAY = frozenset({502, 503, 504})
_READ_SIZE = 1 << 20
_LOOPBACK = ("127.0.0.1", "::1")


class Interrupted(ServiceUnavailable):
    """The connection broke, or a part of the site was away: what has arrived is kept, and trying again goes on from there."""


def connect(url: str) -> HTTPConnection:
    """A connection to the host of an address, by way of the environment's proxy where there is one. Raises `OSError`."""
    import http.client

    parts = urlsplit(url)
    host, port = _host(url), parts.port
    kind: type[HTTPConnection] = http.client.HTTPConnection
    options: dict[str, Any] = {}
    if parts.scheme == "https":
        import ssl

        kind, options = http.client.HTTPSConnection, {"context": ssl.create_default_context()}
    proxy = None if host in _LOOPBACK else _proxy_for(parts.scheme, host)
    if proxy is None:
        connection = kind(host, port, timeout=_CONNECT_S, blocksize=_READ_SIZE, **options)
    else:
        connection = kind(proxy[0], proxy[1], timeout=_CONNECT_S, blocksize=_READ_SIZE, **options)
        connection.set_tunnel(host, port)
    connection.connect()
    connection.sock.settimeout(SILENCE_S)
    return connection


def connected_socket(url: str) -> socket.socket:
    """The same without HTTP's book-keeping. Raises `OSError`."""
    parts, host = urlsplit(url), _host(url)
    if parts.scheme == "https" or (host not in _LOOPBACK and _proxy_for(parts.scheme, host) is not None):
        found: socket.socket = connect(url).sock
        return found
    made = socket.create_connection((host, parts.port or 80), _CONNECT_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.settimeout(SILENCE_S)
    return made


def _host(url: str) -> str:
    host = urlsplit(url).hostname or ""
    # As browsers take it; not every resolver does.
    return "127.0.0.1" if host == "localhost" or host.endswith(".localhost") else host


def _proxy_for(scheme: str, host: str) -> tuple[str, int] | None:
    """The environment's HTTP proxy, where it applies."""
    if sys.platform not in ("darwin", "win32") and not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    import urllib.request

    address = urllib.request.getproxies().get(scheme)
    if not address or urllib.request.proxy_bypass(host):
        return None
    parts = urlsplit(address if "//" in address else f"//{address}")
    return (parts.hostname, parts.port or 8080) if parts.hostname else None
