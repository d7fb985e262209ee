"""Why one run waits, with all numbers of now: for `toolkit job why`, the API and the wait page. Computed on demand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from toolkit_hub.queue.planning.backfill import Reservation
from toolkit_hub.queue.planning.capacity import Node
from toolkit_hub.queue.planning.estimate import Estimate, estimate
from toolkit_hub.queue.planning.limits import QuotaBlock
from toolkit_hub.queue.planning.order import why_ahead
from toolkit_hub.queue.planning.plan import Plan
from toolkit_hub.queue.planning.reasons import Kind, Reason
from toolkit_hub.queue.planning.runs import Request, RunningRun, WaitingRun
from toolkit_hub.queue.planning.state import QueueState

__all__ = ["Ahead", "Explanation", "Holder", "Short", "explain"]

#: So many of those ahead are named; `position` counts them all.
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Short:
    """On the machine that comes nearest: `free` of `total` of `what` (`gpu` of the kind that is asked for, `cpu`, `mem`)."""

    what: str
    asked: float
    free: float
    total: float

    @property
    def missing(self) -> float:
        return max(0.0, self.asked - self.free)


@dataclass(frozen=True, slots=True)
class Holder:
    """A run that has some of what is short, and gives it back at `until` at the latest, None if nobody knows."""

    run_id: str
    job_id: str
    user: str
    account: str
    node: str
    devices: tuple[str, ...]
    cpu: float
    mem: float
    until: float | None


@dataclass(frozen=True, slots=True)
class Ahead:
    """A run before this one, and `because` of what (see `why_ahead`)."""

    run_id: str
    user: str
    account: str
    because: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """`position` counts from 1, None for a run whose time has not come; `short` and `holders` speak of `node`, or are empty
    when nothing is short. `reserved` is what is kept for the first in line, if this run waits for that or is the first."""

    reason: Reason
    position: int | None
    length: int
    ahead: tuple[Ahead, ...]
    node: str | None
    short: tuple[Short, ...]
    holders: tuple[Holder, ...]
    quota: QuotaBlock | None
    reserved: Reservation | None
    estimate: Estimate


def explain(state: QueueState, decided: Plan, run_id: str) -> Explanation | None:
    """For a run that waits in `decided`, the plan of the same state; None for one that does not."""
    reason = decided.reasons.get(run_id)
    if reason is None:
        return None
    runs = {run.run_id: run for run in state.waiting}
    run = runs[run_id]
    place = decided.order.index(run_id) if run_id in decided.order else None
    before = [runs[other] for other in decided.order[:place]] if place is not None else []
    node = _nearest_node(state, run.request) if reason.kind in (Kind.FIRST, Kind.BEHIND) else None
    reserved = decided.reservation if reason.kind in (Kind.FIRST, Kind.KEPT) else None
    if node is not None and reserved is not None:
        node = next((other for other in state.capacity.nodes if other.name == reserved.node), node)
    short = tuple(one for one in _amounts(state, node, run.request) if one.missing) if node else ()
    return Explanation(
        reason=reason,
        position=None if place is None else place + 1,
        length=len(decided.order),
        ahead=tuple(_ahead(other, run, state) for other in before[:_NAMED]),
        node=node.name if node else None,
        short=short,
        holders=tuple(_holders(state, node, run.request, short)) if node else (),
        quota=reason.quota,
        reserved=reserved,
        estimate=estimate(state, decided, run_id),
    )


def _ahead(other: WaitingRun, run: WaitingRun, state: QueueState) -> Ahead:
    return Ahead(other.run_id, other.user, other.account, why_ahead(other, run, state))


def _nearest_node(state: QueueState, request: Request) -> Node | None:
    """The machine in service that could take the request and has least missing now."""
    found: tuple[float, str, Node] | None = None
    for node in state.capacity.nodes:
        amounts = list(_amounts(state, node, request))
        if node.drained or any(one.total + 1e-6 < one.asked for one in amounts):
            continue
        missing = sum(one.missing / one.asked for one in amounts if one.asked)
        if found is None or (missing, node.name) < found[:2]:
            found = (missing, node.name, node)
    return found[2] if found else None


def _amounts(state: QueueState, node: Node, request: Request) -> Iterator[Short]:
    here = [run for run in state.running if run.node == node.name]
    if request.gpu:
        held = {uuid for run in here for uuid in run.devices}
        fitting = [device.uuid for device in node.usable if request.takes(device)]
        yield Short("gpu", request.gpu, sum(uuid not in held for uuid in fitting), len(fitting))
    yield Short("cpu", request.cpu, round(node.cpu - sum(run.cpu for run in here), 6), node.cpu)
    yield Short("mem", request.mem, round(node.mem - sum(run.mem for run in here), 6), node.mem)


def _holders(state: QueueState, node: Node, request: Request, short: tuple[Short, ...]) -> list[Holder]:
    """Who has of what is short, the first to give it back first."""
    names = {one.what for one in short}
    fitting = {device.uuid for device in node.usable if request.takes(device)}

    def counts(run: RunningRun) -> bool:
        has_gpu = "gpu" in names and not fitting.isdisjoint(run.devices)
        return run.node == node.name and (
            has_gpu or ("cpu" in names and run.cpu > 0) or ("mem" in names and run.mem > 0)
        )

    held = sorted(
        (run for run in state.running if counts(run)),
        key=lambda run: (run.latest_end is None, run.latest_end or 0.0, run.run_id),
    )
    return [
        Holder(run.run_id, run.job_id, run.user, run.account, run.node, run.devices, run.cpu, run.mem, run.latest_end)
        for run in held
    ]
