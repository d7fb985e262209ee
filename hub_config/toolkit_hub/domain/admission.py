"""What a plan of the queue does to the rows: runs are given their room, or begin to be stopped to make it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.models import JobState
from toolkit_hub import clock
from toolkit_hub.domain import ledger
from toolkit_hub.domain.queue_state import HOLDING, request_of
from toolkit_hub.domain.runs import set_reasons, set_state
from toolkit_hub.domain.site import Site
from toolkit_hub.queue.planning.fair_share import Costs
from toolkit_hub.queue.planning.plan import Plan, Preemption, Start
from toolkit_hub.queue.planning.runs import Request
from toolkit_hub.queue.planning.state import QueueState
from toolkit_hub.store.tables import Job, Run

__all__ = ["Admitted", "Planned", "admit"]


@dataclass(frozen=True)
class Admitted:
    """Ids of runs: to be started, to be stopped for others, and those that keep the first place in the next pass."""

    starts: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    promised: tuple[str, ...] = ()
    #: Something had changed since the plan was made: there is to be another one.
    outdated: bool = False


@dataclass(frozen=True)
class Planned:
    """What to do with the queue that `state` was; None: nobody waits. `reasons` are those that the rows do not have yet."""

    state: QueueState | None = None
    decided: Plan | None = None
    reasons: dict[str, str] = field(default_factory=dict)


def admit(session: Session, site: Site, planned: Planned) -> Admitted:
    """Carry a plan out on the rows, in one transaction with all that it gives away.

    What has ended since it was made does no harm; when somebody else has been given something, nothing is.

    Raises `IntegrityError` when a device that it gives away has been taken meanwhile; then nothing of it counts.
    """
    set_reasons(session, planned.reasons)
    state, decided = planned.state, planned.decided
    if state is None or decided is None:
        return Admitted()
    holders = set(session.scalars(select(Run.id).where(Run.state.in_(HOLDING))))
    if not holders <= {run.run_id for run in state.running}:
        return Admitted(promised=decided.promised, outdated=True)
    costs, asked = Costs(state.capacity), {run.run_id: run.request for run in state.waiting}
    starts = [one.run_id for one in decided.starts if _admit_one(session, one, asked[one.run_id], costs)]
    by = clock.now() + timedelta(seconds=site.preempt_grace)
    stops = [run_id for preemption in decided.preemptions for run_id in _make_room(session, preemption, by)]
    return Admitted(tuple(starts), tuple(stops), decided.promised, len(starts) < len(decided.starts))


def _admit_one(session: Session, start: Start, asked: Request, costs: Costs) -> bool:
    run = session.get_one(Run, start.run_id)
    job = run.job
    if run.state != JobState.QUEUING or request_of(job.cpu, job.mem, job.gpu, job.spec["resources"]) != asked:
        return False
    run.queued, run.room, run.node_name = clock.now(), None, start.node
    run.share = costs.share(job.gpu, job.cpu, job.mem)
    ledger.take(session, run, start.devices)
    set_state(session, run, JobState.QUEUED, "starting")
    return True


def _make_room(session: Session, preemption: Preemption, by: datetime) -> list[str]:
    """Begin to stop the victims and keep their place; returns those that were not being stopped yet. They are gone `by` then."""
    starter = session.get_one(Run, preemption.starter)
    if starter.state != JobState.QUEUING:
        return []
    starter.room = {"node": preemption.room.node, "devices": list(preemption.room.devices)}
    stopped = []
    for victim in preemption.victims:
        run = session.get_one(Run, victim.run_id)
        if run.state in (JobState.QUEUED, JobState.RUNNING) and run.job.target == "run":
            run.job.target, run.preempted_for, run.lost = "preempt", starter.id, victim.lost
            run.cancelled, run.stop_by = clock.now(), by
            set_state(session, run, JobState.CANCELLING, f"being stopped to make room for {_called(starter.job)}")
            stopped.append(run.id)
    return stopped


def _called(job: Job) -> str:
    return f"job {job.id}" if job.name is None else f"{job.account.full_name}.{job.name}"
