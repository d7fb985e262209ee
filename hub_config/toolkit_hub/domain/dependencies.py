"""Which runs may not start yet: their job waits for others, or its array has enough running.

A job that waits holds nobody back: `unmet` says whom the planner does not see. What it waits for is settled in the
transaction in which that ends (`after_end`): the row goes when it has come true, and a job that can never start any more ends.
Rows name only what was there when the waiting job was submitted, by id. So neither a new name nor a retry, which is a job of
its own and newer than all that could wait for it, ever makes a circle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, aliased

from toolkit_client.errors import Conflict
from toolkit_client.job_after import After, parse_after
from toolkit_client.models import ALIVE_STATES, JobState
from toolkit_hub.domain import arrays
from toolkit_hub.domain.access import Actor, authorise
from toolkit_hub.domain.families import batched, shown_name
from toolkit_hub.domain.job_refs import find_job_or_array
from toolkit_hub.store.order_tables import JobArray, JobDependency
from toolkit_hub.store.tables import Account, Job, Run

__all__ = ["Waits", "after_end", "changed_reasons", "resolve_after", "retried", "unmet", "unsettled"]

_ENDINGS = {JobState.FAILED: "failed", JobState.CANCELLED: "was cancelled", JobState.INTERRUPTED: "was interrupted"}
#: How the reason of a job begins that was cancelled for another one: of a chain the cause is kept, not each link.
_LINK = re.compile(r"job \S+(?: \(\S+\))? was cancelled: ")


@dataclass(frozen=True)
class Waits:
    """What a new job waits for: `rows`, still without the job; `spec`, as ids; `reason` in words, empty if for nothing."""

    rows: list[JobDependency]
    spec: list[str]
    reason: str


# --- at submit --------------------------------------------------------------------------------------------------------


def resolve_after(session: Session, actor: Actor, account: Account, items: Iterable[str]) -> Waits:
    """Look up what a new job of `account` is to wait for.

    Raises `NotFound` and `PermissionDenied` for what the actor may not see, `Conflict` for what can never come true.
    """
    rows, spec, reasons = [], [], []
    for position, item in enumerate(items):
        after = parse_after(item)
        found = find_job_or_array(session, actor, after.reference, account)
        authorise(session, actor, "job:get", found.urn)
        spec.append(str(After(found.id, after.condition)))
        standing = _standing(_states(session, found), after.condition)
        if standing == "never":
            raise Conflict(
                f"this job would never start: {_what(found)} has not succeeded, and it is to wait for that",
                f"do that one again first (`toolkit job retry`), or wait only for its end: {after.reference}:any",
            )
        if standing == "waits":
            is_job = isinstance(found, Job)
            rows.append(
                JobDependency(
                    position=position,
                    on_job_id=found.id if is_job else None,
                    on_array_id=None if is_job else found.id,
                    condition=after.condition,
                )
            )
            reasons.append(_reason(_what(found), after.condition))
    return Waits(rows, spec, _reasons(reasons))


def retried(session: Session, items: Iterable[str]) -> list[str]:
    """What a job that is done again waits for: instead of a job that has not succeeded, the one that repeats it."""
    found = []
    for item in items:
        after = parse_after(item)
        job = session.get(Job, after.reference)
        while job is not None and _standing([job.state], after.condition) == "never":
            query = select(Job).where(Job.retry_of == job.id).order_by(Job.seq.desc()).limit(1)
            newer = session.scalar(query)
            if newer is None:
                break
            job, item = newer, str(After(newer.id, after.condition))
        found.append(item)
    return found


# --- at an end --------------------------------------------------------------------------------------------------------


def after_end(session: Session, ended: Sequence[Job]) -> list[tuple[Job, str]]:
    """Settle what waited for jobs that have ended; returns the jobs that can never start any more, and why."""
    by_id = {job.id: job for job in ended}
    hopeless: dict[str, Job] = {}
    for ids in batched(by_id):
        session.execute(delete(JobDependency).where(JobDependency.job_id.in_(ids)))
        for row in session.scalars(select(JobDependency).where(JobDependency.on_job_id.in_(ids))).all():
            _settle(session, row, by_id[row.on_job_id or ""], [by_id[row.on_job_id or ""].state], hopeless)
    for array_id, job in {job.array_id: job for job in ended if job.array_id}.items():
        arrays.note_end(session, array_id)
        waiting = session.scalars(select(JobDependency).where(JobDependency.on_array_id == array_id)).all()
        states = arrays.newest_states(session, array_id) if waiting else []
        for row in waiting:
            _settle(session, row, job, states, hopeless)
    session.flush()
    jobs = [job for ids in batched(hopeless) for job in session.scalars(select(Job).where(Job.id.in_(ids)))]
    return [(job, _why_never(hopeless[job.id])) for job in sorted(jobs, key=lambda job: job.seq)]


def _settle(session: Session, row: JobDependency, ended: Job, states: list[str], hopeless: dict[str, Job]) -> None:
    """Remove what has come true; of what never will, note for whose end."""
    standing = _standing(states, row.condition)
    if standing == "met":
        session.delete(row)
    elif standing == "never":
        hopeless.setdefault(row.job_id, ended)


def unsettled(session: Session) -> list[Job]:
    """Ended jobs that something still waits for by themselves; none, unless a row was changed by somebody else."""
    waited_for = select(JobDependency.on_job_id).where(JobDependency.on_job_id.is_not(None))
    query = select(Job).where(Job.id.in_(waited_for), Job.state.not_in(tuple(ALIVE_STATES)))
    return list(session.scalars(query.order_by(Job.seq)))


def _why_never(ended: Job) -> str:
    words = f"job {shown_name(ended)} {_ENDINGS.get(JobState(ended.state), 'has not succeeded')}"
    cause = _LINK.sub("", ended.state_info)
    return f"{words}: {cause}" if cause else words


# --- while it waits ---------------------------------------------------------------------------------------------------


class _HeldBack(NamedTuple):
    run_id: str
    told: str
    reason: str


def unmet(session: Session) -> dict[str, str]:
    """The waiting runs that may not start yet, however much room there is, and why: run id → reason."""
    return {held.run_id: held.reason for held in _held_back(session)}


def changed_reasons(session: Session) -> dict[str, str]:
    """Those of `unmet` whose reason is not the one that the row has."""
    return {held.run_id: held.reason for held in _held_back(session) if held.told != held.reason}


def _held_back(session: Session) -> list[_HeldBack]:
    waiting = list(_waiting_for_others(session))
    seen = {held.run_id for held in waiting}
    return waiting + [held for held in _above_array_limits(session) if held.run_id not in seen]


_On = aliased(Job)
_ROWS = (
    select(
        JobDependency.job_id,
        JobDependency.condition,
        JobDependency.on_job_id,
        JobDependency.on_array_id,
        func.coalesce(_On.name, JobArray.name),
    )
    .outerjoin(_On, _On.id == JobDependency.on_job_id)
    .outerjoin(JobArray, JobArray.id == JobDependency.on_array_id)
    .order_by(JobDependency.job_id, JobDependency.position)
)
#: Here and below the state stands in a form that no index serves, and what comes first is asked for first: else a database
#: begins with all runs that wait for room, or with all that there ever were.
_RUNS = select(Run.job_id, Run.id, Run.state_info).where(func.coalesce(Run.state, "") == JobState.QUEUING)


def _waiting_for_others(session: Session) -> Iterator[_HeldBack]:
    reasons: dict[str, list[str]] = {}
    for job_id, condition, on_job, on_array, name in session.execute(_ROWS):
        kind, id_ = ("job", on_job) if on_job else ("array", on_array)
        reasons.setdefault(job_id, []).append(_reason(f"{kind} {f'{name} ({id_})' if name else id_}", condition))
    for job_ids in batched(reasons):
        for job_id, run_id, told in session.execute(_RUNS.where(Run.job_id.in_(job_ids))):
            yield _HeldBack(run_id, told, _reasons(reasons[job_id]))


_LIMITED = select(JobArray.id, JobArray.at_once).where(JobArray.ended.is_(None), JobArray.at_once.is_not(None))
#: The order is that of the indices, but for those that are done again.
_ELEMENTS = (
    select(Job.array_id, Run.id, Run.state, Run.state_info)
    .join(Run, Run.job_id == Job.id)
    .where(func.coalesce(Run.state, "").in_(tuple(ALIVE_STATES)))
    .order_by(Job.seq)
)


def _above_array_limits(session: Session) -> Iterator[_HeldBack]:
    limits = dict([(array_id, at_once or 0) for array_id, at_once in session.execute(_LIMITED)])  # noqa: C404
    for array_ids in batched(limits):
        rows = session.execute(_ELEMENTS.where(Job.array_id.in_(array_ids))).all()
        room = {array_id: limits[array_id] for array_id in array_ids}
        for row in rows:
            room[row.array_id or ""] -= row.state != JobState.QUEUING
        for array_id, run_id, state, told in rows:
            if state != JobState.QUEUING:
                continue
            if room[array_id or ""] > 0:
                room[array_id or ""] -= 1
            else:
                yield _HeldBack(run_id, told, arrays.limit_reason(limits[array_id or ""]))


# --- words ------------------------------------------------------------------------------------------------------------


def _standing(states: Iterable[str], condition: str) -> Literal["met", "waits", "never"]:
    found = set(states)
    if condition == "ok" and found - ALIVE_STATES - {JobState.SUCCEEDED}:
        return "never"
    return "waits" if found & ALIVE_STATES else "met"


def _states(session: Session, found: Job | JobArray) -> list[str]:
    return [found.state] if isinstance(found, Job) else arrays.newest_states(session, found.id)


def _what(found: Job | JobArray) -> str:
    if isinstance(found, Job):
        return f"job {shown_name(found)}"
    return f"array {found.name} ({found.id})" if found.name else f"array {found.id}"


def _reason(what: str, condition: str) -> str:
    return f"waiting for {what} to {'succeed' if condition == 'ok' else 'end'}"


def _reasons(reasons: list[str]) -> str:
    more = len(reasons) - 1
    return "".join(reasons[:1]) + (f", and {more} other{'s' * (more > 1)}" if more > 0 else "")
