"""What would start a waiting run now: small changes of it, each verified by planning the changed queue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import floor
from typing import TypeVar

from toolkit_hub.queue.planning.capacity import Node
from toolkit_hub.queue.planning.plan import Plan, plan
from toolkit_hub.queue.planning.preempt import Victim
from toolkit_hub.queue.planning.runs import Request, RunClass, WaitingRun
from toolkit_hub.queue.planning.state import QueueState

__all__ = ["Change", "Proposal", "verify", "what_if"]

_T = TypeVar("_T")

#: Proposals to take less of something are not worth making below this part of what was asked for.
_LEAST_PART = 0.25
#: Seconds: a shorter time limit than this is of no use to anybody.
_LEAST_TIME = 300


@dataclass(frozen=True, slots=True)
class Change:
    """What to ask for instead; None leaves a thing as it is, and `any_model` takes the wish for a model away."""

    gpu: int | None = None
    gpu_model: str | None = None
    any_model: bool = False
    gpu_mem: float | None = None
    cpu: float | None = None
    mem: float | None = None
    run_class: RunClass | None = None
    bid: int | None = None
    max_run_time: float | None = None

    def apply(self, run: WaitingRun) -> WaitingRun:
        old = run.request
        request = replace(
            old,
            gpu=_or(self.gpu, old.gpu),
            gpu_model=None if self.any_model else _or(self.gpu_model, old.gpu_model),
            gpu_mem=_or(self.gpu_mem, old.gpu_mem),
            cpu=_or(self.cpu, old.cpu),
            mem=_or(self.mem, old.mem),
        )
        return replace(
            run,
            request=request,
            run_class=_or(self.run_class, run.run_class),
            bid=_or(self.bid, run.bid),
            max_run_time=_or(self.max_run_time, run.max_run_time),
            room=None,
        )


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change with which the run starts now on `node`. `preempts`: who is stopped for it. `overtakes`: who was before it and
    waits on. `delays`: who would start or make room now without the change, and then does not."""

    change: Change
    node: str
    devices: tuple[str, ...]
    preempts: tuple[Victim, ...]
    overtakes: tuple[str, ...]
    delays: tuple[str, ...]


def what_if(
    state: QueueState, run_id: str, decided: Plan | None = None, highest_bid: int | None = None
) -> list[Proposal]:
    """Of each sort of change the smallest that starts the run now; empty when none does, or it starts anyhow. `decided` is the
    plan of `state`, if the caller has it; `highest_bid` what the user may bid."""
    before = decided or plan(state)
    if run_id not in before.reasons:
        return []
    run = next(run for run in state.waiting if run.run_id == run_id)
    found = (_first(state, before, run, changes) for changes in _candidates(state, before, run, highest_bid))
    return [proposal for proposal in found if proposal is not None]


def verify(state: QueueState, before: Plan, run: WaitingRun, change: Change) -> Proposal | None:
    """The proposal, if the run starts now with the change. `before` is the plan of `state`."""
    changed = _with(state, change.apply(run))
    if _place(plan(changed, until=run.run_id), run.run_id) is None:
        return None
    after = plan(changed)
    found = _place(after, run.run_id)
    if found is None:
        return None
    node, devices, victims = found
    ahead = before.order[: before.order.index(run.run_id)] if run.run_id in before.order else ()
    overtakes = tuple(other for other in ahead if other in after.reasons)
    delays = tuple(other for other in _begun(before) if other not in _begun(after))
    return Proposal(change, node, devices, victims, overtakes, delays)


def _candidates(
    state: QueueState, before: Plan, run: WaitingRun, highest_bid: int | None
) -> Iterator[Iterable[Change]]:
    """Sorts of change, each from the smallest on."""
    asks = run.request
    nodes = [node for node in state.capacity.nodes if not node.drained]
    most = max((sum(asks.takes(device) for device in node.usable) for node in nodes), default=0)
    yield (Change(gpu=count) for count in range(min(asks.gpu - 1, most), 0, -1))
    if asks.gpu and asks.gpu_model:
        yield [Change(any_model=True)]
        yield [Change(gpu_model=model) for model in _models(nodes, asks)]
    if asks.gpu and asks.gpu_mem:
        yield [Change(gpu_mem=mem) for mem in _smaller_memories(nodes, asks)]
    yield _less(state, nodes, asks)
    if run.max_run_time is None or run.max_run_time > _LEAST_TIME:
        yield _shorter(state, before, run)
    yield [Change(run_class=one) for one in (RunClass.PREEMPTABLE, RunClass.RESTARTABLE) if one > run.run_class]
    yield _higher_bids(state, before, run, highest_bid)


