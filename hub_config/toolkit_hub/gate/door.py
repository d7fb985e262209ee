"""The door itself: for each request, which job, who asks, may he, and what then. The parts are in the modules beside it."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from aiohttp import HttpVersion10, HttpVersion11, web
from prometheus_client import generate_latest

from toolkit_client.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    NotSignedIn,
    PermissionDenied,
    ServiceUnavailable,
)
from toolkit_hub.configure import Toolkit
from toolkit_hub.domain.visits import VISIT_PATH
from toolkit_hub.gate.data.host import DataHost
from toolkit_hub.gate.forward import Target, Unreachable, Upstream, forward, raw_target
from toolkit_hub.gate.headers import KEY_HEADER, Passage
from toolkit_hub.gate.identity import Identities, bearer_token, foreign
from toolkit_hub.gate.job_server import JobServers
from toolkit_hub.gate.live import Live, LiveConnections, Watch
from toolkit_hub.gate.login import ENTER_PATH, GATE_PATH, LOGOUT_PATH, Logins
from toolkit_hub.gate.pages import BadGateway, Link, is_navigation, page, redirect
from toolkit_hub.gate.places import LAB_PORT, JobHost, JobHosts, RunPlace, ServerPath, View, server_path
from toolkit_hub.gate.rights import Rights
from toolkit_hub.gate.streams import RunStreams, stream_of
from toolkit_hub.gate.tunnel import is_upgrade, tunnel
from toolkit_hub.gate.views import Views
from toolkit_hub.gate.visit import Visit
from toolkit_hub.gate.visits import Visits
from toolkit_hub.gate.within import Within
from toolkit_hub.metrics.instruments import CONTENT_TYPE, GATE_REGISTRY
from toolkit_hub.store import Store

__all__ = ["HEALTH_PATH", "Door"]

HEALTH_PATH = f"{GATE_PATH}health"
#: What Prometheus reads, on the side for the proxy.
METRICS_PATH = f"{GATE_PATH}metrics"
#: A person sees the waiting page when the job server is not up by then.
_PAGE_AFTER_S = 0.3
#: A program has no use for a page, and waits.
_PROGRAM_WAITS_S = 30.0
_RELOAD_STARTING_S = 1
_RELOAD_QUEUED_S = 3


_VERSIONS = (HttpVersion10, HttpVersion11)
#: Websockets of the job server that carry a stream of somebody's own.
_STREAM_PATH = re.compile(r"/(?:sshd|tcp/([0-9]{1,5}))")


def _nothing() -> None:
    return None


class Door:
    """Answers the requests of all listeners."""

    def __init__(
        self,
        site: Toolkit,
        store: Store,
        views: Views,
        identities: Identities,
        live: LiveConnections,
        upstream: Upstream,
        data: DataHost,
        rights: Rights,
    ) -> None:
        self._site = site
        self._data = data
        self._views = views
        self._rights = rights
        self._identities = identities
        self._live = live
        self._upstream = upstream
        self._hosts = JobHosts(site.jobs_scheme, site.jobs_domain)
        self._logins = Logins(store, site.public_url, secure=site.jobs_scheme == "https")
        self._visits = Visits(store, self._logins, identities)
        self._job_servers = JobServers()
        self._streams = RunStreams()
        # The hub compares it with its own and warns when they differ.
        self._hub_version = importlib.metadata.version("jupyterhub")

    async def close(self) -> None:
        await self._job_servers.close()
        await self._streams.close()

    # --- the job hosts ----------------------------------------------------------------------------------------------

    async def at_job_host(self, visit: Visit) -> web.StreamResponse:
        """A request on the listener for job hosts. Raises `ToolkitError`."""
        request, target = visit.request, _target(visit.request)
        hosts = request.headers.getall("Host", ())
        if len(hosts) == 1 and self._hosts.is_data(hosts[0]):
            return await self._data.answer(request, visit.id, visit.named)
        host = self._hosts.find(hosts[0]) if len(hosts) == 1 else None
        if host is None:
            raise NotFound(
                "this address belongs to no job", "a job's address is in `toolkit job info` and on the job's page"
            )
        if target.startswith(GATE_PATH):
            return await self._gate_path(visit, host, target)
        if not host.lab:
            view = await self._views.look(host.job_id)
            if view is not None and view.ports.get(host.port):
                passage = Passage("", host.scheme, host.name, public=True)
                return await self._arrive(visit, view, host.port, target, passage)
        claims = await self._identities.claims(request.headers, host.name)
        view = await self._rights.look(visit, host.job_id, claims, server_path(target) if host.lab else None)
        if view is None:
            raise _no_such_job()
        if view.visitor is None or view.claim is None:
            if is_navigation(request):
                return self._logins.start(request, host, target)
            raise NotSignedIn(
                "nobody is signed in here",
                "sign in with a browser, or send the header `Authorization: Bearer …` with a token or a role's key",
            )
        if view.claim.is_cookie and foreign(request.method, request.headers, host.origin):
            raise PermissionDenied(
                "a page of another origin sent this request with your cookie; it was refused", f"open {host.origin}/"
            )
        passage = Passage(visit.user, host.scheme, host.name)
        return await self._admit(visit, view, None if host.lab else host.port, target, passage)

    async def _gate_path(self, visit: Visit, host: JobHost, target: str) -> web.StreamResponse:
        """What is the gate's own on every job host."""
        request, path = visit.request, target.partition("?")[0]
        visit.link = Link(f"{host.origin}/", "Open the job")
        if path == ENTER_PATH and request.method == "GET":
            return await self._logins.finish(request, host, target)
        if path == VISIT_PATH and request.method in ("GET", "POST"):
            return await self._visits.arrive(visit, host, target)
        if path == LOGOUT_PATH and request.method == "POST":
            if foreign(request.method, request.headers, host.origin):
                raise PermissionDenied("a page of another origin asked for this log-out; it was refused")
            claims = self._identities.cookie_claims(request.headers, host.name)
            response = await self._logins.end(request, host, claims)
            self._live.cut(claims)
            return response
        raise NotFound("the gate has nothing at this address", f"the job is at {host.origin}/")

    async def from_job(self, visit: Visit) -> web.StreamResponse:
        """A request on the address that only jobs reach: the content of data, and nothing else. Raises `ToolkitError`."""
        return await self._data.answer(visit.request, visit.id, visit.named)

    # --- the side for the proxy: the hub's /user/OWNER/SERVER/ --------------------------------------------------------

    async def from_proxy(self, visit: Visit) -> web.StreamResponse:
        """A request on the listener for the proxy and the hub: tokens only. Raises `ToolkitError`."""
        request, target = visit.request, _target(visit.request)
        if target == HEALTH_PATH:
            words = {"status": "ok", "live": len(self._live), "pid": os.getpid()}
            return web.json_response(words, headers={"Cache-Control": "no-store"})
        if target == METRICS_PATH:
            await self._rights.authorise_key(visit, "organization:metrics")
            return web.Response(body=generate_latest(GATE_REGISTRY), headers={"Content-Type": CONTENT_TYPE})
        path = server_path(target)
        if path is None:
            raise NotFound("this address belongs to no server", "servers are at /user/OWNER/SERVER/")
        if bearer_token(request.headers) is None:
            return await self._without_token(request, path, target)
        claims = [claim for claim in await self._identities.claims(request.headers, "") if not claim.is_cookie]
        view = await self._rights.look(visit, path, claims)
        if view is None:
            raise _no_such_job()
        if view.visitor is None:
            raise NotSignedIn(
                "this token is not known to the hub, or its scopes do not reach this server",
                "make a token with the scope `access:servers`, or with all of your rights",
            )
        scheme, _, host = self._site.public_url.partition("://")
        passage = Passage(visit.user, scheme, host.rstrip("/"), cookies=False)
        return await self._admit(visit, view, None, target, passage)

    async def _without_token(self, request: web.BaseRequest, path: ServerPath, target: str) -> web.Response:
        """The hub's readiness check, and browsers.

        A page of a job on the hub's own origin could act at the hub as whoever looks at it; so no browser ever gets one.
        """
        view = await self._views.look(path)
        if view is None:
            raise _no_such_job()
        # The proxy always adds X-Forwarded-For: without it, this is the hub, asking whether the server is up.
        if request.method == "GET" and path.rest == "/api" and "X-Forwarded-For" not in request.headers:
            version = {"X-JupyterHub-Version": self._hub_version}
            return web.json_response({"version": "toolkit-gate"}, headers=version)
        lab = self._hosts.lab(view.job_id).origin
        if is_navigation(request):
            return redirect(f"{lab}{target}")
        raise PermissionDenied(
            "this address is for programs with a hub token", f"send `Authorization: token …`; browsers use {lab}/"
        )

    # --- known, and allowed? ----------------------------------------------------------------------------------------

    async def _admit(
        self, visit: Visit, view: View, port: int | None, target: str, passage: Passage
    ) -> web.StreamResponse:
        """Authorise a known visitor: to a port of the job's own, or (None) to its job server."""
        if not view.may_see:
            await self._rights.refuse(visit, view, "job:get")
        if port is None and not view.may_exec:
            await self._rights.refuse(visit, view, "job:exec")
        if port is not None and port not in view.ports:
            served = ", ".join(str(each) for each in sorted(view.ports))
            raise NotFound(
                f"this job does not serve its port {port}",
                f"ports are declared when a job is submitted (`--port {port}`); of this one there are: {served}",
            )
        return await self._arrive(visit, view, port, target, passage)

    async def _arrive(
        self, visit: Visit, view: View, port: int | None, target: str, passage: Passage
    ) -> web.StreamResponse:
        """Find what the address means now, for somebody who is let in."""
        if passage.public or KEY_HEADER in visit.request.headers:
            passage = replace(passage, authorization=await self._identities.is_for_app(visit.request.headers))
        job_page = f"{self._site.public_url}/services/toolkit/jobs/{view.job_id}"
        visit.link = Link(job_page, "The job's page")
        if not view.alive:
            raise Conflict(
                f"this job has ended: {_state(view)}", "its log is on the job's page; submit it again to run it"
            )
        run = view.run
        if run is None or not run.reachable:
            return self._not_yet(visit, view)
        if port is not None:
            hint = f"the job's own web server must listen on port {port}; the job's log shows what it says"
            within = Within(run.id, port, partial(self._streams.dial, run, visit.user, port))
            to = Target(run.ip or "", port, passage, f"port {port} of this job", hint, within)
            return await self._pass(visit, view, port, target, to)
        elsewhere = _lab_elsewhere(visit.request, view, run, target)
        if elsewhere is not None:
            return redirect(f"{passage.scheme}://{passage.host}{elsewhere}")
        path = server_path(target)
        stream = stream_of(visit.request, path.rest) if path else None
        if stream is not None:
            with self._watched(visit, view, None):
                kind = stream.protocol.removeprefix("toolkit-")
                opened = partial(self._rights.opened, visit, view, kind, stream.port)
                return await self._streams.join(visit.request, run, visit.user, stream, opened)
        return await self._to_job_server(visit, view, run, target, passage)

    def _not_yet(self, visit: Visit, view: View) -> web.Response:
        if not is_navigation(visit.request):
            raise ServiceUnavailable(f"this job is not running yet: {_state(view)}", "try again when it runs")
        return page(
            "This job is not running yet",
            _state(view),
            "This page opens the job as soon as it runs.",
            status=503,
            link=visit.link,
            refresh_s=_RELOAD_QUEUED_S,
        )

    # --- let in -----------------------------------------------------------------------------------------------------

    async def _to_job_server(
        self, visit: Visit, view: View, run: RunPlace, target: str, passage: Passage
    ) -> web.StreamResponse:
        """To the job server, which is started first if need be, and once more if it has died since."""
        secret_passage = replace(passage, secret=run.secret)
        to = Target(run.ip or "", LAB_PORT, secret_passage, "this job's JupyterLab server", "try again")
        for again in (True, False):
            waiting = await self._started(visit, run)
            if waiting is not None:
                return waiting
            try:
                return await self._pass(visit, view, None, target, to, self._note_of(visit, view, target))
            except Unreachable:
                self._job_servers.forget(run)
                if not again:
                    raise
        raise AssertionError("unreachable")

    async def _started(self, visit: Visit, run: RunPlace) -> web.Response | None:
        """None when the job server is up; a page for a person who has to wait for it."""
        navigation = is_navigation(visit.request)
        reason = await self._job_servers.wait(run, _PAGE_AFTER_S if navigation else _PROGRAM_WAITS_S)
        if reason == "":
            return None
        if reason is not None:
            raise BadGateway(
                f"JupyterLab cannot be started in this job: {reason}", "the job itself is not affected by this"
            )
        if not navigation:
            raise ServiceUnavailable(f"JupyterLab is still starting after {_PROGRAM_WAITS_S:.0f} s", "try again")
        return page(
            "JupyterLab is starting in this job",
            "It takes a few seconds, once for each run of the job. This page opens it as soon as it answers.",
            status=503,
            link=visit.link,
            refresh_s=_RELOAD_STARTING_S,
        )

    def _note_of(self, visit: Visit, view: View, target: str) -> Callable[[], None]:
        """Tells the audit log of a connection to the job's ssh server or to a port."""
        path = server_path(target)
        found = _STREAM_PATH.fullmatch(path.rest.partition("?")[0]) if path else None
        if found is None:
            return _nothing
        return partial(self._rights.opened, visit, view, "tcp" if found[1] else "ssh", int(found[1] or 0))

    async def _pass(
        self,
        visit: Visit,
        view: View,
        port: int | None,
        target: str,
        to: Target,
        opened: Callable[[], None] = _nothing,
    ) -> web.StreamResponse:
        """Forward, under the eye of the re-check; `opened` is called when a websocket has been joined."""
        request = visit.request
        with self._watched(visit, view, port):
            if is_upgrade(request):
                return await tunnel(self._upstream, request, target, to, opened)
            return await forward(self._upstream, request, target, to)

    def _watched(self, visit: Visit, view: View, port: int | None) -> Watch:
        """For as long as what the visitor came for lasts: to a port of the job's own, or (None) with `job:exec`."""
        transport = visit.request.transport
        if transport is None:
            raise ConnectionResetError("the visitor has gone")
        public = port or 0 if view.claim is None else 0
        return self._live.watch(Live(view.claim, visit.user, view.job_id, port is None, transport, public))


