"""Data in jobs: which mount is allowed at submit, and whether it still is when a run starts.

At submit a mount is resolved to ids and to the rights of whoever asks; that is kept in a row. A start goes by the row alone, so a
rename changes nothing, and asks the policy again, so a revocation does.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.access_models import NewData
from toolkit_client.errors import Conflict
from toolkit_client.models import JobMount as WireMount
from toolkit_client.mounts import EMPTY, HOME, Mount, parse_mounts
from toolkit_hub.domain import data, resolve
from toolkit_hub.domain.access import Actor, actor_by_id, allowed, authorise, decision, no_such, role_full_name
from toolkit_hub.domain.data_versions import find_version
from toolkit_hub.policy.world import Subject
from toolkit_hub.store.access_tables import Data, Role
from toolkit_hub.store.data_tables import DataVersion, JobMount
from toolkit_hub.store.tables import Account, Job
from toolkit_hub.volumes.layout import Volumes
from toolkit_spawner.launch import MountSpec

__all__ = ["HOME_DATA", "MountRefused", "home_mount", "launch_mounts", "mounts_to_wire", "resolve_mounts", "ssh_mount"]

#: Name of the data that a user's own server has as its home, in the user's home account.
HOME_DATA = "home"
#: Name of the data with a user's ssh keys, in the same account, and where interactive jobs have it.
SSH_DATA, SSH_FOLDER = ".ssh", f"{HOME}/.ssh"


class MountRefused(Conflict):
    """A mount of an admitted run is not allowed any more. The run cannot start, now or later."""


# --- at submit --------------------------------------------------------------------------------------------------------


def resolve_mounts(session: Session, actor: Actor, account: Account, items: list[str]) -> list[JobMount]:
    """The rows of a job's mounts, still without the job. A bare name is data of `account`.

    Raises `NotFound` and `PermissionDenied` for what the actor may not see or do, `InvalidRequest` for a version that is not
    there.
    """
    rows = []
    for position, mount in enumerate(parse_mounts(items)):
        found = resolve.find_data(session, actor, mount.name, account)
        if found.account.archived is not None:
            raise no_such("data", session, actor, mount.name)
        authorise(session, actor, "data:get", found.urn)
        version_id = _version_id(session, found, mount)
        rows.append(
            JobMount(
                position=position,
                data=found,
                data_id=found.id,
                version_id=version_id,
                subpath=mount.subpath,
                target=mount.target,
                writable=version_id is None and _writable(session, actor, found, mount),
                **_by_rights_of(actor),
            )
        )
    return rows


def home_mount(session: Session, actor: Actor, account: Account) -> JobMount:
    """The row for the home of a user's own server: the data `home` of their home account, which is made if there is none.

    Raises `PermissionDenied` when the user may not write in it, or may not make it.
    """
    query = select(Data).where(Data.account_id == account.id, Data.name == HOME_DATA, Data.archived.is_(None))
    home = session.scalar(query)
    if home is None:
        made, _ = data.create_data(session, actor, NewData(name=HOME_DATA, account=account.id))
        home = session.get_one(Data, made.id)
    authorise(session, actor, "data:get", home.urn)
    authorise(session, actor, "data:set", home.urn)
    return JobMount(
        position=0, data=home, data_id=home.id, subpath="", target=HOME, writable=True, **_by_rights_of(actor)
    )


def ssh_mount(session: Session, actor: Actor, account: Account, others: list[JobMount]) -> JobMount | None:
    """The row for the caller's own ssh keys in an interactive job of their home account: the data `.ssh` there, if there is one
    that they may read, and nothing else is mounted at or below that place. In other accounts, others come into jobs."""
    if actor.subject.type != "user" or account.id != actor.home_account_id:
        return None
    if any(row.target == SSH_FOLDER or row.target.startswith(f"{SSH_FOLDER}/") for row in others):
        return None
    query = select(Data).where(Data.account_id == account.id, Data.name == SSH_DATA, Data.archived.is_(None))
    found = session.scalar(query)
    if found is None or not allowed(session, actor, "data:get", found.urn):
        return None
    return JobMount(
        position=len(others),
        data=found,
        data_id=found.id,
        subpath="",
        target=SSH_FOLDER,
        writable=allowed(session, actor, "data:set", found.urn),
        **_by_rights_of(actor),
    )


def _writable(session: Session, actor: Actor, found: Data, mount: Mount) -> bool:
    if mount.mode == "rw":
        authorise(session, actor, "data:set", found.urn)
    return mount.mode == "rw" or (mount.mode is None and allowed(session, actor, "data:set", found.urn))


def _by_rights_of(actor: Actor) -> dict[str, str]:
    """Whose rights a start asks for. A job's token is gone by then; what it may do with data it has from its role."""
    subject = actor.subject
    if subject.type == "job" and subject.also is not None:
        return {"subject_type": "role", "subject_id": subject.also}
    return {"subject_type": subject.type, "subject_id": subject.id}


