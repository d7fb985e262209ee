"""Connections to where the content of data goes in and out: the gate's data host.

Not the API's client: content is gigabytes, or ten thousand files, and `http.client` hands the bytes over as they are.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
from collections.abc import Iterable, Iterator, Mapping
from io import BufferedIOBase
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from toolkit_client.call import API_PATH
from toolkit_client.errors import ToolkitError, error_from_body
from toolkit_client.profiles import checked_url
from toolkit_client.transfer.connection import AWAY, Interrupted, connect
from toolkit_client.transfer.records import CONTENT_TYPE, Decoder, Record

__all__ = ["AWAY", "DataLink", "Interrupted", "Link", "Query", "blocks_of", "connect", "interruptions", "records_of"]

_READ_SIZE = 1 << 20


#: Paths are bytes. What is empty, None or False is left out.
Query = Mapping[str, str | bytes | bool | None]


class Link(Protocol):
    """The way to the other end of a transfer."""

    def open(
        self,
        method: str,
        ref: str,
        what: str,
        *,
        query: Query | None = None,
        body: bytes | Iterable[bytes] | None = None,
        content_type: str = CONTENT_TYPE,
    ) -> BufferedIOBase:
        """Send a request about `ref`, and give the answer, of which the body is still to be read.

        Raises:
            ToolkitError: the other end refused it.
            Interrupted: the connection broke.
        """


class DataLink:
    """Requests to one site's data host; each has a connection of its own, so several may run at once."""

    def __init__(self, url: str, token: str, data_url: str = "") -> None:
        """`url` is the site's; `data_url` that of its data host, if it is known. Raises InvalidRequest for what is no address."""
        self.url = checked_url(url)
        self._token = token
        self._data_url = data_url

    def open(
        self,
        method: str,
        ref: str,
        what: str,
        *,
        query: Query | None = None,
        body: bytes | Iterable[bytes] | None = None,
        content_type: str = CONTENT_TYPE,
    ) -> http.client.HTTPResponse:
        """Send a request about the data `ref` and give the answer, of which the body is still to be read.

        Raises:
            ToolkitError: the gate refused it.
            Interrupted: the connection broke.
        """
        target = f"/v1/data/{quote(ref, safe='')}/{what}{_written(query or {})}"
        with interruptions(self.data_url):
            connection = connect(self.data_url)
            headers = {"Content-Type": content_type} if body is not None else {}
            try:
                _send(connection, method, target, self._host_header(), self._headers() | headers, body)
                answer = connection.getresponse()
            except BaseException:
                connection.close()  # the other end must not take what was sent until now for the whole
                raise
        return _checked(answer)

    def json(self, method: str, ref: str, what: str, *, query: Query | None = None, body: Any = None) -> Any:
        """The same, with JSON in and out."""
        raw = None if body is None else json.dumps(body).encode()
        answer = self.open(method, ref, what, query=query, body=raw, content_type="application/json")
        with interruptions(self.data_url), answer:
            return json.loads(answer.read())

    @property
    def data_url(self) -> str:
        """Address of the data host; asked of the site once."""
        if not self._data_url:
            with interruptions(self.url):
                connection = connect(self.url)
                path = f"{urlsplit(self.url).path}{API_PATH}/transfer"
                _send(connection, "GET", path, urlsplit(self.url).netloc, self._headers(), None)
                answer = connection.getresponse()
            with _checked(answer) as found, interruptions(self.url):
                self._data_url = str(json.loads(found.read())["url"])
        return self._data_url

    def _headers(self) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self._token}",
            "User-Agent": "toolkit-client",
            "Accept-Encoding": "identity",
        }

    def _host_header(self) -> str:
        return urlsplit(self.data_url).netloc


def _written(query: Query) -> str:
    pairs = []
    for name, value in query.items():
        if value:
            pairs.append(f"{name}={quote('1' if value is True else value, safe='/')}")
    return f"?{'&'.join(pairs)}" if pairs else ""


def blocks_of(answer: BufferedIOBase) -> Iterator[bytes]:
    """The body of an answer, as it comes. Raises Interrupted."""
    while True:
        with interruptions("the site"):
            block = answer.read1(_READ_SIZE)
        if not block:
            return
        yield block


def records_of(answer: BufferedIOBase) -> Iterator[Record]:
    """The records of an answer, with its END. Raises Interrupted for a stream that breaks off."""
    decoder = Decoder()
    with answer:
        for block in blocks_of(answer):
            yield from decoder.feed(block)
    if not decoder.ended:
        raise Interrupted("the connection broke before the end", "trying again goes on from there")


def _send(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    host: str,
    headers: Mapping[str, str],
    body: bytes | Iterable[bytes] | None,
) -> None:
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", host)
    connection.putheader("Connection", "close")
    for name, value in headers.items():
        connection.putheader(name, value)
    if body is None or isinstance(body, bytes):
        connection.putheader("Content-Length", str(len(body or b"")))
        connection.endheaders(body)
        return
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    try:
        for block in body:
            if select.select([connection.sock], [], [], 0)[0]:
                return  # it was answered before its end: the answer says why
            connection.send(b"%x\r\n%b\r\n" % (len(block), block))
        connection.send(b"0\r\n\r\n")
    except (BrokenPipeError, ConnectionResetError):
        return  # an answer may still be there to read


def _checked(answer: http.client.HTTPResponse) -> http.client.HTTPResponse:
    if answer.status < 300:
        return answer
    with answer:
        try:
            body = json.loads(answer.read(1 << 20))
        except (ValueError, OSError, http.client.HTTPException):
            body = None
    error = error_from_body(answer.status, body)
    if answer.status in AWAY:
        raise Interrupted(error.message, error.hint or "try again in a moment")
    raise error


@contextlib.contextmanager
def interruptions(where: str) -> Iterator[None]:
    """A broken connection as what it is to the user."""
    try:
        yield
    except ToolkitError:
        raise
    except (OSError, http.client.HTTPException) as problem:
        told = str(problem) or type(problem).__name__
        raise Interrupted(
            f"the connection to {where} broke: {told}", "is the site up, and reachable from here? Trying again goes on"
        ) from problem
