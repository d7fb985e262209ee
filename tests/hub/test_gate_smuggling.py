"""Requests that two readers could understand in two ways: each is refused, or passed on so that there is one way to read it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pytest

from tests.hub.gate_house import House

#: What an attacker would like the app, or another visitor's connection to it, to take for a request of its own.
HIDDEN = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("gate"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def job(house: House) -> str:
    """A running job of alice's."""
    return house.job()


def say(house: House, job: str, head: str, body: str = "", method: str = "POST", line: str = "") -> str:
    """Send one request, byte for byte, and read until the gate closes the connection."""
    first = line or f"{method} /seen HTTP/1.1"
    request = f"{first}\r\nHost: {house.host(job)}\r\n{house.token_line()}\r\n{head}\r\n\r\n{body}"
    received = b""
    house.app.targets.clear()
    with house.connect(request) as connection:
        connection.settimeout(1.0)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while piece := connection.recv(65536):
                received += piece
    return received.decode("latin-1")


def statuses(answer: str) -> list[int]:
    return [int(found) for found in re.findall(r"HTTP/\d\.\d (\d{3}) ", answer)]


CHUNKED = "Transfer-Encoding: chunked"
REFUSED = {
    "two lengths": ("Content-Length: 5\r\nContent-Length: 6", "hello!"),
    "the same length twice": ("Content-Length: 5\r\nContent-Length: 5", "hello"),
    "a list of lengths": ("Content-Length: 5, 5", "hello"),
    "length and chunks": (f"Content-Length: 5\r\n{CHUNKED}", "0\r\n\r\n"),
    "chunks and length": (f"{CHUNKED}\r\nContent-Length: 5", "0\r\n\r\n"),
    "a length with a sign": ("Content-Length: +5", "hello"),
    "a negative length": ("Content-Length: -1", ""),
    "a length in hexadecimal": ("Content-Length: 0x5", "hello"),
    "a length with an underscore": ("Content-Length: 1_0", "hellohello"),
    "a length with a control character": ("Content-Length: \x0b5", "hello"),
    "chunked is not last": ("Transfer-Encoding: chunked, identity", "0\r\n\r\n"),
    "chunked twice": ("Transfer-Encoding: chunked, chunked", "0\r\n\r\n"),
    "another coding": ("Transfer-Encoding: xchunked", "0\r\n\r\n"),
    "a coding that a lax reader takes for chunked": ("Transfer-Encoding: \x0bchunked", "0\r\n\r\n"),
    "a space before the colon": ("Transfer-Encoding : chunked", "0\r\n\r\n"),
    "a tab in a name": ("X\tTransfer-Encoding: chunked", "0\r\n\r\n"),
    "a folded line": ("X-A: a\r\n Transfer-Encoding: chunked", "0\r\n\r\n"),
    "a bare carriage return": ("X-A: a\rTransfer-Encoding: chunked", "0\r\n\r\n"),
    "a bare line feed": ("X-A: a\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    "a zero byte": ("X-A: a\x00b", ""),
    "a line without a colon": ("X-A", ""),
    "an empty name": (": a", ""),
    "a chunk size with a prefix": (CHUNKED, "0x5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size with a sign": (CHUNKED, "+5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size with a space": (CHUNKED, " 5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size that overflows": (CHUNKED, "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "a bare line feed in a chunk's extension": (CHUNKED, "5;a\nb\r\nhello\r\n0\r\n\r\n"),
    "a bare line feed behind a chunk size": (CHUNKED, "5\nhello\r\n0\r\n\r\n"),
    "a chunk longer than it says": (CHUNKED, "5\r\nhello!!\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused(house: House, job: str, what: str) -> None:
    head, body = REFUSED[what]
    answer = say(house, job, head, f"{body}{HIDDEN}")
    assert "/hidden" not in house.app.targets
    assert statuses(answer)[:1] in ([400], [502]), answer
    assert len(statuses(answer)) == 1, answer  # nothing behind it is taken for another request
    if "chunk" not in head.lower() or "length" in head.lower():
        assert house.app.targets == []


@pytest.mark.parametrize(
    "line",
    [
        "GET /seen HTTP/1.1 HTTP/1.1",
        "GET /seen\tHTTP/1.1",
        "GET /se en HTTP/1.1",
        "GET /seen",
        "GET /seen HTTP/0.9",
        "GET /seen HTTP/2.0",
        "GET /seen http/1.1",
        "G\x00T /seen HTTP/1.1",
        "CONNECT /seen HTTP/1.1",
        "CONNECT x:8080 HTTP/1.1",
        "GET http://{host}/seen HTTP/1.1",
        "GET \\seen HTTP/1.1",
    ],
)
def test_a_first_line_of_another_form_is_refused(house: House, job: str, line: str) -> None:
    answer = say(house, job, "X-A: a", "", line=line.replace("{host}", house.host(job)))
    assert house.app.targets == []
    assert statuses(answer) == [400], answer


def test_chunk_extensions_and_trailers_end_at_the_gate(house: House, job: str) -> None:
    body = '5;name="value";x\r\nhello\r\n0\r\nX-Toolkit-User: root\r\nX-Trailer: 1\r\n\r\n'
    answer = say(house, job, f"{CHUNKED}\r\nConnection: close", body)
    assert statuses(answer) == [200]
    assert '"size": 5' in answer
    assert "root" not in answer
    assert "X-Trailer" not in answer
    assert house.app.targets == ["/seen"]


def test_a_pipelined_request_is_one_of_its_own(house: House, job: str) -> None:
    """It shows no credential, and is judged by that."""
    own = HIDDEN.replace("Host: x", f"Host: {house.host(job)}")
    answer = say(house, job, "Content-Length: 5", f"hello{own}")
    assert statuses(answer) == [200, 401]
    assert house.app.targets == ["/seen"]


@pytest.mark.parametrize("framing", ["Content-Length: {size}", CHUNKED])
def test_an_upgrade_with_a_body_is_no_upgrade(house: House, job: str, framing: str) -> None:
    """The body reaches the app as a body; nothing of it becomes a request, for no streams are joined."""
    size = len(HIDDEN)
    body = HIDDEN if "size" in framing else f"{size:x}\r\n{HIDDEN}\r\n0\r\n\r\n"
    lines = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", framing.format(size=size)]
    answer = say(house, job, "\r\n".join(lines), body, method="GET")
    assert statuses(answer) == [200]
    assert f'"size": {size}' in answer
    assert '"Upgrade"' not in answer
    assert house.app.targets == ["/seen"]


def test_a_body_of_a_get_stays_one(house: House, job: str) -> None:
    answer = say(house, job, f"Content-Length: {len(HIDDEN)}", HIDDEN, method="GET")
    assert statuses(answer) == [200]
    assert house.app.targets == ["/seen"]


def test_an_answer_that_is_two_is_no_other_visitors(house: House, job: str) -> None:
    """An app that answers a request twice: the second answer is for nobody."""
    for _ in range(3):
        assert "twice" in house.ask(house.host(job), "/twice", headers=house.token()).text
        response = house.ask(house.host(job), "/mine", headers=house.token())
        assert response.json()["target"] == "/mine"
