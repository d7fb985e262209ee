"""Programs around the gate that are not ours: a user's web server, and the hub as far as the gate asks it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import threading
from collections.abc import Coroutine
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import uvloop
from aiohttp import WSMsgType, web


class Thread:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any], seconds: float = 20) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def stop(self) -> None:
        self.run(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        if not self._thread.is_alive():
            self.loop.close()  # its descriptors would stay until the end of all tests


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
        token = secrets.token_hex(16)
        self.tokens[token] = {"kind": kind, "name": name, "scopes": list(scopes)}
        return token

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class App:
    """A user's own web server, at times an unfriendly one."""

    def __init__(self, ip: str, port: int = 8080) -> None:
        self.ip, self.port = ip, port
        self.sent = self.got = self.asked = 0
        #: What it was asked for by requests without a page of their own here.
        self.targets: list[str] = []
        self.read_on = threading.Event()
        self.open_streams = 0

    async def start(self) -> None:
        app = web.Application(client_max_size=2**30)
        app.router.add_get("/ws", self._websocket)
        app.router.add_get("/flood", self._flood)
        app.router.add_get("/pour", self._pour)
        app.router.add_get("/deaf", self._deaf)
        app.router.add_get("/stream", self._stream)
        app.router.add_get("/broken", self._broken)
        app.router.add_get("/fake101", self._fake)
        app.router.add_get("/twice", self._twice)
        app.router.add_get("/nasty", self._nasty)
        app.router.add_route("*", "/{path:.*}", self._echo)
        self._runner = web.AppRunner(app, auto_decompress=False, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.ip, self.port).start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _echo(self, request: web.Request) -> web.Response:
        self.asked += 1
        self.targets.append(request.raw_path)
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
        await reply.send_json(dict(request.headers.items()))
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

    async def _pour(self, request: web.Request) -> web.StreamResponse:
        """64 MiB as fast as they are taken."""
        reply = web.StreamResponse()
        await reply.prepare(request)
        for _ in range(1024):
            await reply.write(bytes(65536))
            self.sent += 65536
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

    async def _twice(self, request: web.Request) -> web.Response:
        """Sends an answer that nobody asked for behind the one that was asked for."""
        if request.transport is not None:
            asyncio.get_running_loop().call_soon(
                request.transport.write, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
            )
        return web.Response(text="twice")

    async def _fake(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        await asyncio.sleep(0.2)
        request.transport.close()
        return web.Response()
