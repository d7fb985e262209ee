"""The other way to a port of a job's own: from within its container, where the port may be open on loopback only.

What listens there was set up for visitors on its own machine, and servers check that (Jupyter refuses any other ``Host``,
against DNS rebinding). So a request that goes this way is written as such a visitor would write it, as `ssh -L` has it, and what
the answer says of that address is put right again. Who may come has been decided by the gate before.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict

from toolkit_hub.gate.headers import Passage

__all__ = ["Dialled", "StreamConnector", "Within", "WithinPorts", "as_local", "from_local"]

#: A connection, and what had already come by it.
Dialled = tuple[asyncio.Transport, bytes]
_REMEMBERED = 5000


@dataclass(frozen=True)
class Within:
    """A port of a run, and how to connect with it from within. `dial` raises `ToolkitError` when nothing takes the connection."""

    run_id: str
    port: int
    dial: Callable[[], Awaitable[Dialled]]


class WithinPorts:
    """Remembers the ports that were found open on loopback only."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int], None] = OrderedDict()

    def __contains__(self, way: Within | None) -> bool:
        return way is not None and (way.run_id, way.port) in self._known

    def remember(self, way: Within) -> None:
        self._known[way.run_id, way.port] = None
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def forget(self, way: Within) -> None:
        self._known.pop((way.run_id, way.port), None)


class StreamConnector(aiohttp.BaseConnector):
    """Lets one request go over a connection that is there already."""

    def __init__(self, dialled: Dialled) -> None:
        super().__init__(force_close=True)
        self._transport, self._early = dialled

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> ResponseHandler:
        protocol: ResponseHandler = self._factory()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        # What greets before it is asked is read like an answer: when the request is out.
        self._loop.call_soon(self._begin, protocol)
        return protocol

    def _begin(self, protocol: ResponseHandler) -> None:
        if self._early:
            protocol.data_received(self._early)
        if protocol.is_connected():
            self._transport.resume_reading()


@asynccontextmanager
async def client_over(dialled: Dialled, **settings: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """A client for one request, which leaves no connection behind."""
    try:
        async with aiohttp.ClientSession(connector=StreamConnector(dialled), **settings) as client:
            yield client
    finally:
        dialled[0].close()


def as_local(headers: CIMultiDict[str], passage: Passage, port: int) -> None:
    """Rewrite what a job gets (`headers.inbound`) as if it came from a visitor on its own machine."""
    own, local = f"{passage.scheme}://{passage.host}", f"http://localhost:{port}"
    headers["Host"] = f"localhost:{port}"
    for name in ("Origin", "Referer"):
        value = headers.get(name)
        if value is not None and (value == own or value.startswith(f"{own}/")):
            headers[name] = f"{local}{value.removeprefix(own)}"


def from_local(headers: CIMultiDict[str], passage: Passage, port: int) -> None:
    """Rewrite what a visitor gets (`headers.outbound`) in the other direction."""
    own = f"{passage.scheme}://{passage.host}"
    for name in ("Location", "Content-Location", "Access-Control-Allow-Origin"):
        value = headers.get(name)
        for local in (f"http://localhost:{port}", f"http://127.0.0.1:{port}"):
            if value is not None and (value == local or value.startswith((f"{local}/", f"{local}?"))):
                headers[name] = f"{own}{value.removeprefix(local)}"
