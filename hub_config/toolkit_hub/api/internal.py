"""For the hub's spawner only: not below the service's public prefix, so the proxy never leads here."""

from __future__ import annotations

import hmac
import json
from typing import Any

from pydantic import BaseModel
from tornado.web import RequestHandler

from toolkit_client.errors import InternalError, NotSignedIn, ToolkitError
from toolkit_hub.api.context import Context, log
from toolkit_hub.api.routing import parse_body
from toolkit_hub.domain import launch, retention, runs
from toolkit_hub.domain.mounts import MountRefused

__all__ = ["InternalHandler"]


class _Server(BaseModel):
    server: str


class _Launch(_Server):
    owner: str


class _Started(_Server):
    container_id: str
    ip: str | None
    image_digest: str
    node_name: str


class _Failed(_Server):
    reason: str


class _Progress(_Server):
    info: str


class _Pulled(_Server):
    reference: str
    image_id: str


class InternalHandler(RequestHandler):
    """``POST /internal/{launch,started,failed,progress,pulled,wanted}`` with the site's internal token."""

    def initialize(self, context: Context) -> None:
        self.context = context

    def check_xsrf_cookie(self) -> None:
        """No cookies here."""

    def prepare(self) -> None:
        given = self.request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"token {self.context.internal_token}".encode()):
            raise NotSignedIn("this interface is for the hub's spawner", "")

    async def post(self, call: str) -> None:
        answer = await getattr(self, f"_{call}")(self.request.body)
        self.finish(answer if answer is not None else {})

    async def _launch(self, raw: bytes) -> dict[str, Any]:
        body, context = parse_body(_Launch, raw), self.context
        try:
            spec = await context.store.read(launch.launch_spec, context.site, context.places, body.owner, body.server)
        except MountRefused as error:
            # Asking again would give the same answer: without an end the run would stay QUEUED for ever.
            await context.store.write(launch.record_failure, body.server, error.message)
            context.wake_queue()
            raise
        return dict(json.loads(spec.model_dump_json()))

    async def _started(self, raw: bytes) -> None:
        body = parse_body(_Started, raw)
        await self.context.store.write(
            runs.mark_started, body.server, body.container_id, body.ip, body.image_digest, body.node_name
        )

    async def _failed(self, raw: bytes) -> None:
        body = parse_body(_Failed, raw)
        await self.context.store.write(launch.record_failure, body.server, body.reason)
        self.context.wake_queue()

    async def _progress(self, raw: bytes) -> None:
        body = parse_body(_Progress, raw)
        await self.context.store.write(launch.record_progress, body.server, body.info)

    async def _pulled(self, raw: bytes) -> None:
        body = parse_body(_Pulled, raw)
        await self.context.store.write(retention.record_pull, body.reference, body.image_id)

    async def _wanted(self, raw: bytes) -> dict[str, bool]:
        body = parse_body(_Server, raw)
        return {"wanted": await self.context.store.read(launch.wanted, body.server)}

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        raised = kwargs.get("exc_info", (None, None, None))[1]
        error = raised if isinstance(raised, ToolkitError) else InternalError("the service failed", "see its log")
        self.set_status(error.status)
        self.finish(error.body())

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if isinstance(value, ToolkitError):
            log.info("internal %s: %s", self.request.path, value)
        else:
            log.error("internal %s", self.request.path, exc_info=(typ, value, tb))
