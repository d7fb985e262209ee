"""The gate and connections that live: websockets, slow readers, and rights that are taken away meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator

import aiohttp
import pytest

from tests.hub.gate_house import House, eventually, frame, is_closed, read_head
from toolkit_client.access_models import NewLock
from toolkit_hub.domain import locks
from toolkit_hub.domain.gate_sessions import end_sessions

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("gate"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def job(house: House) -> str:
    """A running job of alice's."""
    return house.job()


# --- websockets ---------------------------------------------------------------------------------------------------------


def test_a_websocket_passes_both_ways_and_shows_who_calls(house: House, job: str) -> None:
    async def talk() -> None:
        url = f"http://127.0.0.1:{house.site.jobs_port}/ws"
        headers = {**house.token(), "Host": house.host(job), "X-Toolkit-User": "root"}
        async with aiohttp.ClientSession() as client, client.ws_connect(url, headers=headers) as websocket:
            sent = await websocket.receive_json()
            assert sent["X-Toolkit-User"] == "alice"
            assert "Authorization" not in sent
            for text in ("hello", "x" * 200_000):
                await websocket.send_str(text)
                assert (await websocket.receive_str()) == text

    asyncio.run(talk())


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([], 401),
        (["Authorization: token 00000000000000000000"], 401),
        (["{bob}"], 404),
        (["{cookie}"], 403),
        (["{cookie}", "Origin: http://evil.example"], 403),
        (["{cookie}", "Origin: http://{host}"], 101),
        (["{token}", "Origin: http://evil.example"], 101),
    ],
)
def test_who_may_open_a_websocket(house: House, job: str, lines: list[str], status: int) -> None:
    known = {
        "host": house.host(job),
        "cookie": f"Cookie: {house.cookie('alice', job)}",
        "token": house.token_line(),
        "bob": house.token_line("bob"),
    }
    with house.connect(house.upgrade(job, "/ws", *(line.format(**known) for line in lines))) as connection:
        assert read_head(connection)[0] == status


def test_an_answer_but_101_is_passed_back_and_the_streams_are_not_joined(house: House, job: str) -> None:
    request = house.upgrade(job, "/no-websocket", house.token_line())
    with house.connect(request) as connection:
        connection.sendall(SMUGGLED)
        status, _, rest = read_head(connection)
        while rest.count(b"HTTP/1.1") < 1:
            rest += connection.recv(65536)
    assert status == 200
    # What followed was taken for a request of its own, and checked like one.
    assert b'"target": "/no-websocket"' in rest
    assert b"HTTP/1.1 404" in rest
    assert b'"target": "/smuggled"' not in rest


def test_a_job_cannot_make_the_gate_join_what_is_no_websocket(house: House, job: str) -> None:
    with house.connect(house.upgrade(job, "/fake101", house.token_line())) as connection:
        assert read_head(connection)[0] == 502
    assert house.ask(house.host(job), "/fake101", headers=house.token()).status_code == 502


def test_another_upgrade_is_not_passed_on(house: House, job: str) -> None:
    lines = ["GET /x HTTP/1.1", f"Host: {house.host(job)}", house.token_line(), "Connection: Upgrade, HTTP2-Settings"]
    request = "\r\n".join([*lines, "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__", "", ""])
    with house.connect(request) as connection:
        status, _, rest = read_head(connection)
    assert status == 200
    assert not {"Upgrade", "HTTP2-Settings"} & set(dict(json.loads(rest)["headers"]))


def test_what_a_visitor_sends_without_waiting_arrives(house: House, job: str) -> None:
    with house.connect(house.upgrade(job, "/ws", house.token_line())) as connection:
        connection.sendall(frame("early"))
        status, _, rest = read_head(connection)
        while b"\x81\x05early" not in rest:
            piece = connection.recv(65536)
            assert piece
            rest += piece
    assert status == 101


def test_a_slow_reader_stops_the_job_that_streams_at_once(house: House, job: str) -> None:
    house.app.sent = 0
    with house.connect(house.upgrade(job, "/flood", house.token_line()), small_buffers=True) as connection:
        status, _, rest = read_head(connection)
        assert status == 101
        settled = [-1, 0]
        while settled[-2] != settled[-1]:
            time.sleep(0.5)
            settled.append(house.app.sent)
        assert settled[-1] < 24 * 2**20  # of 64 MiB: the rest waits in the job
        # Frames of 64 KiB with a head of 10 bytes; nothing may be missing or doubled.
        for number in range(1024):
            while len(rest) < 65546:
                piece = connection.recv(2**20)
                assert piece
                rest += piece
            assert rest[10:65546] == number.to_bytes(4, "big") * 16384
            rest = rest[65546:]


