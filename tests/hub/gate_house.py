"""What the tests of the gate stand on: a site on free ports, a real store, a program of a user's own, and a hub's one answer.

The gate runs in a thread with an event loop of its own, as it does in its process. The hub is only asked whose a token is;
`Hub` gives that one answer, and the tests with the whole hub are elsewhere.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import uvloop
from aiohttp import WSMsgType, web
from toolkit_hub import clock
from toolkit_hub.configure import Toolkit
from toolkit_hub.domain.gate_sessions import create_session
from toolkit_hub.gate.server import Gate
from toolkit_hub.store import Store
from toolkit_hub.store.tables import Account, Job, Organization, Run, User, new_id
from traitlets.config import Config

#: Where the user's program listens: loopback addresses stand for the containers' own.
APP_IP, OTHER_IP = "127.18.1.1", "127.18.1.2"
ALL_RIGHTS = ("access:servers!user=alice", "access:services!service=toolkit")


def free_base_port() -> int:
    """The first of six free ports in a row."""
    for base in range(18100, 19900, 10):
        try:
            for port in range(base, base + 6):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise RuntimeError("no six free ports in a row")


def eventually(true: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.02)


class Thread:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any], seconds: float = 20) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)


class Hub:
    """Answers ``GET /hub/api/user`` as JupyterHub does. `tokens` may change at any time."""

    def __init__(self, port: int) -> None:
        self.tokens: dict[str, dict[str, Any]] = {}
        self.asked = 0
        self.status = 0
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.asked += 1
                model = hub.tokens.get(self.headers.get("Authorization", "").removeprefix("token "))
                status = hub.status or (200 if model and self.path == "/hub/api/user" else 403)
                body = json.dumps(model or {"status": 403, "message": "Forbidden"}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def token(self, name: str, *scopes: str, kind: str = "user") -> str:
        token = hashlib.sha256(f"{name}{scopes}{len(self.tokens)}".encode()).hexdigest()[:32]
        self.tokens[token] = {"kind": kind, "name": name, "scopes": list(scopes)}
        return token

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class App:
    """A user's own web server, at times an unfriendly one."""

    def __init__(self, ip: str, port: int = 8080) -> None:
        self.ip, self.port = ip, port
        self.sent = self.got = 0
        self.read_on = threading.Event()
        self.open_streams = 0

    async def start(self) -> None:
        app = web.Application(client_max_size=2**30)
        app.router.add_get("/ws", self._websocket)
        app.router.add_get("/flood", self._flood)
        app.router.add_get("/deaf", self._deaf)
        app.router.add_get("/stream", self._stream)
        app.router.add_get("/broken", self._broken)
        app.router.add_get("/fake101", self._fake)
        app.router.add_get("/nasty", self._nasty)
        app.router.add_route("*", "/{path:.*}", self._echo)
        self._runner = web.AppRunner(app, auto_decompress=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.ip, self.port, shutdown_timeout=0.2).start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _echo(self, request: web.Request) -> web.Response:
        digest, size = hashlib.sha256(), 0
        async for piece in request.content.iter_any():
            digest.update(piece)
            size += len(piece)
        headers = [[name, value] for name, value in request.headers.items()]
        echo = {"method": request.method, "target": request.raw_path, "headers": headers, "size": size}
        return web.json_response({**echo, "sha256": digest.hexdigest(), "port": self.port})

    async def _nasty(self, request: web.Request) -> web.Response:
        """Everything that a job must not be able to tell a browser."""
        response = web.Response(text="nasty")
        for name, value in (
            ("Clear-Site-Data", '"*"'),
            ("Service-Worker-Allowed", "/"),
            ("Access-Control-Allow-Origin", "*"),
            ("Access-Control-Allow-Credentials", "true"),
            ("Strict-Transport-Security", "max-age=99999999"),
            ("X-Toolkit-User", "root"),
            ("Set-Cookie", "fine=1; Path=/"),
            ("Set-Cookie", "wide=1; Path=/; DoMaIn=localhost"),
            ("Set-Cookie", "toolkit-gate=forged; Path=/"),
            ("Set-Cookie", "=toolkit-gate=forged"),
        ):
            response.headers.add(name, value)
        return response

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        reply = web.WebSocketResponse()
        await reply.prepare(request)
        await reply.send_json({name: value for name, value in request.headers.items()})
        async for message in reply:
            if message.type is WSMsgType.TEXT:
                await reply.send_str(message.data)
        return reply

    async def _flood(self, request: web.Request) -> web.WebSocketResponse:
        """64 MiB in frames, at once behind the head, as fast as they are taken."""
        reply = web.WebSocketResponse()
        await reply.prepare(request)
        for number in range(1024):
            await reply.send_bytes(number.to_bytes(4, "big") * 16384)
            self.sent += 65536
        await reply.close()
        return reply

    async def _deaf(self, request: web.Request) -> web.WebSocketResponse:
        """Reads nothing until it is told to."""
        reply = web.WebSocketResponse()
        await reply.prepare(request)
        while not self.read_on.is_set():
            await asyncio.sleep(0.02)
        async for message in reply:
            self.got += len(message.data)
        return reply

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(request)
        self.open_streams += 1
        try:
            while True:
                await reply.write(b"data: tick\n\n")
                await asyncio.sleep(0.05)
        finally:
            self.open_streams -= 1

    async def _broken(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await asyncio.sleep(0.1)
        request.transport.close()
        return web.Response()

    async def _fake(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        await asyncio.sleep(0.2)
        request.transport.close()
        return web.Response()


class House:
    """A site with an organization, three users and as many jobs as a test makes."""

    def __init__(self, folder: Path, recheck_s: float = 0.3) -> None:
        settings = {"state_dir": str(folder), "base_port": free_base_port()}
        self.site = Toolkit(config=Config({"Toolkit": settings}))
        self.store = Store(self.site.database_url)
        self.store.migrate()
        self.hub = Hub(self.site.base_port + 5)
        self.thread, self.apps = Thread(), Thread()
        self.app = App(APP_IP)
        self.apps.run(self.app.start())
        self._people()
        self.gate: Gate = self.thread.run(self._start(recheck_s))

    async def _start(self, recheck_s: float) -> Gate:
        gate = Gate(self.site, recheck_s=recheck_s)
        await gate.start()
        return gate

    def stop(self) -> None:
        self.thread.run(self.gate.close())
        self.apps.run(self.app.stop())
        self.hub.stop()
        self.thread.stop()
        self.apps.stop()
        self.store.close()

    def _people(self) -> None:
        now = clock.now()
        self.users: dict[str, str] = {}
        with self.store.begin() as session:
            organization = Organization(id=new_id(), name="acme", created=now)
            session.add(organization)
            session.flush()
            for name in ("alice", "bob", "root"):
                account = Account(
                    id=new_id(), organization_id=organization.id, name=name, full_name=f"acme.{name}", created=now
                )
                session.add(account)
                session.flush()
                user = User(
                    id=new_id(),
                    organization_id=organization.id,
                    home_account_id=account.id,
                    name=name,
                    admin=name == "root",
                    created=now,
                )
                session.add(user)
                self.users[name] = user.id

    def job(self, *, owner: str = "alice", ip: str | None = APP_IP, state: str = "RUNNING", **values: Any) -> str:
        """A job with one run; its id."""
        with self.store.begin() as session:
            user = session.get_one(User, self.users[owner])
            job = Job(
                id=new_id(),
                seq=time.monotonic_ns(),
                account_id=user.home_account_id,
                creator_id=user.id,
                state=state,
                cpu=1,
                mem=1,
                image="toolkit-lab",
                spec={},
                created=clock.now(),
                **values,
            )
            session.add(job)
        self.run(job.id, owner=owner, ip=ip, state=state)
        return job.id

    def run(self, job_id: str, *, owner: str = "alice", ip: str | None = APP_IP, state: str = "RUNNING") -> str:
        """One more run of the job; its server's name."""
        with self.store.begin() as session:
            job = session.get_one(Job, job_id)
            name = f"j{hashlib.sha256(new_id().encode()).hexdigest()[:26]}"
            run = Run(
                id=new_id(),
                job_id=job_id,
                index=len(job.runs),
                server_name=name,
                owner=owner,
                state=state,
                secret=hashlib.sha256(name.encode()).hexdigest()[:40],
                ip=ip,
                created=clock.now(),
            )
            session.add(run)
        return name

    def secret(self, server_name: str) -> str:
        with self.store.begin(write=False) as session:
            return next(run.secret for run in session.query(Run) if run.server_name == server_name)

    def server_name(self, job_id: str) -> str:
        with self.store.begin(write=False) as session:
            return session.get_one(Job, job_id).runs[-1].server_name

    def host(self, job_id: str, lab: bool = False) -> str:
        return f"{job_id}{'-lab' if lab else ''}.{self.site.jobs_domain}"

    def cookie(self, user: str, job_id: str, *, lab: bool = False) -> str:
        """The Cookie header of a browser that this user has signed in with at one of the job's hosts."""
        host = self.host(job_id, lab)
        with self.store.begin() as session:
            key = create_session(session, user_id=self.users[user], job_id=job_id, host=host)
        return f"toolkit-gate={key}"

    def token(self, user: str = "alice") -> dict[str, str]:
        scopes = (f"access:servers!user={user}", "access:services!service=toolkit")
        return {"Authorization": f"token {self.hub.token(user, *scopes)}"}

    def ask(self, host: str, target: str = "/", method: str = "GET", **arguments: Any) -> httpx.Response:
        """A request at the job hosts' listener."""
        headers = {"Host": host, **arguments.pop("headers", {})}
        url = f"http://127.0.0.1:{self.site.jobs_port}{target}"
        with httpx.Client(timeout=40) as client:
            return client.request(method, url, headers=headers, **arguments)

    def ask_proxy_side(self, target: str, method: str = "GET", **arguments: Any) -> httpx.Response:
        with httpx.Client(timeout=40) as client:
            return client.request(method, f"{self.site.gate_url}{target}", **arguments)

    @contextmanager
    def connect(self, request: str, port: int | None = None, *, small_buffers: bool = False) -> Iterator[socket.socket]:
        """A connection on which this request has been sent, byte for byte."""
        with socket.socket() as connection:
            if small_buffers:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            connection.settimeout(15)
            connection.connect(("127.0.0.1", port or self.site.jobs_port))
            connection.sendall(request.encode("latin-1"))
            yield connection

    def upgrade(self, job_id: str, path: str, *more: str) -> str:
        """The request that opens a websocket at the job's own host."""
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {self.host(job_id)}",
            "Connection: keep-alive, Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            *more,
        ]
        return "\r\n".join([*lines, "", ""])


def read_head(connection: socket.socket) -> tuple[int, str, bytes]:
    """Status, head and what came behind it."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            break
        received += piece
    head, _, rest = received.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), head.decode("latin-1"), rest


def frame(text: str) -> bytes:
    """A short text as a client's websocket frame; the mask of zeros leaves it readable."""
    data = text.encode()
    assert len(data) < 126
    return bytes([0x81, 0x80 | len(data), 0, 0, 0, 0]) + data


def python() -> str:
    return sys.executable
