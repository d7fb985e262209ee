"""Who asks and who holds: requests, classes, waiting and running runs. Times are seconds of one clock, the caller's."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from toolkit_hub.queue.planning.capacity import Device

__all__ = ["Request", "Room", "RunClass", "RunningRun", "WaitingRun"]


class RunClass(IntEnum):
    """The lower the number, the earlier in the queue. The last two may be stopped for any class before their own."""

    INTERACTIVE = 0
    NORMAL = 1
    PREEMPTABLE = 2
    RESTARTABLE = 3

    @classmethod
    def of(cls, *, interactive: bool, preemptable: bool, restartable: bool) -> RunClass:
        """The class that the flags of a job spec make."""
        if interactive:
            return cls.INTERACTIVE
        if restartable:
            return cls.RESTARTABLE
        return cls.PREEMPTABLE if preemptable else cls.NORMAL

    @property
    def word(self) -> str:
        return self.name.lower()

    def may_preempt(self, other: RunClass) -> bool:
        return other >= RunClass.PREEMPTABLE and self < other


@dataclass(frozen=True, slots=True)
class Request:
    """What one run asks for, all of it on one machine. `cpu` in cores, `mem` and `gpu_mem` (of each device) in GiB."""

    cpu: float = 1.0
    mem: float = 1.0
    gpu: int = 0
    gpu_mem: float = 0.0
    #: Part of the device's name, in any case; with `!` before it, of none of them.
    gpu_model: str | None = None
    #: Least CUDA compute capability.
    gpu_cuda_version: float | None = None
    gpu_tensor_cores: bool | None = None

    def takes(self, device: Device) -> bool:
        """Whether the device is of the kind that is asked for; what is not known of it satisfies no demand."""
        if self.gpu_mem > 0 and (device.mem is None or device.mem < self.gpu_mem):
            return False
        if self.gpu_cuda_version and (device.capability is None or device.capability < self.gpu_cuda_version):
            return False
        if self.gpu_tensor_cores and not device.tensor_cores:
            return False
        wanted = (self.gpu_model or "").casefold()
        if wanted.startswith("!"):
            return wanted[1:] not in device.model.casefold()
        return wanted in device.model.casefold()


@dataclass(frozen=True, slots=True)
class Room:
    """A place that is kept for one run while others are stopped for it: from `Preemption`, stored by the caller."""

    node: str
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunningRun:
    """A run that holds something, from its admission until it has ended. `latest_end` is its time limit's end (for one that
    has not started yet: as if it started now), None without limit; `checkpoint` the last sign of saved work."""

    run_id: str
    job_id: str
    user: str
    account: str
    organization: str
    run_class: RunClass
    node: str
    cpu: float
    mem: float
    devices: tuple[str, ...] = ()
    bid: int = 0
    started: float | None = None
    latest_end: float | None = None
    checkpoint: float | None = None
    restartable: bool = False
    #: The waiting run for which this one is being stopped.
    making_room_for: str | None = None
    #: It is on its way out, whoever wanted it so; nobody needs to stop it again.
    ending: bool = False

    @property
    def stoppable(self) -> bool:
        """Whether it may be stopped for runs of a higher class, and nobody has begun to."""
        return self.run_class >= RunClass.PREEMPTABLE and not self.ending and self.making_room_for is None

    def lost_if_stopped(self, now: float) -> float:
        """Seconds of work since its start or its last checkpoint."""
        if self.started is None:
            return 0.0
        return max(0.0, now - max(self.started, self.checkpoint or self.started))


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """A run in the queue whose dependencies are met. `max_run_time` in seconds, None without limit."""

    run_id: str
    user: str
    account: str
    organization: str
    run_class: RunClass
    request: Request
    submitted: float
    bid: int = 0
    max_run_time: float | None = None
    not_before: float | None = None
    room: Room | None = None

    def may_stop(self, other: RunningRun) -> bool:
        """Whether the other one may be stopped for this one."""
        return other.stoppable and self.run_class < other.run_class
