"""What there is: machines and their devices, as the inventory found them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EPSILON", "Capacity", "Device", "Node"]

#: Sums of fractions of a CPU or of a GiB are not exact; less than this is no shortage.
EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, or a MIG instance as a device of its own. None is unknown, and satisfies no demand. `mem` in GiB; `capability` is
    CUDA's compute capability as a number (8.6); `drained` says why nobody gets it."""

    uuid: str
    model: str
    mem: float | None = None
    capability: float | None = None
    cuda_version: str | None = None
    tensor_cores: bool | None = None
    drained: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A machine. `cpu` in cores and `mem` in GiB are what jobs may have; `drained` says why nothing starts on it."""

    name: str
    cpu: float
    mem: float
    devices: tuple[Device, ...] = ()
    drained: str | None = None

    @property
    def usable(self) -> tuple[Device, ...]:
        return () if self.drained else tuple(device for device in self.devices if not device.drained)


@dataclass(frozen=True, slots=True)
class Capacity:
    """All machines, each name once."""

    nodes: tuple[Node, ...]

    def totals(self) -> tuple[int, float, float]:
        """GPUs, CPUs and GiB of memory in all, whatever is drained: a share must not change with a broken device."""
        gpus = sum(len(node.devices) for node in self.nodes)
        return gpus, sum(node.cpu for node in self.nodes), sum(node.mem for node in self.nodes)
