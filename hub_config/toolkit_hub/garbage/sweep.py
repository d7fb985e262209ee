"""The parts of a clean-up: a *sweep* looks for what is due of one kind; each *due* thing knows how to be removed.

A sweep that cannot know (the engine does not answer) raises, and nothing of its kind is removed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from toolkit_hub.domain import events
from toolkit_hub.domain.retention import Periods
from toolkit_hub.store import Store
from toolkit_hub.volumes.layout import Volumes
from toolkit_spawner.docker_api import Engine

__all__ = ["Due", "Ground", "LeftAlone", "Sweep", "Who"]


class LeftAlone(Exception):
    """Why something was not removed; it is looked at again in the next round."""


@dataclass(frozen=True)
class Who:
    """In whose name things are removed, for the events."""

    actor: str = events.SYSTEM
    request_id: str = ""


@dataclass(frozen=True)
class Ground:
    """What is swept. `kept_images` are never removed, as the site's default image."""

    store: Store
    engine: Engine
    instance: str
    runs_dir: Path
    runtime_dir: Path
    accounts_dir: Path
    volumes: Volumes
    periods: Periods
    kept_images: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Due:
    """Something to remove. `size` in bytes as far as it is known."""

    kind: str
    name: str
    reason: str
    #: Removes it and records the event. Raises `LeftAlone`.
    remove: Callable[[Who], Awaitable[None]]
    size: int = 0


#: Finds what is due on a ground, at most so many.
Sweep = Callable[[Ground, int], Awaitable[list[Due]]]
