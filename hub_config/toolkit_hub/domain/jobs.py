"""Jobs, as users ask for them: submit, look, list, kill."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from toolkit_client.errors import Conflict, InvalidRequest, NotFound
from toolkit_client.models import ALIVE_STATES, JobSpec, JobState, Page, Resources
from toolkit_client.models import Job as WireJob
from toolkit_hub import clock
from toolkit_hub.domain import events, runs
from toolkit_hub.domain.access import Actor, authorise
from toolkit_hub.domain.job_view import job_to_wire
from toolkit_hub.domain.site import Site
from toolkit_hub.queue.plan import Amount, impossible
from toolkit_hub.store.tables import Account, IdempotencyKey, Job, User, new_id

__all__ = ["JobFilter", "find_job", "get_job", "kill_job", "list_jobs", "living_server", "own_server", "submit_job"]

ALIVE = tuple(state.value for state in ALIVE_STATES)


def submit_job(
    session: Session, site: Site, actor: Actor, spec: JobSpec, idempotency_key: str | None = None
) -> tuple[WireJob, bool]:
    """Put a job in the queue. Returns it, and whether it is new: the same key again gives the same job.

    Raises `InvalidRequest` for what can never run here, `Conflict` for a name that is in use, a key that was used for another
    request, or too many interactive jobs.
    """
    request_hash = hashlib.sha256(spec.model_dump_json().encode()).hexdigest()
    known = _replay(session, actor, idempotency_key, request_hash)
    if known is not None:
        return job_to_wire(known, site), False
    account = _account_for(session, actor, spec.account)
    authorise(session, actor, "job:new", account.urn)
    _check_possible(spec, site)
    _check_name_free(session, account, spec.name)
    if spec.interactive:
        _check_interactive_limit(session, site, actor)
    job = _insert(session, site, actor, account, spec, kind="job")
    if idempotency_key:
        session.add(
            IdempotencyKey(
                user_id=actor.user_id,
                key=idempotency_key,
                request_hash=request_hash,
                resource_id=job.id,
                created=clock.now(),
            )
        )
    return job_to_wire(job, site), True


def own_server(session: Session, site: Site, actor: Actor) -> tuple[WireJob, bool]:
    """The caller's own server: the living one, or a new one in the queue; and whether it is new."""
    living = living_server(session, site, actor)
    if living is not None:
        if living.state == JobState.CANCELLING:
            raise Conflict("your server is being stopped", "try again in some seconds")
        return living, False
    account = session.get_one(Account, actor.home_account_id)
    authorise(session, actor, "job:new", account.urn)
    spec = JobSpec(interactive=True, resources=Resources(cpu=site.server_asks.cpu, mem=site.server_asks.mem))
    _check_possible(spec, site)
    _check_interactive_limit(session, site, actor)
    return job_to_wire(_insert(session, site, actor, account, spec, kind="server"), site), True


def living_server(session: Session, site: Site, actor: Actor) -> WireJob | None:
    """The caller's own server, if there is one that has not ended."""
    query = select(Job).where(Job.creator_id == actor.user_id, Job.kind == "server", Job.state.in_(ALIVE))
    job = session.scalar(query)
    if job is None:
        return None
    authorise(session, actor, "job:get", job.urn)
    return job_to_wire(job, site)


def _replay(session: Session, actor: Actor, key: str | None, request_hash: str) -> Job | None:
    if not key:
        return None
    used = session.get(IdempotencyKey, (actor.user_id, key))
    if used is None:
        return None
    if used.request_hash != request_hash:
        raise Conflict("this Idempotency-Key was used for another request", "send a new key with a new request")
    return session.get_one(Job, used.resource_id)


def _account_for(session: Session, actor: Actor, reference: str | None) -> Account:
    if reference is None:
        return session.get_one(Account, actor.home_account_id)
    name = reference if "." in reference else f"{actor.organization_name}.{reference}"
    account = session.scalar(select(Account).where((Account.id == reference) | (Account.full_name == name)))
    if account is None:
        raise NotFound(f"no such account: {reference}", "give its id or its full name, as `acme.joe`")
    return account


def _check_possible(spec: JobSpec, site: Site) -> None:
    why = impossible(Amount(spec.resources.cpu, spec.resources.mem), site.total)
    if why:
        raise InvalidRequest(f"this job can never start here: {why}", "ask for less with --cpu and --mem")


def _check_name_free(session: Session, account: Account, name: str | None) -> None:
    if name is None:
        return
    query = select(Job.id).where(Job.account_id == account.id, Job.name == name, Job.state.in_(ALIVE))
    holder = session.scalar(query)
    if holder is not None:
        raise Conflict(
            f"the name {name} is in use in {account.full_name} by job {holder}",
            "choose another name, or kill that job; the name is free when it has ended",
        )


def _check_interactive_limit(session: Session, site: Site, actor: Actor) -> None:
    query = select(func.count()).where(Job.creator_id == actor.user_id, Job.interactive, Job.state.in_(ALIVE))
    alive = session.scalar(query) or 0
    if alive >= site.interactive_limit:
        raise Conflict(
            f"you have {alive} interactive jobs, and the site allows {site.interactive_limit}",
            "kill one of them, or submit without --interactive",
        )


