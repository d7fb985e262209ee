"""Jobs, as users ask for them: submit, look, do again. `job_changes` has how they are changed and ended."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.errors import Conflict, NotFound, PermissionDenied
from toolkit_client.models import Job as WireJob
from toolkit_client.models import JobSpec, JobState, Resources
from toolkit_hub import clock
from toolkit_hub.domain import arrays, dependencies, events, families, idempotency, mounts, runs, time_limits
from toolkit_hub.domain.access import Actor, authorise
from toolkit_hub.domain.accounts import account_for
from toolkit_hub.domain.images import image_meant
from toolkit_hub.domain.job_refs import element_of, find_job, find_job_or_array
from toolkit_hub.domain.job_view import has_mounts, job_to_wire
from toolkit_hub.domain.site import Site
from toolkit_hub.domain.submission import (
    ALIVE,
    carries_rights,
    check_interactive_limit,
    check_name,
    check_possible,
    check_quotas,
    hub_name_of,
    name_holder,
    role_of_job,
)
from toolkit_hub.store.data_tables import JobMount
from toolkit_hub.store.order_tables import JobArray, JobDependency
from toolkit_hub.store.tables import Account, Job, User, new_id

__all__ = [
    "find_job",
    "get_job",
    "image_of",
    "living_server",
    "look_up",
    "own_server",
    "retry_job",
    "shown",
    "submit_job",
    "tell",
]


@dataclass(frozen=True)
class _Origin:
    """Where a new job comes from."""

    kind: str = "job"
    image_digest: str | None = None
    retry_of: str | None = None
    #: What it mounts besides what its spec names.
    home: JobMount | None = None
    #: The array that it is an element of, and its index there.
    array_id: str | None = None
    array_index: int | None = None


def submit_job(
    session: Session,
    site: Site,
    actor: Actor,
    spec: JobSpec,
    idempotency_key: str | None = None,
    image_digest: str | None = None,
) -> tuple[WireJob, bool]:
    """Put a job in the queue, or all jobs of an array. Returns it, and whether it is new: the same key again gives the same.

    `image_digest` is what the image's reference means on this machine now, if that is known.

    Raises `InvalidRequest` for what can never run here, `Conflict` for a name that is in use, a key that was used for another
    request, or too many interactive jobs; and what `mounts.resolve_mounts` and `dependencies.resolve_after` raise.
    """
    request = f"POST /jobs {spec.model_dump_json()}"
    known = _made_before(session, actor, idempotency_key, request)
    if known is not None:
        return shown(session, known, site), False
    account = account_for(session, actor, spec.account)
    authorise(session, actor, "job:new", account.urn)
    origin = _Origin(image_digest=image_digest)
    new = _new_array if spec.array is not None else _new_job
    job = new(session, site, actor, account, spec, origin)
    idempotency.remember(session, actor, idempotency_key, request, job.id)
    return shown(session, job, site), True


def retry_job(
    session: Session,
    site: Site,
    actor: Actor,
    reference: str,
    idempotency_key: str | None = None,
    image_digest: str | None = None,
) -> tuple[WireJob, bool]:
    """A new job with the spec of one that has ended, in the same account; its image's reference is read anew.

    Raises `Conflict` for a job that has not ended and for a user's own server, and what `submit_job` raises.
    """
    old = find_job_or_array(session, actor, reference)
    authorise(session, actor, "job:get", old.urn)
    if isinstance(old, JobArray):
        raise Conflict(
            f"{old.name or old.id} is an array: its jobs are done again one by one",
            f"`toolkit job retry {old.name or old.id}:{element_of(old.spec)}`, or all that failed: `toolkit job ls --array "
            f"{old.id} --state failed --no-header --fields id | xargs toolkit job retry`",
        )
    request = f"POST /jobs/{old.id}/retry"
    known = _made_before(session, actor, idempotency_key, request)
    if known is not None:
        return shown(session, known, site), False
    authorise(session, actor, "job:new", old.account.urn)
    if old.kind == "server":
        raise Conflict("a user's own server is not retried", "start your server from the home page")
    if JobState(old.state).alive:
        raise Conflict(f"job {old.id} is {old.state}: only a job that has ended is retried", "wait, or kill it first")
    spec = JobSpec.model_validate(old.spec)
    spec = spec.model_copy(
        update={
            "name": old.name,
            "tags": [*JobSpec.model_validate({"tags": old.tags or []}).tags],
            "bid": old.bid,
            "after": dependencies.retried(session, spec.after),
        }
    )
    arrays.note_retry(session, old.array_id)
    origin = _Origin(image_digest=image_digest, retry_of=old.id, array_id=old.array_id, array_index=old.array_index)
    job = _new_job(session, site, actor, old.account, spec, origin)
    idempotency.remember(session, actor, idempotency_key, request, job.id)
    return shown(session, job, site), True


def own_server(
    session: Session, site: Site, actor: Actor, idempotency_key: str | None = None, image_digest: str | None = None
) -> tuple[WireJob, bool]:
    """The caller's own server: the living one, or a new one in the queue; and whether it is new.

    Its home is the data `home` of the user's home account, which is made when it is missing.

    Raises `PermissionDenied` for a role key and a job's token, since such a server belongs to a person, and for a user who
    may not write in that data.
    """
    if actor.subject.type != "user":
        raise PermissionDenied(
            f"{actor.full_name} is no user, and only users have a server of their own",
            "submit a job, or sign in with a token of your own",
        )
    known = _made_before(session, actor, idempotency_key, "POST /servers")
    if known is not None:
        return shown(session, known, site), False
    living = living_server(session, site, actor)
    if living is not None:
        if living.state == JobState.CANCELLING:
            raise Conflict("your server is being stopped", "try again in some seconds")
        return living, False
    account = account_for(session, actor, None)
    authorise(session, actor, "job:new", account.urn)
    spec = JobSpec(interactive=True, resources=Resources(cpu=site.server_asks.cpu, mem=site.server_asks.mem))
    home = mounts.home_mount(session, actor, account)
    job = _new_job(session, site, actor, account, spec, _Origin("server", image_digest, home=home))
    idempotency.remember(session, actor, idempotency_key, "POST /servers", job.id)
    return shown(session, job, site), True


def living_server(session: Session, site: Site, actor: Actor) -> WireJob | None:
    """The caller's own server, if there is one that has not ended."""
    query = select(Job).where(Job.creator_id == actor.user_id, Job.kind == "server", Job.state.in_(ALIVE))
    job = session.scalar(query)
    if job is None:
        return None
    authorise(session, actor, "job:get", job.urn)
    return shown(session, job, site)


