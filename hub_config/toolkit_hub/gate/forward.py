"""HTTP to a job and back, as a stream: neither a request nor an answer is ever held as a whole, whatever its size."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import aiohttp.http
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from toolkit_client.errors import ToolkitError
from toolkit_hub.gate.headers import Passage, inbound, outbound
from toolkit_hub.gate.kept import CONNECT_LIMIT_S, HEADER_LIMIT, Answer, Kept, KeptConnections
from toolkit_hub.gate.pages import BadGateway
from toolkit_hub.gate.within import Dialled, Within, WithinPorts, as_local, client_over, from_local

__all__ = ["Target", "Unreachable", "Upstream", "answer_of", "forward", "raw_target", "relay"]

log = logging.getLogger("toolkit.gate")

#: Answers up to this size are passed on in one piece, which is quicker.
_SMALL = 64 * 1024
#: A container that has just been connected to its network: nothing has been sent, and it is there in a moment.
_NO_ROUTE = (errno.EHOSTUNREACH, errno.ENETUNREACH)
_NO_ROUTE_PAUSES_S = (0.2, 0.5, 1.0)
_FAULTS = (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError, ValueError)
_SETTINGS: dict[str, Any] = {
    "auto_decompress": False,
    "skip_auto_headers": ("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    "timeout": aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_LIMIT_S),
    "max_line_size": HEADER_LIMIT,
    "max_field_size": HEADER_LIMIT,
}
_VISIBLE_ASCII = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


class Unreachable(BadGateway):
    """Nothing listens at the target, and nothing of the request has been sent."""

    #: Whether the connection was refused: somebody was there to say that nobody listens.
    refused = False

    @classmethod
    def of(cls, to: Target, error: BaseException) -> Unreachable:
        if _number(error) in _NO_ROUTE:
            found = cls(f"there is no way to the container of this job ({_why(error)})", "try again in a few seconds")
        else:
            found = cls(f"nothing answers at {to.what}: {_why(error)}", to.hint)
        found.refused = _number(error) == errno.ECONNREFUSED
        return found


@dataclass(frozen=True)
class Target:
    """Where a request goes, and as whose."""

    ip: str
    port: int
    passage: Passage
    #: What listens there, in the words of the messages.
    what: str
    hint: str
    #: For a port of the job's own.
    within: Within | None = None

    def url(self, target: str) -> URL:
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return URL(f"http://{host}:{self.port}{target}", encoded=True)


def raw_target(request: web.BaseRequest) -> str | None:
    """The request's path and query as they were sent, or None for a form of target that no browser sends to a server.

    Bytes beyond ASCII, which have no place in a target, are percent-encoded; nothing is decoded.
    """
    target = request.raw_path
    if not target.startswith("/") or "#" in target or request.method == "CONNECT":
        return None
    return target if target.isascii() else quote(target, safe=_VISIBLE_ASCII, errors="surrogateescape")


class Upstream:
    """The connections to jobs. Belongs to one event loop."""

    def __init__(self) -> None:
        self._kept = KeptConnections()
        self._single = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True), **_SETTINGS)
        self._within = WithinPorts()

    async def close(self) -> None:
        self._kept.close()
        await self._single.close()

    async def plain(self, request: web.BaseRequest, target: str, to: Target) -> Kept | None:
        """Send a plain request on by a kept connection. None for any other, and when nothing takes the connection: then `ask`.

        Raises `BadGateway`, `Unreachable`.
        """
        if request.method not in ("GET", "HEAD") or request.body_exists or to.within in self._within:
            return None
        try:
            headers = inbound(request.headers, to.passage)
            return await self._kept.ask((to.ip, to.port), request.method, target, headers)
        except TimeoutError as error:
            raise Unreachable.of(to, error) from error
        except _FAULTS as error:
            raise BadGateway(f"{to.what} gave no answer: {_why(error)}", to.hint) from error

    @asynccontextmanager
    async def ask(
        self, request: web.BaseRequest, target: str, to: Target, *, upgrade: bool = False
    ) -> AsyncIterator[tuple[aiohttp.ClientResponse, bool]]:
        """Send the request on; the block runs when the answer's head is there. Raises `BadGateway`, `Unreachable`.

        What is given beside the answer says whether it came from within.
        """
        headers = inbound(request.headers, to.passage)
        if upgrade:
            headers.extend(CIMultiDict({"Connection": "Upgrade", "Upgrade": "websocket"}))
        async with AsyncExitStack() as stack:
            response, from_within = await self._by_some_way(stack, request, headers, target, to)
            stack.callback(response.close if upgrade else response.release)
            yield response, from_within

    async def _by_some_way(
        self, stack: AsyncExitStack, request: web.BaseRequest, headers: CIMultiDict[str], target: str, to: Target
    ) -> tuple[aiohttp.ClientResponse, bool]:
        """Straight to the container's address; where a connection is refused there, from within. The way that worked is tried
        first the next time. Only what has not been sent is sent another way."""
        dialled = None
        if to.within in self._within:
            dialled = await self._dial(to.within)
        if dialled is None:
            try:
                return await self._send(self._single, request, headers, target, to), False
            except Unreachable as error:
                dialled = await self._dial(to.within) if error.refused else None
                if dialled is None:
                    raise
        client = await stack.enter_async_context(client_over(dialled, **_SETTINGS))
        as_local(headers, to.passage, to.port)
        return await self._send(client, request, headers, target, to), True

    async def _dial(self, way: Within | None) -> Dialled | None:
        """A connection from within, if there is such a way and something takes it."""
        if way is None:
            return None
        try:
            dialled = await way.dial()
        except ToolkitError:
            self._within.forget(way)
            return None
        self._within.remember(way)
        return dialled

    async def _send(
        self,
        client: aiohttp.ClientSession,
        request: web.BaseRequest,
        headers: CIMultiDict[str],
        target: str,
        to: Target,
    ) -> aiohttp.ClientResponse:
        body = request.content if request.body_exists else None
        for pause in (*_NO_ROUTE_PAUSES_S, None):
            try:
                return await client.request(
                    request.method, to.url(target), headers=headers, data=body, allow_redirects=False
                )
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                if pause is None or _number(error) not in _NO_ROUTE:
                    raise Unreachable.of(to, error) from error
            except _FAULTS as error:
                raise BadGateway(f"{to.what} gave no answer: {_why(error)}", to.hint) from error
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")


async def forward(upstream: Upstream, request: web.BaseRequest, target: str, to: Target) -> web.StreamResponse:
    """Pass one request on and its answer back. Raises `BadGateway` as long as nothing has been answered."""
    kept = await upstream.plain(request, target, to)
    if kept is not None:
        try:
            return await relay(request, kept.answer, to)
        finally:
            kept.done()
    _let_body_come(request)
    async with upstream.ask(request, target, to) as (response, from_within):
        return await relay(request, answer_of(response), to, from_within=from_within)


def answer_of(response: aiohttp.ClientResponse) -> Answer:
    return Answer(response.status, response.reason, response.headers, response.content)


async def relay(
    request: web.BaseRequest, answer: Answer, to: Target, *, from_within: bool = False
) -> web.StreamResponse:
    """Pass an answer back; when it breaks off, the visitor's connection breaks off as well, so that nobody takes a part
    for the whole."""
    if answer.status < 200:
        raise BadGateway(f"{to.what} changes the protocol without being asked to", to.hint)
    headers = outbound(answer.headers, to.passage)
    if from_within:
        from_local(headers, to.passage, to.port)
    length = answer.length
    if request.method != "HEAD" and length is not None and length <= _SMALL:
        try:
            body = await answer.content.read()
        except (aiohttp.ClientError, OSError) as error:
            raise BadGateway(f"{to.what} broke off its answer: {_why(error)}", to.hint) from error
        return web.Response(status=answer.status, reason=answer.reason, headers=headers, body=body)
    reply = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    await reply.prepare(request)
    try:
        async for piece in answer.content.iter_any():
            await reply.write(piece)  # waits while the visitor is slow
    except (aiohttp.ClientError, OSError) as error:
        log.info("answer of %s:%d broke off: %s", to.ip, to.port, _why(error))
        if request.transport is not None:
            request.transport.abort()
        return reply
    await reply.write_eof()
    return reply


def _let_body_come(request: web.BaseRequest) -> None:
    """A caller that asked first may send its body now: it has been let in."""
    asked = request.headers.get("Expect", "").lower() == "100-continue"
    if asked and request.version >= aiohttp.HttpVersion11 and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _cause(error: BaseException) -> BaseException:
    return error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error


def _number(error: BaseException) -> int | None:
    cause = _cause(error)
    return cause.errno if isinstance(cause, OSError) else None


def _why(error: BaseException) -> str:
    """A few words on a failed connection; never what the job sent."""
    cause = _cause(error)
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    if isinstance(cause, TimeoutError):
        return f"no connection within {CONNECT_LIMIT_S:.0f} s"
    if isinstance(cause, aiohttp.ServerDisconnectedError | ConnectionResetError):
        return "it closed the connection"
    if isinstance(cause, aiohttp.ClientResponseError | aiohttp.http.HttpProcessingError):
        return "what it sends is not HTTP"
    if _number(cause) in _NO_ROUTE:
        return "no route to it"
    return type(cause).__name__
