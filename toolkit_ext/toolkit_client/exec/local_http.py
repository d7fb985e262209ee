"""What may happen with an HTTP request that has reached a local port of `toolkit app`.

A browser must end on the job's own host: a page of a job at ``http://localhost:PORT`` would share its cookies with every other
server of this machine. So a browser that opens the address is sent there, and nothing else of a browser is answered. What is no
browser gets its request passed on, with the caller's token put in. Whoever could make a browser send a request here must not come
that far: what any browser has put its name to is a browser's.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from toolkit_client.errors import InvalidRequest, PermissionDenied

__all__ = ["Head", "is_navigation", "read_head", "request_for_gate", "wants_browser_page"]

_LONGEST_HEAD = 64 * 1024
#: Seconds for the head of a request.
_HEAD_S = 20.0
_READ = 64 * 1024
#: What ends here, or is only the gate's to say (`toolkit_hub.gate.headers`).
_NOT_PASSED_ON = frozenset(
    {"host", "connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade", "http2-settings"}
)


@dataclass(frozen=True)
class Head:
    """The head of one request; names of headers are lower case. `rest` is what came behind it."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    rest: bytes = b""

    def get(self, name: str) -> str | None:
        """The one value of a header. Raises `InvalidRequest` where there are several."""
        found = [value for key, value in self.headers if key == name]
        if len(found) > 1:
            raise InvalidRequest(f"the request has several headers {name}", "send one")
        return found[0] if found else None

    @property
    def is_websocket(self) -> bool:
        tokens = [token.strip().lower() for token in (self.get("connection") or "").split(",")]
        return (
            self.method == "GET"
            and (self.get("upgrade") or "").lower() == "websocket"
            and "upgrade" in tokens
            and self.get("content-length") in (None, "0")
            and self.get("transfer-encoding") is None
        )


def read_head(connection: socket.socket) -> Head | None:
    """The head of the request on a new connection; None when none comes.

    Raises:
        InvalidRequest: it is not well-formed, or two readers might disagree about where it ends.
        OSError: the connection broke off, or is too slow.
    """
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_LONGEST_HEAD)
    connection.settimeout(_HEAD_S)
    try:
        while (event := parser.next_event()) is h11.NEED_DATA:
            data = connection.recv(_READ)
            if not data and not parser.trailing_data[0]:
                return None
            parser.receive_data(data)
    except h11.RemoteProtocolError as problem:
        raise InvalidRequest(f"this is no request of HTTP/1.1: {problem}", "") from problem
    if not isinstance(event, h11.Request):
        return None
    headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in event.headers)
    head = Head(event.method.decode(), event.target.decode(), headers, parser.trailing_data[0])
    if event.http_version != b"1.1" or not head.target.startswith("/") or "#" in head.target:
        raise InvalidRequest("only requests of HTTP/1.1 for a path are taken here", "")
    if head.get("transfer-encoding") is not None and head.get("content-length") is not None:
        raise InvalidRequest("the request has two lengths", "send Content-Length or Transfer-Encoding")
    return head


def wants_browser_page(head: Head, port: int) -> bool:
    """Whether the request is a browser's that opens the address `port` of this machine; False for one that is no browser's.

    Raises:
        PermissionDenied: it is meant for another host, or was made by a page.
    """
    own = [f"{name}:{port}" for name in ("localhost", "127.0.0.1")] + ["localhost", "127.0.0.1"] * (port == 80)
    if (head.get("host") or "").lower() not in own:  # a foreign name that resolves to this machine (DNS rebinding)
        raise PermissionDenied("this address is http://localhost, and the request is for another host", "")
    is_browser = (
        any(name == "origin" or name.startswith("sec-fetch-") for name, _ in head.headers)
        # Some browsers name themselves only like this where there is no TLS.
        or (head.get("user-agent") or "").startswith("Mozilla/")
    )
    if not is_browser:
        return False
    if not is_navigation(head):
        raise PermissionDenied(
            "a page has sent this request, and pages are not let in here",
            f"open http://localhost:{port}/ in a tab of its own",
        )
    return True


def is_navigation(head: Head) -> bool:
    """Whether a person opens the address: no page of any site has made the browser send it."""
    return (
        head.method == "GET"
        and head.get("upgrade") is None
        and head.get("origin") is None
        and "text/html" in (head.get("accept") or "")
        and head.get("sec-fetch-site") in (None, "none", "same-origin")
        and head.get("sec-fetch-mode") in (None, "navigate")
        and head.get("sec-fetch-dest") in (None, "document")
    )


def request_for_gate(head: Head, address: str, token: str, *, below: str, own_authorization: bool) -> bytes:
    """The same request for the gate, as its bytes; its body follows unchanged. It is the only one of its connection.

    `address` is the app's, `below` the path on its host that the local ``/`` stands for. With `own_authorization` the header
    `Authorization` is the app's, otherwise it is left out.
    """
    lines = [f"{head.method} {_target(head.target, below)} HTTP/1.1", f"Host: {urlsplit(address).netloc}"]
    if own_authorization:
        lines.append(f"X-Toolkit-Key: {token}")
    else:
        lines.append(f"Authorization: Bearer {token}")
    lines += ["Connection: Upgrade", "Upgrade: websocket"] if head.is_websocket else ["Connection: close"]
    for name, value in head.headers:
        if (
            name in _NOT_PASSED_ON
            or name.startswith("x-toolkit-")
            or (name == "authorization" and not own_authorization)
        ):
            continue
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _target(target: str, below: str) -> str:
    """An app that writes whole paths into its answers names them as they are on its own host."""
    if below == "/" or target.startswith(below):
        return target
    return below.removesuffix("/") + target
