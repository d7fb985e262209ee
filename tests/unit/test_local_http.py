"""Who is treated how at a local port of `toolkit app`."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from toolkit_client.errors import InvalidRequest, PermissionDenied
from toolkit_client.exec.local_http import Head, read_head, request_for_gate, wants_browser_page

PORT = 9900
TYPED = {"accept": "text/html", "sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def head(method: str = "GET", target: str = "/", **headers: str) -> Head:
    given = {"host": f"localhost:{PORT}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Head(method, target, tuple(given.items()))


def read(pair: tuple[socket.socket, socket.socket], text: bytes) -> Head | None:
    pair[1].sendall(text)
    pair[1].shutdown(socket.SHUT_WR)
    return read_head(pair[0])


def test_programs_are_passed_on() -> None:
    for made in (
        head(),
        head("POST", user_agent="curl/8"),
        head(host=f"127.0.0.1:{PORT}"),
        head(host=f"LOCALHOST:{PORT}"),
    ):
        assert not wants_browser_page(made, PORT)


def test_a_person_who_opens_the_address_goes_on_to_the_job() -> None:
    assert wants_browser_page(head(**TYPED), PORT)
    assert wants_browser_page(head(**{**TYPED, "sec-fetch-site": "same-origin"}), PORT)
    assert wants_browser_page(head(user_agent="Mozilla/5.0", accept="text/html"), PORT), "one that tells nothing more"


@pytest.mark.parametrize(
    "made",
    [
        head(host="evil.example"),
        head(host=f"evil.example:{PORT}"),
        head(host=f"localhost:{PORT + 1}"),
        head(host="localhost"),
        head(host=""),
        head(**{**TYPED, "sec-fetch-site": "cross-site"}),
        head(**{**TYPED, "sec-fetch-site": "same-site"}),
        head(**{**TYPED, "sec-fetch-dest": "iframe"}),
        head(**{**TYPED, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}),
        head("POST", **TYPED),
        head("POST", origin="http://evil.example"),
        head(origin="null"),
        head(origin=f"http://localhost:{PORT}"),
        head(connection="Upgrade", upgrade="websocket", origin="http://evil.example"),
        head(user_agent="Mozilla/5.0", accept="*/*"),
        head(sec_fetch_site="none"),
    ],
)
def test_what_a_page_sends_is_refused(made: Head) -> None:
    with pytest.raises(PermissionDenied):
        wants_browser_page(made, PORT)


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.0\r\nHost: localhost:9900\r\n\r\n",
        b"GET http://localhost:9900/ HTTP/1.1\r\nHost: localhost:9900\r\n\r\n",
        b"CONNECT job:22 HTTP/1.1\r\nHost: localhost:9900\r\n\r\n",
        b"GET /#x HTTP/1.1\r\nHost: localhost:9900\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost:9900\r\nHost: evil.example\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\nabcd",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rGET /x HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 140_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_two_readers_might_read_in_two_ways_is_refused(
    pair: tuple[socket.socket, socket.socket], text: bytes
) -> None:
    with pytest.raises(InvalidRequest):
        found = read(pair, text)
        assert found is not None
        raise AssertionError(wants_browser_page(found, PORT))


def test_who_says_nothing_is_not_answered(pair: tuple[socket.socket, socket.socket]) -> None:
    assert read(pair, b"") is None


def test_the_request_for_the_gate(pair: tuple[socket.socket, socket.socket]) -> None:
    text = (
        b"POST /api/x?y=%20 HTTP/1.1\r\nHost: localhost:9900\r\nAuthorization: token mine\r\nConnection: keep-alive\r\n"
        b"Keep-Alive: 5\r\nX-Toolkit-User: root\r\nProxy-Authorization: Basic x\r\nTE: trailers\r\nX-Name: \xe9\r\n"
        b"Content-Length: 4\r\n\r\nbody"
    )
    found = read(pair, text)
    assert found is not None
    assert found.rest == b"body"
    address = "http://id-lab.localhost:8001/user/sela/j1/lab"
    made = request_for_gate(found, address, "secret", below="/user/sela/j1/", own_authorization=False)
    assert made.split(b"\r\n") == [
        b"POST /user/sela/j1/api/x?y=%20 HTTP/1.1",
        b"Host: id-lab.localhost:8001",
        b"Authorization: Bearer secret",
        b"Connection: close",
        b"x-name: \xe9",
        b"content-length: 4",
        b"",
        b"",
    ]
    own = request_for_gate(found, "http://id.localhost:8001/", "secret", below="/", own_authorization=True)
    assert b"X-Toolkit-Key: secret\r\n" in own
    assert b"authorization: token mine\r\n" in own
    assert own.startswith(b"POST /api/x?y=%20 HTTP/1.1\r\n")


def test_paths_that_the_app_has_written_stay_as_they_are() -> None:
    made = request_for_gate(
        head(target="/user/sela/j1/api"), "http://h/", "t", below="/user/sela/j1/", own_authorization=False
    )
    assert made.startswith(b"GET /user/sela/j1/api HTTP/1.1\r\n")


def test_websockets_are_asked_for_and_nothing_else_is_upgraded() -> None:
    asked = head(connection="keep-alive, Upgrade", upgrade="WebSocket", sec_websocket_key="k")
    made = request_for_gate(asked, "http://h/", "t", below="/", own_authorization=False)
    assert b"Connection: Upgrade\r\nUpgrade: websocket\r\n" in made
    assert b"sec-websocket-key: k\r\n" in made
    other = request_for_gate(
        head(connection="Upgrade", upgrade="h2c"), "http://h/", "t", below="/", own_authorization=False
    )
    assert b"Connection: close\r\n" in other
    assert b"pgrade" not in other
