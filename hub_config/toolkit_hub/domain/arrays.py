"""Arrays: one submission, many jobs. The first job is made and checked like any other, the others are copies of it.

An array has no state of its own. A job of it that is done again (`retry`) takes the place of the one that it repeats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.errors import Conflict, InvalidRequest
from toolkit_client.job_array import Indices, parse_array
from toolkit_client.models import ALIVE_STATES, JobSpec, JobState
from toolkit_client.models import Job as WireJob
from toolkit_hub import clock
from toolkit_hub.domain import events
from toolkit_hub.domain.access import Actor
from toolkit_hub.domain.site import Site
from toolkit_hub.store.data_tables import JobMount
from toolkit_hub.store.order_tables import JobArray, JobDependency
from toolkit_hub.store.tables import Account, Event, Job, User, new_id

__all__ = [
    "array_to_wire",
    "begin_array",
    "element_name",
    "environment_of_element",
    "limit_reason",
    "living_jobs",
    "multiply",
    "newest_states",
    "note_end",
    "note_retry",
]

_ALIVE = tuple(state.value for state in ALIVE_STATES)
LONGEST_NAME = 64
#: The first of these that one of its jobs is in is the state of an array.
_OVERALL = (
    (JobState.RUNNING, JobState.RUNNING),
    (JobState.QUEUED, JobState.RUNNING),
    (JobState.QUEUING, JobState.QUEUING),
    (JobState.CANCELLING, JobState.CANCELLING),
    (JobState.FAILED, JobState.FAILED),
    (JobState.INTERRUPTED, JobState.INTERRUPTED),
    (JobState.CANCELLED, JobState.CANCELLED),
)


# --- making -----------------------------------------------------------------------------------------------------------


def begin_array(
    session: Session, site: Site, actor: Actor, account: Account, spec: JobSpec
) -> tuple[JobArray, Indices]:
    """The row of a new array, and its indices. Its jobs follow.

    Raises `InvalidRequest` for too many jobs and what is not possible in an array, `Conflict` for names that are in use.
    """
    wanted = parse_array(spec.array or "")
    _check(site, spec, wanted)
    names = [element_name(spec.name, index) for index in wanted.indices] if spec.name else []
    _check_names(session, account, names)
    array = JobArray(
        id=new_id(),
        account_id=account.id,
        account=account,
        creator_id=actor.user_id,
        creator=session.get_one(User, actor.user_id),
        name=spec.name,
        size=len(wanted.indices),
        at_once=wanted.limit,
        spec=spec.model_dump(by_alias=True, mode="json"),
        created=clock.now(),
    )
    data = {"name": spec.name, "array": str(wanted), "size": array.size}
    array.seq = events.record(session, "array.submitted", array.urn, actor=actor, action="job:new", data=data)
    session.add(array)
    session.flush()
    return array, wanted


def element_name(name: str | None, index: int) -> str | None:
    """What the job of one index is called: `sweep_3`."""
    return f"{name}_{index}" if name else None


def multiply(session: Session, actor: Actor, array: JobArray, first: Job, indices: Sequence[int]) -> list[Job]:
    """A copy of the array's first job, with its mounts and what it waits for, for each of the other indices; still without
    runs."""
    told = [_submitted(first, actor, index) for index in indices]
    ids = [new_id() for _ in indices]
    for event, job_id in zip(told, ids, strict=True):
        event.urn = first.urn.removesuffix(first.id) + job_id
    session.add_all(told)
    session.flush()
    same = _columns(first, {"id", "seq", "name", "array_index", "state_info"})
    rows, made = _rows_of(session, first), []
    limit = None if any(isinstance(row, JobDependency) for row in rows) else array.at_once
    for position, (index, job_id, event) in enumerate(zip(indices, ids, told, strict=True), 1):
        info = first.state_info
        if limit is not None and position >= limit:
            info = limit_reason(limit)
        name = element_name(array.name, index)
        made.append(Job(id=job_id, seq=event.seq, name=name, array_index=index, state_info=info, runs=[], **same))
    session.add_all(made)
    session.flush()
    session.add_all([type(row)(job_id=job_id, **_columns(row, {"job_id"})) for row in rows for job_id in ids])
    session.flush()
    return made


def limit_reason(at_once: int) -> str:
    return f"array limit: {at_once} at once"


def _check(site: Site, spec: JobSpec, wanted: Indices) -> None:
    count, name = len(wanted.indices), spec.name
    if count > site.array_limit:
        raise InvalidRequest(
            f"an array of {count} jobs is larger than this site takes at once ({site.array_limit})",
            "submit it in parts; an administrator sets c.Toolkit.array_limit",
        )
    if spec.interactive:
        raise InvalidRequest("the jobs of an array are not interactive", "leave --interactive or --array out")
    if spec.enforce_name:
        raise InvalidRequest("an array takes no names from other jobs", "leave --enforce-name out")
    longest = element_name(name, wanted.indices[-1]) or ""
    if len(longest) > LONGEST_NAME:
        raise InvalidRequest(
            f"the last job of the array would be called {longest}: {len(longest)} characters, and {LONGEST_NAME} is the limit",
            "choose a shorter name",
        )


def _check_names(session: Session, account: Account, names: list[str | None]) -> None:
    for start in range(0, len(names), 500):
        query = select(Job.name, Job.id).where(
            Job.account_id == account.id, Job.name.in_(names[start : start + 500]), Job.state.in_(_ALIVE)
        )
        holder = session.execute(query.limit(1)).first()
        if holder is not None:
            raise Conflict(
                f"the name {holder.name}, which a job of the array would have, is in use in {account.full_name} by job "
                f"{holder.id}",
                "choose another name, or kill that job",
            )


def _submitted(first: Job, actor: Actor, index: int) -> Event:
    data = {"arrayId": first.array_id, "arrayIndex": index, "image": first.image, "kind": first.kind}
    return Event(
        time=first.created, type="job.submitted", actor=actor.full_name, request_id=actor.request_id, data=data
    )


def _rows_of(session: Session, job: Job) -> list[JobMount | JobDependency]:
    mounts = session.scalars(select(JobMount).where(JobMount.job_id == job.id))
    waits = session.scalars(select(JobDependency).where(JobDependency.job_id == job.id))
    return [*mounts, *waits]


def _columns(row: Any, but: set[str]) -> dict[str, Any]:
    return {
        column.key: getattr(row, column.key) for column in type(row).__mapper__.column_attrs if column.key not in but
    }


# --- looking ----------------------------------------------------------------------------------------------------------


def newest_states(session: Session, array_id: str) -> list[str]:
    """The states of its jobs, of each index the newest one's."""
    query = select(Job.array_index, Job.state).where(Job.array_id == array_id).order_by(Job.seq)
    return list(dict([(index, state) for index, state in session.execute(query)]).values())  # noqa: C404