def _made_before(session: Session, actor: Actor, key: str | None, request: str) -> Job | JobArray | None:
    job_id = idempotency.replayed(session, actor, key, request)
    if job_id is None:
        return None
    job = session.get(Job, job_id) or session.get(JobArray, job_id)
    if job is None:
        raise Conflict("the job that this Idempotency-Key made has been removed", "send a new key for a new job")
    return job


def _new_array(
    session: Session, site: Site, actor: Actor, account: Account, spec: JobSpec, origin: _Origin
) -> JobArray:
    """Check and store it, with its jobs, each with its first run."""
    check_name(session, account, spec.name)
    array, (indices, _) = arrays.begin_array(session, site, actor, account, spec)
    check_quotas(session, site, actor.user_id, account, spec, count=len(indices))
    first_spec = spec.model_copy(update={"name": arrays.element_name(spec.name, indices[0])})
    first = _new_job(
        session, site, actor, account, first_spec, replace(origin, array_id=array.id, array_index=indices[0])
    )
    array.spec = {**first.spec, "name": spec.name, "array": spec.array, "maxRunTime": first.max_run_time}
    for job in arrays.multiply(session, actor, array, first, indices[1:]):
        runs.append_run(session, job, owner=first.runs[-1].owner)
    session.flush()
    return array


