"""Versions of data: rows of what commits have made. Their files are another matter (`toolkit_hub.volumes.snapshot`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from toolkit_client.data_models import DataVersion as WireVersion
from toolkit_client.data_models import NewVersion
from toolkit_client.errors import InvalidRequest, NotFound
from toolkit_hub import clock
from toolkit_hub.domain import data_usage, idempotency, resolve
from toolkit_hub.domain.access import Actor, authorise
from toolkit_hub.domain.changes import author, tell
from toolkit_hub.domain.data_usage import DataLimits, Room
from toolkit_hub.store.access_tables import Data
from toolkit_hub.store.data_tables import DataVersion

__all__ = [
    "Made",
    "Plan",
    "add_version",
    "find_version",
    "get_version",
    "known_ids",
    "list_versions",
    "newest",
    "plan_commit",
]

#: Versions that one answer has, unless it is asked for fewer.
PAGE = 1000


@dataclass(frozen=True)
class Plan:
    """What a commit begins with: `made` is what its Idempotency-Key made before, `previous` the newest version."""

    data_id: str
    made: WireVersion | None
    previous: WireVersion | None
    room: Room


@dataclass(frozen=True)
class Made:
    """What a commit has put on the disk: the version's files and bytes, and what it takes beyond the version before."""

    version_id: str
    files: int
    bytes: int
    disk: int
    inodes: int


def list_versions(
    session: Session, actor: Actor, ref: str, *, limit: int = PAGE, below: int | None = None
) -> tuple[list[WireVersion], str | None]:
    """The versions, the newest first, and the cursor of the next page; `below` is such a cursor."""
    data = resolve.find_data(session, actor, ref)
    authorise(session, actor, "data:get", data.urn)
    query = select(DataVersion).where(DataVersion.data_id == data.id)
    if below is not None:
        query = query.where(DataVersion.number < below)
    found = session.scalars(query.order_by(DataVersion.number.desc()).limit(limit + 1)).all()
    more = str(found[limit - 1].number) if len(found) > limit else None
    return [version_to_wire(one) for one in found[:limit]], more


def get_version(session: Session, actor: Actor, ref: str, label: str) -> WireVersion:
    """One version, by number or as `latest`."""
    data = resolve.find_data(session, actor, ref)
    authorise(session, actor, "data:get", data.urn)
    found = find_version(session, data, label)
    if found == "empty":
        raise InvalidRequest(
            "the empty version is no commit: it has no number, author or time", "ask for a number, or for latest"
        )
    return version_to_wire(found)


def find_version(session: Session, data: Data, label: str) -> DataVersion | Literal["empty"]:
    """The version that a label after the `@` means: a number, `latest` or `empty`. Asks no rights.

    Raises:
        InvalidRequest: that is no label.
        NotFound: there is no such version; the hint says which there are.
    """
    if label == "empty":
        return "empty"
    number = int(label) if label.isascii() and label.isdecimal() and len(label) <= 9 else None
    if number is None and label != "latest":
        raise InvalidRequest(f"{label[:80]!r} is no version", "write @ and a number, as @2, or @latest, or @empty")
    last = newest(session, data.id)
    if last is not None and number in (None, last.number):
        return last
    found = session.scalar(select(DataVersion).where(DataVersion.data_id == data.id, DataVersion.number == number))
    if found is None:
        raise _no_version(data, label, last)
    return found


def newest(session: Session, data_id: str) -> DataVersion | None:
    query = select(DataVersion).where(DataVersion.data_id == data_id)
    return session.scalar(query.order_by(DataVersion.number.desc()).limit(1))


def _no_version(data: Data, label: str, last: DataVersion | None) -> NotFound:
    name = f"{data.account.full_name}.{data.name}"
    if last is None:
        return NotFound(
            f"{name} has no version {label}: nothing of it has been committed yet",
            f"`toolkit data commit {name}` makes version 1; {name} alone is the live content, {name}@empty is empty",
        )
    there_are = "version 1" if last.number == 1 else f"the versions 1 to {last.number}"
    return NotFound(
        f"{name} has no version {label}", f"it has {there_are}, @latest and @empty; see `toolkit data log {name}`"
    )


def plan_commit(
    session: Session, actor: Actor, ref: str, new: NewVersion, idempotency_key: str | None, limits: DataLimits
) -> Plan:
    """What the commit is of, whether it was made before, and how much room there is.

    Raises `PermissionDenied`, `NotFound`, or `Conflict` for a key that came with another request.
    """
    data = resolve.find_data(session, actor, ref)
    authorise(session, actor, "data:set", data.urn)
    known = idempotency.replayed(session, actor, idempotency_key, _request(data.id, new))
    made = version_to_wire(session.get_one(DataVersion, known)) if known is not None else None
    last = newest(session, data.id)
    return Plan(
        data_id=data.id,
        made=made,
        previous=version_to_wire(last) if last is not None else None,
        room=data_usage.room_of(session, data.account_id, limits),
    )


def add_version(
    session: Session, actor: Actor, data_id: str, new: NewVersion, made: Made, idempotency_key: str | None
) -> WireVersion:
    """Give what was built the next number. Only then is it a version.

    The right is asked for again: building may have taken an hour. Raises `PermissionDenied`, or `NotFound` where the data is
    archived by now.
    """
    data = resolve.find_data(session, actor, data_id)
    authorise(session, actor, "data:set", data.urn)
    highest = session.scalar(select(func.max(DataVersion.number)).where(DataVersion.data_id == data_id)) or 0
    row = DataVersion(
        id=made.version_id,
        data_id=data_id,
        number=highest + 1,
        message=new.message,
        author=author(actor),
        created=clock.now(),
        files=made.files,
        bytes=made.bytes,
    )
    row.data = data
    session.add(row)
    session.flush()
    data_usage.add_usage(session, data_id, made.disk, made.inodes)
    tell(
        session,
        actor,
        "data:set",
        "data.committed",
        data.urn,
        version=row.number,
        files=made.files,
        bytes=made.bytes,
    )
    idempotency.remember(session, actor, idempotency_key, _request(data_id, new), row.id)
    return version_to_wire(row)


def known_ids(session: Session, version_ids: list[str]) -> set[str]:
    """Those of these ids that are versions."""
    found: set[str] = set()
    for start in range(0, len(version_ids), 500):
        chunk = version_ids[start : start + 500]
        found.update(session.scalars(select(DataVersion.id).where(DataVersion.id.in_(chunk))))
    return found


def version_to_wire(row: DataVersion) -> WireVersion:
    return WireVersion(
        id=row.id,
        data=f"{row.data.account.full_name}.{row.data.name}",
        version=row.number,
        created=row.created,
        author=row.author,
        message=row.message,
        files=row.files,
        bytes=row.bytes,
    )


def _request(data_id: str, new: NewVersion) -> str:
    return f"POST /data/{data_id}/versions {new.model_dump_json()}"
