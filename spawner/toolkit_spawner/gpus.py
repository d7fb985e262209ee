"""The GPUs of this machine, whoever made them: what is known of each, how a container gets one, how busy it is.

None is unknown, never zero. An inventory is found by NVML (`toolkit_spawner.nvml`), declared by the site, or simulated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from toolkit_spawner.device_readings import DeviceReading
from toolkit_spawner.launch import DeviceSpec

__all__ = [
    "CONTROL_NODE",
    "MEMORY_NODES",
    "NO_DEVICE",
    "DeclaredGpus",
    "Gpu",
    "GpusUnavailable",
    "Inventory",
    "declared",
    "simulated",
]

Handover = Literal["cdi", "nvidia", "nodes"]
#: Nodes that programs need beside their NVIDIA device's own. The driver makes the latter at their first use only, and the engine
#: refuses a container with one that is missing.
CONTROL_NODE, MEMORY_NODES = "/dev/nvidiactl", ("/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
#: The node of a simulated device.
NO_DEVICE = "/dev/null"


class GpusUnavailable(Exception):
    """The inventory cannot be read now; why, in words."""


@dataclass(frozen=True)
class Gpu:
    """A device that is given out whole: a GPU, or a MIG instance. `mem` in GiB, `capability` CUDA's compute capability;
    `own_node` is the device node that only it has, `number` what NVIDIA's tools call it where that is not its place in the list;
    `trouble` says why nobody should get it."""

    uuid: str
    model: str
    mem: float | None = None
    capability: float | None = None
    cuda_version: str | None = None
    driver: str | None = None
    tensor_cores: bool | None = None
    handover: Handover = "nvidia"
    nodes: tuple[str, ...] = ()
    own_node: str | None = None
    number: str = ""
    trouble: str | None = None

    @property
    def stand_in(self) -> bool:
        """Whether there is no such device: jobs get /dev/null for it."""
        return self.nodes == (NO_DEVICE,)

    def spec(self) -> DeviceSpec:
        """How a container is given it."""
        return DeviceSpec(uuid=self.uuid, handover=self.handover, nodes=list(self.nodes))


class Inventory(Protocol):
    """Both calls may block for long, and are made in a thread."""

    def gpus(self) -> list[Gpu]:
        """All devices. Raises `GpusUnavailable`."""
        ...

    def readings(self) -> Mapping[str, DeviceReading]:
        """By UUID. A device that does not tell is missing, or tells None. Raises `GpusUnavailable`."""
        ...


@dataclass(frozen=True)
class DeclaredGpus:
    """As the site's settings have them; nothing is ever read."""

    found: tuple[Gpu, ...] = field(default_factory=tuple)

    def gpus(self) -> list[Gpu]:
        return list(self.found)

    def readings(self) -> Mapping[str, DeviceReading]:
        return {}


def simulated(count: int) -> DeclaredGpus:
    """Devices that do nothing: their node is /dev/null, and every name says what they are."""
    return DeclaredGpus(
        tuple(
            Gpu(
                uuid=f"GPU-SIMULATED-{number}",
                model="SIMULATED GPU",
                mem=16.0,
                capability=8.0,
                cuda_version="12.4",
                tensor_cores=True,
                handover="nodes",
                nodes=(NO_DEVICE,),
            )
            for number in range(count)
        )
    )


def declared(items: Sequence[Mapping[str, Any]]) -> DeclaredGpus:
    """From the setting: dicts with the names of `Gpu`; `uuid` and `model` are needed. Raises `ValueError` in words."""
    found = []
    for number, item in enumerate(items, 1):
        unknown = sorted(set(item) - set(Gpu.__dataclass_fields__))
        missing = sorted({"uuid", "model"} - set(item))
        if unknown or missing:
            words = f"does not know {', '.join(unknown)}" if unknown else f"lacks {', '.join(missing)}"
            raise ValueError(f"GPU {number} of the setting {words}")
        if item.get("handover", "nvidia") not in ("cdi", "nvidia", "nodes"):
            raise ValueError(f"GPU {number} of the setting: handover is cdi, nvidia or nodes, not {item['handover']!r}")
        found.append(Gpu(**{**item, "nodes": tuple(item.get("nodes", ()))}))
    twice = {gpu.uuid for gpu in found if [other.uuid for other in found].count(gpu.uuid) > 1}
    if twice:
        raise ValueError(f"GPUs of the setting have the same uuid: {', '.join(sorted(twice))}")
    return DeclaredGpus(tuple(found))
