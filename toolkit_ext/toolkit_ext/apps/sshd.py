"""``sshd``: a websocket that is one connection to the job's ssh server, which is started for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from jupyter_server.base.handlers import APIHandler
from tornado import web

from toolkit_ext.apps.bridge import BridgeHandler
from toolkit_ext.apps.ssh_keys import KeyProblem, SshKeys

__all__ = ["GuestsHandler", "HostKeyHandler", "SshHandler", "TcpHandler"]

LOOPBACK = ("127.0.0.1", "::1")
#: The loop itself keeps no hold of its tasks.
_ended: set[asyncio.Task[int]] = set()


class SshHandler(BridgeHandler):
    """``sshd[?guest=NAME]``. The connection has no port and no other way in."""

    def initialize(self, keys: SshKeys) -> None:
        self._keys = keys

    async def open_stream(self, *_arguments: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        await asyncio.to_thread(self._keys.prepare)
        ours, theirs = socket.socketpair()
        with theirs:
            command = self._keys.command(self.get_argument("guest", ""))
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                env={"PATH": "/nowhere"},
                cwd="/",
                start_new_session=True,
            )
        ours.setblocking(False)
        _ended.add(waiting := asyncio.create_task(process.wait()))
        waiting.add_done_callback(_ended.discard)
        return await asyncio.open_connection(sock=ours)


class TcpHandler(BridgeHandler):
    """``tcp/PORT``: one connection to a port of the job's own, also one that listens on loopback only."""

    async def open_stream(self, *arguments: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = int(arguments[0])
        if not 0 < port < 65536:
            raise OSError(0, f"no port: {port}")
        for address in LOOPBACK:
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(address, port)
        raise OSError(0, f"nothing listens on port {port} of the job")


class HostKeyHandler(APIHandler):
    """``sshd/host-key``: how a client knows that it talks to this job."""

    def initialize(self, keys: SshKeys) -> None:
        self._keys = keys

    @web.authenticated
    async def get(self) -> None:
        await asyncio.to_thread(self._keys.prepare)
        self.finish({"host_key": self._keys.host_key(), "user": os.environ.get("USER") or "toolkit"})


class GuestsHandler(APIHandler):
    """``sshd/guests``: public keys for the caller's own connections."""

    def initialize(self, keys: SshKeys) -> None:
        self._keys = keys

    @web.authenticated
    async def post(self) -> None:
        await asyncio.to_thread(self._keys.prepare)
        try:
            name = self._keys.add_guest(self.request.body.decode("ascii", "replace"))
        except KeyProblem as error:
            raise web.HTTPError(400, str(error)) from error
        self.set_status(201)
        self.finish({"guest": name})

    @web.authenticated
    def delete(self) -> None:
        self._keys.remove_guest(self.get_argument("guest", ""))
        self.set_status(204)
        self.finish()
