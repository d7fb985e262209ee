"""Keeps what is known of the GPUs up to date, and out of use what should not be given out.

A device is *drained*, and stays in sight with the reason, when the driver reports trouble, when it vanishes, when a process
that is no job's uses it, and when the driver does not answer at all: then nobody knows what is true. What containers were
given is compared elsewhere (`toolkit_hub.queue.container_devices`), and told here.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from toolkit_hub.queue.planning.capacity import Device
from toolkit_spawner.device_readings import DeviceReading
from toolkit_spawner.gpus import Gpu, GpusUnavailable, Inventory
from toolkit_spawner.launch import DeviceSpec

__all__ = ["DeviceKeeper"]

log = logging.getLogger("toolkit.gpus")

#: Seconds between two looks, and until one that does not come back counts as no answer.
EVERY_S, ANSWER_S = 5.0, 15.0
_CONTAINER = re.compile(r"[0-9a-f]{64}")


class DeviceKeeper:
    """One for the service. `devices`, `gpus` and `read` give what the last look found; they never wait."""

    def __init__(self, inventory: Inventory, changed: Callable[[], None] = lambda: None) -> None:
        """`changed` is called when there is more or less to give out than before."""
        self._inventory, self._changed = inventory, changed
        self._known: dict[str, Gpu] = {}
        self._readings: Mapping[str, DeviceReading] = {}
        self._looking: asyncio.Task[tuple[list[Gpu], Mapping[str, DeviceReading]]] | None = None
        #: Devices on which a stranger was seen at the last look, by device: one look may meet a job that is just ending.
        self._suspects: dict[str, str] = {}
        #: By device: why what containers were given keeps it out of use.
        self._misgiven: dict[str, str] = {}

    def devices(self) -> tuple[Device, ...]:
        """For the planner."""
        return tuple(_as_device(gpu) for gpu in self.gpus())

    def gpus(self) -> list[Gpu]:
        return [replace(gpu, trouble=gpu.trouble or self._misgiven.get(uuid)) for uuid, gpu in self._known.items()]

    def drain(self, reasons: Mapping[str, str]) -> None:
        """Keep these devices, and of those before no others, out of use for the reasons given (`queue.container_devices`)."""
        before = self.devices()
        self._misgiven = dict(reasons)
        self._changed_since(before)

    def read(self) -> Mapping[str, DeviceReading]:
        """By UUID; a device that does not answer is missing."""
        return self._readings

    def handover(self, uuid: str) -> DeviceSpec:
        """How a container is given the device. Raises `KeyError` for one that was never there."""
        return self._known[uuid].spec()

    async def run_forever(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.look()
            except Exception:
                log.exception("looking at the GPUs failed; trying again")

    async def look(self) -> None:
        """Once. What was not answered in time is waited for on the next look, and no second question is asked meanwhile."""
        before = self.devices()
        if self._looking is None:
            self._looking = asyncio.create_task(asyncio.to_thread(self._ask))
        try:
            found, self._readings = await asyncio.wait_for(asyncio.shield(self._looking), ANSWER_S)
        except (GpusUnavailable, TimeoutError) as error:
            words = str(error) or f"the driver has not answered for {ANSWER_S:.0f} s"
            self._known = {uuid: replace(gpu, trouble=words) for uuid, gpu in self._known.items()}
            self._readings = {}
        else:
            self._take(found)
        if self._looking.done():
            self._looking = None
        self._changed_since(before)

    def _changed_since(self, before: tuple[Device, ...]) -> None:
        if self.devices() != before:
            self._tell(before)
            self._changed()

    def _ask(self) -> tuple[list[Gpu], Mapping[str, DeviceReading]]:
        return self._inventory.gpus(), self._inventory.readings()

    def _take(self, found: list[Gpu]) -> None:
        now = {gpu.uuid: gpu for gpu in found}
        gone = {
            uuid: replace(gpu, trouble="it is gone: the driver does not list it any more")
            for uuid, gpu in self._known.items()
            if uuid not in now
        }
        strangers = {uuid: who for uuid in now if (who := _stranger(self._readings.get(uuid)))}
        for uuid, who in strangers.items():
            if uuid in self._suspects and now[uuid].trouble is None:
                now[uuid] = replace(now[uuid], trouble=f"in use by {who}, which is no job of this site")
        self._suspects = strangers
        self._known = now | gone

    def _tell(self, before: tuple[Device, ...]) -> None:
        drained = {device.uuid: device.drained for device in before}
        for device in self.devices():
            if device.uuid not in drained:
                log.info("GPU %s: %s", device.uuid, device.model)
            elif device.drained != drained[device.uuid]:
                log.warning("GPU %s: %s", device.uuid, device.drained or "in service again")


def _as_device(gpu: Gpu) -> Device:
    return Device(
        uuid=gpu.uuid,
        model=gpu.model,
        mem=gpu.mem,
        capability=gpu.capability,
        cuda_version=gpu.cuda_version,
        tensor_cores=gpu.tensor_cores,
        drained=gpu.trouble,
    )


def _stranger(reading: DeviceReading | None) -> str | None:
    """A process outside of containers that uses the device. A container's is a job's, or its operator's own business."""
    for pid in (reading.processes if reading else None) or ():
        try:
            groups = Path(f"/proc/{pid}/cgroup").read_text()
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue  # it has just ended
        if not _CONTAINER.search(groups):
            return f"the process {pid} ({name[:32]!r})"
    return None
