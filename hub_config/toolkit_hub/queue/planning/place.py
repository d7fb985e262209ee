"""Best fit: on which machine and on which devices a run starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from toolkit_hub.queue.planning.capacity import EPSILON
from toolkit_hub.queue.planning.cluster import Cluster, FreeNode
from toolkit_hub.queue.planning.runs import Request

__all__ = ["Failures", "Place", "best_place", "waste"]


@dataclass(frozen=True, slots=True)
class Place:
    node: str
    devices: tuple[str, ...]


def waste(node: FreeNode, request: Request, kinds: tuple[int, ...], mems: list[float]) -> tuple[float, ...] | None:
    """How badly a request that fits here fits, the lowest the best; None when it does not fit.

    With GPUs: devices of several kinds are worst, then much device memory, then many devices left over (whole machines stay
    free for large jobs). Without: machines with free GPUs are kept for those who ask for them. Then few CPUs left over.
    """
    if node.cpu + EPSILON < request.cpu or node.mem + EPSILON < request.mem:
        return None
    count = request.gpu
    if not count:
        return (0, 0.0, node.gpus, node.cpu, node.mem)
    free, missing, taken = node.free, count, 0.0
    for kind in kinds:
        if len(free[kind]) >= count:
            return (0, mems[kind] * count, node.gpus, node.cpu, node.mem)
    for kind in kinds:
        some = min(missing, len(free[kind]))
        taken += mems[kind] * some
        missing -= some
        if not missing:
            return (1, taken, node.gpus, node.cpu, node.mem)
    return None


def best_place(cluster: Cluster, request: Request, nodes: Iterable[FreeNode]) -> Place | None:
    """Where the request fits best among `nodes`; the first by name among equals."""
    kinds = cluster.kinds(request)
    if request.gpu and not kinds:
        return None
    cpu, mem, count = request.cpu - EPSILON, request.mem - EPSILON, request.gpu
    best: tuple[float, ...] | None = None
    chosen: FreeNode | None = None
    for node in nodes:
        if node.gpus < count or node.cpu < cpu or node.mem < mem:
            continue
        found = waste(node, request, kinds, cluster.mems)
        if found is not None and (best is None or found < best):
            best, chosen = found, node
    if chosen is None:
        return None
    return Place(chosen.name, chosen.choose(count, kinds) if count else ())


class Failures:
    """What found no place in this pass. Nothing comes free within one, so whoever asks for at least as much finds none either."""

    def __init__(self) -> None:
        self._least: dict[tuple[int, ...], list[tuple[int, float, float]]] = {}

    def add(self, request: Request, kinds: tuple[int, ...]) -> None:
        asks = (request.gpu, request.cpu, request.mem)
        known = self._least.setdefault(kinds, [])
        known[:] = [other for other in known if not _covers(other, asks)]
        known.append(asks)

    def cover(self, request: Request, kinds: tuple[int, ...]) -> bool:
        """Whether it is known without looking that the request finds no place."""
        known = self._least.get(kinds)
        if not known:
            return False
        asks = (request.gpu, request.cpu, request.mem)
        return any(_covers(asks, other) for other in known)


def _covers(more: tuple[int, float, float], less: tuple[int, float, float]) -> bool:
    return more[0] >= less[0] and more[1] >= less[1] and more[2] >= less[2]