def _insert(session: Session, site: Site, actor: Actor, account: Account, spec: JobSpec, kind: str) -> Job:
    image = spec.image or site.default_image
    job = Job(
        id=new_id(),
        account_id=account.id,
        account=account,
        creator_id=actor.user_id,
        creator=session.get_one(User, actor.user_id),
        name=spec.name,
        state=JobState.QUEUING,
        state_info="waiting for its turn",
        target="run",
        kind=kind,
        interactive=spec.interactive,
        cpu=spec.resources.cpu,
        mem=spec.resources.mem,
        image=image,
        spec=spec.model_copy(update={"image": image}).model_dump(by_alias=True, mode="json"),
        created=clock.now(),
    )
    job.seq = events.record(
        session,
        "job.submitted",
        job.urn,
        actor=actor.full_name,
        request_id=actor.request_id,
        data={"name": spec.name, "image": image, "kind": kind},
    )
    session.add(job)
    runs.append_run(session, job, owner=actor.name)
    session.flush()
    return job


# --- looking ----------------------------------------------------------------------------------------------------------


def find_job(session: Session, actor: Actor, reference: str) -> Job:
    """The job that `reference` means: its id, its full name (`acme.joe.name`), or its name in the caller's home account.

    Of jobs with the same name the newest. Raises `NotFound`. Asks no rights: the caller does, for its own action.
    """
    job = session.get(Job, reference)
    if job is None:
        account_name, _, name = reference.rpartition(".")
        where = Account.full_name == account_name if account_name else Account.id == actor.home_account_id
        job = session.scalar(select(Job).join(Account).where(where, Job.name == name).order_by(Job.seq.desc()).limit(1))
    if job is None:
        raise NotFound(f"no such job: {reference}", "`toolkit job ls --state all` lists your jobs")
    return job


def get_job(session: Session, site: Site, actor: Actor, reference: str) -> WireJob:
    """One job, for those who may see it."""
    job = find_job(session, actor, reference)
    authorise(session, actor, "job:get", job.urn)
    return job_to_wire(job, site)


@dataclass(frozen=True)
class JobFilter:
    """What a list of jobs is narrowed to."""

    mine: bool = False
    account: str | None = None
    name: str | None = None
    states: frozenset[str] = field(default_factory=frozenset)
    created_since: datetime | None = None
    limit: int = 100
    cursor: str | None = None


def list_jobs(session: Session, site: Site, actor: Actor, wanted: JobFilter) -> Page[WireJob]:
    """The jobs that the actor may see, newest first. Computed from the rights, not filtered afterwards."""
    query = _visible_jobs(actor)
    if wanted.mine:
        query = query.where(Job.creator_id == actor.user_id)
    if wanted.account:
        query = query.where(Job.account_id == _account_for(session, actor, wanted.account).id)
    if wanted.name:
        query = query.where(Job.name == wanted.name)
    if wanted.states:
        query = query.where(Job.state.in_(sorted(wanted.states)))
    if wanted.created_since:
        query = query.where(Job.created >= wanted.created_since)
    if wanted.cursor:
        query = query.where(Job.seq < _seq_of(wanted.cursor))
    found = list(session.scalars(query.order_by(Job.seq.desc()).limit(wanted.limit + 1)).unique())
    shown = found[: wanted.limit]
    return Page(
        items=[job_to_wire(job, site) for job in shown],
        next=str(shown[-1].seq) if len(found) > wanted.limit else None,
    )


def _visible_jobs(actor: Actor) -> Select[Job]:
    """The rule of `policy.decision` for job:get, as a query."""
    query = select(Job).join(Account, Account.id == Job.account_id)
    if actor.admin:
        return query.where(Account.organization_id == actor.organization_id)
    tree = select(Account.id).where(Account.id == actor.home_account_id).cte("owned", recursive=True)
    child = select(Account.id).join(tree, Account.parent_id == tree.c.id)
    owned = tree.union(child)
    return query.where((Job.creator_id == actor.user_id) | Job.account_id.in_(select(owned.c.id)))


def _seq_of(cursor: str) -> int:
    try:
        return int(cursor)
    except ValueError:
        raise InvalidRequest("that is no cursor of this list", "use the `next` of the page before") from None


# --- ending -----------------------------------------------------------------------------------------------------------


def kill_job(session: Session, site: Site, actor: Actor, reference: str) -> WireJob:
    """Ask for the job's end. A waiting job is CANCELLED at once, a started one when its container has stopped.

    Asking twice is the same as asking once. Raises `Conflict` for a job that has ended.
    """
    job = find_job(session, actor, reference)
    authorise(session, actor, "job:set", job.urn)
    if not JobState(job.state).alive:
        raise Conflict(f"job {job.id} has ended already ({job.state})", "there is nothing to kill")
    if job.target != "cancel":
        job.target = "cancel"
        events.record(session, "job.kill", job.urn, actor=actor.full_name, request_id=actor.request_id)
        runs.begin_cancel(session, job, by=actor.full_name)
    return job_to_wire(job, site)
