"""Jobs that jobs submit: who is whose child, and what ends with whom.

A job that was submitted with the token of another one is that one's child. When the parent has ended, in whatever way, its
living family is ended, but for what was submitted with `detach` and hangs on that. A restartable parent that is interrupted
has not ended: its children live on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import CTE, select
from sqlalchemy.orm import Session

from toolkit_client.errors import Conflict
from toolkit_client.models import ALIVE_STATES, JobState
from toolkit_hub.domain.access import Actor
from toolkit_hub.store.tables import Job, Run

__all__ = ["batched", "family_of", "left_behind", "parent_of", "shown_name", "stopping", "stranded"]

_ALIVE = tuple(state.value for state in ALIVE_STATES)


def parent_of(session: Session, actor: Actor) -> str | None:
    """The job whose token the actor uses: what it submits is that job's child.

    Raises `Conflict` when that job has ended since the token was looked at: nobody would end the child.
    """
    subject = actor.subject
    job_id = subject.id if subject.type == "job" else subject.carried_by
    if not job_id:
        return None
    if not JobState(session.get_one(Job, job_id).state).alive:
        raise Conflict(f"job {job_id}, which submits this, has ended", "submit it from outside")
    return job_id


def left_behind(session: Session, parents: Sequence[Job], what: str = "has ended") -> list[tuple[Job, str]]:
    """The living families of jobs that have ended, or are being killed, and why each is to end as well."""
    found: dict[str, tuple[Job, str]] = {}
    roots = {parent.id: parent for parent in parents}
    words = "its parent job {} {}"
    while roots:
        children = _living_children(session, list(roots))
        roots = {child.id: roots[child.parent_id or ""] for child in children if child.id not in found}
        found |= {
            child.id: (child, words.format(shown_name(roots[child.id]), what))
            for child in children
            if child.id in roots
        }
        words = "job {}, which it descends from, {}"
    return list(found.values())


def _living_children(session: Session, parent_ids: list[str]) -> list[Job]:
    found: list[Job] = []
    for some in batched(parent_ids):
        query = select(Job).where(Job.parent_id.in_(some), Job.detached.is_(False), Job.state.in_(_ALIVE))
        found += session.scalars(query.order_by(Job.seq))
    return found


def batched(ids: Collection[str], size: int = 500) -> Iterator[list[str]]:
    """Pieces that fit in one statement of any database."""
    listed = list(ids)
    return (listed[start : start + size] for start in range(0, len(listed), size))


def stranded(session: Session) -> list[Job]:
    """Ended jobs with children that live and should not; none, unless a row was changed by somebody else."""
    ended = select(Job.id).where(Job.state.not_in(_ALIVE))
    parents = select(Job.parent_id).where(
        Job.parent_id.in_(ended), Job.detached.is_(False), Job.state.in_(set(_ALIVE) - {JobState.CANCELLING.value})
    )
    return list(session.scalars(select(Job).where(Job.id.in_(parents)).order_by(Job.seq)))


def family_of(job_id: str) -> CTE:
    """The ids of a job and of all that descends from it, as a table of one column."""
    family = select(Job.id).where(Job.id == job_id).cte("family", recursive=True)
    return family.union_all(select(Job.id).join(family, Job.parent_id == family.c.id))


def stopping(session: Session, job_or_array_id: str) -> list[str]:
    """Ids of the runs that are being stopped: of this job and its family, or of an array's jobs and theirs."""
    roots = select(Job.id).where((Job.id == job_or_array_id) | (Job.array_id == job_or_array_id))
    family = roots.cte("stopping", recursive=True)
    family = family.union_all(select(Job.id).join(family, Job.parent_id == family.c.id))
    query = select(Run.id).where(Run.job_id.in_(select(family.c.id)), Run.state == JobState.CANCELLING)
    return list(session.scalars(query))


def shown_name(job: Job) -> str:
    """A job in a sentence: `train (ID)`, or its id."""
    return f"{job.name} ({job.id})" if job.name else job.id
