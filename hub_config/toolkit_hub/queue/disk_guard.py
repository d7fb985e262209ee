"""Stops runs that fill the machine's disk: the engine bounds what a container writes only on few file systems.

Counted is what a run writes outside its data volumes: the container's writable layer, volumes that its image declares, its
scratch home, its log, and files that it has deleted and still holds open. Two bounds:

- each run's quota, measured every few seconds, the less often the longer measuring takes;
- a floor of free space, looked at every second: below it, the run that has written most since there was room is stopped.

This is no hard limit. Between two looks a fast writer gets some seconds further; the floor is the room for that.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.models import JobState
from toolkit_hub.domain import runs
from toolkit_hub.store import Store
from toolkit_hub.store.tables import Run
from toolkit_spawner.docker_api import Engine, EngineRefused, EngineUnavailable, WritablePlaces

__all__ = ["DiskGuard", "deleted_bytes", "measure"]

log = logging.getLogger("toolkit.disk")

TICK_S = 1.0
#: Seconds between two measurements of a run: this many times what one takes, within these bounds.
TIMES_OF_COST, SHORTEST_S, LONGEST_S = 20, 5.0, 300.0
#: Seconds after which a measurement is given up; such a run counts as having written most.
MEASURE_TIMEOUT_S = 120
#: Bytes written since there was room, below which a run is not taken for the one that fills the disk.
LEAST_GROWTH = 16 * 2**20
#: Seconds that the space of a stopped run is given to become free before another one is stopped.
PAUSE_S = 15.0
#: Seconds between two complaints that the disk is full and no run is to blame.
SILENCE_S = 300.0
#: Open files of a run that are looked at in one measurement.
MOST_FILES = 50_000
GIB = 2**30


@dataclass
class _Watched:
    """A run's places, and what was measured: bytes (None: could not be), when next, and as long as there was room."""

    places: WritablePlaces
    paths: list[str]
    used: int | None = 0
    calm: int = 0
    due: float = 0.0
    told: bool = field(default=False)


