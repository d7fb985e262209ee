"""Best fit: on which machine and on which devices a run starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

from toolkit_hub.queue.planning.capacity import EPSILON
from toolkit_hub.queue.planning.cluster import Cluster, FreeNode
from toolkit_hub.queue.planning.runs import Request

__all__ = ["Failures", "Place", "best_place", "fitting"]

#: What is left on a machine, the less the better.
_LEFT = attrgetter("gpus", "cpu", "mem")


@dataclass(frozen=True, slots=True)
class Place:
    node: str
    devices: tuple[str, ...]


def fitting(request: Request, nodes: Iterable[FreeNode]) -> list[FreeNode]:
    """Those with enough CPUs, memory, and devices of whatever kind."""
    cpu, mem, count = request.cpu - EPSILON, request.mem - EPSILON, request.gpu
    return [node for node in nodes if node.gpus >= count and node.cpu >= cpu and node.mem >= mem]


def best_place(cluster: Cluster, request: Request, nodes: list[FreeNode]) -> Place | None:
    """Where the request fits best among `nodes`, which are `fitting`; the first of them among equals.

    With GPUs: devices of several kinds are worst, then much device memory, then many devices left over (whole machines stay
    free for large jobs). Without: machines with free GPUs are kept for those who ask for them. Then few CPUs left over.
    """
    if not request.gpu:
        return Place(min(nodes, key=_LEFT).name, ()) if nodes else None
    kinds, count = cluster.kinds(request), request.gpu
    for alike in cluster.of_equal_memory(kinds):
        enough = _with_enough(nodes, alike, count)
        if enough:
            chosen = min(enough, key=_LEFT)
            return Place(chosen.name, chosen.choose(count, kinds))
    costs = [(_cost_of_several(node.free, count, kinds, cluster.mems), *_LEFT(node), node.name, node) for node in nodes]
    best = min(costs, key=lambda cost: cost[:-1], default=None)
    if best is None or best[0] == float("inf"):
        return None
    return Place(best[-1].name, best[-1].choose(count, kinds))


def _with_enough(nodes: list[FreeNode], alike: list[int], count: int) -> list[FreeNode]:
    """Those with so many free devices of one of the kinds."""
    if len(alike) == 1:
        kind = alike[0]
        return [node for node in nodes if len(node.free[kind]) >= count]
    return [node for node in nodes if any(len(node.free[kind]) >= count for kind in alike)]


def _cost_of_several(free: list[list[str]], count: int, kinds: tuple[int, ...], mems: list[float]) -> float:
    """Memory of the smallest devices where no kind has enough; infinite if there are too few."""
    cost = 0.0
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
