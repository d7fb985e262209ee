"""Commands in a run, its ssh server, and bytes to its own ports: connections to the program in the container that serves them.

A client asks for them by an ``Upgrade`` of its own at the run's address; what passes then is between it and the program. They
run code as the owner or speak to a port as somebody within the container could, forged headers included, so all need `job:exec`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable
from typing import NamedTuple, NoReturn, cast

from aiohttp import web

from toolkit_client.errors import Conflict, InvalidRequest
from toolkit_hub.gate.forward import Unreachable
from toolkit_hub.gate.job_server import EXEC_PORT, JobServers
from toolkit_hub.gate.kept import CONNECT_LIMIT_S
from toolkit_hub.gate.pages import BadGateway
from toolkit_hub.gate.places import RunPlace
from toolkit_hub.gate.tunnel import Answered, Side, Tail, is_upgrade, joined
from toolkit_hub.gate.within import Dialled

__all__ = ["EXEC", "SSH", "TCP", "RunStreams", "Stream", "stream_of"]

EXEC, SSH, TCP = "toolkit-exec", "toolkit-ssh", "toolkit-tcp"
#: What is below a run's address, and the program's word for "go on".
_PATHS = {"/exec": EXEC, "/ssh": SSH}
_GO_ON = {EXEC: "ok", SSH: "ssh", TCP: "ok"}
#: Seconds for the program in the container to answer, and for the gate to wait until it is started.
_ANSWER_LIMIT_S = 10.0
#: Seconds to wait for its start by who has another way that has failed.
_DIAL_LIMIT_S = 2.0
_LONGEST_ANSWER = 1024
_TCP_PATH = re.compile(r"/tcp/([1-9][0-9]{0,4})")


class Stream(NamedTuple):
    """What a connection is for; `port` is 0 but for TCP."""

    protocol: str
    port: int = 0


def stream_of(request: web.BaseRequest, rest: str) -> Stream | None:
    """What the path below a run's address asks for; None if it is for the job server.

    Raises `InvalidRequest` for the path of a stream without its upgrade.
    """
    path = rest.partition("?")[0]
    found = _TCP_PATH.fullmatch(path)
    protocol = TCP if found else _PATHS.get(path)
    if protocol is None:
        return None
    if found and is_upgrade(request):
        return None  # the job server has a websocket for it
    if not is_upgrade(request, protocol):
        raise InvalidRequest(
            f"this address is for connections of the protocol {protocol}, and no page",
            "`toolkit job exec`, `toolkit job port-forward` and `toolkit ssh` open them",
        )
    port = int(found[1]) if found else 0
    if port > 65535:
        raise InvalidRequest(f"there is no port {port}", "ports go from 1 to 65535")
    return Stream(protocol, port)


class RunStreams:
    """The way to the program in each run's container."""

    def __init__(self) -> None:
        self._starts = JobServers("start-exec", EXEC_PORT)

    async def close(self) -> None:
        await self._starts.close()

    async def join(
        self, request: web.BaseRequest, run: RunPlace, user: str, stream: Stream, opened: Callable[[], None]
    ) -> web.StreamResponse:
        """Connect the visitor with the run's commands, its ssh server or a port, until one of them goes.

        Calls `opened` when they are connected. Raises as `open` does, as long as nothing has been answered.
        """
        transport, first = await self.open(run, user, stream)
        opened()
        return await _join(request, transport, first, stream.protocol)

    async def dial(self, run: RunPlace, user: str, port: int) -> Dialled:
        """A connection to a port of the run from within its container; raises as `open` does."""
        transport, first = await self.open(run, user, Stream(TCP, port), _DIAL_LIMIT_S)
        return transport, first.rest

    async def open(
        self, run: RunPlace, user: str, stream: Stream, limit_s: float = _ANSWER_LIMIT_S
    ) -> tuple[asyncio.Transport, _FirstLine]:
        """A connection to the program in the container, for commands, ssh or to a port, that has been accepted.

        Raises `BadGateway` for what may be mended by trying again, and `Conflict` for what is not: a job in which nothing can be
        run, a port that takes no connection.
        """
        for again in (True, False):
            reason = await self._starts.wait(run, limit_s)
            if reason:
                raise Conflict(
                    f"commands cannot be run in this job: {reason}", "the job itself is not affected by this"
                )
            if reason is None:
                raise BadGateway("what runs commands in this job is still starting", "try again")
            try:
                return await _connect(run, user, stream)
            except Unreachable:
                self._starts.forget(run)
                if not again:
                    raise
        raise AssertionError("unreachable")


