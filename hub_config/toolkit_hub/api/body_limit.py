"""Bodies are bounded: what is larger than the service reads is swallowed, and answered like every other refusal.

Left to itself the server would cut the connection, and whoever sends through a proxy would see an error of the proxy's.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable
from http import HTTPStatus

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)

from toolkit_client.errors import TooLarge

__all__ = ["MAX_BODY", "SWALLOWED", "BodyLimit"]

#: Bytes. No request of the API or the pages is larger; bulk data goes elsewhere.
MAX_BODY = 2 * 1024 * 1024
#: Up to this size a body that is too large is read and dropped; beyond it the connection is cut.
SWALLOWED = 256 * 1024 * 1024


class BodyLimit(HTTPServerConnectionDelegate):
    """Stands before the application."""

    def __init__(self, application: HTTPServerConnectionDelegate) -> None:
        self._application = application

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        return _Bounded(self._application.start_request(server_conn, request_conn), request_conn)

    def on_close(self, server_conn: object) -> None:
        self._application.on_close(server_conn)


class _Bounded(HTTPMessageDelegate):
    """One request."""

    def __init__(self, inner: HTTPMessageDelegate, connection: HTTPConnection) -> None:
        self._inner, self._connection = inner, connection
        self._size = 0
        self._begun = False

    @property
    def _too_large(self) -> bool:
        return self._size > MAX_BODY

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        length = headers.get("Content-Length", "0")
        if length.isdigit() and int(length) > MAX_BODY:
            self._size = int(length)
            return None
        self._begun = True
        return self._inner.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if not self._begun or self._too_large:
            return None
        self._size += len(chunk)
        return None if self._too_large else self._inner.data_received(chunk)

    def finish(self) -> None:
        if not self._too_large:
            self._inner.finish()
            return
        error = TooLarge(
            f"the request is larger than {MAX_BODY // 2**20} MiB",
            "leave long lists out, and put files in the image or in data instead of the spec",
        )
        body = json.dumps(error.body()).encode()
        headers = HTTPHeaders(
            {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
            }
        )
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        self._connection.write_headers(ResponseStartLine("HTTP/1.1", status.value, status.phrase), headers, body)
        self._connection.finish()

    def on_connection_close(self) -> None:
        if self._begun:
            self._inner.on_connection_close()
