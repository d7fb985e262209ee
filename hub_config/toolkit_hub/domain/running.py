"""The site at one moment, for those who watch over it: what runs, what waits, what is held. Asks no rights: its callers do."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from toolkit_client.models import ALIVE_STATES, JobState
from toolkit_hub.domain import runs
from toolkit_hub.domain.site import Amount
from toolkit_hub.store.tables import Account, Job, Organization, Run, User

__all__ = ["CLASSES", "RunningRun", "SiteCounts", "running_runs", "site_counts"]

#: In the order of the queue.
CLASSES = ("interactive", "normal", "preemptable", "restartable")
_ALIVE = tuple(sorted(state.value for state in ALIVE_STATES))


@dataclass(frozen=True)
class RunningRun:
    """A run that holds its room, and whose it is. Limits in cores and GiB."""

    run_id: str
    server_name: str
    job_id: str
    index: int
    account: str
    user: str
    cpu_limit: float
    memory_limit: float
    #: UUIDs of the devices that it holds.
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class SiteCounts:
    """How many jobs there are by state and class, and by final state; what is held; since when the oldest run waits."""

    alive: dict[tuple[str, str], int]
    ended: dict[str, int]
    held: Amount
    oldest_waiting: datetime | None
    running: list[RunningRun] = field(default_factory=list)


def running_runs(session: Session) -> list[RunningRun]:
    """All runs that hold their room now."""
    query = (
        select(
            Run.id,
            Run.server_name,
            Run.job_id,
            Run.index,
            Account.full_name,
            Organization.name,
            User.name,
            Job.cpu,
            Job.mem,
        )
        .join(Job, Job.id == Run.job_id)
        .join(Account, Account.id == Job.account_id)
        .join(User, User.id == Job.creator_id)
        .join(Organization, Organization.id == User.organization_id)
        .where(Run.state.in_(runs.HOLDING))
        .order_by(Job.seq, Run.index)
    )
    return [
        RunningRun(run_id, server_name, job_id, index, account, f"{organization}.{user}", cpu, mem)
        for run_id, server_name, job_id, index, account, organization, user, cpu, mem in session.execute(query)
    ]


def site_counts(session: Session) -> SiteCounts:
    alive = dict.fromkeys(((state, one) for state in _ALIVE for one in CLASSES), 0)
    flags = (Job.interactive, Job.preemptable, Job.restartable)
    query = select(Job.state, *flags, func.count()).where(Job.state.in_(_ALIVE)).group_by(Job.state, *flags)
    for state, interactive, preemptable, restartable, count in session.execute(query):
        alive[state, _class(interactive, preemptable, restartable)] += count
    ended = {state.value: 0 for state in JobState if not state.alive}
    query_ended = select(Job.state, func.count()).where(Job.state.not_in(_ALIVE)).group_by(Job.state)
    ended.update({row[0]: row[1] for row in session.execute(query_ended)})
    oldest = session.scalar(select(func.min(Run.created)).where(Run.state == JobState.QUEUING))
    return SiteCounts(alive, ended, runs.held(session), oldest, running_runs(session))


def _class(interactive: bool, preemptable: bool, restartable: bool) -> str:
    if interactive:
        return "interactive"
    return "restartable" if restartable else "preemptable" if preemptable else "normal"
