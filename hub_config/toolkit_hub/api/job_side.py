"""The API for jobs: on the address of their own bridge, which nobody else reaches, and nothing but the API."""

from __future__ import annotations

from collections.abc import Callable

from tornado.httpserver import HTTPServer
from tornado.web import Application

from toolkit_hub.api.body_limit import SWALLOWED, BodyLimit
from toolkit_hub.bridge import listen_on_bridge

__all__ = ["serve_jobs"]


async def serve_jobs(application: Application, bridge: str, port: int) -> None:
    """Until it is cancelled."""

    async def listen(address: str) -> Callable[[], None]:
        server = HTTPServer(BodyLimit(application), max_body_size=SWALLOWED, xheaders=False)
        server.listen(port, address)
        return server.stop

    await listen_on_bridge(bridge, f"the API (port {port})", listen)
