"""Websockets of apps behind the job server, with a side that is slower than the other."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

#: An app: floods, or reads nothing until it is told to, or sends back what it gets. It counts the bytes.
APP = """
import asyncio, sys
from aiohttp import web
passed, read_on = {"sent": 0, "got": 0}, asyncio.Event()
async def flood(request):
    reply = web.WebSocketResponse()
    await reply.prepare(request)
    for number in range(1024):
        await reply.send_bytes(number.to_bytes(4, "big") * 65536)
        passed["sent"] += 262144
    await reply.close()
    return reply
async def deaf(request):
    reply = web.WebSocketResponse(max_msg_size=0)
    await reply.prepare(request)
    await read_on.wait()
    async for message in reply:
        passed["got"] += len(message.data)
    return reply
async def echo(request):
    reply = web.WebSocketResponse(protocols=["second", "first"])
    await reply.prepare(request)
    async for message in reply:
        if message.data == "bye": await reply.close(code=4001)
        elif message.type is web.WSMsgType.TEXT: await reply.send_str(message.data)
        else: await reply.send_bytes(message.data)
    return reply
async def count(request):
    return web.json_response(passed)
async def go(request):
    read_on.set()
    return web.Response()
app = web.Application()
app.add_routes([web.get("/flood", flood), web.get("/deaf", deaf), web.get("/echo", echo), web.get("/count", count),
                web.get("/go", go), web.get("/", count)])
web.run_app(app, path=sys.argv[1], print=None)
"""

SERVER = """
import sys
from jupyter_server.serverapp import ServerApp
from jupyter_server_proxy.config import make_handlers
from toolkit_ext.apps.paced import PacedServer
class Server(ServerApp):
    def init_webapp(self):
        super().init_webapp()
        command = [sys.executable, sys.argv[2], "{unix_socket}"]
        entry = PacedServer(name="app", command=command, unix_socket=True, timeout=30)
        self.web_app.add_handlers(".*", make_handlers("/", [entry]))
options = ["--ip=127.0.0.1", "--port=" + sys.argv[1], "--port-retries=0", "--no-browser", "--allow-root"]
Server.launch_instance([*options, "--IdentityProvider.token=", "--ServerApp.jpserver_extensions={}"])
"""

LIMIT = 64 * 2**20


class JobServer:
    def __init__(self, folder: Path) -> None:
        (folder / "app.py").write_text(APP)
        (folder / "server.py").write_text(SERVER)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url, self._log = f"http://127.0.0.1:{port}/app", folder / "server.log"
        with self._log.open("wb") as log:
            words = [sys.executable, "server.py", str(port), str(folder / "app.py")]
            self.process = subprocess.Popen(words, cwd=folder, stdout=log, stderr=log)

    def memory(self) -> int:
        """Bytes that the job server has resident."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))

    async def up(self, client: aiohttp.ClientSession) -> None:
        deadline = time.monotonic() + 40
        while True:
            try:
                async with client.get(f"{self.url}/count") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            assert time.monotonic() < deadline, self._log.read_text()
            assert self.process.poll() is None, self._log.read_text()
            await asyncio.sleep(0.05)

    async def count(self, client: aiohttp.ClientSession, what: str) -> int:
        async with client.get(f"{self.url}/count") as answer:
            return int((await answer.json())[what])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobServer]:
    made = JobServer(tmp_path_factory.mktemp("paced"))
    yield made
    made.process.terminate()
    made.process.wait(10)


def within(seconds: float, server: JobServer, talk: Callable[[aiohttp.ClientSession], Awaitable[Any]]) -> None:
    async def run() -> None:
        async with aiohttp.ClientSession() as client:
            await server.up(client)
            await asyncio.wait_for(talk(client), seconds)

    asyncio.run(run())


async def settled(value: Callable[[], Awaitable[int]]) -> int:
    """The value when it has not changed for a while."""
    seen = [-1, await value()]
    while seen[-2] != seen[-1] or not seen[-1]:
        await asyncio.sleep(0.5)
        seen.append(await value())
    return seen[-1]


def test_a_browser_that_does_not_read_stops_an_app_that_floods(server: JobServer) -> None:
    async def talk(client: aiohttp.ClientSession) -> None:
        before = server.memory()
        async with client.ws_connect(f"{server.url}/flood", max_msg_size=0) as websocket:
            transport = websocket.get_extra_info("socket")
            assert transport is not None
            websocket._response.connection.transport.pause_reading()  # type: ignore[union-attr]
            sent = await settled(lambda: server.count(client, "sent"))
            assert sent < LIMIT  # of 256 MiB
            assert server.memory() - before < LIMIT
            websocket._response.connection.transport.resume_reading()  # type: ignore[union-attr]
            for number in range(1024):
                assert await websocket.receive_bytes() == number.to_bytes(4, "big") * 65536
            assert (await websocket.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        assert server.memory() - before < LIMIT

    within(60, server, talk)


def test_an_app_that_does_not_read_stops_a_browser_that_floods(server: JobServer) -> None:
    async def talk(client: aiohttp.ClientSession) -> None:
        before, sent, whole = server.memory(), 0, 256 * 2**20

        async def flood(websocket: aiohttp.ClientWebSocketResponse) -> None:
            nonlocal sent
            while sent < whole:
                await websocket.send_bytes(bytes(2**18))
                sent += 2**18

        async def count() -> int:
            return sent

        async with client.ws_connect(f"{server.url}/deaf") as websocket:
            flooding = asyncio.create_task(flood(websocket))
            assert await settled(count) < LIMIT
            assert server.memory() - before < LIMIT
            async with client.get(f"{server.url}/go"):
                await flooding
            while await server.count(client, "got") < whole:
                await asyncio.sleep(0.05)
        assert server.memory() - before < LIMIT

    within(60, server, talk)


def test_messages_of_both_kinds_subprotocols_pings_and_the_end(server: JobServer) -> None:
    async def talk(client: aiohttp.ClientSession) -> None:
        async with client.ws_connect(f"{server.url}/echo", protocols=["first", "second"], compress=15) as websocket:
            assert websocket.protocol == "first"
            await websocket.ping(b"x")
            for message in ("hello", "ü" * 100_000):
                await websocket.send_str(message)
                assert await websocket.receive_str() == message
            for data in (b"", bytes(range(256)) * 4000):
                await websocket.send_bytes(data)
                assert await websocket.receive_bytes() == data
            await websocket.send_str("bye")
            assert (await websocket.receive()).type is aiohttp.WSMsgType.CLOSE

    within(20, server, talk)
