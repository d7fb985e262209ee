"""What a job must pass before it is put in the queue. Nothing here writes."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from toolkit_client.errors import Conflict, InvalidRequest
from toolkit_client.models import ALIVE_STATES, JobSpec
from toolkit_hub.domain.access import Actor, authorise
from toolkit_hub.domain.granting import check_joining
from toolkit_hub.domain.images import check_image
from toolkit_hub.domain.resolve import find_role
from toolkit_hub.domain.site import Site
from toolkit_hub.queue.plan import Amount, impossible
from toolkit_hub.store.access_tables import Role
from toolkit_hub.store.order_tables import JobArray
from toolkit_hub.store.tables import Account, Job, User

__all__ = [
    "ALIVE",
    "check_interactive_limit",
    "check_name",
    "check_possible",
    "hub_name_of",
    "name_holder",
    "role_of_job",
]

ALIVE = tuple(state.value for state in ALIVE_STATES)


def check_possible(spec: JobSpec, site: Site) -> None:
    """Raises `InvalidRequest` for what this site can never run, or could only run without a part of it."""
    for problem, hint in _not_here(spec):
        raise InvalidRequest(f"this site cannot run that job yet: {problem}", hint)
    check_image(site, spec.image or site.default_image)
    why = impossible(Amount(spec.resources.cpu, spec.resources.mem), site.total)
    if why:
        raise InvalidRequest(f"this job can never start here: {why}", "ask for less with --cpu and --mem")


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
    if asked.gpu:
        found.append(
            (f"it asks for {asked.gpu} GPU{'s' * (asked.gpu > 1)}, and no GPUs are given out", "leave gpu out")
        )
    elif filters:
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
    return role


def hub_name_of(user: User) -> str:
    """Who owns the servers of the user's jobs at the hub. Raises `Conflict` for a user whom the hub does not know any more."""
    if user.hub_name is None:
        raise Conflict(
            f"{user.full_name} has left, and no more jobs are started in that name", "submit it as somebody else"
        )
    return user.hub_name


def check_interactive_limit(session: Session, site: Site, actor: Actor) -> None:
    query = select(func.count()).where(Job.creator_id == actor.user_id, Job.interactive, Job.state.in_(ALIVE))
    alive = session.scalar(query) or 0
    if alive >= site.interactive_limit:
        raise Conflict(
            f"you have {alive} interactive jobs, and the site allows {site.interactive_limit}",
            "kill one of them, or submit without --interactive",
        )
