"""HTTP to a job and back, as a stream: neither a request nor an answer is ever held as a whole, whatever its size."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from toolkit_hub.gate.headers import Passage, inbound, outbound
from toolkit_hub.gate.pages import BadGateway

__all__ = ["Target", "Unreachable", "Upstream", "forward", "raw_target"]

log = logging.getLogger("toolkit.gate")

CONNECT_LIMIT_S = 3.0
#: Answers up to this size are passed on in one piece, which is quicker.
_SMALL = 64 * 1024
_HEADER_LIMIT = 64 * 1024
#: Short, for a server may close an idle connection just when the next request is on its way.
_KEEP_ALIVE_S = 1.5
_VISIBLE_ASCII = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


class Unreachable(BadGateway):
    """Nothing listens at the target, and nothing of the request has been sent."""


@dataclass(frozen=True)
class Target:
    """Where a request goes, and as whose."""

    ip: str
    port: int
    passage: Passage
    #: What listens there, in the words of the messages.
    what: str
    hint: str

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
        self._single = _client(aiohttp.TCPConnector(limit=0, force_close=True))
        self._kept = _client(aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S))

    async def close(self) -> None:
        await self._single.close()
        await self._kept.close()

    @asynccontextmanager
    async def ask(
        self, request: web.BaseRequest, target: str, to: Target, *, upgrade: bool = False
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send the request on; the block runs when the answer's head is there. Raises `BadGateway`, `Unreachable`."""
        headers = inbound(request.headers, to.passage)
        if upgrade:
            headers.extend(CIMultiDict({"Connection": "Upgrade", "Upgrade": "websocket"}))
        body = request.content if request.body_exists else None
        # Only what can be sent twice without harm goes over a kept connection, which may turn out to be closed.
        plain = body is None and request.method in ("GET", "HEAD") and not upgrade and to.passage.secret is not None
        client = self._kept if plain else self._single
        try:
            response = await client.request(
                request.method, to.url(target), headers=headers, data=body, allow_redirects=False
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unreachable(f"nothing answers at {to.what}: {_why(error)}", to.hint) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise BadGateway(f"{to.what} gave no answer: {_why(error)}", to.hint) from error
        try:
            yield response
        finally:
            response.close() if upgrade else response.release()


async def forward(upstream: Upstream, request: web.BaseRequest, target: str, to: Target) -> web.StreamResponse:
    """Pass one request on and its answer back. Raises `BadGateway` as long as nothing has been answered."""
    _let_body_come(request)
    async with upstream.ask(request, target, to) as response:
        if response.status < 200:
            raise BadGateway(f"{to.what} changes the protocol without being asked to", to.hint)
        return await relay(request, response, to)


async def relay(request: web.BaseRequest, response: aiohttp.ClientResponse, to: Target) -> web.StreamResponse:
    """Pass an answer back; when it breaks off, the visitor's connection breaks off as well, so that nobody takes a part
    for the whole."""
    headers = outbound(response.headers, cookies=to.passage.cookies)
    length = response.content_length
    if request.method != "HEAD" and length is not None and length <= _SMALL:
        try:
            body = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise BadGateway(f"{to.what} broke off its answer: {_why(error)}", to.hint) from error
        return web.Response(status=response.status, reason=response.reason, headers=headers, body=body)
    reply = web.StreamResponse(status=response.status, reason=response.reason, headers=headers)
    await reply.prepare(request)
    try:
        async for piece in response.content.iter_any():
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


def _client(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_LIMIT_S),
        max_line_size=_HEADER_LIMIT,
        max_field_size=_HEADER_LIMIT,
    )


def _why(error: BaseException) -> str:
    """A few words on a failed connection; never what the job sent."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    if isinstance(cause, TimeoutError):
        return f"no connection within {CONNECT_LIMIT_S:.0f} s"
    if isinstance(cause, aiohttp.ServerDisconnectedError):
        return "it closed the connection"
    return type(cause).__name__
