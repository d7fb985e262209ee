"""The most memory that each run has used, as the kernel keeps it for the run's control group.

The kernel's own high-water mark is read, so that no short peak between two readings is lost; what is lost is only what came
after the last one, for the group goes away with its container. Readings are close together while a run is young.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from toolkit_spawner.resource_use import CGROUPS, group_places

__all__ = ["MemoryPeaks"]

#: Seconds between two readings of a run: this part of its age, within these bounds.
PART_OF_AGE, SHORTEST_S, LONGEST_S = 0.1, 0.05, 1.0


@dataclass
class _Watched:
    """A run's group: its open files, and when it was first and is next read (monotonic)."""

    files: list[int]
    since: float
    due: float
    peak: int = 0


class MemoryPeaks:
    """Reads until it is cancelled; for one event loop. Each reading takes some microseconds."""

    def __init__(self, cgroups: Path = CGROUPS) -> None:
        self._cgroups = cgroups
        self._watched: dict[str, _Watched] = {}
        self._containers: dict[str, str] = {}
        self._new = asyncio.Event()

    def watch(self, run: str, container_id: str) -> None:
        """Begin with the container of a run; once more changes nothing, nor does one whose group is not found."""
        self._containers[run] = container_id
        files = [] if run in self._watched else self._open(container_id)
        if files:
            now = time.monotonic()
            self._watched[run] = _Watched(files, now, now)
            self._new.set()

    @property
    def containers(self) -> dict[str, str]:
        """Run → container, for all that run now, also those whose group is not found."""
        return dict(self._containers)

    def peaks(self) -> dict[str, int]:
        """Run → bytes, for all that are watched and were read."""
        return {run: watched.peak for run, watched in self._watched.items() if watched.peak}

    def last(self, run: str) -> int | None:
        """The last reading of a run, in bytes; None if there is none."""
        watched = self._watched.get(run)
        if watched is None:
            return None
        _read(watched)
        return watched.peak or None

    def forget(self, run: str) -> None:
        self._containers.pop(run, None)
        watched = self._watched.pop(run, None)
        for handle in watched.files if watched else ():
            os.close(handle)

    async def read_forever(self) -> None:
        while True:
            now = time.monotonic()
            for watched in self._watched.values():
                if watched.due <= now:
                    _read(watched)
                    watched.due = now + min(LONGEST_S, max(SHORTEST_S, PART_OF_AGE * (now - watched.since)))
            self._new.clear()
            next_due = min((watched.due for watched in self._watched.values()), default=now + 3600)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._new.wait(), max(SHORTEST_S, next_due - now))

    def close(self) -> None:
        for run in list(self._containers):
            self.forget(run)

    def _open(self, container_id: str) -> list[int]:
        """The group's files: cgroup v2 has `memory.peak` (Linux 5.19) or only the present use, v1 its own mark."""
        groups = group_places(container_id)
        places = [
            *(self._cgroups / group / name for group in groups for name in ("memory.peak", "memory.current")),
            *(self._cgroups / "memory" / group / "memory.max_usage_in_bytes" for group in groups),
        ]
        handles = []
        for place in places:
            with suppress(OSError):
                handles.append(os.open(place, os.O_RDONLY | os.O_CLOEXEC))
        return handles


def _read(watched: _Watched) -> None:
    for handle in watched.files:
        with suppress(OSError, ValueError):  # the group is gone
            watched.peak = max(watched.peak, int(os.pread(handle, 64, 0)))
