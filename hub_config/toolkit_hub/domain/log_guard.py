"""Keeps runs from filling the disk through their logs.

job-init keeps to the quota. The files are the run's own, though, for job-init runs as the run's user: any process of the run
can write to them, past every quota. So the service looks at them every other second and cuts off what is too much. A run that
ended since the last look is looked at once more; after that nobody can write.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_hub.domain import runs
from toolkit_hub.domain.run_logs import file_limits, open_safely
from toolkit_hub.store import Store
from toolkit_hub.store.tables import Run
from toolkit_spawner.run_files import CHECKPOINT

__all__ = ["LogGuard", "cut_to_limits"]

log = logging.getLogger("toolkit.logs")

#: Seconds between two looks.
EVERY_S = 2.0
#: Bytes that a file may have above its limit: less is not worth a word.
MARGIN = 1024 * 1024


class LogGuard:
    """Looks after the logs of the runs that have a container."""

    def __init__(self, store: Store, runs_dir: Path) -> None:
        self._store, self._runs_dir = store, runs_dir
        self._seen: set[str] = set()
        self._told: set[str] = set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("the logs of runs could not be looked at; trying again")
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Once over all of them."""
        now = await self._store.read(_holding)
        await asyncio.to_thread(self._look_at, now | self._seen)
        self._seen = now
        self._told &= now

    def _look_at(self, run_ids: set[str]) -> None:
        for run_id in run_ids:
            cut = cut_to_limits(self._runs_dir / run_id)
            if cut and run_id not in self._told:
                self._told.add(run_id)
                log.warning(
                    "run %s has written past its log's quota by itself: %d bytes cut off, and more later", run_id, cut
                )


def cut_to_limits(folder: Path) -> int:
    """Cut each file that a run can write down to what it may have; the bytes that this set free on the disk, about."""
    freed = 0
    for name, limit in {CHECKPOINT: 0, **file_limits(folder)}.items():
        with suppress(OSError):
            taken = _taken(os.lstat(folder / name))
            if taken > limit + MARGIN:
                freed += _cut(folder / name, limit)
    return freed


def _cut(path: Path, limit: int) -> int:
    handle = open_safely(path, os.O_WRONLY)
    if handle is None:
        return 0
    try:
        before = os.fstat(handle)
        # Also for a file that is short enough: blocks may have been reserved behind its end.
        os.ftruncate(handle, min(before.st_size, limit))
        return _taken(before) - _taken(os.fstat(handle))
    finally:
        os.close(handle)


def _taken(found: os.stat_result) -> int:
    """Bytes of a file, or what it holds of the disk if that is more."""
    return max(found.st_size, found.st_blocks * 512)


def _holding(session: Session) -> set[str]:
    return set(session.scalars(select(Run.id).where(Run.state.in_(runs.HOLDING))))