def _new_job(session: Session, site: Site, actor: Actor, account: Account, spec: JobSpec, origin: _Origin) -> Job:
    """Check and store it, with its first run."""
    _check(session, site, actor, account, spec)
    creator = session.get_one(User, actor.user_id)
    role = role_of_job(session, actor, spec.role) if spec.role is not None else None
    image = image_meant(site, spec.image)
    waits = dependencies.resolve_after(session, actor, account, spec.after)
    # A retry repeats what ran; it takes no name from anybody.
    kept = spec.model_copy(update={"image": image, "enforce_name": False, "after": waits.spec, "array": None})
    job = Job(
        id=new_id(),
        account_id=account.id,
        account=account,
        creator_id=creator.id,
        creator=creator,
        role_id=role.id if role else None,
        carries_rights=carries_rights(actor, spec),
        name=spec.name,
        state=JobState.QUEUING,
        state_info=waits.reason or "waiting for its turn",
        target="run",
        kind=origin.kind,
        interactive=spec.interactive,
        preemptable=spec.preemptable,
        restartable=spec.restartable,
        bid=spec.bid,
        max_run_time=time_limits.default_limit(spec, site),
        tags=[tag.model_dump(mode="json") for tag in spec.tags],
        cpu=spec.resources.cpu,
        gpu=spec.resources.gpu,
        mem=spec.resources.mem,
        image=image,
        image_digest=origin.image_digest,
        retry_of=origin.retry_of,
        parent_id=families.parent_of(session, actor) if origin.kind == "job" else None,
        # What a person submits from a notebook outlives the notebook.
        detached=spec.detach or bool(actor.subject.carried_by),
        array_id=origin.array_id,
        array_index=origin.array_index,
        spec=kept.model_dump(by_alias=True, mode="json"),
        created=clock.now(),
    )
    mounted = _mounted(session, actor, job, spec, origin)
    told = {"name": spec.name, "image": image, "kind": origin.kind, "retryOf": origin.retry_of}
    job.seq = tell(session, actor, "job.submitted", job, **told)
    session.add(job)
    runs.append_run(session, job, owner=hub_name_of(creator))
    session.flush()
    rows: list[JobMount | JobDependency] = [*mounted, *waits.rows]
    for row in rows:
        row.job_id = job.id
    session.add_all(rows)
    session.flush()
    return job


def _check(session: Session, site: Site, actor: Actor, account: Account, spec: JobSpec) -> None:
    check_possible(spec, site)
    check_quotas(session, site, actor.user_id, account, spec)
    if spec.enforce_name and spec.name is not None:
        _take_name(session, actor, account, spec.name)
    check_name(session, account, spec.name)
    if spec.interactive:
        check_interactive_limit(session, site, actor)


def _mounted(session: Session, actor: Actor, job: Job, spec: JobSpec, origin: _Origin) -> list[JobMount]:
    account = job.account
    mounted = mounts.resolve_mounts(session, actor, account, spec.data) if origin.home is None else [origin.home]
    # Only where nobody else can come in and read them.
    if job.carries_rights and (keys := mounts.ssh_mount(session, actor, account, mounted)) is not None:
        mounted.append(keys)
    return mounted


def shown(session: Session, job: Job | JobArray, site: Site) -> WireJob:
    """As its readers see it."""
    if isinstance(job, JobArray):
        return arrays.array_to_wire(session, job)
    return job_to_wire(job, site, mounts.mounts_to_wire(session, job) if has_mounts(job) else None)


def _take_name(session: Session, actor: Actor, account: Account, name: str) -> None:
    """Free a name for a new job: the living job that has it goes on without one."""
    holder = name_holder(session, account, name)
    if holder is not None:
        authorise(session, actor, "job:set", holder.urn)
        holder.name = None
        tell(session, actor, "job.changed", holder, name=None)


def tell(session: Session, actor: Actor, type_: str, job: Job | JobArray, **data: object) -> int:
    """Record what was done with the job; returns the event's number."""
    action = "job:new" if type_ == "job.submitted" else "job:set"
    return events.record(session, type_, job.urn, actor=actor, action=action, data=dict(data))


# --- looking ----------------------------------------------------------------------------------------------------------


def get_job(session: Session, site: Site, actor: Actor, reference: str) -> WireJob:
    """One job, for those who may see it."""
    job = find_job(session, actor, reference)
    authorise(session, actor, "job:get", job.urn)
    return shown(session, job, site)


def look_up(session: Session, site: Site, actor: Actor, reference: str) -> WireJob:
    """A job or an array, for those who may see it."""
    found = find_job_or_array(session, actor, reference)
    authorise(session, actor, "job:get", found.urn)
    return shown(session, found, site)


def image_of(session: Session, actor: Actor, reference: str) -> str | None:
    """The image reference of a job that the actor may see; None when there is none."""
    try:
        found = find_job_or_array(session, actor, reference)
        authorise(session, actor, "job:get", found.urn)
    except NotFound:
        return None
    return found.image if isinstance(found, Job) else None
