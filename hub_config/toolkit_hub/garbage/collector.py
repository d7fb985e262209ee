"""The clean-up itself: one round after the other, each a little at a time, so that nobody waits for it."""

from __future__ import annotations

import asyncio
import logging

from toolkit_client.admin_models import CleanUp, Removal
from toolkit_client.errors import Conflict, ServiceUnavailable
from toolkit_hub import clock
from toolkit_hub.garbage import engine_objects, folders, rows, volumes
from toolkit_hub.garbage.sweep import Due, Ground, LeftAlone, Sweep, Who
from toolkit_spawner.docker_api import EngineRefused, EngineUnavailable

__all__ = ["Collector"]

log = logging.getLogger("toolkit.garbage")

#: Seconds between two rounds, and before the first one: a site that starts has other things to do.
EVERY_S = 3600
FIRST_AFTER_S = 30
#: Things of one kind that one round removes, and the pause in seconds after each.
LIMIT = 500
PAUSE_S = 0.01
#: A clock that was moved by more than this is not believed in the round that notices.
CLOCK_MOVED_S = 3600

THE_TOOLKIT = Who()

#: In this order: the containers go before the images that they use.
SWEEPS: tuple[Sweep, ...] = (
    engine_objects.containers,
    folders.logs,
    folders.run_leftovers,
    engine_objects.pulled_images,
    engine_objects.built_images,
    folders.runtimes,
    folders.account_files,
    volumes.unfinished_versions,
    volumes.nameless_versions,
    volumes.staged,
    rows.short_lived,
    rows.old_events,
    rows.past_samples,
)


class Collector:
    """One for the service. Rounds never overlap."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._one_round = asyncio.Lock()
        self._clocks = _clocks()

    async def run_forever(self) -> None:
        """A round soon after the start, then one an hour."""
        await asyncio.sleep(FIRST_AFTER_S)
        while True:
            try:
                done = await self.collect()
                if done.items:
                    log.info("removed %d things, %.1f MiB", len(done.items), done.size / 2**20)
                for reason in done.skipped:
                    log.warning("left alone: %s", reason)
            except (Conflict, ServiceUnavailable) as error:
                log.warning("nothing was cleaned up: %s", error)
            except Exception:
                log.exception("clean-up failed; trying again in an hour")
            await asyncio.sleep(EVERY_S)

    async def collect(self, *, dry_run: bool = False, who: Who = THE_TOOLKIT) -> CleanUp:
        """One round. With `dry_run` it only says what it would remove.

        Raises `Conflict` when the clock was moved since the round before: by the wrong clock everything may look old.
        """
        async with self._one_round:
            if not dry_run:
                self._check_clock()
            items: list[Removal] = []
            skipped: list[str] = []
            more = False
            for sweep in SWEEPS:
                due = await self._find(sweep, skipped)
                more = more or len(due) >= LIMIT
                for thing in due:
                    if dry_run or await self._remove(thing, who, skipped):
                        items.append(Removal(kind=thing.kind, name=thing.name, reason=thing.reason, size=thing.size))
            return CleanUp(
                dry_run=dry_run, items=items, size=sum(item.size for item in items), more=more, skipped=skipped
            )

    async def _find(self, sweep: Sweep, skipped: list[str]) -> list[Due]:
        try:
            return await sweep(self._ground, LIMIT)
        except (EngineUnavailable, EngineRefused, OSError) as error:
            skipped.append(f"{sweep.__name__.replace('_', ' ')}: {error}")
            return []

    async def _remove(self, thing: Due, who: Who, skipped: list[str]) -> bool:
        try:
            await thing.remove(who)
        except (LeftAlone, EngineUnavailable, EngineRefused) as error:
            skipped.append(f"{thing.kind} {thing.name}: {error}")
            return False
        await asyncio.sleep(PAUSE_S)
        return True

    def _check_clock(self) -> None:
        before, self._clocks = self._clocks, _clocks()
        moved = (self._clocks[0] - before[0]) - (self._clocks[1] - before[1])
        if abs(moved) > CLOCK_MOVED_S:
            raise Conflict(
                f"this machine's clock was moved by {moved / 3600:+.1f} hours since the last clean-up: what is old is not sure",
                "if the time is right now (`date -u`), ask again",
            )


def _clocks() -> tuple[float, float]:
    """The time of day and the clock that never jumps, in seconds."""
    return clock.now().timestamp(), clock.monotonic()
