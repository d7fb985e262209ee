"""The life of a run: appended, admitted, started, ended. Each step is one transaction and may be taken twice.

::

    QUEUING ──admit──► QUEUED ──started──► RUNNING ──ended──► SUCCEEDED | FAILED | INTERRUPTED
       │                  │                   │
       └──kill──► CANCELLED                   │
                          └─kill, time limit──┴──► CANCELLING ──ended──► CANCELLED | FAILED

A restartable job whose run was INTERRUPTED gets a new run, QUEUING. What cannot go on without a job ends in the transaction
of that job's own end: its family, and what waits for its success.
"""

from __future__ import annotations

import base64
import secrets
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from toolkit_client.models import JobState
from toolkit_hub import clock
from toolkit_hub.domain import account_use, dependencies, events, families, ledger, wording
from toolkit_hub.domain.families import batched
from toolkit_hub.domain.queue_state import HOLDING
from toolkit_hub.domain.site import Amount
from toolkit_hub.store.tables import Job, Run, new_id

__all__ = [
    "HOLDING",
    "Ending",
    "append_run",
    "begin_cancel",
    "begin_guard_stop",
    "begin_time_limit",
    "by_server_name",
    "end_followers",
    "end_stranded",
    "held",
    "mark_ended",
    "mark_server_removed",
    "mark_started",
    "save_checkpoints",
    "save_peaks",
    "server_name_for",
    "set_deadline",
    "set_reasons",
    "set_state",
    "stopping_children",
    "told_reasons",
    "turn_to_end",
    "unfinished",
]


@dataclass(frozen=True)
class Ending:
    """How a run ended, as the engine tells it; `peak_memory` in bytes."""

    exit_code: int | None
    info: str = ""
    oom_killed: bool = False
    interrupted: bool = False
    started: datetime | None = None
    ended: datetime | None = None
    peak_memory: int | None = None


def server_name_for(run_id: str) -> str:
    """`j` and the run's UUID in base32: 27 characters of `[a-z2-7]`, within JupyterHub's 30, and never used twice."""
    return "j" + base64.b32encode(uuid.UUID(run_id).bytes).decode().rstrip("=").lower()


def append_run(session: Session, job: Job, owner: str) -> Run:
    """A new run of `job`, at the end of the queue."""
    run_id = new_id()
    run = Run(
        id=run_id,
        job=job,
        index=len(job.runs),
        server_name=server_name_for(run_id),
        owner=owner,
        state=JobState.QUEUING,
        state_info=job.state_info,
        secret=secrets.token_urlsafe(32),
        created=clock.now(),
    )
    session.add(run)
    return run


def by_server_name(session: Session, server_name: str) -> Run | None:
    return session.scalar(select(Run).where(Run.server_name == server_name))


def told_reasons(session: Session) -> dict[str, str]:
    """Why the runs in the queue wait, as their rows have it."""
    rows = session.execute(select(Run.id, Run.state_info).where(Run.state == JobState.QUEUING.value))
    return dict(rows.all())


def held(session: Session) -> Amount:
    """What the admitted runs have."""
    rows = session.execute(select(Job.cpu, Job.mem).join(Run, Run.job_id == Job.id).where(Run.state.in_(HOLDING)))
    total = Amount()
    for cpu, mem in rows:
        total = total + Amount(cpu, mem)
    return total


def set_reasons(session: Session, reasons: dict[str, str]) -> None:
    """Say why runs wait. Only a changed reason is written."""
    told = []
    for run_ids in batched(reasons):
        for run in session.scalars(select(Run).where(Run.id.in_(run_ids))).all():
            reason = reasons[run.id]
            if JobState(run.state).alive and run.state_info != reason:
                run.state_info = run.job.state_info = reason
                told.append(("run.waits", run.job.urn, {"runId": run.id, "reason": reason}))
    events.record_all(session, told)


