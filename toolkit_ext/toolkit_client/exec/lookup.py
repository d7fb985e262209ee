"""One question to the API by a connection of its own, for commands that httpx's start would slow down more than all the rest."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode, urlsplit

from toolkit_client.call import API_PATH, Call
from toolkit_client.errors import error_from_body
from toolkit_client.exec.channel import read_head, status_of
from toolkit_client.transfer.connection import AWAY, Interrupted, connected_socket

__all__ = ["ask"]

_ANSWER_S = 60.0
_READ = 256 * 1024


def ask(url: str, token: str, call: Call[Any]) -> Any:
    """The JSON of the answer to a call without a body.

    Raises:
        ToolkitError: it was refused.
        Interrupted: the site is away, or what answers is none.
    """
    parts = urlsplit(url)
    query = f"?{urlencode(call.params, doseq=True)}" if call.params else ""
    # HTTP/1.0: the answer is as long as the connection, and never in chunks.
    request = (
        f"{call.method} {parts.path}{API_PATH}{call.path}{query} HTTP/1.0\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer {token}\r\nUser-Agent: toolkit-client\r\nConnection: close\r\n\r\n"
    )
    try:
        with connected_socket(url) as connection:
            connection.settimeout(_ANSWER_S)
            connection.sendall(request.encode("ascii"))
            head, body = read_head(connection)
            status = status_of(head)
            while piece := connection.recv(_READ):
                body += piece
        found = json.loads(body)
    except (OSError, ValueError) as problem:
        told = str(problem) or type(problem).__name__
        raise Interrupted(f"no answer from {url}: {told}", "is the site up, and reachable from here?") from problem
    if status >= 300:
        error = error_from_body(status, found)
        raise Interrupted(error.message, error.hint or "try again in a moment") if status in AWAY else error
    return found
