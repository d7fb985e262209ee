"""Websockets, as raw bytes: after the upgrade the gate neither reads nor frames what passes.

The two byte streams are joined only when the job has answered 101. Before that, bytes of the visitor that follow its request
are another HTTP request, and would otherwise go past every check.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import aiohttp
from aiohttp import web

from toolkit_hub.gate.forward import Target, Upstream, answer_of, relay
from toolkit_hub.gate.headers import outbound
from toolkit_hub.gate.pages import BadGateway

__all__ = ["Answered", "Side", "Tail", "is_upgrade", "joined", "tunnel"]

#: How long what is still buffered for one side may take to reach it when the other side has gone.
_FLUSH_LIMIT_S = 30.0


def is_upgrade(request: web.BaseRequest, protocol: str = "websocket") -> bool:
    """Whether the visitor asks for a websocket, or for another protocol that the gate itself knows. Any other upgrade is not
    passed on: the request stays plain HTTP, which is how a server declines one."""
    named = request.headers.get("Connection", "").lower()
    return (
        request.method == "GET"
        and request.version == aiohttp.HttpVersion11
        and request.headers.get("Upgrade", "").lower() == protocol
        and "upgrade" in [token.strip() for token in named.split(",")]
        and not request.body_exists
    )


async def tunnel(
    upstream: Upstream, request: web.BaseRequest, target: str, to: Target, opened: Callable[[], None] = lambda: None
) -> web.StreamResponse:
    """Join the visitor with the job until one of them goes; `opened` is called when they are joined. Any answer but 101 is passed
    back as it is.

    Raises `BadGateway` and `Unreachable` as long as nothing has been answered.
    """
    async with upstream.ask(request, target, to, upgrade=True) as (response, from_within):
        if response.status != 101:
            return await relay(request, answer_of(response), to, from_within=from_within)
        connection = response.connection
        if (
            response.headers.get("Upgrade", "").lower() != "websocket"
            or connection is None
            or connection.protocol is None
            or connection.transport is None
        ):
            raise BadGateway(f"{to.what} answers 101 without upgrading to a websocket", to.hint)
        if request.transport is None:
            raise ConnectionResetError("the visitor has gone")
        handler = request.protocol
        visitor, job = Side(request.transport), Side(connection.transport)
        # No await from here to the join: no byte may come in between.
        early, late = Tail(), Tail()
        connection.protocol.set_parser(late, None)
        handler.set_parser(cast(Any, early))
        visitor.join(job)
        visitor.transport.write(_head(response, to) + late.data)
        if early.data:
            job.transport.write(early.data)
        opened()
        await joined(visitor, job)
        handler.connection_lost(None)  # the server's own book-keeping, which the join has cut off
        return Answered(status=101)


async def joined(visitor: Side, job: Side) -> None:
    """Until both sides are closed; the second one is given a while for what it still has to take."""
    try:
        await asyncio.wait({visitor.closed, job.closed}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({visitor.closed, job.closed}, timeout=_FLUSH_LIMIT_S)
    finally:
        for side in (visitor, job):
            if not side.closed.done():
                side.transport.abort()


def _head(response: aiohttp.ClientResponse, to: Target) -> bytes:
    headers = outbound(response.headers, to.passage)
    headers["Connection"], headers["Upgrade"] = "Upgrade", "websocket"
    lines = ["HTTP/1.1 101 Switching Protocols", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


class Tail:
    """Takes what had arrived behind the head; in the place of aiohttp's own reader of websocket frames."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        return None


class Side(asyncio.Protocol):
    """One end of a joined connection. A full buffer here stops reading there, so a slow reader fills nothing."""

    peer: Side

    def __init__(self, transport: asyncio.Transport, *, half_close: bool = False) -> None:
        """`half_close`: a side that has said its last may still be told something."""
        self.transport = transport
        self.half_close = half_close
        self._ended = False
        self.closed = asyncio.get_running_loop().create_future()

    def join(self, peer: Side) -> None:
        self.peer, peer.peer = peer, self
        for side in (self, peer):
            side.transport.set_protocol(side)
        for side in (self, peer):
            side.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if not self.peer.transport.is_closing():
            self.peer.transport.write(data)

    def pause_writing(self) -> None:
        self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def eof_received(self) -> bool:
        """Whether the connection stays open for the other direction."""
        self._ended = True
        if not self.half_close or self.peer.transport.is_closing():
            return False
        if self.peer._ended:
            self.peer.transport.close()  # when everything has been written
            return False
        if not self.peer.transport.can_write_eof():
            return False
        self.peer.transport.write_eof()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        self.peer.transport.close()


class Answered(web.StreamResponse):
    """For aiohttp: all is said, and the connection is not its own any more."""

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None
