"""What can never start here, and what comes nearest to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from toolkit_hub.queue.planning.capacity import EPSILON, Capacity, Device, Node
from toolkit_hub.queue.planning.runs import Request

__all__ = ["Impossible", "impossible"]


@dataclass(frozen=True, slots=True)
class Impossible:
    """`reason` goes on after "this job can never start here: "; `nearest` could start, None without machines."""

    reason: str
    nearest: Request | None


def impossible(request: Request, capacity: Capacity) -> Impossible | None:
    """Why no machine of the site can ever run the request, with the numbers; None when one can. What is out of service counts:
    it will be repaired."""
    if any(_fits(request, node) for node in capacity.nodes):
        return None
    return Impossible(_reason(request, capacity), _nearest(request, capacity))


def _fits(request: Request, node: Node) -> bool:
    if request.cpu > node.cpu + EPSILON or request.mem > node.mem + EPSILON:
        return False
    return not request.gpu or _count(request, node) >= request.gpu


def _count(request: Request, node: Node) -> int:
    return sum(request.takes(device) for device in node.devices)


def _reason(request: Request, capacity: Capacity) -> str:
    lacks = []
    most_gpus = max((_count(request, node) for node in capacity.nodes), default=0)
    if request.gpu > most_gpus:
        lacks.append(_gpus_lacking(request, capacity, most_gpus))
    most_cpu = max((node.cpu for node in capacity.nodes), default=0.0)
    most_mem = max((node.mem for node in capacity.nodes), default=0.0)
    if request.cpu > most_cpu + EPSILON:
        lacks.append(f"{request.cpu:g} CPU{'s' * (request.cpu != 1)}, and no machine has more than {most_cpu:g}")
    if request.mem > most_mem + EPSILON:
        lacks.append(f"{request.mem:g} GiB of memory, and no machine has more than {most_mem:g} GiB")
    if not lacks:
        return "no machine has all that it asks for at once"
    return f"it asks for {'; and '.join(lacks)}"


def _gpus_lacking(request: Request, capacity: Capacity, most: int) -> str:
    some = f"{request.gpu} GPU{'s' * (request.gpu > 1)}"
    devices = [device for node in capacity.nodes for device in node.devices]
    if not devices:
        return f"{some}, and this site has none"
    if any(request.takes(device) for device in devices):
        return f"{some} on one machine, and no machine has more than {most} of the kind"
    return f"{some} of a kind that this site does not have; it has {_kinds(devices)}"


def _kinds(devices: list[Device]) -> str:
    names = sorted({f"{d.model} ({d.mem:g} GiB)" if d.mem is not None else d.model for d in devices})
    return ", ".join(names)


def _nearest(request: Request, capacity: Capacity) -> Request | None:
    """On the machine that grants most of it: GPUs before CPUs and memory, the kind before the number."""
    for wish in _relaxed(request, capacity):
        if wish.gpu and not any(_count(wish, node) for node in capacity.nodes):
            continue
        on_nodes = (_at_most(wish, node) for node in capacity.nodes)
        return max(on_nodes, key=lambda found: (found.gpu, found.cpu / wish.cpu + found.mem / wish.mem), default=None)
    return None


def _relaxed(request: Request, capacity: Capacity) -> Iterator[Request]:
    """The request, then with less said of the GPUs, at last without any."""
    yield request
    if request.gpu:
        known = [device.mem for node in capacity.nodes for device in node.devices if device.mem is not None]
        largest = min(request.gpu_mem, max(known, default=0.0))
        yield replace(request, gpu_mem=largest)
        yield replace(request, gpu_model=None)
        yield replace(request, gpu_cuda_version=None, gpu_tensor_cores=None)
        yield replace(request, gpu_mem=largest, gpu_model=None, gpu_cuda_version=None, gpu_tensor_cores=None)
        yield replace(request, gpu_mem=0.0, gpu_model=None, gpu_cuda_version=None, gpu_tensor_cores=None)
    yield Request(request.cpu, request.mem)


def _at_most(wish: Request, node: Node) -> Request:
    gpu = min(wish.gpu, _count(wish, node)) if wish.gpu else 0
    return replace(wish, gpu=gpu, cpu=min(wish.cpu, node.cpu), mem=min(wish.mem, node.mem))
