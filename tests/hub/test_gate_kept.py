"""The gate's kept connections to a job's server, byte for byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.hub.gate_house import House, eventually

PORT = 9095
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("gate"))
    yield made
    made.stop()


class Server:
    """Answers as `talk` says: it gets the connection, the request, and how many there were on this connection before."""

    def __init__(self, ip: str, talk: Callable[[socket.socket, bytes, int], None]) -> None:
        self._talk = talk
        self._listener = socket.create_server((ip, PORT))
        #: The requests of each connection.
        self.connections: list[list[bytes]] = []
        self.closed = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        requests: list[bytes] = []
        self.connections.append(requests)
        self._open.append(connection)
        with connection, contextlib.suppress(OSError):
            received = b""
            while piece := connection.recv(65536):
                received += piece
                while b"\r\n\r\n" in received:
                    head, _, received = received.partition(b"\r\n\r\n")
                    requests.append(head)
                    self._talk(connection, head, len(requests) - 1)
        self.closed += 1

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        eventually(lambda: self.closed == len(self.connections))


Serve = Callable[[Callable[[socket.socket, bytes, int], None]], Server]


@pytest.fixture
def serve(house: House) -> Iterator[Serve]:
    started: list[Server] = []

    def start(talk: Callable[[socket.socket, bytes, int], None]) -> Server:
        started.append(Server(house.ip, talk))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def ask(house: House) -> Callable[..., httpx.Response]:
    job = house.job(spec={"ports": [{"port": PORT}]})
    host = house.host(job).replace(job, f"{job}-{PORT}")

    def get(method: str = "GET", **arguments: object) -> httpx.Response:
        return house.ask(host, "/", method, headers=house.token(), **arguments)

    return get


Ask = Callable[..., httpx.Response]


def test_plain_requests_share_a_connection_that_is_not_kept_for_long(serve: Serve, ask: Ask) -> None:
    server = serve(
        lambda connection, head, before: connection.sendall(WHOLE.removesuffix(b"ok") if head[:1] == b"H" else WHOLE)
    )
    for method in ("GET", "GET", "HEAD", "GET"):
        assert ask(method).status_code == 200
    assert [len(requests) for requests in server.connections] == [4]
    # What may not be sent twice, or has a body, never goes over a connection that may turn out to be closed.
    assert ask("POST", content=b"").status_code == 200
    assert ask("DELETE").status_code == 200
    assert [len(requests) for requests in server.connections] == [4, 1, 1]
    eventually(lambda: server.closed == 3)


def test_a_connection_that_was_closed_while_it_was_idle_is_replaced(serve: Serve, ask: Ask) -> None:
    def talk(connection: socket.socket, head: bytes, before: int) -> None:
        if before:
            connection.shutdown(socket.SHUT_RDWR)  # the request came just when its end was on its way
        else:
            connection.sendall(WHOLE)

    server = serve(talk)
    assert [ask().text for _ in range(3)] == ["ok", "ok", "ok"]
    assert [len(requests) for requests in server.connections] == [2, 2, 1]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", "until the end"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "ok"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + WHOLE, "ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-A: b\r\n\r\n", "ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", ""),
    ],
)
def test_answers_of_every_form(serve: Serve, ask: Ask, answer: bytes, text: str) -> None:
    def talk(connection: socket.socket, head: bytes, before: int) -> None:
        connection.sendall(answer)
        if b"until" in answer:
            connection.shutdown(socket.SHUT_WR)

    serve(talk)
    for _ in range(2):
        response = ask()
        assert response.status_code == (int(answer.split()[1]) if b"103" not in answer else 200)
        assert response.text == text


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 O", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 101 Up\r\n\r\n"])
def test_what_is_no_answer_is_a_bad_gateway_and_asked_for_once(serve: Serve, ask: Ask, answer: bytes) -> None:
    def talk(connection: socket.socket, head: bytes, before: int) -> None:
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_RDWR)

    server = serve(talk)
    assert ask().status_code == 502
    assert [len(requests) for requests in server.connections] == [1]