def mark_started(
    session: Session, server_name: str, container_id: str, ip: str | None, image_digest: str, node_name: str
) -> None:
    """The container runs. Also taken when a hub adopts a running container."""
    run = by_server_name(session, server_name)
    if run is None:
        return
    if ip is not None:
        # The engine gives an address again as soon as its container is gone; nobody may reach a new run by an old one's row.
        session.execute(update(Run).where(Run.ip == ip, Run.id != run.id).values(ip=None))
    run.container_id, run.ip, run.image_digest, run.node_name = container_id, ip, image_digest, node_name
    run.job.image_digest = run.job.image_digest or image_digest  # a later run of the job runs the same
    if JobState(run.state).alive:
        run.started = run.started or clock.now()
        set_deadline(run)
    else:
        run.ip = None  # it ended before its start was told
    if run.state == JobState.QUEUED:
        set_state(session, run, JobState.RUNNING, "")


def set_deadline(run: Run) -> None:
    """When the job's time limit ends the run; counted from its start."""
    limit = run.job.max_run_time
    run.deadline = run.started + timedelta(seconds=limit) if limit and run.started else None


def begin_time_limit(session: Session, run: Run) -> None:
    """Turn a run whose time is over to its end."""
    run.job.target = "limit"
    set_state(session, run, JobState.CANCELLING, f"{_time_limit(run)}: being ended")


def begin_guard_stop(session: Session, run_id: str, reason: str) -> bool:
    """Turn a run that harms the machine to its end; `reason` is what it will have ended by. False if it does not run."""
    run = session.get_one(Run, run_id)
    if run.state != JobState.RUNNING:
        return False
    run.job.target = "guard"
    set_state(session, run, JobState.CANCELLING, reason)
    return True


def begin_cancel(session: Session, job: Job, by: str) -> None:
    """Turn the newest run to its end; at once when it has not been admitted."""
    run = job.runs[-1]
    run.cancelled = clock.now()
    if run.state == JobState.QUEUING:
        run.ended, run.server_removed = clock.now(), True
        set_state(session, run, JobState.CANCELLED, f"killed by {by} while it waited")
    else:
        set_state(session, run, JobState.CANCELLING, f"being killed by {by}")


def turn_to_end(session: Session, ending: Iterable[tuple[Job, str]]) -> list[Job]:
    """End living jobs without their owners' asking, each for a reason in words; returns those that have ended already,
    because they waited. What follows from that (`end_followers`) is up to the caller."""
    ended, told = [], []
    for job, why in ending:
        run = job.runs[-1]
        if run.state not in (JobState.QUEUING, JobState.QUEUED, JobState.RUNNING):
            continue
        job.target, run.cancelled = "cancel", clock.now()
        if run.state == JobState.QUEUING:
            run.ended, run.server_removed = clock.now(), True
            told.append(_put_state(run, JobState.CANCELLED, why))
            ended.append(job)
        else:
            told.append(_put_state(run, JobState.CANCELLING, f"being killed: {why}"))
    events.record_all(session, told)
    return ended


def end_followers(session: Session, ended: Sequence[Job]) -> None:
    """End what cannot go on without jobs that have ended: their living families, what waits for their success, and what these
    take with them. Taking it twice changes nothing."""
    while ended:
        followers = [*families.left_behind(session, ended), *dependencies.after_end(session, ended)]
        ended = turn_to_end(session, followers)


def end_stranded(session: Session) -> None:
    """At start: what `end_followers` should have ended, in case something else has changed rows meanwhile."""
    end_followers(session, [*families.stranded(session), *dependencies.unsettled(session)])


def stopping_children(session: Session) -> list[str]:
    """Runs of children that are being stopped, perhaps with their parent: nobody may have asked the engine yet."""
    query = select(Run.id).join(Job, Job.id == Run.job_id)
    return list(session.scalars(query.where(Run.state == JobState.CANCELLING, Job.parent_id.is_not(None))))


def mark_ended(session: Session, run_id: str, ending: Ending) -> bool:
    """Record the end once; later words about the same run change nothing. Returns whether this one counted."""
    run = session.get_one(Run, run_id)
    if not JobState(run.state).alive:
        return False
    run.exit_code, run.ip = ending.exit_code, None
    # Both by the engine's clock where it knows them; whatever our own did meanwhile, no run ends before it began.
    run.started = ending.started or run.started
    run.ended = max(ending.ended or clock.now(), run.started or run.created)
    run.peak_memory = _peak(run, ending)
    ledger.give_back(session, run.id)
    if run.share and run.started:
        account_use.add_use(session, run.job.account_id, run.share * (run.ended - run.started).total_seconds())
    state, info = _final_state(run, ending)
    set_state(session, run, state, info)
    if state == JobState.INTERRUPTED and run.job.restartable:
        _restart(session, run)
    return True


