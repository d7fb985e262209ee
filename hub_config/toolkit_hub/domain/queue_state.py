"""From the rows to what the planner looks at. Plain columns, for the queue may be long and this is read at each pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.models import JobState
from toolkit_hub import clock
from toolkit_hub.domain.account_use import shares
from toolkit_hub.domain.room_quotas import HOLDERS, holder_name
from toolkit_hub.domain.site import Site
from toolkit_hub.queue.planning.capacity import Capacity
from toolkit_hub.queue.planning.limits import Limits, Quota
from toolkit_hub.queue.planning.runs import Request, Room, RunClass, RunningRun, WaitingRun
from toolkit_hub.queue.planning.state import QueueState, Rules
from toolkit_hub.store.tables import Account, Job, RoomQuota, Run

__all__ = ["HOLDING", "limits_of", "read_state", "request_of", "waiting_runs"]

#: States in which a run holds its CPUs, memory and GPUs.
HOLDING = (JobState.QUEUED.value, JobState.RUNNING.value, JobState.CANCELLING.value)

#: Seconds from which on what is kept for the first in line is lent to runs that it may have stopped.
LEND_FROM_S = 120.0
_COMMON = (
    Run.id,
    Run.job_id,
    Job.seq,
    Job.creator_id,
    Job.account_id,
    Account.organization_id,
    Job.interactive,
    Job.preemptable,
    Job.restartable,
    Job.bid,
    Job.cpu,
    Job.mem,
    Job.gpu,
    Job.max_run_time,
)
_JOINED = select(*_COMMON).join(Job, Job.id == Run.job_id).join(Account, Account.id == Job.account_id)


def read_state(
    session: Session,
    site: Site,
    capacity: Capacity,
    promised: Sequence[str] = (),
    held_back: Mapping[str, str] | None = None,
) -> QueueState:
    """The queue as it is now. `held_back`: runs that may not start at all yet, whatever is free; they are left out."""
    now = clock.now().timestamp()
    return QueueState(
        capacity=capacity,
        now=now,
        waiting=tuple(run for run in waiting_runs(session) if run.run_id not in (held_back or {})),
        running=tuple(_running(session, site, now)),
        limits=limits_of(session, site),
        shares=shares(session),
        promised=tuple(promised),
        rules=Rules(lend_from=LEND_FROM_S),
    )


def request_of(cpu: float, mem: float, gpu: int, resources: Mapping[str, Any]) -> Request:
    """What a job asks for; `resources` by their JSON keys. Filters of GPUs count only where GPUs are asked for."""
    if not gpu:
        return Request(cpu, mem)
    return Request(
        cpu,
        mem,
        gpu,
        float(resources.get("gpuMem") or 0.0),
        resources.get("gpuModel"),
        resources.get("gpuCudaVersion"),
        resources.get("gpuTensorCores"),
    )


def waiting_runs(session: Session) -> list[WaitingRun]:
    """All that wait, whether or not they may start yet."""
    query = _JOINED.add_columns(Run.room).where(Run.state == JobState.QUEUING.value)
    rows = session.execute(query).all()
    filters = _filters(session) if any(row.gpu for row in rows) else {}
    return [
        WaitingRun(
            run_id=row.id,
            user=row.creator_id,
            account=row.account_id,
            organization=row.organization_id,
            run_class=_class_of(row),
            request=request_of(row.cpu, row.mem, row.gpu, filters.get(row.job_id, {})),
            # The order of submission; unlike the clock it never steps back.
            submitted=float(row.seq),
            bid=row.bid,
            max_run_time=row.max_run_time or None,
            room=Room(row.room["node"], tuple(row.room["devices"])) if row.room else None,
        )
        for row in rows
    ]


def _filters(session: Session) -> dict[str, dict[str, Any]]:
    """Job → its resources as submitted, of those that wait for GPUs."""
    query = (
        select(Job.id, Job.spec["resources"])
        .join(Run, Run.job_id == Job.id)
        .where(Run.state == JobState.QUEUING.value, Job.gpu > 0)
    )
    return dict(session.execute(query).all())


def _running(session: Session, site: Site, now: float) -> list[RunningRun]:
    columns = (Run.state, Run.devices, Run.started, Run.deadline, Run.checkpoint, Run.preempted_for)
    query = _JOINED.add_columns(*columns).where(Run.state.in_(HOLDING))
    return [
        RunningRun(
            run_id=row.id,
            job_id=row.job_id,
            user=row.creator_id,
            account=row.account_id,
            organization=row.organization_id,
            run_class=_class_of(row),
            # One machine so far, whatever the engine calls it.
            node=site.node,
            cpu=row.cpu,
            mem=row.mem,
            devices=tuple(row.devices),
            bid=row.bid,
            started=_seconds(row.started),
            latest_end=_latest_end(row, now),
            checkpoint=_seconds(row.checkpoint),
            restartable=row.restartable,
            making_room_for=row.preempted_for,
            ending=row.state == JobState.CANCELLING.value,
        )
        for row in session.execute(query).all()
    ]


def _latest_end(row: Any, now: float) -> float | None:
    if row.deadline is not None:
        return float(row.deadline.timestamp())
    return now + row.max_run_time if row.max_run_time and row.started is None else None


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()


def _class_of(row: Any) -> RunClass:
    return RunClass.of(interactive=row.interactive, preemptable=row.preemptable, restartable=row.restartable)


def limits_of(session: Session, site: Site) -> Limits:
    """The quotas of room, with the names that people know their holders by."""
    found: dict[str, dict[str, Quota]] = {"user": {}, "account": {}, "organization": {}}
    rows = session.scalars(select(RoomQuota)).all()
    for kind, table in HOLDERS.items():
        ids = [row.subject_id for row in rows if row.subject_type == kind]
        names = (
            {one.id: holder_name(one) for one in session.scalars(select(table).where(table.id.in_(ids)))} if ids else {}
        )
        for row in rows:
            if row.subject_type == kind:
                amounts = (row.gpus, row.cpus, row.mem, row.running, None, row.queued, row.bid)
                found[kind][row.subject_id] = Quota(names.get(row.subject_id, ""), *amounts)
    parents = dict(session.execute(select(Account.id, Account.parent_id).where(Account.parent_id.is_not(None))).all())
    above = {child: parent for child, parent in parents.items() if parent is not None} if found["account"] else {}
    return Limits(found["user"], found["account"], found["organization"], above)
