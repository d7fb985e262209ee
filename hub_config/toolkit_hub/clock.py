"""The one place where the hub machine's code reads the time, so that tests can move it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

__all__ = ["monotonic", "now", "set_clock"]

_source: Callable[[], float] = time.time


def now() -> datetime:
    """The present in UTC."""
    return datetime.fromtimestamp(_source(), UTC)


def monotonic() -> float:
    """Seconds on a clock that never jumps, for deadlines."""
    return time.monotonic()


def set_clock(source: Callable[[], float] = time.time) -> None:
    """Read the time from `source` (seconds since the epoch); without an argument, from the machine again."""
    global _source
    _source = source
