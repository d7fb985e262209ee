"""The wire models of what jobs use: processors, memory, disks, network, devices. None is unknown, which is not 0.

CPU is in cores, memory in GiB, what goes through disks and the network in bytes a second, the use of a device in percent.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from toolkit_client.wire import WireModel

__all__ = ["DevicePeak", "DeviceUse", "JobMetrics", "JobUsage", "TopJob", "UsagePeak", "UsePoint"]


class UsePoint(WireModel):
    """What a run used in one step: the mean of the readings, and the highest."""

    time: datetime = Field(description="begin of the step")
    run: int = Field(description="index of the run")
    cpu: float | None = Field(default=None, description="cores")
    cpu_max: float | None = None
    memory: float | None = Field(
        default=None, description="GiB, without file cache that the kernel would give up first"
    )
    memory_max: float | None = None
    disk_read: float | None = Field(default=None, description="bytes a second from block devices")
    disk_read_max: float | None = None
    disk_write: float | None = None
    disk_write_max: float | None = None
    net_received: float | None = Field(default=None, description="bytes a second")
    net_received_max: float | None = None
    net_sent: float | None = None
    net_sent_max: float | None = None


class DeviceUse(WireModel):
    """What a device did in one step while a run held it."""

    time: datetime
    run: int
    device: str = Field(description="UUID")
    use: float | None = Field(default=None, description="percent of the time")
    use_max: float | None = None
    memory: float | None = Field(default=None, description="GiB")
    memory_max: float | None = None
    temperature: float | None = Field(default=None, description="degrees Celsius")
    temperature_max: float | None = None


class DevicePeak(WireModel):
    """The most of one device."""

    device: str
    use: float | None = None
    memory: float | None = Field(default=None, description="GiB")


class UsagePeak(WireModel):
    """The most that was seen, over all runs of the job that are still on record."""

    cpu: float | None = Field(default=None, description="cores, over one reading's 5 s")
    memory: float | None = Field(default=None, description="GiB; the kernel's own mark, file cache included")
    devices: list[DevicePeak] = Field(default_factory=list)


class JobUsage(WireModel):
    """What a job uses now, or used last."""

    cpu_limit: float = Field(description="cores that it may use")
    memory_limit: float = Field(description="GiB that it may use")
    last: UsePoint | None = Field(default=None, description="the newest reading; null when there is none")
    devices: list[DeviceUse] = Field(default_factory=list, description="the newest reading of each device")
    peak: UsagePeak = Field(default_factory=UsagePeak)


class TopJob(WireModel):
    """A running job, and the newest reading of its run."""

    id: str
    name: str | None = None
    account: str = Field(description="full name")
    creator: str = Field(description="full name")
    run: int = Field(description="index of the run")
    cpu_limit: float = Field(description="cores that it may use")
    memory_limit: float = Field(description="GiB that it may use")
    last: UsePoint | None = Field(default=None, description="null when it was not read yet")
    devices: list[DeviceUse] = Field(default_factory=list)


class JobMetrics(JobUsage):
    """What a job used over a time."""

    job_id: str
    begin: datetime
    end: datetime
    step: int = Field(description="seconds that one point stands for")
    points: list[UsePoint] = Field(default_factory=list)
    device_points: list[DeviceUse] = Field(default_factory=list)
