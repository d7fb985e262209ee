"""The API for jobs: on the address of their own bridge, which nobody else reaches, and nothing but the API."""

from __future__ import annotations

import asyncio
import logging

from tornado.httpserver import HTTPServer
from tornado.web import Application

from toolkit_hub.api.body_limit import SWALLOWED, BodyLimit
from toolkit_hub.bridge import address_of_bridge

__all__ = ["serve_jobs"]

log = logging.getLogger("toolkit.service")

#: Seconds between two looks at the bridge, which the engine may make anew.
LOOK_EVERY_S = 5


async def serve_jobs(application: Application, bridge: str, port: int) -> None:
    """Until it is cancelled. Without the bridge there is no job that could ask."""
    server: HTTPServer | None = None
    told = ""
    at: str | None = None
    try:
        while True:
            address = address_of_bridge(bridge)
            if address != at:
                if server is not None:
                    server.stop()
                server, at = None, None
            if address is not None and server is None:
                try:
                    server = _listen(application, address, port)
                except OSError as error:
                    if str(error) != told:
                        told = str(error)
                        log.error("jobs cannot reach the API on %s port %d: %s", address, port, error)
                else:
                    at, told = address, ""
                    log.info("API for jobs on http://%s:%d", address, port)
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        if server is not None:
            server.stop()


def _listen(application: Application, address: str, port: int) -> HTTPServer:
    server = HTTPServer(BodyLimit(application), max_body_size=SWALLOWED, xheaders=False)
    server.listen(port, address)
    return server
