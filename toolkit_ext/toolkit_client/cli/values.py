"""How values are written on the command line: sizes, durations, tags, ports. Each function says how when it is wrong."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "cores",
    "duration",
    "expires_option",
    "expiry",
    "gibibytes",
    "moment",
    "moment_ago",
    "mounts",
    "number",
    "ports",
    "tags",
    "variables",
]

#: GiB in one of each unit.
SIZES = {"k": 1 / 1024**2, "m": 1 / 1024, "g": 1.0, "t": 1024.0}
#: Seconds in one of each unit.
DURATIONS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def gibibytes(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """A size in GiB: a plain number, or one with a unit as ``512m`` or ``4g``."""
    if value is None:
        return None
    text = value.strip().lower().removesuffix("b").removesuffix("i")
    unit = SIZES.get(text[-1:])
    try:
        return _finite(text) if unit is None else _finite(text[:-1]) * unit
    except ValueError:
        problem = f"{value!r} is no size: write GiB as a plain number, or a unit as in 512m or 4g"
        raise click.BadParameter(problem) from None


def cores(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return _finite(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no number of cores: write it as 2 or 0.5") from None


def number(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return _finite(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no number") from None


def duration(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """Whole seconds: a plain number of them, or parts with units as ``48h``, ``90m``, ``1d12h``."""
    if value is None:
        return None
    seconds = _seconds(value)
    if seconds is None:
        problem = f"{value!r} is no length of time: write seconds as a plain number, or units as in 48h, 90m or 1d12h"
        raise click.BadParameter(problem)
    return seconds


def moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """An RFC 3339 time, as it is written or so long ago."""
    if value is None:
        return None
    ago = _seconds(value)
    if ago is not None:
        return moment_ago(ago)
    if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        raise click.BadParameter(f"{value!r} is no time: write it as 2026-01-31T12:00:00Z, or how long ago, as 10m")
    return value


def moment_ago(seconds: float) -> str:
    """So long ago, as an RFC 3339 time."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(max(time.time() - seconds, 0)))


def expiry(_context: click.Context, _parameter: click.Parameter, value: str | None) -> dict[str, str | None]:
    """The key `expires` of a request, if it was given: an RFC 3339 time in UTC, or null for ``never``.

    It is written as how long from now (``7d``), as a date, whose end is meant, or as a time. A plain number is refused: it
    could be meant as days, and would be taken for seconds.
    """
    if value is None:
        return {}
    if value == "never":
        return {"expires": None}
    from datetime import UTC, datetime, timedelta

    text = value.strip()
    length = None if text.isdecimal() else _seconds(text)
    try:
        if length is not None:
            end = datetime.now(UTC) + timedelta(seconds=length)
        elif re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            end = datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=1)
        else:
            end = _with_zone(datetime.fromisoformat(text)).astimezone(UTC)
    except (ValueError, OverflowError):
        problem = f"{value!r} is no end: write how long, as 7d or 12h, a date as 2027-01-31, or 2027-01-31T12:00:00Z"
        raise click.BadParameter(problem) from None
    if end <= datetime.now(UTC):
        raise click.BadParameter(f"{value!r} is over already")
    return {"expires": end.strftime("%Y-%m-%dT%H:%M:%SZ")}


def expires_option(more: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds --expires; the command gets `expires`, as `expiry` makes it."""
    return click.option(
        "--expires",
        metavar="WHEN",
        callback=expiry,
        help="The end: after 7d or 12h, the end of a date as 2027-01-31 (UTC), or a time as 2027-01-31T12:00:00Z."
        + more,
    )


def _with_zone(time_given: datetime) -> datetime:
    """Raises ValueError for a time without a zone: nobody knows which one its writer had in mind."""
    if time_given.tzinfo is None:
        raise ValueError(time_given)
    return time_given


def _seconds(value: str) -> int | None:
    """Seconds of a length of time; None if the text is none."""
    text = value.strip().lower()
    if text.isascii() and text.isdecimal() and len(text) <= 12:
        return int(text)
    if not re.fullmatch(r"([0-9]{1,9}[smhd])+", text):
        return None
    return sum(int(amount) * DURATIONS[unit] for amount, unit in re.findall(r"([0-9]+)([smhd])", text))


def variables(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    for variable in value:
        if "=" not in variable:
            raise click.BadParameter(f"{variable!r} has no `=`: write NAME=value")
    return value


def tags(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> list[dict[str, str]]:
    """Tags as in the spec, from ``KEY`` and ``KEY=VALUE``."""
    found = []
    for text in value:
        key, equals, tag_value = text.partition("=")
        if not key:
            raise click.BadParameter(f"{text!r} is no tag: write KEY or KEY=VALUE")
        found.append({"key": key, "value": tag_value} if equals else {"key": key})
    return found


def ports(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> list[dict[str, Any]]:
    """Ports as in the spec, from ``N`` and ``N:public``."""
    found: list[dict[str, Any]] = []
    for text in value:
        port, colon, word = text.partition(":")
        good = port.isascii() and port.isdecimal() and len(port) <= 5 and 1 <= int(port) <= 65535
        if not good or (colon and word != "public"):
            raise click.BadParameter(f"{text!r} is no port: write a number up to 65535, or one as in 8888:public")
        found.append({"port": int(port), "public": True} if colon else {"port": int(port)})
    return found


def mounts(_context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> list[str]:
    """Mounts as in the spec, from those that may lack a path."""
    if not value:
        return []
    from toolkit_client.mounts import with_target

    return [with_target(text) for text in value]


def _finite(text: str) -> float:
    """A number that JSON can carry; raises ValueError for anything else."""
    result = float(text)
    if not math.isfinite(result):
        raise ValueError(text)
    return result
