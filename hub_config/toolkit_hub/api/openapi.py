"""The OpenAPI 3.1 document, generated from the declared routes and the wire models."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import Any

from pydantic.json_schema import models_json_schema

from toolkit_client.models import ErrorBody
from toolkit_hub.api.routing import API_PREFIX, Call, Route
from toolkit_hub.policy.actions import ACTIONS

__all__ = ["openapi_document", "openapi_route"]

_REF = "#/components/schemas/{model}"


def openapi_document(routes: list[Route]) -> dict[str, Any]:
    """The whole interface."""
    models = {model for route in routes for model in (route.body, route.answer) if model is not None} | {ErrorBody}
    ordered = sorted(models, key=lambda model: str(model.__name__))
    names, schemas = models_json_schema(
        [(model, "serialization" if model.__name__ != "JobSpec" else "validation") for model in ordered],
        by_alias=True,
        ref_template=_REF,
    )
    refs = {model: schema for (model, _mode), schema in names.items()}
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, refs)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Toolkit", "version": version("jupyterhub-toolkit")},
        "servers": [{"url": API_PREFIX}],
        "paths": paths,
        "components": {
            "schemas": schemas.get("$defs", {}),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "a hub token"}},
        },
    }


def _operation(route: Route, refs: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{re.sub(r'[^a-z]+', '_', route.path.lower()).strip('_')}",
        "summary": route.summary,
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in _names(route.path)
            ),
            *(
                {"name": item.name, "in": "query", "description": item.description, "schema": item.schema}
                for item in route.parameters
            ),
        ],
        "responses": {
            str(route.status): {"description": "done", "content": {route.media_type: {"schema": _schema(route, refs)}}},
            "default": {
                "description": "what happened, why, and what to do next",
                "content": {"application/json": {"schema": refs[ErrorBody]}},
            },
        },
    }
    if route.idempotent_key:
        description = "sent again with the same body, it gives the same answer and does nothing twice"
        operation["parameters"].append(
            {"name": "Idempotency-Key", "in": "header", "description": description, "schema": {"type": "string"}}
        )
    if route.action:
        operation["description"] = f"Needs `{route.action}`: {ACTIONS[route.action].opens}."
        operation["security"] = [{"token": []}]
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": refs[route.body]}}}
    return operation


def _names(path: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", path)


def _schema(route: Route, refs: dict[Any, Any]) -> Any:
    if route.answer is not None:
        return refs[route.answer]
    return {"type": "object"} if route.media_type == "application/json" else {"type": "string"}


def openapi_route(routes: list[Route]) -> Route:
    """The document's own route: readable by everybody, for it says nothing about the site."""
    document = openapi_document(routes)

    async def read(_call: Call) -> dict[str, Any]:
        return document

    return Route("GET", "/openapi.json", "This document", None, read)
