"""The gate as a process: its listeners, the request log, and an end that no visitor notices.

A new gate may serve beside an old one on the same listening sockets (`toolkit_hub.host.gate_keeper` keeps them); the old one
then gets SIGTERM, takes nothing new and serves out what it has. A second SIGTERM, or SIGINT, ends it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
from aiohttp import web

from toolkit_client.errors import InternalError, ServiceUnavailable, ToolkitError
from toolkit_hub import clock
from toolkit_hub.bridge import listen_on_bridge
from toolkit_hub.configure import Toolkit
from toolkit_hub.domain.afterwards import Afterwards
from toolkit_hub.gate.data.host import DataHost
from toolkit_hub.gate.door import HEALTH_PATH, Door
from toolkit_hub.gate.forward import Upstream
from toolkit_hub.gate.identity import HubTokens, Identities
from toolkit_hub.gate.listeners import BACKLOG, open_listeners
from toolkit_hub.gate.live import RECHECK_S, LiveConnections
from toolkit_hub.gate.pages import answer_error
from toolkit_hub.gate.rights import Rights
from toolkit_hub.gate.views import Views
from toolkit_hub.gate.visit import Visit
from toolkit_hub.metrics.instruments import GATE_CONNECTIONS, GATE_SECONDS, count_gate_request, method_label
from toolkit_hub.store import Store

__all__ = ["DRAIN_LIMIT_S", "Gate", "serve"]

log = logging.getLogger("toolkit.gate")
request_log = logging.getLogger("toolkit.gate.request")

#: How long an ending gate serves the connections that it has. JupyterLab connects anew by itself afterwards.
DRAIN_LIMIT_S = 3600.0
#: A kept connection may carry one more request that was already on its way; its answer says that it is the last one.
_IDLE_GRACE_S = 10.0
#: Longer than the usual proxies' and load balancers', so that they close idle connections, and not we under a request.
_KEEP_ALIVE_S = 620.0
_HEADER_LIMIT = 64 * 1024
_LONGEST_LOGGED = 300

Answerer = Callable[[Visit], Awaitable[web.StreamResponse]]


class Gate:
    """The listeners and what they share. Belongs to the running event loop.

    `listeners`: sockets of `open_listeners` that this gate shares with others; without them it opens its own.
    """

    def __init__(
        self, site: Toolkit, *, recheck_s: float = RECHECK_S, listeners: Sequence[socket.socket] | None = None
    ) -> None:
        self._site = site
        self._sockets = listeners
        self._store = Store(site.database_url)
        self._hub_client = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        self._upstream = Upstream()
        tokens = HubTokens(site.hub_url, self._hub_client)
        identities = Identities(tokens, secure=site.jobs_scheme == "https")
        self._views = Views(self._store)
        self._live = LiveConnections(self._views, identities, recheck_s)
        self._afterwards = Afterwards(self._store)
        self._data = DataHost(site, self._store, tokens, self._afterwards)
        rights = Rights(self._store, self._views, self._afterwards)
        self._door = Door(site, self._store, self._views, identities, self._live, self._upstream, self._data, rights)
        self._listeners: list[asyncio.Server] = []
        self._servers: list[web.Server] = []
        self._busy: set[web.RequestHandler] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._for_jobs: asyncio.Task[None] | None = None
        self._draining = False

    async def start(self) -> None:
        """Listen. Raises `PortBusy`."""
        sockets = open_listeners(self._site) if self._sockets is None else self._sockets
        self._tasks = [asyncio.create_task(self._live.run()), asyncio.create_task(self._afterwards.run_forever())]
        answerers = {"jobs": self._door.at_job_host, "hub": self._door.from_proxy}
        for listener, (name, answerer) in zip(sockets, answerers.items(), strict=True):
            await self._listen(self._server(name, answerer), sock=listener)
        if self._site.job_data_port:
            self._for_jobs = asyncio.create_task(self._listen_for_jobs())
            self._tasks.append(self._for_jobs)

    async def _listen(self, server: web.Server, **where: Any) -> asyncio.Server:
        listener = await asyncio.get_running_loop().create_server(server, backlog=BACKLOG, **where)
        self._listeners.append(listener)
        return listener

    async def _listen_for_jobs(self) -> None:
        """On the address of the jobs' bridge; beside another gate, which may be at its end."""
        server, port = self._server("bridge", self._door.from_job), self._site.job_data_port

        async def listen(address: str) -> Callable[[], None]:
            listener = await self._listen(server, host=address, port=port, reuse_port=True)
            return listener.close

        await listen_on_bridge(self._site.jobs_bridge, f"the data host (port {port})", listen)

    def _server(self, name: str, answerer: Answerer) -> web.Server:
        seconds = GATE_SECONDS.labels(name)

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            with GATE_CONNECTIONS.track_inprogress(), seconds.time():
                return await self._handle(request, name, answerer)

        server = web.Server(
            handle,
            request_factory=self._request,
            handler_cancellation=True,  # a visitor who goes ends what is done for him
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=_KEEP_ALIVE_S,
            max_line_size=_HEADER_LIMIT,
            max_field_size=_HEADER_LIMIT,
        )
        self._servers.append(server)
        return server

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        """While the gate ends, each answer says that its connection is not kept."""
        if self._draining:
            message = message._replace(should_close=True)
        return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())

    async def drain(self, limit_s: float = DRAIN_LIMIT_S) -> None:
        """Take nothing new, and return when everything under way is done or `limit_s` seconds have passed."""
        self._draining = True
        if self._for_jobs is not None:
            self._for_jobs.cancel()
        for listener in self._listeners:
            listener.close()
        log.info("ending: %d requests and connections are served out", len(self._busy))
        began = clock.monotonic()
        while (passed := clock.monotonic() - began) < limit_s:
            connections = [handler for server in self._servers for handler in server.connections]
            if not connections:
                return
            if passed > _IDLE_GRACE_S:
                for handler in connections:
                    if handler not in self._busy:
                        handler.close()
            await asyncio.sleep(0.1)
        log.warning("ending: %d connections are cut after %.0f s", len(self._busy), limit_s)

    async def close(self) -> None:
        """End everything at once."""
        for listener in self._listeners:
            listener.close()
        for task in self._tasks:
            task.cancel()
        for server in self._servers:
            await server.shutdown(timeout=0.5)
        await self._door.close()
        await self._upstream.close()
        await self._hub_client.close()
        self._views.close()
        self._data.close()
        with contextlib.suppress(ToolkitError):
            await self._afterwards.write_now()
        await asyncio.get_running_loop().run_in_executor(None, self._store.close)

    async def _handle(self, request: web.BaseRequest, listener: str, answerer: Answerer) -> web.StreamResponse:
        """Answer one request and log it."""
        visit, handler, status = Visit(request), request.protocol, 499
        self._busy.add(handler)
        try:
            response = await self._answer(visit, answerer)
            status = response.status
            if self._draining and not response.prepared:
                response.force_close()
            return response
        finally:
            self._busy.discard(handler)
            if self._draining:
                handler.close()
            count_gate_request(listener, method_label(request.method), status)
            _log(visit, status)

    async def _answer(self, visit: Visit, answerer: Answerer) -> web.StreamResponse:
        try:
            return await answerer(visit)
        except ToolkitError as error:
            return answer_error(visit.request, error, request_id=visit.id, link=visit.link)
        except ConnectionError:
            raise
        except TimeoutError:
            slow = ServiceUnavailable("a part of the toolkit did not answer in time", "try again")
            return answer_error(visit.request, slow, request_id=visit.id, link=visit.link)
        except Exception:
            log.exception("request %s failed", visit.id)
            fault = InternalError("the gate failed at this request", f"the gate's log says why, at request {visit.id}")
            return answer_error(visit.request, fault, request_id=visit.id)