def save_peaks(session: Session, peaks: dict[str, int]) -> None:
    """Keep the most memory that running runs have used: server name → bytes."""
    for server_name, peak in peaks.items():
        run = by_server_name(session, server_name)
        if run is not None and JobState(run.state).alive:
            run.peak_memory = max(peak, run.peak_memory or 0)


def save_checkpoints(session: Session, checkpoints: dict[str, datetime]) -> None:
    """Keep when running runs last saved their work: run id → time."""
    for run_id, time in checkpoints.items():
        session.get_one(Run, run_id).checkpoint = time


def mark_server_removed(session: Session, run_id: str) -> None:
    session.get_one(Run, run_id).server_removed = True


def unfinished(session: Session) -> list[Run]:
    """Runs that somebody still has to do something for, queue excluded."""
    query = select(Run).where(Run.state.in_(HOLDING) | (~Run.server_removed & (Run.state != JobState.QUEUING)))
    return list(session.scalars(query))


def _final_state(run: Run, ending: Ending) -> tuple[JobState, str]:
    if run.job.target == "cancel":
        return JobState.CANCELLED, run.state_info.replace("being killed", "killed")
    if run.job.target == "limit" and not _ended_before(run, run.deadline):
        return JobState.FAILED, _time_limit(run)
    if run.job.target == "guard":
        return JobState.FAILED, run.state_info
    if run.job.target == "preempt" and not _ended_before(run, run.cancelled):
        return JobState.INTERRUPTED, _preempted(run)
    if ending.interrupted:
        return JobState.INTERRUPTED, ending.info
    if ending.oom_killed:
        return _out_of_memory(run, ending)
    if ending.info:
        return JobState.FAILED, ending.info
    if ending.exit_code == 0:
        return JobState.SUCCEEDED, ""
    return JobState.FAILED, wording.exit_code(ending.exit_code)


def _preempted(run: Run) -> str:
    lost = f"; {wording.duration(int(run.lost))} of work lost" if run.lost else ""
    return f"{run.state_info.replace('being stopped', 'stopped')}{lost}"


def _ended_before(run: Run, stopped: datetime | None) -> bool:
    """Whether it had ended by itself before it was to be stopped, and only nobody was there to see it."""
    return stopped is not None and run.ended is not None and run.ended < stopped


def _out_of_memory(run: Run, ending: Ending) -> tuple[JobState, str]:
    """The kernel killed a process of the run. A command that coped with the loss has succeeded all the same."""
    numbers = f"out of memory (limit {wording.gib(run.job.mem)}, peak {wording.gib((run.peak_memory or 0) / 2**30)})"
    if ending.exit_code == 0:
        return JobState.SUCCEEDED, f"a process was killed: {numbers}"
    return JobState.FAILED, f"killed: {numbers}"


def _peak(run: Run, ending: Ending) -> int | None:
    """The highest reading; a run that the kernel stopped for memory had reached its limit, whatever was read before."""
    readings = [peak for peak in (run.peak_memory, ending.peak_memory) if peak is not None]
    if ending.oom_killed:
        readings.append(int(run.job.mem * 2**30))
    return max(readings, default=None)


def _time_limit(run: Run) -> str:
    return f"time limit {wording.duration(run.job.max_run_time)}"


def _restart(session: Session, run: Run) -> None:
    """Back to the queue, with a new run."""
    new = append_run(session, run.job, run.owner)
    run.job.target = "run"
    set_state(session, new, JobState.QUEUING, f"waiting to start again: run {run.index} was interrupted")


def set_state(session: Session, run: Run, state: JobState, info: str) -> None:
    events.record_all(session, [_put_state(run, state, info)])
    if not state.alive and not (state == JobState.INTERRUPTED and run.job.restartable):
        end_followers(session, [run.job])


def _put_state(run: Run, state: JobState, info: str) -> tuple[str, str, dict[str, Any]]:
    """Returns the event that tells of it."""
    run.state = run.job.state = state.value
    run.state_info = run.job.state_info = info
    data = {"runId": run.id, "state": state.value, "info": info, "exitCode": run.exit_code}
    return f"run.{state.value.lower()}", run.job.urn, data