def _first(state: QueueState, before: Plan, run: WaitingRun, changes: Iterable[Change]) -> Proposal | None:
    found = (verify(state, before, run, change) for change in changes)
    return next((proposal for proposal in found if proposal is not None), None)


def _models(nodes: list[Node], asks: Request) -> list[str]:
    """Other models that do for the rest of the wishes."""
    rest = replace(asks, gpu_model=None)
    return sorted({d.model for node in nodes for d in node.usable if rest.takes(d) and not asks.takes(d)})


def _smaller_memories(nodes: list[Node], asks: Request) -> list[float]:
    sizes = {d.mem for node in nodes for d in node.usable if d.mem is not None and 0 < d.mem < asks.gpu_mem}
    return sorted(sizes, reverse=True)


def _less(state: QueueState, nodes: list[Node], asks: Request) -> list[Change]:
    """Of CPUs and memory what is free now on each machine, if that is a good part of what was asked for."""
    found = set()
    for node in nodes:
        here = [run for run in state.running if run.node == node.name]
        cpu = min(asks.cpu, floor((node.cpu - sum(run.cpu for run in here)) * 10 + 1e-6) / 10)
        mem = min(asks.mem, floor((node.mem - sum(run.mem for run in here)) * 10 + 1e-6) / 10)
        less = (cpu, mem) != (asks.cpu, asks.mem)
        if less and cpu >= asks.cpu * _LEAST_PART and mem >= asks.mem * _LEAST_PART:
            found.add((cpu, mem))
    ordered = sorted(found, key=lambda less: (-less[0] / asks.cpu - less[1] / asks.mem, less))
    return [
        Change(cpu=cpu if cpu < asks.cpu else None, mem=mem if mem < asks.mem else None) for cpu, mem in ordered[:20]
    ]


def _shorter(state: QueueState, before: Plan, run: WaitingRun) -> list[Change]:
    """A time limit with which the run is gone before the first in line starts."""
    if before.reservation is None or before.reservation.at is None or before.reservation.run_id == run.run_id:
        return []
    limit = floor(before.reservation.at - state.now - state.rules.slack)
    shorter = run.max_run_time is None or limit < run.max_run_time
    return [Change(max_run_time=float(limit))] if shorter and limit >= _LEAST_TIME else []


def _higher_bids(state: QueueState, before: Plan, run: WaitingRun, highest: int | None) -> list[Change]:
    """The least bid that starts it now, found by halving: one more than some that is bid before it, or just one more."""
    ahead = set(before.order[: before.order.index(run.run_id)] if run.run_id in before.order else ())
    ahead |= set(_begun(before))
    bids = {o.bid + 1 for o in state.waiting if o.run_id in ahead and o.run_class is run.run_class and o.bid >= run.bid}
    allowed = sorted(bid for bid in bids if highest is None or bid <= highest)
    low, high = 0, len(allowed) - 1
    while low < high:
        middle = (low + high) // 2
        tried = plan(_with(state, Change(bid=allowed[middle]).apply(run)), until=run.run_id)
        low, high = (low, middle) if _place(tried, run.run_id) else (middle + 1, high)
    return [Change(bid=allowed[low])] if allowed else []


def _with(state: QueueState, changed: WaitingRun) -> QueueState:
    waiting = tuple(changed if run.run_id == changed.run_id else run for run in state.waiting)
    promised = tuple(run_id for run_id in state.promised if run_id != changed.run_id)
    return replace(state, waiting=waiting, promised=promised)


def _place(decided: Plan, run_id: str) -> tuple[str, tuple[str, ...], tuple[Victim, ...]] | None:
    for start in decided.starts:
        if start.run_id == run_id:
            return start.node, start.devices, ()
    for one in decided.preemptions:
        if one.starter == run_id:
            return one.room.node, one.room.devices, one.victims
    return None


def _begun(decided: Plan) -> list[str]:
    return [start.run_id for start in decided.starts] + [one.starter for one in decided.preemptions]


def _or(new: _T | None, old: _T) -> _T:
    return old if new is None else new
