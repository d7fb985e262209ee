"""Our users, mirrored to the hub: named, renamed and removed there as they are here.

What is to be done follows from the store each time, and each step may be taken twice: so the mirror needs no memory, and goes
on after a restart of the service or the hub where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from toolkit_client.errors import ServiceUnavailable
from toolkit_hub.domain.hub_users import HubChange, hub_changes, mark_changed
from toolkit_hub.queue.hub_api import HubApi, HubRefused, HubUnavailable
from toolkit_hub.store import Store

__all__ = ["HubMirror"]

log = logging.getLogger("toolkit.mirror")

#: Seconds between two looks when nothing has woken the mirror: other processes write to the store as well.
LOOK_EVERY_S = 15
#: Seconds after a change of the store before the mirror looks: many changes come together.
PAUSE_S = 0.1


class HubMirror:
    """One for the service."""

    def __init__(self, store: Store, hub: HubApi) -> None:
        self._store, self._hub = store, hub
        self._told: set[str] = set()

    async def run_forever(self) -> None:
        """Until it is cancelled."""
        with self._store.watch() as changed:
            while True:
                changed.clear()
                try:
                    await self.run_once()
                except ServiceUnavailable as error:
                    self._tell(str(error))
                except Exception:
                    log.exception("mirroring the users to the hub failed; trying again")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), LOOK_EVERY_S)
                await asyncio.sleep(PAUSE_S)

    async def run_once(self) -> None:
        """Do what is due now; what the hub does not take is tried again."""
        for change in await self._store.read(hub_changes):
            try:
                await self._carry_out(change)
            except (HubUnavailable, HubRefused) as error:
                self._tell(f"user {change.name or change.to}: {error}; trying again")
            else:
                self._told.clear()

    async def _carry_out(self, change: HubChange) -> None:
        """A user who is only now to get a name is made at the hub by the first log-in or the first job."""
        if change.name is not None:
            await self._hub.change_user(change.verb, change.name, change.to)
        await self._store.write(mark_changed, change)
        if change.name is not None and change.to is not None:
            # Who signed in between the two lines above did it by the old name, which may be another's one day.
            await self._hub.change_user("remove", change.name)
        log.info("the hub's user %s: %s %s", change.name or "-", change.verb, change.to or "")

    def _tell(self, words: str) -> None:
        if words not in self._told:
            self._told.add(words)
            log.warning("%s", words)
