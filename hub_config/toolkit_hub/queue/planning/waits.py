"""The reasons of those who wait, as a pass finds them. Runs that ask for the same share one object."""

from __future__ import annotations

from collections.abc import Iterable

from toolkit_hub.queue.planning.capacity import EPSILON, Capacity
from toolkit_hub.queue.planning.cluster import Cluster, FreeNode
from toolkit_hub.queue.planning.impossible import impossible
from toolkit_hub.queue.planning.limits import QuotaBlock
from toolkit_hub.queue.planning.reasons import Kind, Reason
from toolkit_hub.queue.planning.runs import Request, RunClass, WaitingRun
from toolkit_hub.queue.planning.state import QueueState

__all__ = ["Asked", "Waits", "shortage"]

#: Waits for what others give back; what a promise of the first place outlasts.
_FOR_ROOM = (Kind.FIRST, Kind.BEHIND, Kind.KEPT)


class Asked:
    """What a pass knows of a request, so that it looks only once for all runs that ask for the same: its `kinds` of devices and
    its `cost`; whether it `failed` to find a place, now or for longer than until the first in line starts; the highest class
    that found nobody to stop; the machines that were still large enough; reasons."""

    __slots__ = (
        *("request", "kinds", "cost", "failed", "failed_long", "no_victims_for", "nodes", "nodes_for_long"),
        *("judged", "hopeless", "behind", "kept"),
    )

    def __init__(self, request: Request, kinds: tuple[int, ...], cost: float) -> None:
        self.request, self.kinds, self.cost = request, kinds, cost
        self.failed = self.failed_long = self.judged = False
        self.no_victims_for = RunClass.RESTARTABLE
        self.nodes: list[FreeNode] | None = None
        self.nodes_for_long: list[FreeNode] | None = None
        self.hopeless: Reason | None = None
        self.behind: Reason | None = None
        self.kept: Reason | None = None


class Waits:
    """`reasons` by run id."""

    def __init__(self, capacity: Capacity) -> None:
        self.reasons: dict[str, Reason] = {}
        self._capacity = capacity
        self._empty: Cluster | None = None

    def for_quota(self, run: WaitingRun, block: QuotaBlock) -> None:
        self.reasons[run.run_id] = Reason(Kind.QUOTA, run.request, quota=block)

    def for_room(self, run: WaitingRun, victims: tuple[str, ...]) -> None:
        self.reasons[run.run_id] = Reason(Kind.MAKING_ROOM, run.request, victims=victims)

    def for_ever(self, run: WaitingRun, asked: Asked) -> bool:
        """Whether the run could not start if all others ended; then that is its reason."""
        if not asked.judged:
            asked.judged, asked.hopeless = True, self._hopeless(asked)
        if asked.hopeless is None:
            return False
        self.reasons[run.run_id] = asked.hopeless
        return True

    def as_first(self, run: WaitingRun, short: tuple[str, ...]) -> None:
        self.reasons[run.run_id] = Reason(Kind.FIRST, run.request, short)

    def behind(self, run: WaitingRun, asked: Asked, first: WaitingRun, *, kept: bool) -> None:
        """All of a pass wait behind the same `first`."""
        if kept:
            reason = asked.kept = asked.kept or Reason(Kind.KEPT, run.request, ahead=first.run_id)
        else:
            reason = asked.behind = asked.behind or Reason(Kind.BEHIND, run.request, ahead=first.run_id)
        self.reasons[run.run_id] = reason

    def note_early(self, state: QueueState) -> None:
        """Those whose time has not come."""
        for run in state.waiting:
            if run.not_before is not None and run.not_before > state.now and run.run_id not in self.reasons:
                self.reasons[run.run_id] = Reason(Kind.NOT_BEFORE, run.request, not_before=run.not_before)

    def order(self, line: Iterable[str]) -> tuple[str, ...]:
        """Those of the line who wait."""
        return tuple(run_id for run_id in line if run_id in self.reasons)

    def promised(self, before: tuple[str, ...], first: WaitingRun | None) -> tuple[str, ...]:
        """Who was first in line once keeps that place at its class and bid while it waits for room."""
        kept = [run_id for run_id in before if run_id in self.reasons and self.reasons[run_id].kind in _FOR_ROOM]
        if first is not None and first.run_id not in kept:
            kept.append(first.run_id)
        return tuple(kept)

    def _hopeless(self, asked: Asked) -> Reason | None:
        if self._empty is None:
            self._empty = Cluster(self._capacity)
        if any(node.fits(asked.request, asked.kinds) for node in self._empty.nodes):
            return None
        kind = Kind.OUT_OF_SERVICE if impossible(asked.request, self._capacity) is None else Kind.IMPOSSIBLE
        return Reason(kind, asked.request)


def shortage(cluster: Cluster, request: Request) -> tuple[str, ...]:
    """What no machine has enough of now: `gpu`, `cpu`, `mem`; `together` when only no machine has all of it at once."""
    kinds = cluster.kinds(request)
    short = []
    if request.gpu and not any(sum(len(node.free[kind]) for kind in kinds) >= request.gpu for node in cluster.nodes):
        short.append("gpu")
    if not any(node.cpu + EPSILON >= request.cpu for node in cluster.nodes):
        short.append("cpu")
    if not any(node.mem + EPSILON >= request.mem for node in cluster.nodes):
        short.append("mem")
    return tuple(short) or ("together",)