def test_a_slow_job_stops_the_visitor_who_sends(house: House, job: str) -> None:
    house.app.got = 0
    house.app.read_on.clear()
    with house.connect(house.upgrade(job, "/deaf", house.token_line())) as connection:
        assert read_head(connection)[0] == 101
        # Binary frames of 64 KiB with a mask of zeros.
        data = memoryview((bytes([0x82, 0xFF]) + (65536).to_bytes(8, "big") + bytes(4) + bytes(65536)) * 1024)
        connection.settimeout(1.5)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < len(data):
                sent += connection.send(data[sent : sent + 65536])
        assert sent < 24 * 2**20
        house.app.read_on.set()
        connection.settimeout(20)
        connection.sendall(data[sent:])
        eventually(lambda: house.app.got == 64 * 2**20, 20)


# --- revocation ---------------------------------------------------------------------------------------------------------


def test_a_revoked_token_cuts_its_open_websocket(house: House, job: str) -> None:
    line = house.token_line()
    with house.connect(house.upgrade(job, "/ws", line)) as connection:
        assert read_head(connection)[0] == 101
        assert not is_closed(connection)
        del house.hub.tokens[line.split()[-1]]
        eventually(lambda: is_closed(connection), 15)


def test_a_lost_right_cuts_websockets_and_streams(house: House, job: str) -> None:
    cookie = house.cookie("root", job)
    origin = f"Origin: http://{house.host(job)}"
    stream = f"GET /stream HTTP/1.1\r\nHost: {house.host(job)}\r\nCookie: {cookie}\r\n\r\n"
    with (
        house.connect(house.upgrade(job, "/ws", f"Cookie: {cookie}", origin)) as websocket,
        house.connect(stream) as streaming,
        house.connect(house.upgrade(job, "/ws", house.token_line())) as of_another,
    ):
        assert [read_head(each)[0] for each in (websocket, streaming, of_another)] == [101, 200, 101]
        house.administrator("root", False)
        try:
            eventually(lambda: is_closed(websocket) and is_closed(streaming), 5)
            assert not is_closed(of_another)
        finally:
            house.administrator("root", True)


@pytest.mark.parametrize("kind", ["user", "job"])
def test_a_lock_cuts_what_is_open_and_lets_nothing_new_in(house: House, kind: str) -> None:
    """An administrator of the organization locks alice, or her job, while she has a session in it."""
    job = house.job()
    what = house.users["alice"] if kind == "user" else job
    with house.connect(house.upgrade(job, "/ws", house.token_line())) as connection:
        assert read_head(connection)[0] == 101
        with house.store.begin() as session:
            locks.lock(session, house.actor(session, "root"), NewLock(type=kind, ref=what, why="stolen laptop"))
        try:
            eventually(lambda: is_closed(connection), 15)
            assert house.ask(house.host(job), headers=house.token()).status_code in (403, 404)
        finally:
            with house.store.begin() as session:
                locks.unlock(session, house.actor(session, "root"), kind, what)
    assert house.ask(house.host(job), headers=house.token()).status_code == 200


def test_signing_out_at_the_hub_cuts_what_came_in_by_cookie(house: House, job: str) -> None:
    lines = (f"Cookie: {house.cookie('alice', job)}", f"Origin: http://{house.host(job)}")
    with house.connect(house.upgrade(job, "/ws", *lines)) as connection:
        assert read_head(connection)[0] == 101
        with house.store.begin() as session:
            end_sessions(session, house.users["alice"])
        eventually(lambda: is_closed(connection), 5)


def test_a_hub_that_is_away_cuts_nothing(house: House, job: str) -> None:
    with house.connect(house.upgrade(job, "/ws", house.token_line())) as connection:
        assert read_head(connection)[0] == 101
        house.hub.status, asked = 503, house.hub.asked
        try:
            eventually(lambda: house.hub.asked > asked + 2, 15)
            assert not is_closed(connection)
        finally:
            house.hub.status = 0
