"""The reasons of those who wait, as a pass finds them. Runs that ask for the same share one object."""

from __future__ import annotations

from collections.abc import Iterable

from toolkit_hub.queue.planning.capacity import EPSILON, Capacity
from toolkit_hub.queue.planning.cluster import Cluster
from toolkit_hub.queue.planning.impossible import impossible
from toolkit_hub.queue.planning.limits import QuotaBlock
from toolkit_hub.queue.planning.reasons import Kind, Reason
from toolkit_hub.queue.planning.runs import Request, WaitingRun
from toolkit_hub.queue.planning.state import QueueState

__all__ = ["Waits", "shortage"]

#: Waits for what others give back; what a promise of the first place outlasts.
_FOR_ROOM = (Kind.FIRST, Kind.BEHIND, Kind.KEPT)


class Waits:
    """`reasons` by run id."""

    def __init__(self, capacity: Capacity) -> None:
        self.reasons: dict[str, Reason] = {}
        self._capacity = capacity
        self._empty: Cluster | None = None
        self._hopeless: dict[Request, Kind | None] = {}
        self._shared: dict[tuple[Kind, Request, QuotaBlock | None], Reason] = {}

    def for_quota(self, run: WaitingRun, block: QuotaBlock) -> None:
        self.reasons[run.run_id] = self._same(Kind.QUOTA, run.request, block)

    def for_room(self, run: WaitingRun, victims: tuple[str, ...]) -> None:
        self.reasons[run.run_id] = Reason(Kind.MAKING_ROOM, run.request, victims=victims)

    def for_ever(self, run: WaitingRun, kinds: tuple[int, ...]) -> bool:
        """Whether the run could not start if all others ended; then that is its reason."""
        if run.request not in self._hopeless:
            self._hopeless[run.request] = self._hope(run.request, kinds)
        kind = self._hopeless[run.request]
        if kind is None:
            return False
        self.reasons[run.run_id] = self._same(kind, run.request)
        return True

    def as_first(self, run: WaitingRun, short: tuple[str, ...]) -> None:
        self.reasons[run.run_id] = Reason(Kind.FIRST, run.request, short)

    def behind(self, run: WaitingRun, first: WaitingRun, *, kept: bool) -> None:
        """All of a pass wait behind the same `first`."""
        kind = Kind.KEPT if kept else Kind.BEHIND
        key = (kind, run.request, None)
        reason = self._shared.get(key)
        if reason is None:
            reason = self._shared[key] = Reason(kind, run.request, ahead=first.run_id)
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

    def _hope(self, request: Request, kinds: tuple[int, ...]) -> Kind | None:
        if self._empty is None:
            self._empty = Cluster(self._capacity)
        if any(node.fits(request, kinds) for node in self._empty.nodes):
            return None
        return Kind.OUT_OF_SERVICE if impossible(request, self._capacity) is None else Kind.IMPOSSIBLE

    def _same(self, kind: Kind, request: Request, block: QuotaBlock | None = None) -> Reason:
        key = (kind, request, block)
        return self._shared.setdefault(key, Reason(kind, request, quota=block))


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
