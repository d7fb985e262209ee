"""Plain requests over connections that are kept: most of what a page asks for, at a fraction of what a general HTTP client costs.

A plain request has no body and may be sent twice without harm (RFC 9110, 9.2.2), for a server may close an idle connection just
when the next request is on its way. Everything else goes by `toolkit_hub.gate.forward`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from dataclasses import dataclass

import aiohttp
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict, MultiMapping

from toolkit_hub import clock

__all__ = ["CONNECT_LIMIT_S", "HEADER_LIMIT", "Answer", "Kept", "KeptConnections"]

CONNECT_LIMIT_S = 3.0
HEADER_LIMIT = 64 * 1024
#: Short: a server with one thread serves nobody else meanwhile.
_KEEP_ALIVE_S = 1.5
_SWITCHING = 101

Place = tuple[str, int]


@dataclass
class Answer:
    """What came back from a job: its head, and its body as it comes."""

    status: int
    reason: str | None
    headers: MultiMapping[str]
    content: aiohttp.StreamReader

    @property
    def length(self) -> int | None:
        """Bytes of the body, when the head says so."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdecimal() else None


class KeptConnections:
    """Idle connections to jobs. Belongs to one event loop."""

    def __init__(self) -> None:
        self._idle: defaultdict[Place, deque[tuple[float, ResponseHandler]]] = defaultdict(deque)
        self._sweep: asyncio.TimerHandle | None = None

    def close(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        for waiting in self._idle.values():
            for _, connection in waiting:
                connection.close()
        self._idle.clear()

    async def ask(self, place: Place, method: str, target: str, headers: CIMultiDict[str]) -> Kept | None:
        """Send a plain request; returns when the answer's head is there. None when nothing takes a connection there.

        Raises `TimeoutError` where connecting takes too long, `aiohttp.ClientError` or `OSError` for what is no answer,
        `ValueError` for headers that would be two.
        """
        request = _head(method, target, headers)
        while (connection := self._take(place)) is not None:
            try:
                return await self._exchange(place, connection, method, request)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                continue  # it was closed while it was idle
        fresh = await _connect(place)
        return None if fresh is None else await self._exchange(place, fresh, method, request)

    async def _exchange(self, place: Place, connection: ResponseHandler, method: str, request: bytes) -> Kept:
        try:
            connection.set_response_params(
                skip_payload=method == "HEAD",
                read_until_eof=True,
                auto_decompress=False,
                max_line_size=HEADER_LIMIT,
                max_field_size=HEADER_LIMIT,
            )
            if connection.transport is None:
                raise aiohttp.ServerDisconnectedError
            connection.transport.write(request)
            while True:
                head, content = await connection.read()
                if not 100 <= head.code < 200 or head.code == _SWITCHING:
                    break
        except BaseException:
            connection.close()
            raise
        return Kept(self, place, connection, Answer(head.code, head.reason, head.headers, content))

    def _take(self, place: Place) -> ResponseHandler | None:
        waiting = self._idle.get(place)
        while waiting:
            since, connection = waiting.pop()
            if clock.monotonic() - since < _KEEP_ALIVE_S and connection.is_connected() and not connection.should_close:
                return connection
            connection.close()
        return None

    def give_back(self, place: Place, connection: ResponseHandler) -> None:
        """Keep what was answered whole; close what was not."""
        if connection.should_close or not connection.is_connected():
            connection.close()
            return
        self._idle[place].append((clock.monotonic(), connection))
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_KEEP_ALIVE_S, self._close_old)

    def _close_old(self) -> None:
        self._sweep = None
        now = clock.monotonic()
        for place, waiting in list(self._idle.items()):
            while waiting and now - waiting[0][0] >= _KEEP_ALIVE_S:
                waiting.popleft()[1].close()
            if not waiting:
                del self._idle[place]
        if self._idle:
            self._sweep = asyncio.get_running_loop().call_later(_KEEP_ALIVE_S, self._close_old)


class Kept:
    """An answer under way, and the connection that it comes by."""

    def __init__(self, home: KeptConnections, place: Place, connection: ResponseHandler, answer: Answer) -> None:
        self._home, self._place, self._connection = home, place, connection
        self.answer = answer

    def done(self) -> None:
        """The answer has been read, or nobody wants it any more."""
        self._home.give_back(self._place, self._connection)


async def _connect(place: Place) -> ResponseHandler | None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_LIMIT_S):
            _, connection = await loop.create_connection(lambda: ResponseHandler(loop), *place)
    except TimeoutError:
        raise
    except OSError:
        return None
    return connection


def _head(method: str, target: str, headers: CIMultiDict[str]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or "\0" in text:
        raise ValueError("a header holds control characters")
    return text.encode("utf-8", "surrogateescape")
