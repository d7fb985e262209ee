"""jupyter-server-proxy's websockets with back-pressure: each direction is at most a few messages ahead of its slower side.

The handler that comes with it writes to the browser, and to the app, without waiting: a terminal that floods a slow browser
fills the container's memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from jupyter_server_proxy.config import ServerProcess
from jupyter_server_proxy.handlers import SuperviseAndProxyHandler
from jupyter_server_proxy.unixsock import UnixResolver
from jupyter_server_proxy.websocket import PingableWSClientConnection
from tornado import httpclient, httputil
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError

__all__ = ["PacedHandler", "PacedServer"]

#: Bytes of one message from an app; a longer one ends the connection, as with the handler that comes with the proxy.
LONGEST_MESSAGE = 10 * 2**20
_CLOSED = (WebSocketClosedError, StreamClosedError)


class PacedHandler(SuperviseAndProxyHandler):
    """HTTP as it was; a websocket's next message is read when the one before is with the other side."""

    ws: PingableWSClientConnection | None = None
    #: The loop itself keeps no hold of its tasks.
    _pump: asyncio.Task[None] | None = None

    async def proxy_open(self, host: str, port: int, proxied_path: str = "") -> None:
        """Called by the base class when a browser has opened a websocket; connects it with the app's."""
        headers = httputil.HTTPHeaders(self.proxy_request_headers())
        # What the browser can compress is between it and this server; to the app it is a step over a local socket.
        if "Sec-WebSocket-Extensions" in headers:
            del headers["Sec-WebSocket-Extensions"]
        request = httpclient.HTTPRequest(self.get_client_uri("ws", host, port, f"/{proxied_path.lstrip('/')}"))
        request.headers = headers
        connection = PingableWSClientConnection(
            request=httpclient._RequestProxy(request, httpclient.HTTPRequest._DEFAULTS),
            on_ping_callback=self._pass_ping,
            max_message_size=LONGEST_MESSAGE,
            subprotocols=self._requested_subprotocols,
            resolver=UnixResolver(self.unix_socket) if self.unix_socket else None,
        )
        # Without a callback for messages the connection holds one, and reads no further until it is fetched.
        self.ws = await connection.connect_future
        self._record_activity()
        self._pump = asyncio.create_task(self._to_browser(self.ws))

    async def _to_browser(self, app: PingableWSClientConnection) -> None:
        try:
            while (message := await app.read_message()) is not None:
                self._record_activity()
                await self.write_message(message, binary=isinstance(message, bytes))
        except _CLOSED:
            pass
        finally:
            self.close()
            app.close()

    async def on_message(self, message: str | bytes) -> None:
        """Tornado reads the next message when this is done."""
        self._record_activity()
        if self.ws is not None:
            with contextlib.suppress(*_CLOSED):
                await self.ws.write_message(message, binary=isinstance(message, bytes))

    def on_ping(self, data: bytes) -> None:
        if self.ws is not None:
            _ping(self.ws, data)

    def _pass_ping(self, data: bytes) -> None:
        if self.ws_connection is not None:
            _ping(self.ws_connection, data)

    def on_close(self) -> None:
        if self.ws is not None:
            self.ws.close()


def _ping(side: Any, data: bytes) -> None:
    """Pass a ping on, unless that side has not yet taken what came before: then it lives, and pings would only pile up."""
    protocol = getattr(side, "protocol", side)
    with contextlib.suppress(*_CLOSED):
        if protocol is not None and protocol.stream is not None and not protocol.stream.writing():
            protocol.write_ping(data)


class PacedServer(ServerProcess):
    """An entry of jupyter-server-proxy whose websockets are paced."""

    def get_proxy_base_class(self) -> tuple[type, dict[str, Any]]:
        return PacedHandler, {"state": {}}
