"""Base of the wire models, and how a body that does not fit them is explained."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

__all__ = ["WireModel", "describe_problems", "keys_at"]

#: More problems than this are counted, not told.
PROBLEMS_TOLD = 5


class WireModel(BaseModel):
    """Base of all wire models: camelCase in JSON, unknown keys refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", from_attributes=True)


def describe_problems(model: type[BaseModel], error: ValidationError) -> str:
    """What is wrong with a body of `model`, in words: the place of each problem, and for unknown keys the likely one."""
    items = error.errors(include_url=False, include_context=False)
    told = [_describe(model, item) for item in items[:PROBLEMS_TOLD]]
    if len(items) > PROBLEMS_TOLD:
        told.append(f"and {len(items) - PROBLEMS_TOLD} more")
    return "; ".join(told)


def _describe(model: type[BaseModel], item: Any) -> str:
    places = [_shown(part) for part in item["loc"]]
    text = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        known = sorted(keys_at(model, item["loc"][:-1]))
        close = difflib.get_close_matches(places[-1], known, 1, 0.6)
        text = f"unknown key; did you mean `{close[0]}`?" if close else f"unknown key; known: {', '.join(known)}"
    place = ".".join(places)
    return f"{place}: {text}" if place else text


def _shown(part: object) -> str:
    """A part of a place, which for unknown keys is the caller's own text."""
    text = str(part)[:60]
    return text if text.isprintable() else repr(text)


def keys_at(model: type[BaseModel], place: tuple[int | str, ...]) -> set[str]:
    """The keys that `model` takes at a place."""
    models = {model}
    for part in place:
        if isinstance(part, str):
            fields = [_field(inner, part) for inner in models]
            models = {inner for field in fields if field is not None for inner in _models_in(field)}
    return {field.alias or name for inner in models for name, field in inner.model_fields.items()}


def _field(model: type[BaseModel], key: str) -> Any:
    return next((field.annotation for name, field in model.model_fields.items() if key in (name, field.alias)), None)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
