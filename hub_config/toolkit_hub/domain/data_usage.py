"""How much data takes, and how much accounts may take.

Use is measured from time to time (`toolkit_hub.keeping.usage_keeper`) and what is pushed or committed between two measurements
is added to it, so a limit holds at once; what jobs write in their mounts is seen at the next measurement.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import case, func, or_, select
from sqlalchemy.orm import Session

from toolkit_client.data_models import DataSize, Quota, QuotaPatch, RoomLimits
from toolkit_client.models import ALIVE_STATES
from toolkit_hub import clock
from toolkit_hub.domain import resolve
from toolkit_hub.domain.access import Actor, authorise, visible
from toolkit_hub.domain.changes import tell
from toolkit_hub.domain.room_quotas import (
    change_limits,
    limits_of_subjects,
    quota_of_organization,
    quotas_of_users,
)
from toolkit_hub.store.access_tables import Data
from toolkit_hub.store.data_tables import DataQuota, DataUsage, JobMount
from toolkit_hub.store.tables import Account, Job, Run
from toolkit_hub.volumes.usage import Measured

__all__ = [
    "AccountLimits",
    "DataLimits",
    "Room",
    "add_usage",
    "added_since",
    "due_volumes",
    "get_quota",
    "limited_accounts",
    "list_quotas",
    "room_of",
    "set_quota",
    "size_of",
    "store_usage",
]

#: A volume that nobody is known to have changed is measured again after this all the same.
AT_LEAST_EVERY = timedelta(days=1)


class SiteLimits(Protocol):
    """Those of the settings that are asked for: GiB and files, 0 for no limit."""

    data_quota: float
    data_file_quota: int


@dataclass(frozen=True)
class DataLimits:
    """The site's limits for an account that has none of its own; None: no limit."""

    bytes: int | None = None
    files: int | None = None

    @classmethod
    def of(cls, settings: SiteLimits) -> DataLimits:
        return cls(int(settings.data_quota * 2**30) or None, settings.data_file_quota or None)


@dataclass(frozen=True)
class Room:
    """What an account's data takes and may take. `as_of`: when the data that was measured the longest ago was."""

    bytes_used: int
    files_used: int
    bytes_limit: int | None
    files_limit: int | None
    as_of: datetime | None

    @property
    def bytes_left(self) -> int | None:
        """Never below 0; None: no limit."""
        return None if self.bytes_limit is None else max(self.bytes_limit - self.bytes_used, 0)

    @property
    def files_left(self) -> int | None:
        return None if self.files_limit is None else max(self.files_limit - self.files_used, 0)


@dataclass(frozen=True)
class AccountLimits:
    """What the data of an account may take; None: no limit."""

    account_id: str
    data_ids: tuple[str, ...]
    bytes: int | None
    files: int | None


# --- use ------------------------------------------------------------------------------------------------------------------


def add_usage(session: Session, data_id: str, disk: int, inodes: int) -> None:
    """Note what a push or a commit has added; negative numbers for what was removed. It is measured again before long."""
    row = _usage(session, data_id)
    row.added_disk += disk
    row.added_inodes += inodes


def added_since(session: Session, data_id: str) -> tuple[int, int]:
    """What was added since the last measurement: disk, inodes. Asked before the next one begins, see `store_usage`."""
    row = session.get(DataUsage, data_id)
    return (row.added_disk, row.added_inodes) if row is not None else (0, 0)


def store_usage(session: Session, data_id: str, measured: Measured, before: tuple[int, int]) -> None:
    """Keep what was measured now. `before` is what had been added when the walk began; what came later may or may not have
    been met by it, and is counted once more until the next one."""
    row = _usage(session, data_id)
    row.bytes, row.disk, row.files, row.inodes = measured.bytes, measured.disk, measured.files, measured.inodes
    row.added_disk -= before[0]
    row.added_inodes -= before[1]
    row.as_of = clock.now()


def _usage(session: Session, data_id: str) -> DataUsage:
    row = session.get(DataUsage, data_id)
    if row is None:
        row = DataUsage(data_id=data_id, bytes=0, disk=0, files=0, inodes=0, added_disk=0, added_inodes=0)
        session.add(row)
        session.flush()
    return row


def due_volumes(session: Session, period: timedelta, limit: int) -> list[str]:
    """Ids of data to measure: what was never, then what may have changed since it was the longest ago.

    It may have changed when something was pushed or committed, or when a job has had it to write in.
    """
    now = clock.now()
    written = (
        select(JobMount.data_id)
        .join(Job, Job.id == JobMount.job_id)
        .outerjoin(Run, Run.job_id == Job.id)
        .where(JobMount.writable, JobMount.data_id == Data.id)
        .where(or_(Job.state.in_([state.value for state in ALIVE_STATES]), Run.ended >= DataUsage.as_of))
        .exists()
    )
    changed = or_(DataUsage.added_disk != 0, DataUsage.added_inodes != 0, written)
    due = or_(
        DataUsage.as_of.is_(None),
        (DataUsage.as_of < now - period) & changed,
        DataUsage.as_of < now - AT_LEAST_EVERY,
    )
    query = (
        select(Data.id)
        .outerjoin(DataUsage, DataUsage.data_id == Data.id)
        .where(due)
        .order_by(case((DataUsage.as_of.is_(None), 0), else_=1), DataUsage.as_of, Data.created)
        .limit(limit)
    )
    return list(session.scalars(query))


def size_of(session: Session, actor: Actor, ref: str) -> tuple[str, DataSize]:
    """The id of the data, and what it takes as far as is known."""
    data = resolve.find_data(session, actor, ref)
    authorise(session, actor, "data:get", data.urn)
    row = session.get(DataUsage, data.id) or DataUsage(bytes=0, disk=0, files=0, inodes=0, added_disk=0, added_inodes=0)
    return data.id, DataSize(
        data=f"{data.account.full_name}.{data.name}",
        bytes=row.bytes,
        disk=max(row.disk + row.added_disk, 0),
        files=row.files,
        inodes=max(row.inodes + row.added_inodes, 0),
        as_of=row.as_of,
    )


