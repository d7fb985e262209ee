"""The REST API, to read: the OpenAPI document as a page. Open to all, as the document is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit_hub.api.context import Context
from toolkit_hub.api.openapi import openapi_document
from toolkit_hub.api.routing import API_PREFIX, Route
from toolkit_hub.pages.handlers import PageHandler

__all__ = ["ApiPage", "shown_type"]


class ApiPage(PageHandler):
    """Operations and models on one page, each with a link of its own."""

    action = None

    def initialize(self, context: Context, routes: Sequence[Route]) -> None:  # type: ignore[override]
        super().initialize(context)
        self.document = openapi_document(routes)

    async def prepare(self) -> None:
        """Nobody needs to be signed in."""

    async def get(self) -> None:
        self.show("api.html", document=self.document, api=API_PREFIX, shown_type=shown_type)


def shown_type(schema: dict[str, Any]) -> list[tuple[str, str]]:
    """A JSON schema in a line: pieces of text, each with the name of the model that it leads to, if any."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return [(name, name)]
    if "anyOf" in schema:
        pieces: list[tuple[str, str]] = []
        for index, item in enumerate(schema["anyOf"]):
            pieces += [*([(" or ", "")] if index else []), *shown_type(item)]
        return pieces
    if "enum" in schema:
        return [(" | ".join(str(value) for value in schema["enum"]), "")]
    if schema.get("type") == "array":
        return [("list of ", ""), *shown_type(schema.get("items", {}))]
    text = str(schema.get("const", schema.get("type", "anything")))
    limits = [f"{sign} {schema[key]:g}" for key, sign in (("minimum", "≥"), ("maximum", "≤")) if key in schema]
    return [(" ".join([schema.get("format", text), *limits]), "")]
