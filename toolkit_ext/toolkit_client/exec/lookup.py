"""One question to the API by a connection of its own, for commands whose start would take longer than all the rest."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode, urlsplit

from toolkit_client.call import API_PATH, Call
from toolkit_client.errors import error_from_body
from toolkit_client.transfer.link import AWAY, Interrupted, connect, interruptions

__all__ = ["ask"]


def ask(url: str, token: str, call: Call[Any]) -> Any:
    """The JSON of the answer to a call without a body.

    Raises:
        ToolkitError: it was refused.
        Interrupted: the site is away, or what answers is none.
    """
    query = f"?{urlencode(call.params, doseq=True)}" if call.params else ""
    headers = {"Authorization": f"Bearer {token}", "User-Agent": "toolkit-client", "Accept-Encoding": "identity"}
    with interruptions(url):
        connection = connect(url)
        try:
            connection.request(call.method, f"{urlsplit(url).path}{API_PATH}{call.path}{query}", headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if answer.status >= 300 or found is None:
        error = error_from_body(answer.status, found)
        if answer.status in AWAY or found is None:
            raise Interrupted(error.message, error.hint or "try again in a moment")
        raise error
    return found
