"""Which runs are stopped to make room for one of a higher class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from toolkit_hub.queue.planning.capacity import EPSILON
from toolkit_hub.queue.planning.cluster import Cluster, FreeNode, Hold
from toolkit_hub.queue.planning.runs import Request, RunClass, WaitingRun

__all__ = ["Eviction", "Victim", "evict"]

_Cost = tuple[tuple[int, int], float, int]


@dataclass(frozen=True, slots=True)
class Victim:
    """A run to stop, and the seconds of work that it loses."""

    run_id: str
    lost: float


@dataclass(frozen=True, slots=True)
class Eviction:
    """On `node`, whose victims leave enough for the starter on `devices`; in the order in which they are to be stopped."""

    node: str
    devices: tuple[str, ...]
    victims: tuple[Victim, ...]
    holds: tuple[Hold, ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A run that may be stopped; `gpus` counts those of its devices that are of use to the starter."""

    run_id: str
    level: tuple[int, int]
    lost: float
    gpus: int
    hold: Hold

    def rank(self) -> tuple[tuple[int, int], float, str]:
        return self.level, self.lost, self.run_id


def evict(cluster: Cluster, run: WaitingRun, nodes: Iterable[FreeNode], now: float) -> Eviction | None:
    """The cheapest set of victims on one machine: first the lowest class, then the lowest bid that has to be touched, then the
    least work lost in all, then the fewest. None of them could be left out."""
    best: tuple[_Cost, FreeNode, list[_Candidate]] | None = None
    if run.run_class >= RunClass.RESTARTABLE:
        return None
    for node in nodes:
        victims = _eligible(cluster, node, run, now)
        chosen = _cheapest(cluster, node, run.request, victims) if victims else None
        if chosen is not None and (best is None or _cost(chosen) < best[0]):
            best = (_cost(chosen), node, chosen)
    if best is None:
        return None
    _, node, chosen = best
    after = node.copy()
    cluster.restore(after, [victim.hold for victim in chosen])
    devices = after.choose(run.request.gpu, cluster.kinds(run.request))
    losses = tuple(Victim(victim.run_id, victim.lost) for victim in chosen)
    return Eviction(node.name, devices, losses, tuple(victim.hold for victim in chosen))


def _eligible(cluster: Cluster, node: FreeNode, run: WaitingRun, now: float) -> list[_Candidate]:
    """In the order in which they would be stopped."""
    takes = set(cluster.kinds(run.request))
    found = []
    for hold in cluster.holds[node.name]:
        victim = hold.run
        if victim is None or not run.may_stop(victim):
            continue
        gpus = sum(cluster.kind_of.get(uuid) in takes for uuid in victim.devices)
        level = (-victim.run_class, victim.bid)
        found.append(_Candidate(victim.run_id, level, victim.lost_if_stopped(now), gpus, hold))
    return sorted(found, key=_Candidate.rank)


def _cheapest(cluster: Cluster, node: FreeNode, request: Request, victims: list[_Candidate]) -> list[_Candidate] | None:
    """Nobody of a higher class or bid is touched than has to be; among those at most as high, the least work is lost."""
    cpu, mem = request.cpu - node.cpu - EPSILON, request.mem - node.mem - EPSILON
    gpu = request.gpu - sum(len(node.free[kind]) for kind in cluster.kinds(request))

    def suffices(chosen: Sequence[_Candidate]) -> bool:
        return (
            sum(victim.gpus for victim in chosen) >= gpu
            and sum(victim.hold.cpu for victim in chosen) >= cpu
            and sum(victim.hold.mem for victim in chosen) >= mem
        )

    if not suffices(victims):
        return None
    level = next(level for level in sorted({v.level for v in victims}) if suffices(_up_to(victims, level)))
    allowed = _up_to(victims, level)
    found = [_pruned(allowed, suffices)]
    for size in (1, 2):
        if size < len(found[0]) and len(found) == 1:
            found += [list(some) for some in combinations(allowed, size) if suffices(some)]
    return min(found, key=_cost)


def _up_to(victims: list[_Candidate], level: tuple[int, int]) -> list[_Candidate]:
    return [victim for victim in victims if victim.level <= level]


def _pruned(victims: list[_Candidate], suffices: Callable[[Sequence[_Candidate]], bool]) -> list[_Candidate]:
    """Without those that are not needed, the dearest left out first."""
    kept = list(victims)
    for victim in reversed(victims):
        rest = [other for other in kept if other is not victim]
        if suffices(rest):
            kept = rest
    return kept


def _cost(chosen: list[_Candidate]) -> _Cost:
    return max(victim.level for victim in chosen), sum(victim.lost for victim in chosen), len(chosen)
