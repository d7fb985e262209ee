"""What every handler of the service shares: the site, the store, and who is asking."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jupyterhub.services.auth import HubOAuth, HubOAuthenticated
from tornado.web import HTTPError, RequestHandler

from toolkit_client.errors import (
    InternalError,
    InvalidRequest,
    NotFound,
    NotSignedIn,
    ServiceUnavailable,
    TooLarge,
    ToolkitError,
)
from toolkit_hub.api.address import address_of
from toolkit_hub.configure import Toolkit
from toolkit_hub.domain.access import Actor, DeadKey, Hidden, Refused, actor_by_name
from toolkit_hub.domain.afterwards import Afterwards
from toolkit_hub.domain.data_usage import DataLimits
from toolkit_hub.domain.launch import Places
from toolkit_hub.domain.site import Site
from toolkit_hub.garbage import Collector
from toolkit_hub.keeping.commits import Commits
from toolkit_hub.keeping.devices import DeviceKeeper
from toolkit_hub.keeping.usage_keeper import UsageKeeper
from toolkit_hub.metrics.sampler import Sampler
from toolkit_hub.store import Store
from toolkit_spawner.docker_api import Engine

__all__ = ["Context", "ServiceHandler"]

log = logging.getLogger("toolkit.service")

#: How an `Authorization` header begins that carries a role key or a job's own token. The hub knows neither, and is never asked.
_OWN_TOKEN = re.compile(r"(?:bearer|token)\s+(tk[rj]_\S+)\s*", re.IGNORECASE)
#: Seconds after which the hub is asked again about a user whom the toolkit does not know: the two may differ for a moment in a
#: rename.
_RENAME_WAIT_S = 0.5


@dataclass(frozen=True)
class Context:
    """One for the process."""

    settings: Toolkit
    site: Site
    places: Places
    store: Store
    hub_auth: HubOAuth
    engine: Engine
    collector: Collector
    commits: Commits
    usage: UsageKeeper
    devices: DeviceKeeper
    sampler: Sampler
    data_limits: DataLimits
    afterwards: Afterwards
    internal_token: str
    #: Called after a change that may concern the queue.
    wake_queue: Callable[[], None]
    #: Called with the id of a run that was just killed.
    cancel_run: Callable[[str], None]


class ServiceHandler(HubOAuthenticated, RequestHandler):
    """Identifies the caller at the hub before the method runs; errors go out as `ToolkitError` bodies."""

    context: Context
    request_id: str
    #: Where the request came from.
    address: str
    #: Who sent it, once that is known.
    caller: Actor | None = None
    disconnected = False

    def on_connection_close(self) -> None:
        """The caller has gone: long answers end."""
        self.disconnected = True

    def initialize(self, context: Context) -> None:
        self.context = context
        self.hub_auth = context.hub_auth
        self.request_id = uuid.uuid4().hex[:16]
        self.address = address_of(self.request)

    def set_default_headers(self) -> None:
        self.set_header("Server", "toolkit")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")

    async def identify(self) -> Actor | None:
        """The caller: a token in `Authorization`, or the cookie of an OAuth log-in. None without a valid one.

        Raises `NotSignedIn` for a hub user whom the toolkit does not know, and for a key that was good once.
        """
        own = _OWN_TOKEN.fullmatch(self.request.headers.get("Authorization", ""))
        if own is not None:
            return await self.identify_by_key(own[1])
        name = await self._name_at_hub()
        if name is None:
            return None
        actor = await self._user(name)
        if actor is None:
            await asyncio.sleep(_RENAME_WAIT_S)
            self.hub_auth.cache.clear()
            self._ask_hub_again()
            name = await self._name_at_hub() or name
            actor = await self._user(name)
        if actor is None:
            raise NotSignedIn(f"the hub knows {name}, the toolkit does not", "ask an administrator: `toolkit user new`")
        self.caller = actor
        return actor

    async def identify_by_key(self, token: str) -> Actor | None:
        """The role whose key it is, or the job whose own token. Pages are for people: only the API takes these."""
        return None

    async def _user(self, name: str) -> Actor | None:
        return await self.context.store.read(actor_by_name, name, self.request_id, self.address)

    async def _name_at_hub(self) -> str | None:
        model = await self.hub_auth.get_user(self, sync=False)
        # A token that does not reach this service (read-only, or of another server) is worth nothing here.
        if model is None or not self.hub_auth.check_scopes(self.hub_scopes, model):
            return None
        return str(model["name"]) if model.get("kind") == "user" else None

    def _ask_hub_again(self) -> None:
        """HubAuth asks once a request, and keeps the answer here."""
        self._cached_hub_user = None
        del self._cached_hub_user

    async def require_actor(self) -> Actor:
        actor = await self.identify()
        if actor is None:
            raise NotSignedIn("nobody is signed in with this request", "sign in, or send a token that is still valid")
        return actor

    async def identify_again(self) -> Actor:
        """Who the caller is now, for answers that last: raises `NotSignedIn` when the token or log-in has ended."""
        self._ask_hub_again()
        return await self.require_actor()

    def get_current_user(self) -> None:
        """Never asked: identities are looked up without blocking, by `identify`."""
        return

    def as_toolkit_error(self, error: BaseException | None) -> ToolkitError:
        if isinstance(error, ToolkitError):
            return error
        if isinstance(error, HTTPError):
            if error.status_code == 404:
                return NotFound("there is nothing at this address", "see /services/toolkit/api/")
            if error.status_code == 413:
                return TooLarge("the request is too large", "")
            if error.status_code >= 500:
                return ServiceUnavailable(
                    "the hub does not answer, so nobody can be identified", "try again in a moment"
                )
            return InvalidRequest(error.log_message or error.reason or "the request is not understood", "")
        return InternalError(
            f"something went wrong in the service (request {self.request_id})",
            "try again; an administrator finds the cause under this request id in the service's log",
        )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        raised = kwargs.get("exc_info", (None, None, None))[1]
        error = self.as_toolkit_error(raised)
        self.set_status(error.status)
        self.write_toolkit_error(error)

    def write_toolkit_error(self, error: ToolkitError) -> None:
        """JSON; pages override it."""
        if error.status == 401:
            self.set_header("WWW-Authenticate", 'Bearer realm="toolkit"')
        self.set_header("X-Request-Id", self.request_id)
        self.finish(error.body())

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        self.remember_refusal(value)
        if isinstance(value, ToolkitError | HTTPError):
            log.info("%s %s %s: %s", self.request_id, self.request.method, _safe(self.request.path), value)
        else:
            log.error(
                "%s %s %s", self.request_id, self.request.method, _safe(self.request.path), exc_info=(typ, value, tb)
            )

    def remember_refusal(self, error: Any) -> None:
        """For the audit log. What is hidden counts, though its answer reads as if nothing were there."""
        request = f"{self.request.method} {_safe(self.request.path)}"
        if isinstance(error, DeadKey):
            self.context.afterwards.dead_key(error, self.request_id, self.address, request)
        elif isinstance(error, Refused | Hidden) and self.caller is not None:
            self.context.afterwards.refused(self.caller, error.action, error.urn, error.reason, request)


def _safe(text: str) -> str:
    """Bounded and without control characters, for the log."""
    return re.sub(r"[^\x20-\x7e]", "?", text)[:200]
