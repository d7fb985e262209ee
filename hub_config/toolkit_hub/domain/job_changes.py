"""How jobs are changed, and ended by people."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.errors import Conflict
from toolkit_client.models import Job as WireJob
from toolkit_client.models import JobPatch, JobSpec, JobState, KilledJob
from toolkit_hub.domain import arrays, families, runs, time_limits
from toolkit_hub.domain.access import Actor, authorise
from toolkit_hub.domain.job_refs import find_job, find_job_or_array
from toolkit_hub.domain.jobs import shown, tell
from toolkit_hub.domain.site import Site
from toolkit_hub.domain.submission import check_name, check_possible, check_quotas
from toolkit_hub.store.access_tables import Lock
from toolkit_hub.store.order_tables import JobArray
from toolkit_hub.store.tables import Job

__all__ = ["change_job", "kill_job"]


def change_job(session: Session, site: Site, actor: Actor, reference: str, patch: JobPatch) -> WireJob:
    """Give a living job another name, tags, bid or time limit. Raises `Conflict` for one that has ended or a name in use."""
    job = find_job(session, actor, reference)
    authorise(session, actor, "job:set", job.urn)
    wanted = patch.model_fields_set
    if not JobState(job.state).alive:
        raise Conflict(
            f"job {job.id} has ended already ({job.state}) and is not changed any more",
            "`toolkit job retry` makes a new job of it",
        )
    if "name" in wanted and patch.name != job.name:
        check_name(session, job.account, patch.name, but=job)
        job.name = patch.name
    if "tags" in wanted:
        job.tags = [tag.model_dump(mode="json") for tag in patch.tags]
    if "bid" in wanted:
        raised = JobSpec.model_validate({**job.spec, "bid": patch.bid})
        check_quotas(session, site, job.creator_id, job.account, raised, but=job)
        job.bid = patch.bid
    if "max_run_time" in wanted:
        job.max_run_time = patch.max_run_time
        time_limits.change_limit(job.runs[-1], patch.max_run_time)
    if wanted & {"resources", "preemptable", "restartable"}:
        _change_asks(session, job, site, patch)
    if wanted:
        tell(session, actor, "job.changed", job, **patch.model_dump(mode="json", by_alias=True, exclude_unset=True))
    return shown(session, job, site)


def _change_asks(session: Session, job: Job, site: Site, patch: JobPatch) -> None:
    """Let a waiting job ask for something else. Its place in the queue is that of its submission all the same."""
    if job.state != JobState.QUEUING or job.runs[-1].room is not None:
        raise Conflict(
            f"job {job.id} has been given its room: what it holds and its class stay as they are",
            "name, tags, bid and time limit can be changed; `toolkit job retry` makes a new job of an ended one",
        )
    changed = patch.model_dump(by_alias=True, exclude_unset=True, include={"resources", "preemptable", "restartable"})
    resources = {**job.spec["resources"], **changed.pop("resources", {})}
    spec = JobSpec.model_validate({**job.spec, **changed, "resources": resources})
    check_possible(spec, site)
    check_quotas(session, site, job.creator_id, job.account, spec, but=job)
    job.cpu, job.mem, job.gpu = spec.resources.cpu, spec.resources.mem, spec.resources.gpu
    job.preemptable, job.restartable = spec.preemptable, spec.restartable
    job.spec = spec.model_dump(by_alias=True, mode="json")


def kill_job(session: Session, site: Site, actor: Actor, reference: str) -> KilledJob:
    """Ask for the end of a job, or of all jobs of an array, and of their families: `families.stopping` are to be told.

    A waiting job is CANCELLED at once, a started one when its container has stopped. Asking twice is the same as asking
    once. Raises `Conflict` for a job that has ended.
    """
    found = find_job_or_array(session, actor, reference)
    authorise(session, actor, "job:set", found.urn)
    living = _living(session, found)
    if not living:
        state = shown(session, found, site).state
        raise Conflict(f"job {found.id} has ended already ({state})", "there is nothing to kill")
    asked = [job for job in living if job.target in ("run", "preempt")]
    if asked:
        tell(session, actor, "job.kill", found)
    count = _end_all(session, asked, actor.full_name, array=isinstance(found, JobArray))
    return KilledJob.model_construct(**{**dict(shown(session, found, site)), "killed": count})


def _living(session: Session, found: Job | JobArray) -> list[Job]:
    if isinstance(found, Job):
        return [found] if JobState(found.state).alive else []
    locked = set(session.scalars(select(Lock.resource_id)))
    return [job for job in arrays.living_jobs(session, found.id) if job.id not in locked]


def _end_all(session: Session, asked: list[Job], by: str, *, array: bool) -> int:
    """Turn them and their living families to their end; returns how many that are."""
    family = families.left_behind(session, asked, f"was killed by {by}")
    ending = [(child, why) for child, why in family if child.state != JobState.CANCELLING]
    others = [(job, f"its array was killed by {by}") for job in asked] if array else []
    ended = runs.turn_to_end(session, [*ending, *others])
    for job in () if array else asked:
        job.target = "cancel"
        runs.begin_cancel(session, job, by=by)
    runs.end_followers(session, ended)
    return len({job.id for job in asked} | {child.id for child, _ in ending})
