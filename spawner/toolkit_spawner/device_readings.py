"""What a machine's accelerators say of themselves, whoever made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

__all__ = ["DeviceReading", "DeviceReadings", "NoDeviceReadings"]


@dataclass(frozen=True)
class DeviceReading:
    """One device now. None: unknown, which is never the same as 0."""

    #: Percent of the time of the last moment in which it computed.
    use: float | None = None
    #: Bytes of its memory in use.
    memory: int | None = None
    #: Degrees Celsius.
    temperature: float | None = None
    #: Bytes of memory that it has.
    memory_total: int | None = None
    #: Ids of this machine's processes that use it.
    processes: tuple[int, ...] | None = None


class DeviceReadings(Protocol):
    """Reads all devices of this machine."""

    def read(self) -> Mapping[str, DeviceReading]:
        """UUID → reading; a device that does not answer is missing. May block; never raises."""
        ...


class NoDeviceReadings:
    """A machine without devices, or none that anybody can read."""

    def read(self) -> Mapping[str, DeviceReading]:
        return {}
