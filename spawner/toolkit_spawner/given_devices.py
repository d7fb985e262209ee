"""Which GPUs a container was really given, read back from what the engine says of it, whoever made the container.

A container gets devices by requests (``docker run --gpus``, CDI names), as device nodes (``--device /dev/nvidia0``), or by
``NVIDIA_VISIBLE_DEVICES`` where the engine's nvidia runtime follows that; elsewhere images may say there what they like.
A privileged container sees all devices and was given none: what uses one is found as a process.

https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit_spawner.gpus import CONTROL_NODE, MEMORY_NODES, NO_DEVICE, Gpu

__all__ = ["GivenDevices", "devices_of", "given_devices"]

#: Nodes that tell nothing of a device.
NO_ONES_NODES = {NO_DEVICE, CONTROL_NODE, *MEMORY_NODES, "/dev/nvidia-modeset"}
#: In place of a device's name: each one.
ALL = "all"
#: CDI's kinds of NVIDIA's devices begin with this: `nvidia.com/gpu=UUID`.
CDI_VENDOR = "nvidia.com/"
#: A part of a UUID that is shorter than this names nothing.
LEAST_NAME = 12


@dataclass(frozen=True)
class GivenDevices:
    """In the words of whoever made the container. `names` are UUIDs, numbers or `all`, by requests or by the nvidia runtime;
    `nodes` device nodes of the machine; `visible` what ``NVIDIA_VISIBLE_DEVICES`` has, whether or not anything follows it."""

    names: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    visible: frozenset[str] = frozenset()


def given_devices(raw: dict[str, Any]) -> GivenDevices:
    """From the answer of ``GET /containers/ID/json``."""
    host = raw["HostConfig"]
    names = frozenset(name for request in host.get("DeviceRequests") or [] for name in _requested(request))
    visible = _visible(raw["Config"].get("Env") or [])
    if not names and "nvidia" in (host.get("Runtime") or ""):
        names = visible
    nodes = frozenset(str(device["PathOnHost"]).rstrip("/") for device in host.get("Devices") or [])
    return GivenDevices(names, nodes, visible)


def _requested(request: dict[str, Any]) -> Iterator[str]:
    """The names in one request of devices; the engine counts from the first one."""
    driver, ids = request.get("Driver") or "", request.get("DeviceIDs") or []
    if driver == "cdi":
        yield from (name.partition("=")[2] for name in ids if name.startswith(CDI_VENDOR))
        return
    wanted = {capability for group in request.get("Capabilities") or [] for capability in group}
    if driver != "nvidia" and "gpu" not in wanted:
        return
    yield from ids
    count = int(request.get("Count") or 0)
    yield from [ALL] if count < 0 else map(str, range(count))


def _visible(environment: Sequence[str]) -> frozenset[str]:
    values = [
        value for name, _, value in (item.partition("=") for item in environment) if name == "NVIDIA_VISIBLE_DEVICES"
    ]
    names = {name.strip() for value in values[-1:] for name in value.split(",")}
    return frozenset(names - {"", "void", "none"})


def devices_of(given: GivenDevices, gpus: Sequence[Gpu]) -> set[str]:
    """Those of `gpus` that were given, by UUID. A node that several share gives none of them. A device without a node of its own
    that is handed over as one, as a simulated one, is known by its UUID in ``NVIDIA_VISIBLE_DEVICES``, which the spawner sets."""
    nodes = [{gpu.own_node} if gpu.own_node else set(gpu.nodes) for gpu in gpus]
    counts = Counter(node for some in nodes for node in some)
    found = set()
    for place, gpu in enumerate(gpus):
        own = {node for node in nodes[place] - NO_ONES_NODES if counts[node] == 1}
        names = given.names
        if gpu.handover == "nodes" and not own:
            names = names | {name for name in given.visible if name.lower() == gpu.uuid.lower()}
        by_node = any(node == path or node.startswith(f"{path}/") for node in own for path in given.nodes)
        if by_node or any(_means(name, gpu, gpu.number or str(place), gpus) for name in names):
            found.add(gpu.uuid)
    return found


def _means(name: str, gpu: Gpu, number: str, gpus: Sequence[Gpu]) -> bool:
    """`number` is what NVIDIA's tools call the device; of a MIG instance `0:1`, and `0` all those of the first GPU."""
    if name == ALL:
        return not gpu.stand_in
    wanted = name.lower()
    if wanted == gpu.uuid.lower():
        return True
    if wanted in (number, number.partition(":")[0]):
        return not gpu.stand_in
    exact = any(wanted == other.uuid.lower() for other in gpus)
    return not exact and len(wanted) >= LEAST_NAME and gpu.uuid.lower().startswith(wanted)
