"""When a waiting run starts, from the latest ends of those that run and the limits of those before it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from toolkit_hub.queue.planning.plan import Plan, plan
from toolkit_hub.queue.planning.runs import RunningRun, WaitingRun
from toolkit_hub.queue.planning.state import QueueState

__all__ = ["Estimate", "estimate"]

#: Passes to look ahead; a run that has not started by then is too far back for an honest time.
_PASSES = 60
#: And so many decisions on single runs, for somebody waits for the answer.
_DECISIONS = 20_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """Times of the caller's clock. `earliest` if all others ended at once; `likely` if they end half-way to their limits;
    `latest` if they use them up. None is unknown: the run waits for some that have no limit, or it is very far back. Jobs
    that are submitted later and come before it are not foreseen."""

    earliest: float
    likely: float | None
    latest: float | None


def estimate(state: QueueState, decided: Plan, run_id: str) -> Estimate:
    """`decided` is the plan of the same state."""
    run = next(run for run in state.waiting if run.run_id == run_id)
    ahead = set(decided.order[: decided.order.index(run_id)] if run_id in decided.order else decided.order)
    ahead |= {start.run_id for start in decided.starts} | {run_id}
    only = replace(state, waiting=tuple(other for other in state.waiting if other.run_id in ahead))
    earliest = max(state.now, run.not_before or state.now)
    latest = _forward(only, run_id, 1.0)
    return Estimate(earliest, None if latest is None else _forward(only, run_id, 0.5), latest)


def _forward(state: QueueState, run_id: str, part: float) -> float | None:
    """When the run starts if every other uses this part of the time that it may still take. None if that cannot be told."""
    state = replace(state, running=tuple(_shortened(run, state.now, part) for run in state.running))
    for _ in range(min(_PASSES, max(2, _DECISIONS // len(state.waiting)))):
        decided = plan(state)
        begun = {start.run_id: (start.node, start.devices) for start in decided.starts}
        begun |= {one.starter: (one.room.node, one.room.devices) for one in decided.preemptions}
        if run_id in begun:
            return state.now
        stopped = {victim.run_id for one in decided.preemptions for victim in one.victims}
        new = [_begun(run, *begun[run.run_id], state.now, part) for run in state.waiting if run.run_id in begun]
        running = [run for run in state.running if run.run_id not in stopped] + new
        waiting = tuple(run for run in state.waiting if run.run_id not in begun)
        times = [run.latest_end for run in running if run.latest_end is not None]
        times += [run.not_before for run in waiting if run.not_before is not None and run.not_before > state.now]
        if not times:
            return None
        # Who has overrun its limit is on its way out.
        now = max(state.now, min(times))
        running = [run for run in running if run.latest_end is None or run.latest_end > now]
        state = replace(state, now=now, running=tuple(running), waiting=waiting, promised=decided.promised)
    return None


def _shortened(run: RunningRun, now: float, part: float) -> RunningRun:
    if run.latest_end is None:
        return run
    return replace(run, latest_end=now + max(0.0, run.latest_end - now) * part)


def _begun(run: WaitingRun, node: str, devices: tuple[str, ...], now: float, part: float) -> RunningRun:
    asks = run.request
    end = None if run.max_run_time is None else now + run.max_run_time * part
    return RunningRun(
        run.run_id,
        run.run_id,
        run.user,
        run.account,
        run.organization,
        run.run_class,
        node,
        asks.cpu,
        asks.mem,
        devices,
        bid=run.bid,
        started=now,
        latest_end=end,
    )
