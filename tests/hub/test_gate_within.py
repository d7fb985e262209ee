"""The gate and ports that are open on the loopback of a job's container only, or not open yet."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.hub.gate_house import BROWSER, House, eventually, read_head
from tests.hub.gate_job_init import job_init
from tests.hub.gate_programs import App

LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("gate"))
    yield made
    made.stop()


@pytest.fixture
def port() -> int:
    """A free port of this machine, which stands for a container; both ways lead to it."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def job(house: House, port: int, tmp_path: Path) -> Iterator[str]:
    """A running job of alice's that declares the port; what runs commands in it can be started."""
    made = house.job(spec={"ports": [{"port": port}]})
    with job_init(house, made, tmp_path):
        yield made


def at(house: House, job: str, port: int) -> str:
    return house.host(job).replace(job, f"{job}-{port}")


@contextlib.contextmanager
def app(house: House, ip: str, port: int) -> Iterator[App]:
    served = App(ip, port)
    house.apps.run(served.start())
    try:
        yield served
    finally:
        house.apps.run(served.stop())


def test_a_server_on_loopback_is_reached_as_from_its_own_machine(house: House, job: str, port: int) -> None:
    host = at(house, job, port)
    body = bytes(range(256)) * 20_000
    with app(house, LOOPBACK, port) as served:
        for target in ("/first", "/again"):
            pieces = (body[start : start + 100_000] for start in range(0, len(body), 100_000))
            echo = house.ask(
                host, f"{target}?x=%41", "PUT", content=pieces, headers={**house.token(), "Origin": f"http://{host}"}
            ).json()
            assert (echo["target"], echo["size"]) == (f"{target}?x=%41", len(body))
            assert echo["sha256"] == hashlib.sha256(body).hexdigest()
            sent = dict(echo["headers"])
            assert (sent["Host"], sent["Origin"]) == (f"localhost:{port}", f"http://localhost:{port}")
            assert (sent["X-Forwarded-Host"], sent["X-Toolkit-User"]) == (host, "alice")
            assert "Authorization" not in sent
        assert house.ask(host, "/g", headers=house.token()).json()["method"] == "GET"
        assert served.asked == 3  # each of them once


def test_a_websocket_to_a_server_on_loopback(house: House, job: str, port: int) -> None:
    async def talk() -> None:
        url, headers = f"http://127.0.0.1:{house.site.jobs_port}/ws", {**house.token(), "Host": at(house, job, port)}
        async with aiohttp.ClientSession() as client, client.ws_connect(url, headers=headers) as websocket:
            assert (await websocket.receive_json())["Host"] == f"localhost:{port}"
            for text in ("hello", "x" * 200_000):
                await websocket.send_str(text)
                assert (await websocket.receive_str()) == text

    with app(house, LOOPBACK, port):
        asyncio.run(talk())


@pytest.mark.parametrize("target", ["/flood", "/pour"])
def test_a_slow_reader_stops_a_server_on_loopback(house: House, job: str, port: int, target: str) -> None:
    """By a websocket and by an answer of HTTP, each of 64 MiB."""
    request = house.upgrade(job, target, house.token_line()).replace(house.host(job), at(house, job, port))
    if target == "/pour":
        request = request.replace("keep-alive, Upgrade", "close").replace("Upgrade: websocket\r\n", "")
    with app(house, LOOPBACK, port) as served, house.connect(request, small_buffers=True) as connection:
        assert read_head(connection)[0] in (101, 200)
        settled = [-1, 0]
        while settled[-2] != settled[-1]:
            time.sleep(0.5)
            settled.append(served.sent)
        assert settled[-1] < 24 * 2**20
        received = 0
        while received < 63 * 2**20:
            piece = connection.recv(2**20)
            assert piece
            received += len(piece)


def test_a_server_may_move_between_the_two_addresses(house: House, job: str, port: int) -> None:
    host = at(house, job, port)
    for ip in (house.ip, LOOPBACK, house.ip, LOOPBACK):
        with app(house, ip, port):
            for method in ("GET", "POST"):
                response = house.ask(
                    host, "/", method, headers=house.token(), content=b"x" if method == "POST" else b""
                )
                assert response.status_code == 200
                wanted = host if ip == house.ip else f"localhost:{port}"
                assert dict(response.json()["headers"])["Host"] == wanted
        response = house.ask(host, headers=house.token())
        assert response.status_code == 502
        assert "refused" in response.json()["error"]["message"]


def test_a_server_on_the_containers_address_is_reached_without_any_help(house: House, port: int) -> None:
    job = house.job(spec={"ports": [{"port": port}]})  # nothing in it could be started
    with app(house, house.ip, port):
        assert house.ask(at(house, job, port), "/", "POST", headers=house.token(), content=b"x").status_code == 200


@pytest.mark.parametrize("headers", [{}, BROWSER])
def test_what_speaks_no_http_is_said_in_words(house: House, job: str, port: int, headers: dict[str, str]) -> None:
    """On both addresses: what greets first, as ssh does, and what answers in another language."""
    for ip in (house.ip, LOOPBACK):
        with socket.create_server((ip, port)) as listener:

            def greet(listener: socket.socket = listener) -> None:
                with contextlib.suppress(OSError):
                    while True:
                        with listener.accept()[0] as connection:
                            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                            connection.recv(65536)

            thread = threading.Thread(target=greet, daemon=True)
            thread.start()
            response = house.ask(at(house, job, port), "/", headers={**house.token(), **headers})
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
        assert response.status_code == 502
        assert f"port {port} of this job" in response.text.lower()
        assert "is not HTTP" in response.text
        assert "SSH-2.0" not in response.text
        assert response.headers["Content-Type"].startswith("text/html" if headers else "application/json")


# --- a container that is not there yet ------------------------------------------------------------------------------------

#: Of a range for documentation; at first there is no way to it.
NEW_IP = "198.51.100.77"


@pytest.fixture
def no_way() -> Iterator[None]:
    route = [f"{NEW_IP}/32"]
    subprocess.run(["ip", "route", "add", "unreachable", *route], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "route", "del", "unreachable", *route], check=True)
        subprocess.run(["ip", "addr", "del", *route, "dev", "lo"], check=False, capture_output=True)


@pytest.mark.usefixtures("no_way")
def test_a_container_that_is_about_to_be_connected_is_waited_for(house: House) -> None:
    job, done = house.job(ip=NEW_IP), threading.Event()
    answers: list[int] = []

    def visit() -> None:
        answers.append(house.ask(house.host(job), "/", "POST", headers=house.token(), content=b"x").status_code)
        done.set()

    thread = threading.Thread(target=visit)
    thread.start()
    assert not done.wait(0.1)
    subprocess.run(["ip", "addr", "add", f"{NEW_IP}/32", "dev", "lo"], check=True)
    with app(house, NEW_IP, 8080) as served:
        thread.join(10)
        assert (answers, served.asked) == ([200], 1)


@pytest.mark.usefixtures("no_way")
def test_a_container_that_is_not_connected_is_said_in_words(house: House) -> None:
    response = house.ask(house.host(house.job(ip=NEW_IP)), headers=house.token())
    assert response.status_code == 502
    assert "there is no way to the container of this job" in response.json()["error"]["message"]
    eventually(lambda: house.ask(house.host(house.job()), headers=house.token()).status_code == 200)
