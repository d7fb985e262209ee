"""The OpenAPI 3.1 document, generated from the declared routes and the wire models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Literal

from pydantic.json_schema import models_json_schema

from toolkit_client.models import ErrorBody
from toolkit_hub.api.routing import API_PREFIX, Call, Parameter, Route
from toolkit_hub.policy.actions import ACTIONS

__all__ = ["openapi_document", "openapi_route"]

_REF = "#/components/schemas/{model}"
_Mode = Literal["validation", "serialization"]
#: (model, mode) → its schema's reference.
_Refs = dict[tuple[Any, _Mode], Any]

_KEY = Parameter(
    "Idempotency-Key",
    "sent again with the same body, it gives the same answer (200) and does nothing twice",
    {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"},
)
_LAST_EVENT = Parameter(
    "Last-Event-ID", "number of the last event that was seen", {"type": "string", "pattern": "^[0-9]{1,15}$"}
)
_SECURITY = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "a hub token, which acts as its user: `Authorization: Bearer …`",
    },
    "roleKey": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "tkr_…",
        "description": "a role key, which acts as its role: `Authorization: Bearer tkr_…`",
    },
    "jobToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "tkj_…",
        "description": "a job's own token (TOOLKIT_TOKEN in the job), good for that job and for what its role may",
    },
}


def openapi_document(routes: Sequence[Route]) -> dict[str, Any]:
    """The whole interface."""
    refs, schemas = _schemas(routes)
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Toolkit",
            "version": version("jupyterhub-toolkit"),
            "description": "Jobs in any container image, on the group's own machines. What you may not see answers 404, what "
            "you may see but not do 403.",
        },
        "servers": [{"url": API_PREFIX}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SECURITY},
    }


def _schemas(routes: Sequence[Route]) -> tuple[_Refs, dict[str, Any]]:
    """What comes in is described as it is checked, what goes out as it is written."""
    wanted: set[tuple[Any, _Mode]] = {(ErrorBody, "serialization")}
    for route in routes:
        if route.body is not None:
            wanted.add((route.body, "validation"))
        if route.answer is not None:
            wanted.add((route.answer, "serialization"))
    ordered = sorted(wanted, key=lambda pair: (pair[0].__name__, pair[1]))
    refs, schemas = models_json_schema(ordered, by_alias=True, ref_template=_REF)
    return dict(refs), schemas.get("$defs", {})


def _operation(route: Route, refs: _Refs) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{re.sub(r'[^a-z]+', '_', route.path.lower()).strip('_')}",
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": {
            str(status): {"description": words, "content": {route.media_type: {"schema": _schema(route, refs)}}}
            for status, words in _answers(route)
        },
    }
    operation["responses"]["default"] = {
        "description": "what happened, why, and what to do next",
        "content": {"application/json": {"schema": refs[ErrorBody, "serialization"]}},
    }
    if route.action:
        operation |= _rights(route.action)
    if route.body is not None:
        schema = refs[route.body, "validation"]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _rights(name: str) -> dict[str, Any]:
    action = ACTIONS[name]
    warning = " Dangerous: grant it with care." if action.dangerous else ""
    return {
        "description": f"Needs `{name}`: {action.opens}.{warning}",
        "security": [{scheme: []} for scheme in _SECURITY],
        "x-action": name,
        "x-dangerous": action.dangerous,
    }


def _answers(route: Route) -> list[tuple[int, str]]:
    if route.status == 201:
        later = [(202, "not done yet: send it again, with the same key")] if route.lasts else []
        return [(201, "made"), (200, "it was there: made by the same key, or living"), *later]
    return [(route.status, "done")]


def _parameters(route: Route) -> list[dict[str, Any]]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    in_header = [
        *([_KEY] if route.idempotent_key else []),
        *([_LAST_EVENT] if route.media_type == "text/event-stream" else []),
    ]
    return [
        *in_path,
        *(_parameter(item, "query") for item in route.parameters),
        *(_parameter(item, "header") for item in in_header),
    ]


def _parameter(item: Parameter, place: str) -> dict[str, Any]:
    described = {"name": item.name, "in": place, "description": item.description, "schema": item.schema}
    return described | {"required": True} if item.required else described


def _schema(route: Route, refs: _Refs) -> Any:
    if route.answer is not None:
        return refs[route.answer, "serialization"]
    return {"type": "object"} if route.media_type == "application/json" else {"type": "string"}


def openapi_route(routes: Sequence[Route]) -> Route:
    """The document's own route: readable by everybody, for it says nothing about the site."""
    document = openapi_document(routes)

    async def read(_call: Call) -> dict[str, Any]:
        return document

    return Route("GET", "/openapi.json", "This document", None, read)
