"""Reads every few seconds what each running run uses, keeps the newest reading at hand, and stores readings in batches.

A run's control group is read where it lies on this machine, in a thread; of others the engine is asked. A rate needs two
readings, so the first one of a run, also after a restart, knows none; the kernel's counters go on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from toolkit_client.errors import ToolkitError
from toolkit_hub import clock
from toolkit_hub.domain.running import RunningRun, running_runs
from toolkit_hub.domain.samples import READING_S, Sample, store_samples
from toolkit_hub.metrics.instruments import SAMPLER_ROUND
from toolkit_hub.store import Store
from toolkit_spawner.device_readings import DeviceReading, DeviceReadings, NoDeviceReadings
from toolkit_spawner.docker_api import Engine, EngineRefused, EngineUnavailable
from toolkit_spawner.resource_use import CGROUPS, ControlGroup, Counters, from_engine

__all__ = ["HeldDevices", "Sampler", "Seen", "no_held_devices", "rates"]

log = logging.getLogger("toolkit.metrics")

#: Seconds between two writes of what was read: one transaction for all runs.
STORE_EVERY_S = 30
#: Readings that are kept while the database does not answer; the oldest go first.
MOST_PENDING = 200_000
_ENGINE_AT_ONCE = 8

#: Run id → UUIDs of the devices that the run holds.
HeldDevices = Callable[[Session], Mapping[str, Sequence[str]]]


def no_held_devices(_session: Session) -> Mapping[str, Sequence[str]]:
    return {}


@dataclass(frozen=True)
class Seen:
    """A running run and its newest reading."""

    run: RunningRun
    counters: Counters
    sample: Sample


class Sampler:
    """For one event loop. `containers` tells which runs run now: server name → container."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        containers: Callable[[], Mapping[str, str]],
        *,
        devices: DeviceReadings | None = None,
        held_devices: HeldDevices = no_held_devices,
        cgroups: Path = CGROUPS,
    ) -> None:
        self._store, self._engine, self._containers = store, engine, containers
        self._devices, self._held_devices = devices or NoDeviceReadings(), held_devices
        self._cgroups = cgroups
        self._groups: dict[str, ControlGroup | None] = {}
        self._runs: dict[str, RunningRun] = {}
        self._seen: dict[str, Seen] = {}
        self._pending: list[Sample] = []
        self._storing: list[Sample] = []
        self.device_readings: Mapping[str, DeviceReading] = {}

    def seen(self) -> list[Seen]:
        """The newest reading of each running run that could be read."""
        return list(self._seen.values())

    def fresh(self) -> list[Sample]:
        """Readings that are not stored yet."""
        return [*self._storing, *self._pending]

    async def run_forever(self) -> None:
        """Read at each full step of the clock; what fails is said, and tried again in the next round."""
        stored = clock.monotonic()
        while True:
            await asyncio.sleep(READING_S - clock.now().timestamp() % READING_S)
            try:
                with SAMPLER_ROUND.time():
                    await self.sample()
                if clock.monotonic() - stored >= STORE_EVERY_S:
                    stored = clock.monotonic()
                    await self.store()
            except ToolkitError as error:
                log.warning("readings are not stored: %s; trying again", error)
            except Exception:
                log.exception("reading what runs use failed; trying again")

    async def close(self) -> None:
        """Store what was read; for a clean shutdown."""
        with suppress(ToolkitError):
            await self.store()

    async def sample(self) -> None:
        """One reading of all that run now."""
        containers = dict(self._containers())
        if containers.keys() - self._runs.keys() or self._devices_matter():
            found, held = await self._store.read(_what_runs, self._held_devices)
            self._runs = {run.server_name: replace(run, devices=tuple(held.get(run.run_id, ()))) for run in found}
        counters, self.device_readings = await asyncio.to_thread(self._read, containers)
        counters.update(await self._ask_engine(containers, counters))
        at = int(clock.now().timestamp()) // READING_S * READING_S
        before, self._seen = self._seen, {}
        for name, now in counters.items():
            run = self._runs.get(name)
            if run is None:
                continue  # it has ended, or its start is not recorded yet
            earlier = before[name].counters if name in before else None
            sample = Sample(run.run_id, at, memory=now.memory, **rates(earlier, now), devices=self._held_by(run))
            self._seen[name] = Seen(run, now, sample)
            self._pending.append(sample)
        del self._pending[:-MOST_PENDING]

    async def store(self) -> None:
        """Write what was read since the last time. Raises `ServiceUnavailable`; nothing is lost by that."""
        self._storing, self._pending = [*self._storing, *self._pending], []
        if self._storing:
            try:
                await self._store.write(store_samples, self._storing)
            except ToolkitError:
                self._storing = self._storing[-MOST_PENDING:]
                raise
            self._storing = []

    def _devices_matter(self) -> bool:
        """Which run holds which device is asked anew in each round, where there are devices at all."""
        return bool(self.device_readings)

    def _held_by(self, run: RunningRun) -> dict[str, DeviceReading]:
        return {uuid: self.device_readings[uuid] for uuid in run.devices if uuid in self.device_readings}

    def _read(self, containers: Mapping[str, str]) -> tuple[dict[str, Counters], Mapping[str, DeviceReading]]:
        """In a thread: control groups and devices."""
        self._groups = {
            name: self._groups[name] if self._groups.get(name) else ControlGroup.find(container, self._cgroups)
            for name, container in containers.items()
        }
        found = {name: group.read() for name, group in self._groups.items() if group is not None}
        return {name: read for name, read in found.items() if read is not None}, self._devices.read()

    async def _ask_engine(self, containers: Mapping[str, str], known: Mapping[str, Counters]) -> dict[str, Counters]:
        """Of the runs whose group is not here. One that has just ended is among them, and the engine knows nothing of it."""
        gate = asyncio.Semaphore(_ENGINE_AT_ONCE)

        async def ask(name: str) -> tuple[str, Counters | None]:
            async with gate:
                with suppress(EngineRefused, EngineUnavailable, KeyError):
                    return name, from_engine(await self._engine.stats(containers[name]))
                return name, None

        answers = await asyncio.gather(*(ask(name) for name in containers if name not in known))
        return {name: read for name, read in answers if read is not None}


def rates(before: Counters | None, now: Counters) -> dict[str, Any]:
    """What went on in a second between two readings. None where one of them does not know, or a counter was set back."""
    pairs = {
        "cpu": "cpu",
        "disk_read": "disk_read",
        "disk_write": "disk_written",
        "net_received": "net_received",
        "net_sent": "net_sent",
    }
    found: dict[str, Any] = {}
    for name, counter in pairs.items():
        new, old = getattr(now, counter), getattr(before, counter, None)
        if new is None or old is None or before is None or now.at <= before.at or new < old:
            found[name] = None
        else:
            rate = (new - old) / (now.at - before.at)
            found[name] = rate if name == "cpu" else round(rate)
    return found


def _what_runs(session: Session, held_devices: HeldDevices) -> tuple[list[RunningRun], Mapping[str, Sequence[str]]]:
    return running_runs(session), held_devices(session)
