"""How a run ended, from what the engine says about its container."""

from __future__ import annotations

from datetime import datetime

from toolkit_hub.domain.runs import Ending
from toolkit_spawner.docker_api import ContainerState

__all__ = ["REMOVED", "ending_of", "engine_time", "has_ended"]

REMOVED = "its container was removed from outside"


def has_ended(container: ContainerState) -> bool:
    return not container.running and not container.created_only


def ending_of(container: ContainerState) -> Ending:
    """How it ended. One that is being removed was not left to its end: the toolkit removes only what is recorded."""
    info = f"could not be started: {container.error}" if container.error else ""
    return Ending(
        exit_code=None if container.removing else container.exit_code,
        info=REMOVED if container.removing else info,
        oom_killed=container.oom_killed,
        interrupted=container.removing,
        started=engine_time(container.started_at),
        ended=engine_time(container.finished_at),
    )


def engine_time(text: str) -> datetime | None:
    """The engine's RFC 3339 with nanoseconds; its zero time means never."""
    if text.startswith("0001-"):
        return None
    head, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{head}.{(fraction or '0')[:6].ljust(6, '0')}+00:00")
