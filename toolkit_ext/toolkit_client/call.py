"""What a request of the REST API is, for every transport.

A `Call` says what goes over the wire and how the answer is read. It imports neither httpx nor pydantic, so that a command
which prints a table from plain JSON does not pay for them; the wire models are loaded when an answer is turned into one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar
from urllib.parse import quote

__all__ = ["API_PATH", "Call", "body_of", "make_call", "new_key", "page_reader", "path_of", "reader"]

API_PATH = "/services/toolkit/api/v1"

ResultT = TypeVar("ResultT")
#: Query parameters as text; a list stands for one that is given several times.
Query: TypeAlias = dict[str, str | list[str]]


class Call(NamedTuple, Generic[ResultT]):
    """One request; `path` is below `API_PATH`, `read` makes the result from the decoded JSON of a 2xx answer."""

    method: str
    path: str
    read: Callable[[Any], ResultT]
    params: Mapping[str, str | list[str]]
    json: Any
    idempotency_key: str | None
    headers: Mapping[str, str] = {}

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice is the same as sending it once."""
        return self.method in ("GET", "PATCH", "DELETE") or self.idempotency_key is not None


def make_call(
    method: str,
    path: str,
    read: Callable[[Any], Any],
    *,
    params: Mapping[str, object] | None = None,
    json: Any = None,
    idempotency_key: str | None = None,
) -> Call[Any]:
    """A call whose empty parameters are left out."""
    return Call(method, path, read, _query(params or {}), json, idempotency_key)


def _query(params: Mapping[str, object]) -> Query:
    """Query parameters as text; absent and empty ones are left out, truth values are ``true`` and ``false``."""
    given = {name: value for name, value in params.items() if value is not None and value not in ("", [], ())}
    return {name: _query_text(value) for name, value in given.items()}


def _query_text(value: object) -> str | list[str]:
    if isinstance(value, (list, tuple)):
        return [str(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def reader(model: str, module: str = "models") -> Callable[[Any], Any]:
    """Reads a wire model by name; keys that this version does not know are ignored, so that the service may be newer."""

    def read(payload: Any) -> Any:
        from importlib import import_module

        model_class: Any = getattr(import_module(f"toolkit_client.{module}"), model)
        return model_class.model_validate(payload, extra="ignore")

    return read


def page_reader(model: str, module: str = "models") -> Callable[[Any], Any]:
    """Reads a page of a wire model by name, as `reader` does."""

    def read(payload: Any) -> Any:
        from importlib import import_module

        from toolkit_client.models import Page

        page_class: Any = Page[getattr(import_module(f"toolkit_client.{module}"), model)]  # type: ignore[misc]
        return page_class.model_validate(payload, extra="ignore")

    return read


def body_of(value: Any) -> Any:
    """A wire model, or a mapping written like one, as JSON. Fields that were not set are left to the service."""
    dump = getattr(value, "model_dump", None)
    return dump(mode="json", by_alias=True, exclude_unset=True) if dump is not None else dict(value)


def path_of(*parts: str) -> str:
    """A path below `API_PATH`; the parts are the caller's own text."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def new_key() -> str:
    """An Idempotency-Key that nobody has used."""
    from uuid import uuid4

    return str(uuid4())
