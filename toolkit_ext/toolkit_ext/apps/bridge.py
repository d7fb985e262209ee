"""Bytes between a websocket and a stream, as fast as the slower side takes them and never more than one piece ahead.

One binary message is one piece, of any size; text counts as its UTF-8. The end of the stream closes the websocket (1000), the end
of the websocket closes the stream. A websocket has no half-close: whoever asks for the subprotocol `HALF_CLOSE` says and hears
"no more from here" as an empty message, and may go on in the other direction.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from jupyter_server.base.handlers import JupyterHandler
from tornado import web
from tornado.websocket import WebSocketClosedError, WebSocketHandler

__all__ = ["HALF_CLOSE", "BridgeHandler"]

HALF_CLOSE = "toolkit.half-close"
#: Bytes that are read from the stream at once; each piece is with the client before the next is read.
PIECE_BYTES = 256 * 1024
#: Closing code of a bridge whose stream cannot be opened; the reason is in words (123 bytes at most).
NOT_OPENED = 4000


class BridgeHandler(WebSocketHandler, JupyterHandler):
    """A websocket that carries a stream. Subclasses say which."""

    _stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    _pump: asyncio.Task[None] | None = None

    async def open_stream(self, *arguments: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open the stream. Raises `OSError`."""
        raise NotImplementedError

    def check_origin(self, origin_to_satisfy_tornado: str = "") -> bool:
        """The gate has checked it."""
        return True

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return HALF_CLOSE if HALF_CLOSE in subprotocols else None

    def get_compression_options(self) -> dict[str, Any] | None:
        return None

    async def get(self, *arguments: str, **named: str) -> None:
        if self.current_user is None:
            raise web.HTTPError(403)
        await WebSocketHandler.get(self, *arguments, **named)

    async def open(self, *arguments: str, **_named: str) -> None:
        self.set_nodelay(True)
        try:
            self._stream = await self.open_stream(*arguments)
        except OSError as error:
            self.close(NOT_OPENED, (error.strerror or str(error))[:120])
            return
        self._pump = asyncio.create_task(self._to_client(self._stream[0]))

    async def on_message(self, message: str | bytes) -> None:
        """The next message is read when this one is with the stream."""
        if self._stream is None:
            return
        writer = self._stream[1]
        with contextlib.suppress(OSError):
            if not message and self.selected_subprotocol == HALF_CLOSE:
                writer.write_eof()
                return
            writer.write(message.encode() if isinstance(message, str) else message)
            await writer.drain()

    def on_close(self) -> None:
        if self._stream is not None:
            self._stream[1].close()

    async def _to_client(self, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(PIECE_BYTES):
                await self.write_message(data, binary=True)
            if self.selected_subprotocol == HALF_CLOSE:
                await self.write_message(b"", binary=True)
        except WebSocketClosedError:
            return
        except OSError:
            pass
        if self.selected_subprotocol != HALF_CLOSE:
            self.close(1000)