# --- limits ---------------------------------------------------------------------------------------------------------------


def room_of(session: Session, account_id: str, limits: DataLimits) -> Room:
    """How much more data the account may have: its own, archived data included, without child accounts."""
    return _rooms(session, [account_id], limits)[account_id]


def _rooms(session: Session, account_ids: Iterable[str], limits: DataLimits) -> dict[str, Room]:
    wanted = list(account_ids)
    disk, inodes = DataUsage.disk + DataUsage.added_disk, DataUsage.inodes + DataUsage.added_inodes
    sums = select(
        Data.account_id,
        func.coalesce(func.sum(disk), 0),
        func.coalesce(func.sum(inodes), 0),
        func.min(DataUsage.as_of),
        func.count(Data.id) - func.count(DataUsage.as_of),
    ).outerjoin(DataUsage, DataUsage.data_id == Data.id)
    used = {
        row[0]: row[1:] for row in session.execute(sums.where(Data.account_id.in_(wanted)).group_by(Data.account_id))
    }
    own = {row.account_id: row for row in session.scalars(select(DataQuota).where(DataQuota.account_id.in_(wanted)))}
    rooms = {}
    for account_id in wanted:
        disk_used, inodes_used, as_of, unmeasured = used.get(account_id, (0, 0, None, 0))
        quota = own.get(account_id)
        rooms[account_id] = Room(
            bytes_used=max(int(disk_used), 0),
            files_used=max(int(inodes_used), 0),
            bytes_limit=limits.bytes if quota is None else quota.bytes,
            files_limit=limits.files if quota is None else quota.files,
            as_of=None if unmeasured else as_of,
        )
    return rooms


def limited_accounts(session: Session, limits: DataLimits, also: Iterable[str]) -> list[AccountLimits]:
    """The accounts with data that have a limit, or that are in `also`, with all of their data."""
    own = {row.account_id: row for row in session.scalars(select(DataQuota))}
    others, data_ids = set(also), dict[str, list[str]]()
    for account_id, data_id in session.execute(
        select(Data.account_id, Data.id).order_by(Data.account_id, Data.created)
    ):
        data_ids.setdefault(account_id, []).append(data_id)
    found = []
    for account_id, ids in data_ids.items():
        quota = own.get(account_id)
        size, files = (limits.bytes, limits.files) if quota is None else (quota.bytes, quota.files)
        if account_id in others or size is not None or files is not None:
            found.append(AccountLimits(account_id, tuple(ids), size, files))
    return found


def list_quotas(session: Session, actor: Actor, limits: DataLimits) -> list[Quota]:
    """Of the organization, if it has one, of all accounts that the actor may see, and of the users who have one, by name."""
    query = select(Account).where(visible(session, actor, "account:get", Account), Account.archived.is_(None))
    accounts = session.scalars(query.order_by(Account.full_name)).all()
    rooms = _rooms(session, [account.id for account in accounts], limits)
    own = set(session.scalars(select(DataQuota.account_id)))
    jobs = limits_of_subjects(session, rooms)
    of_accounts = [_quota_to_wire(one, rooms[one.id], one.id in own, jobs.get(one.id)) for one in accounts]
    return [*quota_of_organization(session, actor), *of_accounts, *quotas_of_users(session, actor)]


def get_quota(session: Session, actor: Actor, ref: str, limits: DataLimits) -> Quota:
    account = resolve.find_account(session, actor, ref)
    authorise(session, actor, "account:get", account.urn)
    own = session.get(DataQuota, account.id) is not None
    jobs = limits_of_subjects(session, [account.id]).get(account.id)
    return _quota_to_wire(account, room_of(session, account.id, limits), own, jobs)


def set_quota(session: Session, actor: Actor, ref: str, patch: QuotaPatch, limits: DataLimits) -> Quota:
    """Set what is given. A limit below what is used removes nothing: nothing more comes in.

    It is asked of the organization: who holds everything over an account must not lift its limits.
    """
    account = resolve.find_account(session, actor, ref)
    authorise(session, actor, "account:get", account.urn)
    authorise(session, actor, "organization:quota", actor.organization_id)
    if "room" in patch.model_fields_set:
        change_limits(session, "account", account.id, patch.room)
    if patch.model_fields_set & {"data_limit", "files_limit"}:
        _set_data_limits(session, account, patch, limits)
    told = patch.model_dump(mode="json", by_alias=True, exclude_unset=True)
    tell(session, actor, "organization:quota", "quota.changed", account.urn, account=account.full_name, **told)
    return get_quota(session, actor, account.id, limits)


def _set_data_limits(session: Session, account: Account, patch: QuotaPatch, limits: DataLimits) -> None:
    row = session.get(DataQuota, account.id)
    if row is None:
        row = DataQuota(account_id=account.id, bytes=limits.bytes, files=limits.files)
        session.add(row)
    if "data_limit" in patch.model_fields_set:
        row.bytes = patch.data_limit
    if "files_limit" in patch.model_fields_set:
        row.files = patch.files_limit
    session.flush()


def _quota_to_wire(account: Account, room: Room, own: bool, jobs: RoomLimits | None) -> Quota:
    return Quota(
        type="account",
        name=account.full_name,
        id=account.id,
        data_used=room.bytes_used,
        data_limit=room.bytes_limit,
        files_used=room.files_used,
        files_limit=room.files_limit,
        room=jobs or RoomLimits(),
        own=own,
        as_of=room.as_of,
    )