class DiskGuard:
    """Watches the living runs until it is cancelled. `stopped` is told of each run that was turned to its end."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        runs_dir: Path,
        *,
        quota: float,
        floor: float,
        stopped: Callable[[str], None],
    ) -> None:
        """`quota` and `floor` in GiB; 0 turns one off."""
        self._store, self._engine, self._runs_dir = store, engine, runs_dir
        self._quota, self._floor, self._stopped = quota, floor, stopped
        self._watched: dict[str, _Watched] = {}
        self._pause_until = 0.0
        self._silent_until = 0.0
        self._workers = ThreadPoolExecutor(2, thread_name_prefix="disk-guard")

    async def watch_forever(self) -> None:
        try:
            while True:
                try:
                    await self._look()
                except (EngineUnavailable, EngineRefused) as error:
                    log.warning("%s; looking again", error)
                except Exception:
                    log.exception("looking at the disk failed; trying again")
                await asyncio.sleep(TICK_S)
        finally:
            self._workers.shutdown(wait=False, cancel_futures=True)

    async def _look(self) -> None:
        await self._follow(await self._store.read(_running))
        free = self._least_free()
        low = bool(self._floor) and free < self._floor * GIB
        now = time.monotonic()
        due = [run_id for run_id, watched in self._watched.items() if low or watched.due <= now]
        await asyncio.gather(*(self._measure(run_id, low) for run_id in due))
        for run_id, watched in list(self._watched.items()):
            if self._quota and watched.used is not None and watched.used > self._quota * GIB:
                await self._stop(run_id, f"killed: wrote more than {self._quota:g} GiB outside its data volumes")
        if low and time.monotonic() > self._pause_until:
            await self._make_room(free)

    async def _follow(self, running: dict[str, str]) -> None:
        """Begin with the runs that are new, forget those that have ended."""
        for run_id in self._watched.keys() - running.keys():
            del self._watched[run_id]
        for run_id in running.keys() - self._watched.keys():
            with suppress(EngineRefused):  # it has just ended
                places = await self._engine.writable_places(running[run_id])
                paths = [*places.folders, str(self._runs_dir / run_id)]
                self._watched[run_id] = _Watched(places, paths)

    def _least_free(self) -> int:
        """Free bytes of the fullest file system that runs write to."""
        roots = {
            str(self._runs_dir),
            *(folder for watched in self._watched.values() for folder in watched.places.folders),
        }
        free = []
        for root in roots:
            with suppress(OSError):  # a container is just being removed
                found = os.statvfs(root)
                free.append(found.f_bavail * found.f_frsize)
        return min(free, default=1 << 62)

    async def _measure(self, run_id: str, low: bool) -> None:
        watched = self._watched[run_id]
        began = time.monotonic()
        watched.used = await asyncio.get_running_loop().run_in_executor(
            self._workers, measure, watched.paths, watched.places.pid
        )
        cost = time.monotonic() - began
        watched.due = began + min(max(TIMES_OF_COST * cost, SHORTEST_S), LONGEST_S)
        if watched.used is None and not watched.told:
            watched.told = True
            log.warning("run %s: what it writes could not be measured within %d s", run_id, MEASURE_TIMEOUT_S)
        if not low and watched.used is not None:
            watched.calm = watched.used

    async def _make_room(self, free: int) -> None:
        """Stop the run that has written most since there was room; none if none has."""
        grown = {
            run_id: 1 << 62 if watched.used is None else watched.used - watched.calm
            for run_id, watched in self._watched.items()
        }
        worst = max(grown, key=grown.__getitem__, default=None)
        if worst is None or grown[worst] < LEAST_GROWTH:
            if time.monotonic() < self._silent_until:
                return
            self._silent_until = time.monotonic() + SILENCE_S
            log.error(
                "only %.1f GiB of disk are free (c.Toolkit.disk_floor: %g), and no run is writing; make room, or nothing works "
                "soon",
                free / GIB,
                self._floor,
            )
            return
        used = self._watched[worst].used
        amount = "more than could be measured" if used is None else f"{used / GIB:.1f} GiB"
        await self._stop(
            worst,
            f"killed: the machine's disk was nearly full ({free / GIB:.1f} GiB free), and this run was the one that filled it: "
            f"it had written {amount} outside its data volumes",
        )
        self._pause_until = time.monotonic() + PAUSE_S

    async def _stop(self, run_id: str, reason: str) -> None:
        """The reason is recorded first; then there is no grace, in which it would write on."""
        watched = self._watched.pop(run_id)
        if not await self._store.write(runs.begin_guard_stop, run_id, reason):
            return
        log.warning("run %s: %s", run_id, reason)
        try:
            await self._engine.stop(watched.places.container_id, grace=0)
        finally:
            self._stopped(run_id)


def _running(session: Session) -> dict[str, str]:
    """Run → container."""
    rows = session.execute(select(Run.id, Run.container_id).where(Run.state == JobState.RUNNING))
    return {run_id: container_id for run_id, container_id in rows if container_id}


def measure(paths: list[str], pid: int) -> int | None:
    """Bytes on disk below `paths`, and in files that the container of `pid` has deleted and holds open. Blocks.

    The content is the user's: `du` follows no link, leaves no file system, and copes with any depth. None if it takes too long.
    """
    command = ["nice", "-n", "10", "du", "-sx", "--block-size=1", "--", *paths]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=MEASURE_TIMEOUT_S, errors="replace",
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None
    # Files that went away meanwhile are complaints on stderr and an exit code; the sums are right all the same.
    sums = (line.partition("\t")[0] for line in done.stdout.splitlines())
    return sum(int(text) for text in sums if text.isdecimal()) + deleted_bytes(paths, pid)


def deleted_bytes(paths: list[str], pid: int) -> int:
    """Bytes of files without a name that processes of the container hold open on its disk."""
    devices = set()
    for place in (f"/proc/{pid}/root", *paths):
        with suppress(OSError):
            devices.add(os.stat(place).st_dev)
    found: dict[tuple[int, int], int] = {}
    looked_at = 0
    for process in _processes(pid):
        with suppress(OSError), os.scandir(f"/proc/{process}/fd") as entries:
            for entry in entries:
                looked_at += 1
                if looked_at > MOST_FILES:
                    return sum(found.values())
                with suppress(OSError):
                    about = entry.stat()
                    if about.st_nlink == 0 and stat.S_ISREG(about.st_mode) and about.st_dev in devices:
                        found[about.st_dev, about.st_ino] = about.st_blocks * 512
    return sum(found.values())


def _processes(pid: int) -> list[str]:
    """All processes of the container, by its control group."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0" or "pids" in controllers.split(","):
                base = "/sys/fs/cgroup" if number == "0" else f"/sys/fs/cgroup/{controllers}"
                with suppress(OSError):
                    return Path(f"{base}{path}/cgroup.procs").read_text().split()
    return [str(pid)] if pid else []