def living_jobs(session: Session, array_id: str) -> list[Job]:
    query = select(Job).where(Job.array_id == array_id, Job.state.in_(_ALIVE))
    return list(session.scalars(query.order_by(Job.seq)))


def array_to_wire(session: Session, array: JobArray) -> WireJob:
    """The array as readers of jobs see it: without runs, in the state that those of its jobs come to."""
    states = Counter(newest_states(session, array.id))
    state = next((meant for word, meant in _OVERALL if states[word]), JobState.SUCCEEDED)
    spec = JobSpec.model_validate(array.spec)
    kept = spec.model_dump(exclude={"account", "enforce_name", "max_run_time", "name"})
    counts = {word.value: states[word] for word in JobState if states[word]}
    return WireJob(
        id=array.id,
        urn=array.urn,
        name=array.name,
        kind="array",
        state=state,
        state_info=f"{array.size} jobs: " + ", ".join(f"{count} {word.lower()}" for word, count in counts.items()),
        alive=state.alive,
        account=array.account.full_name,
        account_id=array.account_id,
        creator=array.creator.full_name,
        creator_id=array.creator_id,
        created=array.created,
        access_url="",
        lab_url="",
        runs=[],
        array_states=counts,
        parent_id=session.scalar(select(Job.parent_id).where(Job.array_id == array.id).limit(1)),
        max_run_time=spec.max_run_time or 0,
        **kept,
    )


def environment_of_element(session: Session, job: Job) -> dict[str, str]:
    """What tells a job of an array which one it is; nothing for other jobs."""
    if job.array_id is None:
        return {}
    size = str(session.get_one(JobArray, job.array_id).size)
    facts = {"INDEX": str(job.array_index), "JOB_ID": job.array_id, "SIZE": size, "COUNT": size}
    return {f"{prefix}_ARRAY_{name}": value for name, value in facts.items() for prefix in ("TOOLKIT", "EAI")}


# --- ends -------------------------------------------------------------------------------------------------------------


def note_end(session: Session, array_id: str) -> None:
    """A job of it has ended; perhaps it was the last one."""
    alive = session.scalar(select(Job.id).where(Job.array_id == array_id, Job.state.in_(_ALIVE)).limit(1))
    if alive is None:
        session.get_one(JobArray, array_id).ended = clock.now()


def note_retry(session: Session, array_id: str | None) -> None:
    """A job of it, if it is one, is done again."""
    if array_id is not None:
        session.get_one(JobArray, array_id).ended = None