async def _connect(run: RunPlace, user: str, stream: Stream) -> tuple[asyncio.Transport, _FirstLine]:
    """A connection that was accepted. Raises `Unreachable`, `BadGateway`, `Conflict`."""
    loop = asyncio.get_running_loop()
    hint = "the job itself is not affected by this; try again"
    try:
        async with asyncio.timeout(CONNECT_LIMIT_S):
            transport, first = await loop.create_connection(_FirstLine, run.ip or "", EXEC_PORT)
    except OSError as error:
        raise Unreachable(f"commands cannot be run in this job: {type(error).__name__}", hint) from error
    accepted = False
    try:
        asked = {"secret": run.secret, "user": user, "port": stream.port, "ssh": stream.protocol == SSH}
        transport.write(json.dumps(asked).encode() + b"\n")
        async with asyncio.timeout(_ANSWER_LIMIT_S):
            line = await first.line
        accepted = line == _GO_ON[stream.protocol]
    except OSError as error:
        raise Unreachable(f"commands cannot be run in this job: {type(error).__name__}", hint) from error
    finally:
        if not accepted:
            transport.abort()
    if not accepted:
        _refuse(stream, line, hint)
    return transport, first


def _refuse(stream: Stream, line: str, hint: str) -> NoReturn:
    """What the program's line means, if it is not the one to go on. Raises `Conflict`, `BadGateway`."""
    if line.startswith("refused:") and stream.protocol != EXEC:
        why = line.removeprefix("refused:").strip()[:100]
        if stream.protocol == SSH:
            raise Conflict(why, "close some of them")
        raise Conflict(f"nothing answers at port {stream.port} of this job: {why}", "the job's log shows what it says")
    if stream.protocol == SSH and line == "ok":
        raise Conflict("this job was started by an older version of the site, which had no ssh", "start it again")
    raise BadGateway("commands cannot be run in this job: something else answers in its place", hint)


async def _join(
    request: web.BaseRequest, transport: asyncio.Transport, first: _FirstLine, protocol: str
) -> web.StreamResponse:
    if request.transport is None:
        transport.abort()
        raise ConnectionResetError("the visitor has gone")
    handler = request.protocol
    half_close = protocol != EXEC
    visitor, job = Side(request.transport, half_close=half_close), Side(transport, half_close=half_close)
    # No await from here to the join: no byte may come in between.
    early = Tail()
    handler.set_parser(early)  # type: ignore[arg-type]
    visitor.join(job)
    head = f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\nServer: toolkit\r\n\r\n"
    visitor.transport.write(head.encode() + first.rest)
    if early.data:
        job.transport.write(early.data)
    await joined(visitor, job)
    handler.connection_lost(None)  # the server's own book-keeping, which the join has cut off
    return Answered(status=101)


class _FirstLine(asyncio.Protocol):
    """Waits for one line; what comes behind it waits in turn."""

    def __init__(self) -> None:
        self.line: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        self.rest += data
        line, end, rest = self.rest.partition(b"\n")
        if end and not self.line.done():
            self._transport.pause_reading()
            self.rest = rest
            self.line.set_result(line.decode("ascii", "replace"))
        elif len(self.rest) > _LONGEST_ANSWER:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.line.done():
            self.line.set_exception(ConnectionResetError("it closed the connection"))
            with contextlib.suppress(ConnectionResetError):
                self.line.exception()
