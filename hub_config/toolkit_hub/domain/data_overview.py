"""Data as one person sees it: what there is and how large, and of one piece who may do what. For the pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from toolkit_client.access_models import Data as WireData
from toolkit_client.access_models import WhoIsAllowed
from toolkit_client.data_models import DataSize, DataVersion
from toolkit_hub.domain import data, data_usage, data_versions, rules
from toolkit_hub.domain.access import Actor, allowed, visible
from toolkit_hub.domain.data_content import Place, open_content
from toolkit_hub.domain.data_usage import DataLimits, Room
from toolkit_hub.domain.overview import seen
from toolkit_hub.store.data_tables import DataUsage
from toolkit_hub.store.data_tables import DataVersion as VersionRow
from toolkit_hub.store.tables import Account

__all__ = ["DataView", "ListedData", "accounts_for_data", "data_view", "list_with_sizes"]

#: Accounts that are offered to make data in; any other can be typed.
_ACCOUNTS = 500
#: Ids in one condition: databases have a limit.
_AT_ONCE = 500


@dataclass(frozen=True)
class ListedData:
    """Data, with what it takes as of the last look (None: there was none yet), and its newest version, 0 for none."""

    data: WireData
    disk: int | None
    as_of: datetime | None
    version: int


@dataclass(frozen=True)
class DataView:
    """One piece of data. None for those who may not see it: `readers`, `writers`, and the `room` of the account. `older` is
    where older versions go on."""

    data: WireData
    place: Place
    size: DataSize
    room: Room | None
    may_set: bool
    versions: list[DataVersion]
    older: str | None
    readers: list[WhoIsAllowed] | None
    writers: list[WhoIsAllowed] | None


def list_with_sizes(session: Session, actor: Actor) -> list[ListedData]:
    """All that the actor may see, by account and name."""
    found = data.list_data(session, actor)
    ids = [one.id for one in found]
    sizes: dict[str, tuple[int | None, datetime | None]] = {}
    newest: dict[str, int] = {}
    for start in range(0, len(ids), _AT_ONCE):
        chunk = ids[start : start + _AT_ONCE]
        disk = DataUsage.disk + DataUsage.added_disk
        for id_, disk_size, as_of in session.execute(
            select(DataUsage.data_id, disk, DataUsage.as_of).where(DataUsage.data_id.in_(chunk))
        ):
            sizes[id_] = (max(disk_size, 0), as_of)
        highest = select(VersionRow.data_id, func.max(VersionRow.number)).where(VersionRow.data_id.in_(chunk))
        newest.update((id_, number) for id_, number in session.execute(highest.group_by(VersionRow.data_id)))
    listed = []
    for one in found:
        size, as_of = sizes.get(one.id, (None, None))
        listed.append(ListedData(one, size, as_of, newest.get(one.id, 0)))
    return listed


def accounts_for_data(session: Session, actor: Actor) -> list[str]:
    """Full names of accounts in which the actor may make data, the home account first."""
    query = select(Account.id, Account.full_name).where(
        visible(session, actor, "data:new", Account), Account.archived.is_(None)
    )
    found = session.execute(query.order_by(Account.full_name).limit(_ACCOUNTS)).all()
    return [row.full_name for row in sorted(found, key=lambda row: row.id != actor.home_account_id)]


def data_view(
    session: Session, actor: Actor, ref: str, label: str, limits: DataLimits, *, versions: int, below: int | None
) -> DataView:
    """The data that `ref` means, at the version `label` (empty: the live content), with `versions` of its versions.

    Raises `NotFound` for data, or a version, that is not there or may not be seen.
    """
    place = open_content(session, actor, "data:get", ref, label)
    shown, older = data_versions.list_versions(session, actor, place.data_id, limit=versions, below=below)
    sees_account = allowed(session, actor, "account:get", place.urn.rsplit(":", 2)[0])
    return DataView(
        data=data.get_data(session, actor, place.data_id),
        place=place,
        size=data_usage.size_of(session, actor, place.data_id)[1],
        room=data_usage.room_of(session, place.account_id, limits) if sees_account else None,
        may_set=allowed(session, actor, "data:set", place.urn),
        versions=shown,
        older=older,
        readers=seen(rules.who_is_allowed, session, actor, f"data:get@{place.urn}"),
        writers=seen(rules.who_is_allowed, session, actor, f"data:set@{place.urn}"),
    )
