"""The data host's addresses, each with the action that it needs, and the way of a request through them."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import web

from toolkit_client.errors import (
    Conflict,
    InsufficientStorage,
    InvalidRequest,
    NotFound,
    ServiceUnavailable,
    ToolkitError,
)
from toolkit_hub.configure import Toolkit
from toolkit_hub.domain.access import DeadKey, Hidden, Refused
from toolkit_hub.domain.afterwards import Afterwards
from toolkit_hub.domain.data_usage import DataLimits
from toolkit_hub.gate.data import files, transfer
from toolkit_hub.gate.data.call import CallerGone, DataCall, Means, cross_origin, parse_query
from toolkit_hub.gate.data.callers import Caller, Callers
from toolkit_hub.gate.data.volume import VolumeThreads
from toolkit_hub.gate.identity import HubTokens, bearer_token
from toolkit_hub.gate.pages import answer_error
from toolkit_hub.store import Store
from toolkit_hub.volumes.layout import Volumes

__all__ = ["ROUTES", "DataHost", "DataRoute"]

log = logging.getLogger("toolkit.gate")

_PATH = re.compile(r"/v1/data/([^/]{1,2000})/([a-z/-]{1,40})")
_LONGEST_FORM = 64 * 1024
_METHODS = "GET, HEAD, POST, PUT"


@dataclass(frozen=True)
class DataRoute:
    """One method of one address below ``/v1/data/{data}/``. `by_form`: a page of ours may send its ticket as a form's field."""

    method: str
    what: str
    summary: str
    action: str
    run: Callable[[DataCall], Awaitable[web.StreamResponse]]
    by_form: bool = False


ROUTES = (
    DataRoute("GET", "listing", "what a folder holds", "data:get", transfer.listing),
    DataRoute("POST", "pull", "the files that the body names", "data:get", transfer.pull),
    DataRoute("POST", "push", "take files in", "data:set", transfer.push),
    DataRoute("GET", "file", "one file, or a range of it", "data:get", files.download),
    DataRoute("POST", "file/save", "the same, for a form of our own page", "data:get", files.download, by_form=True),
    DataRoute("POST", "archive", "a folder as a tar file", "data:get", files.archive, by_form=True),
    DataRoute("GET", "upload", "how much of a file is here already", "data:set", files.have),
    DataRoute("PUT", "upload", "one part of a file", "data:set", files.upload),
    DataRoute("POST", "remove", "remove files and folders", "data:set", files.remove),
    DataRoute("POST", "mkdir", "make folders", "data:set", files.make_folders),
    DataRoute("POST", "move", "rename a file or folder", "data:set", files.move),
)
_BY_ADDRESS = {(route.method, route.what): route for route in ROUTES}


class DataHost:
    """Answers the requests at ``data.JOBSDOMAIN``."""

    def __init__(self, site: Toolkit, store: Store, tokens: HubTokens, afterwards: Afterwards) -> None:
        gib = 2**30
        limits = DataLimits(int(site.data_quota * gib) or None, site.data_file_quota or None)
        self._threads = VolumeThreads()
        self._callers = Callers(tokens, site.secret("data-ticket-key"))
        self._means = Means(site, store, Volumes(site.data_root), self._threads, self._callers, limits)
        self._afterwards = afterwards

    def close(self) -> None:
        self._threads.close()

    async def answer(
        self, request: web.BaseRequest, request_id: str, name: Callable[[str], None]
    ) -> web.StreamResponse:
        """Answer a request; `name` is told who asks, for the log."""
        cors = cross_origin(self._means, request)
        if request.method == "OPTIONS":
            return _preflight(cors)
        try:
            response = await self._answer(request, request_id, name)
        except CallerGone as error:
            raise ConnectionResetError(str(error)) from error
        except ConnectionError:
            raise
        except ToolkitError as error:
            response = answer_error(request, error, request_id=request_id)
        except OSError as error:
            response = answer_error(request, _of_the_disk(error), request_id=request_id)
        if not response.prepared:
            response.headers.update(cors)
        return response

    async def _answer(
        self, request: web.BaseRequest, request_id: str, name: Callable[[str], None]
    ) -> web.StreamResponse:
        raw_path, _, raw_query = request.raw_path.partition("?")
        match = _PATH.fullmatch(raw_path)
        method = "GET" if request.method == "HEAD" else request.method
        route = _BY_ADDRESS.get((method, match[2])) if match else None
        if match is None or route is None:
            raise NotFound("there is nothing at this address", f"{_METHODS} of /v1/data/DATA/…")
        query, token = parse_query(raw_query), bearer_token(request.headers)
        if route.by_form and token is None:
            form = parse_query(await _form(request))
            token = form.pop("ticket", b"").decode("ascii", "replace")
            query = {**form, **query}
        caller = await self._callers.find(token, request_id, request.remote or "")
        call = DataCall(self._means, request, query, caller, route.action, unquote(match[1]))
        try:
            await call.admit()
        except (Refused, Hidden, DeadKey) as error:
            await self._remember(error, caller, f"{request.method} {raw_path[:200]}", request_id)
            raise
        name(call.actor.name or call.actor.full_name)
        if call.actor.key_id:
            self._afterwards.used(call.actor.key_id)
        if route.action == "data:set" and call.place.version_id is not None:
            raise InvalidRequest("a version never changes", "leave the version out to change the live content")
        return await route.run(call)

    async def _remember(self, error: Refused | Hidden | DeadKey, caller: Caller, what: str, request_id: str) -> None:
        """For the audit log."""
        if isinstance(error, DeadKey):
            self._afterwards.dead_key(error, request_id, "", what)
            return
        actor = await self._means.store.read(caller.actor)
        self._afterwards.refused(actor, error.action, error.urn, error.reason, what)


def _of_the_disk(error: OSError) -> ToolkitError:
    """What the file system has refused, as its caller should hear it."""
    why = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InsufficientStorage(f"there is no room for it: {why}", "what was there before is unharmed; make room")
    if error.errno in (errno.EACCES, errno.EPERM):
        return Conflict(
            f"the file system does not allow it: {why}",
            "somebody has taken the permissions from the file or its folder: `chmod` in a job that mounts the data",
        )
    log.warning("a file of data could not be used: %s", why)
    return ServiceUnavailable(f"the file system failed: {why}", "an administrator can look at the gate's log")


async def _form(request: web.BaseRequest) -> str:
    """The body of a small form of ours. Raises `InvalidRequest` for a large one."""
    raw = bytearray()
    async for piece in request.content.iter_any():
        raw += piece
        if len(raw) > _LONGEST_FORM:
            raise InvalidRequest("the form is too large", "")
    return raw.decode("ascii", "replace")


def _preflight(cors: dict[str, str]) -> web.Response:
    """May a page send this? One of ours may."""
    allowed = {
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": "Authorization, Content-Type, Content-Digest",
        "Access-Control-Max-Age": "600",
    }
    return web.Response(status=204, headers={**cors, **(allowed if cors else {})})
