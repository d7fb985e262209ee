"""The life of a run: appended, admitted, started, ended. Each step is one transaction and may be taken twice.

::

    QUEUING ──admit──► QUEUED ──started──► RUNNING ──ended──► SUCCEEDED | FAILED | INTERRUPTED
       │                  │                   │
       └──kill──► CANCELLED                   │
                          └───────kill────────┴──► CANCELLING ──ended──► CANCELLED
"""

from __future__ import annotations

import base64
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from toolkit_client.models import JobState
from toolkit_hub import clock
from toolkit_hub.domain import events
from toolkit_hub.queue.plan import Amount, Plan, Waiting
from toolkit_hub.store.tables import Job, Run, new_id

__all__ = [
    "Ending",
    "admit",
    "append_run",
    "begin_cancel",
    "by_server_name",
    "held",
    "mark_ended",
    "mark_server_removed",
    "mark_started",
    "server_name_for",
    "set_reasons",
    "unfinished",
    "waiting",
]

#: States in which a run holds its CPUs and memory.
HOLDING = (JobState.QUEUED.value, JobState.RUNNING.value, JobState.CANCELLING.value)


@dataclass(frozen=True)
class Ending:
    """How a run ended, as the engine tells it."""

    exit_code: int | None
    info: str = ""
    oom_killed: bool = False
    interrupted: bool = False
    started: datetime | None = None
    ended: datetime | None = None


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


def waiting(session: Session) -> list[Waiting]:
    """The queue, the longest waiting first."""
    query = (
        select(Run)
        .join(Job, Job.id == Run.job_id)
        .where(Run.state == JobState.QUEUING)
        .order_by(Job.interactive.desc(), Job.seq, Run.index)
    )
    return [Waiting(run.id, Amount(run.job.cpu, run.job.mem)) for run in session.scalars(query)]


def held(session: Session) -> Amount:
    """What the admitted runs have."""
    rows = session.execute(select(Job.cpu, Job.mem).join(Run, Run.job_id == Job.id).where(Run.state.in_(HOLDING)))
    total = Amount()
    for cpu, mem in rows:
        total = total + Amount(cpu, mem)
    return total


def admit(session: Session, decided: Plan) -> list[str]:
    """Carry a plan out on the rows; returns the ids of the runs that were admitted."""
    admitted = []
    for run_id in decided.admitted:
        run = session.get_one(Run, run_id)
        if run.state == JobState.QUEUING:
            run.queued = clock.now()
            _set_state(session, run, JobState.QUEUED, "starting")
            admitted.append(run_id)
    set_reasons(session, decided.reasons)
    return admitted


def set_reasons(session: Session, reasons: dict[str, str]) -> None:
    """Say why runs wait. Only a changed reason is written."""
    for run_id, reason in reasons.items():
        run = session.get_one(Run, run_id)
        if JobState(run.state).alive and run.state_info != reason:
            run.state_info = run.job.state_info = reason
            events.record(session, "run.waits", run.job.urn, data={"runId": run.id, "reason": reason})


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
    run.started = run.started or clock.now()
    if not JobState(run.state).alive:
        run.ip = None  # it ended before its start was told
    if run.state == JobState.QUEUED:
        _set_state(session, run, JobState.RUNNING, "")


def begin_cancel(session: Session, job: Job, by: str) -> None:
    """Turn the newest run to its end; at once when it has not been admitted."""
    run = job.runs[-1]
    run.cancelled = clock.now()
    if run.state == JobState.QUEUING:
        run.ended, run.server_removed = clock.now(), True
        _set_state(session, run, JobState.CANCELLED, f"killed by {by} while it waited")
    else:
        _set_state(session, run, JobState.CANCELLING, f"being killed by {by}")


def mark_ended(session: Session, run_id: str, ending: Ending) -> bool:
    """Record the end once; later words about the same run change nothing. Returns whether this one counted."""
    run = session.get_one(Run, run_id)
    if not JobState(run.state).alive:
        return False
    run.exit_code, run.ip = ending.exit_code, None
    run.started = run.started or ending.started
    run.ended = ending.ended or clock.now()
    state, info = _final_state(run, ending)
    _set_state(session, run, state, info)
    return True


def mark_server_removed(session: Session, run_id: str) -> None:
    session.get_one(Run, run_id).server_removed = True


def unfinished(session: Session) -> list[Run]:
    """Runs that somebody still has to do something for, queue excluded."""
    query = select(Run).where(Run.state.in_(HOLDING) | (~Run.server_removed & (Run.state != JobState.QUEUING)))
    return list(session.scalars(query))


def _final_state(run: Run, ending: Ending) -> tuple[JobState, str]:
    if run.job.target == "cancel":
        return JobState.CANCELLED, run.state_info.replace("being killed", "killed")
    if ending.interrupted:
        return JobState.INTERRUPTED, ending.info
    if ending.oom_killed:
        return JobState.FAILED, f"killed: out of memory (limit {run.job.mem:g} GiB)"
    if ending.info:
        return JobState.FAILED, ending.info
    if ending.exit_code == 0:
        return JobState.SUCCEEDED, ""
    return JobState.FAILED, describe_exit_code(ending.exit_code)


def describe_exit_code(code: int | None) -> str:
    """`exit code 3`, with what the shell's conventional codes mean."""
    meaning = {126: "the command cannot be executed", 127: "command not found"}.get(code or 0, "")
    if code is not None and 128 < code < 160:
        meaning = f"ended by signal {code - 128}"
    return f"exit code {code}" + (f": {meaning}" if meaning else "")


def _set_state(session: Session, run: Run, state: JobState, info: str) -> None:
    run.state = run.job.state = state.value
    run.state_info = run.job.state_info = info
    data = {"runId": run.id, "state": state.value, "info": info, "exitCode": run.exit_code}
    events.record(session, f"run.{state.value.lower()}", run.job.urn, data=data)