def _log(visit: Visit, status: int) -> None:
    request = visit.request
    path = request.raw_path.partition("?")[0]
    if path == HEALTH_PATH:
        return
    milliseconds = (clock.monotonic() - visit.began) * 1000
    host = request.headers.get("Host", "")
    # %a: what comes from outside can neither break the line nor reach a terminal as control characters
    request_log.info(
        "%s %a %.100a %a user=%s status=%d ms=%.1f",
        visit.id,
        request.method[:16],
        host[:100],
        path[:_LONGEST_LOGGED],
        visit.user,
        status,
        milliseconds,
    )


async def serve(
    site: Toolkit, listeners: Sequence[socket.socket] | None = None, ready: Callable[[], None] = lambda: None
) -> None:
    """Run until a signal ends the gate, having called `ready` as soon as it serves. Raises `PortBusy`."""
    gate = Gate(site, listeners=listeners)
    loop = asyncio.get_running_loop()
    drain, stop = asyncio.Event(), asyncio.Event()

    def ask_to_end() -> None:
        (stop if drain.is_set() else drain).set()

    loop.add_signal_handler(signal.SIGTERM, ask_to_end)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    try:
        await gate.start()
        log.info("the gate serves %s and %s", site.jobs_url, site.gate_url)
        ready()
        await _first(drain.wait(), stop.wait())
        if not stop.is_set():
            await _first(gate.drain(), stop.wait())
    finally:
        await gate.close()


async def _first(*waits: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
