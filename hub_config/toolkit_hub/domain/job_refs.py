"""From what people write for a job, an array, or an element of one (`sweep:3`) to its row."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.errors import InvalidRequest
from toolkit_hub.domain.access import Actor, allowed, no_such
from toolkit_hub.store.order_tables import JobArray
from toolkit_hub.store.tables import Account, Job

__all__ = ["element_of", "find_job", "find_job_or_array"]

_ELEMENT = re.compile(r"(.+):([0-9]{1,7})")


def find_job(session: Session, actor: Actor, reference: str) -> Job:
    """The job that `reference` means: its id, its full name (`acme.joe.name`), its name in the caller's home account, or
    an array's id or name with an index (`sweep:3`).

    Of jobs with the same name the newest. Raises `NotFound`, and `InvalidRequest` for an array as a whole. Asks no rights: the
    caller does, for its own action.
    """
    found = find_job_or_array(session, actor, reference)
    if isinstance(found, Job):
        return found
    if not allowed(session, actor, "job:get", found.urn):
        raise no_such("job")
    name = found.name or found.id
    raise InvalidRequest(
        f"{name} is an array of {found.size} jobs, and this is for one job",
        f"name one of them by its index, as {name}:{element_of(found.spec)}; `toolkit job ls --array {name}` lists them",
    )


def element_of(spec: dict[str, Any]) -> str:
    """The first index of an array, for hints."""
    return re.split("[-,%]", str(spec["array"]))[0]


def find_job_or_array(session: Session, actor: Actor, reference: str, account: Account | None = None) -> Job | JobArray:
    """As `find_job`, arrays included; a bare name is one of `account`, or of the caller's home account."""
    element = _ELEMENT.fullmatch(reference)
    found = _found(session, actor, element[1] if element else reference, account)
    if element and isinstance(found, JobArray):
        query = select(Job).where(Job.array_id == found.id, Job.array_index == int(element[2]))
        found = session.scalar(query.order_by(Job.seq.desc()).limit(1))
    elif element:
        found = None
    if found is None or found.account.organization_id != actor.organization_id:
        raise no_such("job")
    return found


def _found(session: Session, actor: Actor, reference: str, account: Account | None) -> Job | JobArray | None:
    if not reference.isprintable():  # databases refuse some of the other characters
        return None
    by_id = session.get(Job, reference) or session.get(JobArray, reference)
    if by_id is not None:
        return by_id
    account_name, _, name = reference.rpartition(".")
    where = Account.full_name == account_name
    if not account_name:
        where = Account.id == (account.id if account else actor.home_account_id)
    jobs = select(Job).join(Account).where(where, Account.archived.is_(None), Job.name == name)
    arrays = select(JobArray).join(Account).where(where, Account.archived.is_(None), JobArray.name == name)
    job = session.scalar(jobs.order_by(Job.seq.desc()).limit(1))
    array = session.scalar(arrays.order_by(JobArray.seq.desc()).limit(1))
    return array if job is None or (array is not None and array.seq > job.seq) else job
