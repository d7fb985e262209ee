"""A question to a job's own server, through the gate."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from toolkit_client.errors import error_from_body
from toolkit_client.transfer.link import AWAY, Interrupted, connect, interruptions

__all__ = ["ask_run"]

_LONGEST = 1 << 20


def ask_run(url: str, token: str) -> Any:
    """The JSON at an address below a job's present run, whose server is started for it if need be.

    Raises:
        ToolkitError: it was refused.
        Interrupted: the gate, or what is behind it, is away.
    """
    parts = urlsplit(url)
    with interruptions(parts.netloc):
        connection: http.client.HTTPConnection = connect(url)
        connection.putrequest("GET", parts.path, skip_host=True)
        connection.putheader("Host", parts.netloc)
        connection.putheader("Authorization", f"Bearer {token}")
        connection.putheader("Connection", "close")
        connection.endheaders()
        with connection.getresponse() as answer:
            try:
                body = json.loads(answer.read(_LONGEST))
            except ValueError:
                body = None
    if answer.status < 300:
        return body
    error = error_from_body(answer.status, body)
    raise Interrupted(error.message, error.hint) if answer.status in AWAY else error
