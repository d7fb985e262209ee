"""Best fit: on which machine and on which devices a run starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from toolkit_hub.queue.planning.capacity import EPSILON
from toolkit_hub.queue.planning.cluster import Cluster, FreeNode
from toolkit_hub.queue.planning.runs import Request

__all__ = ["Failures", "Place", "best_place"]

#: GiB, more than a machine has.
_SEVERAL = 1e12


@dataclass(frozen=True, slots=True)
class Place:
    node: str
    devices: tuple[str, ...]


def best_place(cluster: Cluster, request: Request, nodes: Iterable[FreeNode]) -> Place | None:
    """Where the request fits best among `nodes`; the first of them among equals.

    With GPUs: devices of several kinds are worst, then much device memory, then many devices left over (whole machines stay
    free for large jobs). Without: machines with free GPUs are kept for those who ask for them. Then few CPUs left over.
    """
    kinds, mems = cluster.kinds(request), cluster.mems
    if request.gpu and not kinds:
        return None
    cpu, mem, count = request.cpu - EPSILON, request.mem - EPSILON, request.gpu
    worst = cost = float("inf")
    chosen: FreeNode | None = None
    left: tuple[float, ...] = ()
    for node in nodes:
        if node.gpus < count or node.cpu < cpu or node.mem < mem:
            continue
        free = node.free
        for kind in kinds:
            if len(free[kind]) >= count:
                cost = mems[kind] * count
                break
        else:
            cost = _cost_of_several(free, count, kinds, mems) if count else 0.0
        # Most machines are out here: this loop is the hot one of a pass.
        if cost > worst or (cost == worst and chosen is not None and node.gpus > chosen.gpus):
            continue
        here = (node.gpus, node.cpu, node.mem)
        if chosen is None or cost < worst or here < left:
            worst, chosen, left = cost, node, here
    if chosen is None or worst == float("inf"):
        return None
    return Place(chosen.name, chosen.choose(count, kinds) if count else ())


def _cost_of_several(free: list[list[str]], count: int, kinds: tuple[int, ...], mems: list[float]) -> float:
    """Memory of the smallest devices where no kind has enough: more than any cost of one kind, infinite if there are too few."""
    cost = _SEVERAL
    for kind in kinds:
        some = min(count, len(free[kind]))
        cost += mems[kind] * some
        count -= some
    return float("inf") if count else cost


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
