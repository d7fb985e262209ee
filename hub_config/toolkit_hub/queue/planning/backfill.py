"""The reservation of the first in line, so that whoever starts before it does not delay it (EASY backfill, Lifka 1995).

Computed from the latest ends of what runs: at `at` the run fits on `node` whatever happens. What ends by then may use anything
meanwhile; what may go on longer may only have what the first in line will not need. Where nobody knows when enough comes
free (some runs have no limit), `at` is None and nothing may use what is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from toolkit_hub.queue.planning.cluster import Cluster, FreeNode, Hold
from toolkit_hub.queue.planning.runs import Request, WaitingRun

__all__ = ["Reservation", "ReservedNode", "reserve"]


@dataclass(frozen=True, slots=True)
class Reservation:
    """The first in line starts on `node` at `at` at the latest, None when that cannot be told, with `devices` for it."""

    run_id: str
    node: str
    at: float | None
    devices: tuple[str, ...]


class ReservedNode:
    """The machine of the reservation, as those see it who may still run when the first in line starts."""

    def __init__(self, node: FreeNode, reservation: Reservation, spare_cpu: float, spare_mem: float) -> None:
        self.node, self.reservation = node, reservation
        self._cpu, self._mem = spare_cpu, spare_mem
        self._kept = set(reservation.devices)
        self.view = node.copy()
        self._look()

    def taken(self, cpu: float, mem: float, *, ends_in_time: bool) -> None:
        """A run has started on the machine."""
        if not ends_in_time:
            self._cpu -= cpu
            self._mem -= mem
        self._look()

    def _look(self) -> None:
        self.view.cpu, self.view.mem = min(self.node.cpu, self._cpu), min(self.node.mem, self._mem)
        self.view.free = [[uuid for uuid in devices if uuid not in self._kept] for devices in self.node.free]
        self.view.gpus = sum(map(len, self.view.free))


@dataclass(frozen=True, slots=True)
class _Outlook:
    """When a run fits on a machine: first known times, then the least that has to end without a known time."""

    at: float
    unknown: int
    node: FreeNode
    known: tuple[Hold, ...]
    stopped: tuple[Hold, ...]
    others: tuple[Hold, ...]

    def key(self) -> tuple[float, int, str]:
        return self.at, self.unknown, self.node.name


def reserve(cluster: Cluster, run: WaitingRun, now: float) -> ReservedNode | None:
    """Keep for the run the machine on which it fits first; None when it fits on none, whatever ends."""
    outlooks = (_outlook(cluster, node, run, now) for node in cluster.nodes)
    best = min((found for found in outlooks if found is not None), key=_Outlook.key, default=None)
    if best is None:
        return None
    at = None if best.at == float("inf") else best.at
    devices = _keep(cluster, run.request, best)
    seen = best.node.copy()
    cluster.restore(seen, best.known + best.stopped)
    spare_cpu, spare_mem = max(0.0, seen.cpu - run.request.cpu), max(0.0, seen.mem - run.request.mem)
    return ReservedNode(best.node, Reservation(run.run_id, best.node.name, at, devices), spare_cpu, spare_mem)


def _outlook(cluster: Cluster, node: FreeNode, run: WaitingRun, now: float) -> _Outlook | None:
    """Holds end at their latest ends; those that the run may stop for itself count as free from now on."""
    kinds = cluster.kinds(run.request)
    holds = cluster.holds[node.name]
    seen = node.copy()
    stopped = tuple(hold for hold in holds if _may_stop(run, hold))
    rest = [hold for hold in holds if not _may_stop(run, hold)]
    cluster.restore(seen, stopped)
    if seen.fits(run.request, kinds):
        return _Outlook(now, 0, node, (), stopped, ())
    known = sorted((hold for hold in rest if hold.until is not None), key=_until)
    for number, hold in enumerate(known, 1):
        cluster.restore(seen, (hold,))
        if seen.fits(run.request, kinds):
            return _Outlook(max(now, _until(hold)), 0, node, tuple(known[:number]), stopped, ())
    unknown = sorted((hold for hold in rest if hold.until is None), key=lambda hold: (-len(hold.devices), -hold.cpu))
    for number, hold in enumerate(unknown, 1):
        cluster.restore(seen, (hold,))
        if seen.fits(run.request, kinds):
            return _Outlook(float("inf"), number, node, tuple(known), stopped, tuple(unknown[:number]))
    return None


def _keep(cluster: Cluster, request: Request, outlook: _Outlook) -> tuple[str, ...]:
    """Devices for the run, as few as possible of those that are free now: they are of use to others. What only comes free
    at an unknown time is the last choice, for all the rest is needed then."""
    takes = set(cluster.kinds(request))
    sources = [hold.devices for hold in outlook.known]
    sources.append(tuple(uuid for kind in sorted(takes) for uuid in reversed(outlook.node.free[kind])))
    sources += [hold.devices for hold in outlook.stopped + outlook.others]
    kept = [uuid for devices in sources for uuid in devices if cluster.kind_of.get(uuid) in takes]
    return tuple(kept[: request.gpu])


def _may_stop(run: WaitingRun, hold: Hold) -> bool:
    return hold.run is not None and run.may_stop(hold.run)


def _until(hold: Hold) -> float:
    return float("inf") if hold.until is None else hold.until
