"""Keeps what is known of the use of volumes up to date: one volume after the other, so that nobody notices."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from toolkit_client.errors import ServiceUnavailable
from toolkit_hub.domain import data_usage
from toolkit_hub.store import Store
from toolkit_hub.volumes.layout import Volumes
from toolkit_hub.volumes.usage import measure_apart

__all__ = ["UsageKeeper"]

log = logging.getLogger("toolkit.data")

#: Seconds between two looks at what is due.
LOOK_EVERY_S = 20.0
#: Volumes that are looked up at a time.
AT_ONCE = 100
#: Seconds after which a volume that could not be measured is tried again.
AFTER_FAILURE_S = 600.0


class UsageKeeper:
    """One for the service."""

    def __init__(self, store: Store, volumes: Volumes, *, period: int) -> None:
        """`period` in minutes: no volume is measured more often by itself."""
        self._store, self._volumes = store, volumes
        self._period = timedelta(minutes=period)
        self._measuring: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, float] = {}

    async def run_forever(self) -> None:
        while True:
            try:
                await self.round()
            except ServiceUnavailable as error:
                log.warning("the use of data is not measured: %s", error)
            except Exception:
                log.exception("measuring the use of data failed; trying again")
            await asyncio.sleep(LOOK_EVERY_S)

    async def round(self) -> None:
        """Measure what is due, the oldest first."""
        now = asyncio.get_running_loop().time()
        self._failed = {data_id: until for data_id, until in self._failed.items() if until > now}
        due = await self._store.read(data_usage.due_volumes, self._period, AT_ONCE + len(self._failed))
        for data_id in due:
            if data_id in self._failed:
                continue
            try:
                await self.measure(data_id)
            except OSError as error:
                log.warning("%s", error)
                self._failed[data_id] = now + AFTER_FAILURE_S

    async def measure(self, data_id: str, patience: float | None = None) -> None:
        """Measure one volume now; who asks while it is measured gets that measurement. Raises `OSError`.

        After `patience` seconds it goes on by itself.
        """
        task = self._measuring.get(data_id)
        if task is None:
            task = self._measuring[data_id] = asyncio.create_task(self._measure(data_id))
            task.add_done_callback(lambda _: self._measuring.pop(data_id, None))
        done, _ = await asyncio.wait([task], timeout=patience)
        if done:
            task.result()

    async def _measure(self, data_id: str) -> None:
        before = await self._store.read(data_usage.added_since, data_id)
        measured = await measure_apart(self._volumes.folder(data_id))
        await self._store.write(data_usage.store_usage, data_id, measured, before)