def _target(request: web.BaseRequest) -> str:
    if request.version not in _VERSIONS:
        raise InvalidRequest("the gate speaks no such version of HTTP", "use HTTP/1.1, by any usual client")
    target = raw_target(request)
    if target is None:
        raise InvalidRequest("the request's target is not a path", "send the path of the address, without a fragment")
    return target


def _no_such_job() -> NotFound:
    return NotFound("no such job", "check the address; you may also lack the right to see the job")


def _state(view: View) -> str:
    """Where the job stands, in its own words if it has some."""
    return f"{view.state}: {view.state_info}" if view.state_info else view.state


def _lab_elsewhere(request: web.BaseRequest, view: View, run: RunPlace, target: str) -> str | None:
    """Where a request to the lab host has to go first; None when it is right where it is.

    Raises `NotFound` for what is below no run of the job, `Conflict` for what cannot follow to the current one.
    """
    if target.partition("?")[0] == "/":
        return f"{run.base}lab"
    path = server_path(target)
    if path is not None and path.owner == run.owner and path.server_name == run.server_name:
        return None if path.rest.startswith("/") else f"{run.base}{path.rest}"
    if path is None or view.older_run is None:
        raise NotFound("this job's JupyterLab has nothing at this address", f"it begins at {run.base}lab")
    if request.method not in ("GET", "HEAD") or "Upgrade" in request.headers:
        raise Conflict("this address belongs to an earlier run of the job", f"the present one is at {run.base}lab")
    return f"{run.base}{path.rest.removeprefix('/')}"
