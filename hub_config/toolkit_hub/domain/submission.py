"""What a job must pass before it is put in the queue. Nothing here writes."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.errors import Conflict, InvalidRequest, PermissionDenied
from toolkit_client.models import ALIVE_STATES, JobSpec
from toolkit_hub.domain.access import Actor, allowed, authorise
from toolkit_hub.domain.granting import check_joining, held_by_group
from toolkit_hub.domain.images import check_image, image_meant
from toolkit_hub.domain.queue_state import limits_of, request_of, waiting_runs
from toolkit_hub.domain.resolve import find_role
from toolkit_hub.domain.site import Site
from toolkit_hub.policy.matching import carried
from toolkit_hub.queue.planning import (
    Limits,
    QuotaBlock,
    RunClass,
    WaitingRun,
    check_submit,
    impossible,
    nearest_allowed,
)
from toolkit_hub.queue.planning import asked as asked_words
from toolkit_hub.store.access_tables import Role
from toolkit_hub.store.order_tables import JobArray
from toolkit_hub.store.tables import Account, Job, User

__all__ = [
    "ALIVE",
    "carries_rights",
    "check_interactive_limit",
    "check_name",
    "check_possible",
    "check_quotas",
    "hub_name_of",
    "name_holder",
    "role_of_job",
]

ALIVE = tuple(state.value for state in ALIVE_STATES)


def check_possible(spec: JobSpec, site: Site) -> None:
    """Raises `InvalidRequest` for what this site can never run, or could only run without a part of it."""
    for problem, hint in _not_here(spec):
        raise InvalidRequest(f"this site cannot run that job yet: {problem}", hint)
    check_image(site, image_meant(site, spec.image))
    asks = spec.resources
    request = request_of(asks.cpu, asks.mem, asks.gpu, asks.model_dump(by_alias=True))
    never = impossible(request, site.capacity())
    if never:
        nearest = f"the nearest that can: {asked_words(never.nearest)}" if never.nearest else "ask for less"
        raise InvalidRequest(f"this job can never start here: {never.reason}", nearest)


def check_quotas(
    session: Session,
    site: Site,
    user_id: str,
    account: Account,
    spec: JobSpec,
    *,
    but: Job | None = None,
    count: int = 1,
) -> None:
    """Raises `Conflict` for what the quotas never allow, a bid beyond them, and for one job too many in the queue. A job that
    only has to wait for a quota is let in. `but`: the job that is being changed, which counts already;
    `count`: how many like it are submitted at once."""
    limits = limits_of(session, site)
    if not (limits.users or limits.accounts or limits.organizations):
        return
    asks = spec.resources
    run = WaitingRun(
        run_id="",
        user=user_id,
        account=account.id,
        organization=account.organization_id,
        run_class=RunClass.of(interactive=spec.interactive, preemptable=spec.preemptable, restartable=spec.restartable),
        request=request_of(asks.cpu, asks.mem, asks.gpu, asks.model_dump(by_alias=True)),
        submitted=0.0,
        bid=spec.bid,
    )
    queued = [other for other in waiting_runs(session) if but is None or other.run_id != but.runs[-1].id]
    block = check_submit(limits, run, (*queued, *[run] * (count - 1)))
    if block is not None:
        raise Conflict(f"the job is beyond {block.details()}", _nearest(limits, run, block, count))


def _nearest(limits: Limits, run: WaitingRun, block: QuotaBlock, count: int) -> str:
    """What would be let in instead of the run, or of `count` like it, that `block` keeps out."""
    others = f"{block.shown_by()} shows the quota; {block.raised_by()} raises it, which takes organization:quota"
    if block.what == "queued":
        free = int(block.limit - block.used) + count - 1
        if free > 0:
            return f"the nearest that it lets in now: an array of {free}; {others}"
        return f"wait until one of them has started; {others}" if block.limit else others
    nearest = nearest_allowed(limits, run)
    if nearest is None:
        return others
    bid = f", with a bid of {nearest.bid}" if nearest.bid != run.bid else ""
    return f"the nearest that the quotas allow: {asked_words(nearest.request)}{bid}; {others}"


def _not_here(spec: JobSpec) -> list[tuple[str, str]]:
    """Wishes that would be ignored, so that the job would run as something else than was asked for."""
    asked = spec.resources
    named = {
        "gpuMem": asked.gpu_mem,
        "gpuModel": asked.gpu_model,
        "gpuCudaVersion": asked.gpu_cuda_version,
        "gpuTensorCores": asked.gpu_tensor_cores,
    }
    filters = [name for name, value in named.items() if value]
    found = []
    if filters and not asked.gpu:
        found.append(
            (f"{', '.join(filters)} say which GPUs, and no GPU is asked for", "leave them out, or ask for gpu")
        )
    if asked.cpu_model:
        found.append(("jobs cannot choose a CPU model", "leave cpuModel out"))
    if asked.replicas > 1:
        found.append((f"it asks for {asked.replicas} machines at once", "leave replicas out"))
    for name in spec.options:
        found.append((f"the option {name[:60]!r} is not known", "leave it out"))
    return found


def name_holder(session: Session, account: Account, name: str) -> Job | None:
    """The living job that has this name in the account."""
    return session.scalar(select(Job).where(Job.account_id == account.id, Job.name == name, Job.state.in_(ALIVE)))


def check_name(session: Session, account: Account, name: str | None, but: Job | None = None) -> None:
    """Raises `Conflict` when a living job of the account, other than `but`, or a living array has the name."""
    holder = name_holder(session, account, name) if name is not None else None
    array = select(JobArray.id).where(
        JobArray.account_id == account.id, JobArray.name == name, JobArray.ended.is_(None)
    )
    if name is not None and session.scalar(array) is not None:
        raise Conflict(
            f"the name {name} is in use in {account.full_name} by an array of jobs",
            "choose another name, or kill the array; the name is free when all of its jobs have ended",
        )
    if holder is not None and holder is not but:
        raise Conflict(
            f"the name {name} is in use in {account.full_name} by job {holder.id}",
            "choose another name, kill that job, or take its name with --enforce-name; the name is free when it has ended",
        )


def role_of_job(session: Session, actor: Actor, reference: str) -> Role:
    """The role whose rights a job's own token is to have. The job's code acts with them, so it is like a key of the role:
    the actor has to see it, and to hold what it gives.
    """
    role = find_role(session, actor, reference)
    authorise(session, actor, "role:get", role.urn)
    check_joining(session, actor, role.id, None)
    beyond = [atom for atom in held_by_group(session, role.id) if actor.via and not carried(atom)]
    if beyond:
        raise PermissionDenied(
            f"the role {reference} holds {beyond[0]}, which a job may not do with its user's rights, nor hand on",
            "submit it in a browser or on a machine of your own, or name a role that holds less",
        )
    return role


def carries_rights(actor: Actor, spec: JobSpec) -> bool:
    """Whether code in the job is to have the rights of whoever submits it: of a person, for an interactive job that is
    neither shareable nor has a role's rights.

    Raises `PermissionDenied` when a job that carries rights asks: they would go from job to job, and never end.
    """
    if not spec.interactive or spec.shareable or spec.role is not None or actor.subject.type != "user":
        return False
    if actor.via:
        raise PermissionDenied(
            f"an interactive job carries its user's rights, so only the user starts one; this is the token of job "
            f"{actor.subject.carried_by}",
            "start it in a browser or on a machine of your own; or with `shareable`, or not interactive: then it carries none",
        )
    return True


def hub_name_of(user: User) -> str:
    """Who owns the servers of the user's jobs at the hub. Raises `Conflict` for a user whom the hub does not know any more."""
    if user.hub_name is None:
        raise Conflict(
            f"{user.full_name} has left, and no more jobs are started in that name", "submit it as somebody else"
        )
    return user.hub_name


def check_interactive_limit(session: Session, site: Site, actor: Actor) -> None:
    """Raises `Conflict` for a user who has as many interactive jobs as one may have."""
    query = select(Job).where(Job.creator_id == actor.user_id, Job.interactive, Job.state.in_(ALIVE)).order_by(Job.seq)
    alive = list(session.scalars(query))
    if len(alive) >= site.interactive_limit:
        seen = [_told(job) for job in alive if allowed(session, actor, "job:get", job.urn)]
        raise Conflict(
            f"you have {len(alive)} interactive jobs, and the site allows {site.interactive_limit}"
            + (f": {', '.join(seen)}" if seen else ""),
            "kill one of them (`toolkit job kill ID`), or submit a job that is not interactive",
        )


def _told(job: Job) -> str:
    words = f"{job.name} ({job.id})" if job.name else job.id
    return f"your own server ({job.id})" if job.kind == "server" else words