def _version_id(session: Session, found: Data, mount: Mount) -> str | None:
    """The id of the version that is meant: `@latest` is the newest one of now, whatever is committed before the start."""
    if not mount.version:
        return None
    version = find_version(session, found, mount.version)
    return version if isinstance(version, str) else version.id


# --- at each start ----------------------------------------------------------------------------------------------------


def launch_mounts(session: Session, volumes: Volumes, job: Job) -> list[MountSpec]:
    """What the spawner is to mount, with folders that are there.

    Raises `MountRefused` for what is not allowed any more, `OSError` when a volume's folders cannot be made.
    """
    specs = []
    for row in _rows(session, job):
        name = f"{row.data.account.full_name}.{row.data.name}"
        _check_still(session, row, name)
        volumes.prepare(row.data_id, row.data.name, row.data.account_id)
        specs.append(
            MountSpec(
                data=name,
                source=str(_source(volumes, row)),
                subpath=row.subpath,
                target=row.target,
                read_only=not row.writable,
            )
        )
    return specs


def _rows(session: Session, job: Job) -> list[JobMount]:
    return list(session.scalars(select(JobMount).where(JobMount.job_id == job.id).order_by(JobMount.position)))


def _source(volumes: Volumes, row: JobMount) -> Path:
    if row.version_id is None:
        return volumes.live(row.data_id)
    return volumes.empty if row.version_id == EMPTY else volumes.version(row.data_id, row.version_id)


def _check_still(session: Session, row: JobMount, name: str) -> None:
    if row.data.archived is not None or row.data.account.archived is not None:
        raise _refused(row, name, "it has been archived", "archived data is not mounted")
    if row.version_id not in (None, EMPTY) and session.get(DataVersion, row.version_id) is None:
        raise _refused(
            row, name, "the version has been removed", f"`toolkit data log {name}` lists those that are there"
        )
    subject, who = _subject(session, row)
    for action in ("data:get", "data:set") if row.writable else ("data:get",):
        if subject is None:
            raise _refused(row, name, f"{who} may not do {action} on it: {who} is gone", "submit it as somebody else")
        decided = decision(session, subject, action, row.data.urn)
        if not decided.allowed:
            why = f"{who} may not do {action} on it any more: {decided.reason}"
            raise _refused(row, name, why, f"ask for the right, then `toolkit job retry {row.job_id}`")


def _refused(row: JobMount, name: str, why: str, hint: str) -> MountRefused:
    return MountRefused(f"{name} cannot be mounted at {row.target}: {why}", hint)


def _subject(session: Session, row: JobMount) -> tuple[Subject | None, str]:
    """By whose rights it is mounted, as the policy sees them now, and what they are called."""
    if row.subject_type == "user":
        actor = actor_by_id(session, row.subject_id)
        return (actor.subject, actor.full_name) if actor else (None, "the user who submitted the job")
    role = session.get(Role, row.subject_id)
    if role is None or role.archived is not None:
        return None, "the role that submitted the job"
    return Subject(role.id, "role", role.organization_id), f"the role {role_full_name(session, role.id)}"


# --- as users see them --------------------------------------------------------------------------------------------------


def mounts_to_wire(session: Session, job: Job) -> list[WireMount]:
    """Of one job; for a list this would be a query for each."""
    found = []
    for row in _rows(session, job):
        version = row.version_id
        if version not in (None, EMPTY):
            kept = session.get(DataVersion, version)
            version = str(kept.number) if kept else "removed"
        found.append(
            WireMount(
                data=f"{row.data.account.full_name}.{row.data.name}",
                data_id=row.data_id,
                version=version,
                subpath=row.subpath,
                target=row.target,
                mode="rw" if row.writable else "ro",
            )
        )
    return found
