"""A route of the REST API, declared: what it does, which action it needs, what goes in and out.

The tornado handlers, the OpenAPI document and the test that walks the URL table all read the same declarations.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from tornado.web import HTTPError

from toolkit_client.errors import InvalidRequest, ToolkitError
from toolkit_client.wire import describe_problems
from toolkit_hub.api.context import Context, ServiceHandler
from toolkit_hub.domain.access import Actor, actor_by_key, stopped

__all__ = ["API_PREFIX", "ApiHandler", "Call", "Parameter", "Route", "url_specs"]

API_PREFIX = "/services/toolkit/api/v1"
BodyT = TypeVar("BodyT", bound=BaseModel)
AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True)
class Parameter:
    """A query parameter."""

    name: str
    description: str
    schema: dict[str, Any] = field(default_factory=lambda: {"type": "string"})
    required: bool = False


@dataclass(frozen=True)
class Route:
    """One method of one path. `action` is what the domain function authorises; None only for what everybody may read."""

    method: str
    path: str
    summary: str
    action: str | None
    run: Callable[[Call], Awaitable[Any]]
    body: type[BaseModel] | None = None
    answer: Any = None
    status: int = 200
    parameters: tuple[Parameter, ...] = ()
    idempotent_key: bool = False
    #: Whether it may answer 202: not done yet.
    lasts: bool = False
    media_type: str = "application/json"


class Call:
    """One request, on its way through a route's function."""

    def __init__(self, handler: ApiHandler, route: Route, actor: Actor | None, path_arguments: dict[str, str]) -> None:
        self.handler = handler
        self.route = route
        self._actor = actor
        self.path_arguments = path_arguments
        self.status = route.status

    @property
    def actor(self) -> Actor:
        assert self._actor is not None, "a route with an action has an actor"
        return self._actor

    @property
    def context(self) -> Context:
        return self.handler.context

    @property
    def for_jobs(self) -> bool:
        """Whether it came to the address that only jobs reach."""
        return bool(self.handler.settings.get("toolkit_for_jobs"))

    def body(self, model: type[BodyT]) -> BodyT:
        """The request's JSON. Raises `InvalidRequest` naming each field that is wrong."""
        return parse_body(model, self.handler.request.body)

    def query(self, name: str) -> str | None:
        value = self.handler.get_query_argument(name, None)
        return value or None

    def flag(self, name: str) -> bool:
        value = (self.query(name) or "false").lower()
        if value not in ("true", "false", "1", "0"):
            raise InvalidRequest(f"{name} is true or false, not {value[:20]!r}", "")
        return value in ("true", "1")

    def number(self, name: str, default: int | None, low: int, high: int) -> int | None:
        text = self.query(name)
        if text is None:
            return default
        if not re.fullmatch(r"[0-9]{1,15}", text) or not low <= int(text) <= high:
            raise InvalidRequest(f"{name} is a whole number from {low} to {high}, not {text[:20]!r}", "")
        return int(text)

    def time(self, name: str) -> datetime | None:
        text = self.query(name)
        if text is None:
            return None
        try:
            return datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            raise InvalidRequest(f"{name} is a time as 2026-01-31T12:00:00Z, not {text[:40]!r}", "") from None

    def owner_type(self) -> str | None:
        """The query parameter `owner`: which role is meant where a full name fits several."""
        value = self.query("owner")
        if value not in (None, "organization", "team", "account"):
            raise InvalidRequest(f"owner is organization, team or account, not {value[:20]!r}", "")
        return value

    def made(self, outcome: tuple[AnswerT, bool]) -> AnswerT:
        """The answer to a POST: 201 for what was made now, 200 for what was there, perhaps by a try whose answer was lost."""
        answer, new = outcome
        if not new:
            self.status = 200
        return answer

    def idempotency_key(self) -> str | None:
        key = self.handler.request.headers.get("Idempotency-Key")
        if key is not None and not re.fullmatch(r"[\x21-\x7e]{1,255}", key):
            raise InvalidRequest("Idempotency-Key has 1 to 255 printable characters", "a random UUID is a good one")
        return key


def parse_body(model: type[BodyT], raw: bytes) -> BodyT:
    try:
        return model.model_validate_json(raw or b"{}")
    except ValidationError as error:
        problems = describe_problems(model, error)
        raise InvalidRequest(f"the request is not valid: {problems}", "see /services/toolkit/api/") from None


class ApiHandler(ServiceHandler):
    """All methods of one path."""

    def initialize(self, context: Context, routes: dict[str, Route]) -> None:  # type: ignore[override]
        super().initialize(context)
        self.routes = routes

    async def identify_by_key(self, token: str) -> Actor | None:
        actor = await self.context.store.read(actor_by_key, token, self.request_id, self.address)
        self.caller = actor
        if actor is not None and actor.key_id:
            self.context.afterwards.used(actor.key_id)
        return actor

    async def _dispatch(self, **path_arguments: str) -> None:
        route = self.routes.get(self.request.method or "")
        if route is None:
            self.set_header("Allow", ", ".join(self.routes))
            raise HTTPError(405, f"{self.request.method} is not possible here")
        actor = await self.require_actor() if route.action else None
        if actor is not None and route.action and actor.subject.stopped:
            # Every decision would be no; a list would be empty without a word.
            raise stopped(actor, route.action)
        call = Call(self, route, actor, path_arguments)
        answer = await route.run(call)
        if self._finished or route.media_type != "application/json":
            return
        self.set_status(call.status)
        self.set_header("Content-Type", "application/json")
        self.set_header("X-Request-Id", self.request_id)
        if isinstance(answer, BaseModel):
            self.finish(answer.model_dump_json(by_alias=True))
        elif answer is not None:
            self.finish(orjson.dumps(answer, option=orjson.OPT_UTC_Z))

    get = head = post = put = patch = delete = options = _dispatch

    def compute_etag(self) -> None:
        """None: answers are never stored (`Cache-Control`), so a hash of each would be for nobody."""

    def as_toolkit_error(self, error: BaseException | None) -> ToolkitError:
        if isinstance(error, HTTPError) and error.status_code == 405:
            result = InvalidRequest(error.log_message or "", "see /services/toolkit/api/")
            result.status = 405  # type: ignore[misc]
            return result
        return super().as_toolkit_error(error)


def url_specs(routes: list[Route], context: Context) -> list[tuple[str, type[ApiHandler], dict[str, Any]]]:
    """The routes as tornado takes them, one entry a path."""
    by_path: dict[str, dict[str, Route]] = {}
    for route in routes:
        by_path.setdefault(route.path, {})[route.method] = route
    return [
        (API_PREFIX + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path), ApiHandler, {"context": context, "routes": methods})
        for path, methods in by_path.items()
    ]
