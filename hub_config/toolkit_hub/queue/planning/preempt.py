"""Which runs are stopped to make room for one of a higher class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations

from toolkit_hub.queue.planning.capacity import EPSILON
from toolkit_hub.queue.planning.cluster import Cluster, FreeNode, Hold
from toolkit_hub.queue.planning.place import Failures
from toolkit_hub.queue.planning.runs import Request, RunClass, RunningRun, WaitingRun

__all__ = ["Eviction", "Stoppable", "Victim"]

_Level = tuple[int, int]
_Cost = tuple[_Level, float, int]
#: No victim is dearer than this.
_ANY: _Level = (0, 0)


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


class _Candidate:
    """A run that may be stopped; `gpus` counts its devices in service by kind."""

    __slots__ = ("gpus", "hold", "level", "lost", "run")

    def __init__(self, run: RunningRun, hold: Hold, now: float, cluster: Cluster) -> None:
        self.run, self.hold = run, hold
        self.level = (-run.run_class, run.bid)
        self.lost = run.lost_if_stopped(now)
        self.gpus = [0] * len(cluster.samples)
        for uuid in run.devices:
            if uuid in cluster.kind_of:
                self.gpus[cluster.kind_of[uuid]] += 1

    def rank(self) -> tuple[_Level, float, str]:
        return self.level, self.lost, self.run.run_id

    def lower(self, left: tuple[int, float, float], kinds: tuple[int, ...]) -> tuple[int, float, float]:
        """What of GPUs of these kinds, CPUs and memory is still missing when this one is stopped as well."""
        gpu, hold = left[0], self.hold
        if gpu > 0 and hold.devices:
            for kind in kinds:
                gpu -= self.gpus[kind]
        return gpu, left[1] - hold.cpu, left[2] - hold.mem


class Stoppable:
    """The runs of a pass that may be stopped, by machine, each list in the order in which they would be stopped."""

    def __init__(self, cluster: Cluster, now: float) -> None:
        self._cluster = cluster
        self._on: dict[str, list[_Candidate]] = {}
        #: How many devices they have, to pass over a machine quickly.
        self._gpus: dict[str, int] = {}
        for name, holds in cluster.holds.items():
            found = [_Candidate(hold.run, hold, now, cluster) for hold in holds if hold.run and hold.run.stoppable]
            if found:
                self._keep(name, sorted(found, key=_Candidate.rank))
        self._failures = {run_class: Failures() for run_class in RunClass}

    def evict(self, run: WaitingRun, but: FreeNode | None) -> Eviction | None:
        """The cheapest set of victims on one machine, not on `but`: first the lowest class, then the lowest bid that has to be
        touched, then the least work lost in all, then the fewest. None of them could be left out."""
        kinds = self._cluster.kinds(run.request)
        failures = self._failures[run.run_class]
        if not self._on or run.run_class is RunClass.RESTARTABLE or failures.cover(run.request, kinds):
            return None
        best: tuple[_Cost, str, list[_Candidate]] | None = None
        count, limit = run.request.gpu, _ANY
        for name, victims in self._on.items():
            node, lowest = self._cluster.by_name[name], victims[0].level
            if node.gpus + self._gpus[name] < count or lowest > limit or -lowest[0] <= run.run_class or node is but:
                continue
            chosen = _cheapest(node, run, kinds, victims, limit)
            if chosen is not None:
                found = (_cost(chosen), name, chosen)
                best = found if best is None or found[:2] < best[:2] else best
                limit = best[0][0]
        if best is None:
            failures.add(run.request, kinds)
            return None
        return self._eviction(run.request, self._cluster.by_name[best[1]], best[2])

    def _keep(self, name: str, candidates: list[_Candidate]) -> None:
        self._on[name] = candidates
        self._gpus[name] = sum(len(one.hold.devices) for one in candidates)

    def _eviction(self, request: Request, node: FreeNode, chosen: list[_Candidate]) -> Eviction:
        """The victims can be chosen no more."""
        left = [victim for victim in self._on.pop(node.name) if victim not in chosen]
        if left:
            self._keep(node.name, left)
        after = node.copy()
        holds = tuple(victim.hold for victim in chosen)
        self._cluster.restore(after, holds)
        devices = after.choose(request.gpu, self._cluster.kinds(request)) if request.gpu else ()
        return Eviction(node.name, devices, tuple(Victim(one.run.run_id, one.lost) for one in chosen), holds)


def _cheapest(
    node: FreeNode, run: WaitingRun, kinds: tuple[int, ...], candidates: list[_Candidate], at_most: _Level
) -> list[_Candidate] | None:
    """Nobody of a higher class or bid is touched than has to be, or than `at_most`; among those at most as high, the least work
    is lost."""
    asks = run.request
    gpu = asks.gpu - sum([len(node.free[kind]) for kind in kinds])
    needs = (gpu, asks.cpu - node.cpu - EPSILON, asks.mem - node.mem - EPSILON)
    level, left = None, needs
    for victim in candidates:
        if run.run_class >= victim.run.run_class or victim.level > at_most:
            return None
        left = victim.lower(left, kinds)
        if max(left) <= 0:
            level = victim.level
            break
    if level is None:
        return None

    def suffices(chosen: Iterable[_Candidate]) -> bool:
        left = needs
        for victim in chosen:
            left = victim.lower(left, kinds)
        return max(left) <= 0

    allowed = [victim for victim in candidates if victim.level <= level]
    found = [_pruned(allowed, suffices)]
    for size in (1, 2):
        if size < len(found[0]) and len(found) == 1:
            found += [list(some) for some in combinations(allowed, size) if suffices(some)]
    return min(found, key=_cost) if len(found) > 1 else found[0]


def _pruned(victims: list[_Candidate], suffices: Callable[[Iterable[_Candidate]], bool]) -> list[_Candidate]:
    """Without those that are not needed, the dearest left out first."""
    kept = list(victims)
    for victim in reversed(victims):
        rest = [other for other in kept if other is not victim]
        if suffices(rest):
            kept = rest
    return kept


def _cost(chosen: list[_Candidate]) -> _Cost:
    return max(victim.level for victim in chosen), sum(victim.lost for victim in chosen), len(chosen)
