"""One request at the gate, as the log and the audit log know it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from aiohttp import web

from toolkit_hub import clock
from toolkit_hub.gate.pages import Link

__all__ = ["Visit"]

_LONGEST_PATH = 200


@dataclass
class Visit:
    """One request at the gate, for the log. No secret is ever put in here."""

    request: web.BaseRequest
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    began: float = field(default_factory=clock.monotonic)
    user: str = "-"
    #: Where the reader of an error can go on.
    link: Link | None = None

    def named(self, user: str) -> None:
        self.user = user

    @property
    def address(self) -> str:
        return self.request.remote or ""

    @property
    def what(self) -> str:
        """Method, host and path, for the audit log; the query may hold a secret."""
        path = self.request.raw_path.partition("?")[0]
        return f"{self.request.method[:16]} {self.request.headers.get('Host', '')[:100]}{path[:_LONGEST_PATH]}"
