"""What the jobs of a user, of an account with the accounts below it, or of the organization may hold at once: GPUs, CPUs, memory,
jobs.

Those of accounts are shown and set together with what their data may take (`domain.data_usage`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.data_models import Quota, RoomLimits, RoomQuotaPatch
from toolkit_hub.domain import resolve
from toolkit_hub.domain.access import Actor, allowed, authorise, visible
from toolkit_hub.domain.changes import tell
from toolkit_hub.store.tables import Account, Organization, RoomQuota, User

__all__ = [
    "HOLDERS",
    "change_limits",
    "get_room_quota",
    "holder_name",
    "limits_of_subjects",
    "quota_of_organization",
    "quotas_of_users",
    "set_room_quota",
]

#: Who may have a quota, by `RoomQuota.subject_type`.
HOLDERS: dict[str, Any] = {"user": User, "account": Account, "organization": Organization}
_NAMES = tuple(RoomLimits.model_fields)


def holder_name(holder: User | Account | Organization) -> str:
    """What people call it."""
    return holder.name if isinstance(holder, Organization) else holder.full_name


def limits_of_subjects(session: Session, ids: Collection[str]) -> dict[str, RoomLimits]:
    """Of accounts, users and organizations, by id; without those that have none."""
    rows = session.scalars(select(RoomQuota).where(RoomQuota.subject_id.in_(list(ids))))
    return {row.subject_id: RoomLimits(**{name: getattr(row, name) for name in _NAMES}) for row in rows}


def change_limits(session: Session, kind: str, subject_id: str, patch: RoomLimits) -> None:
    """Set those that are given; null takes one away. What runs goes on, whatever the limit."""
    row = session.get(RoomQuota, subject_id)
    if row is None:
        row = RoomQuota(subject_id=subject_id, subject_type=kind)
        session.add(row)
    for name in patch.model_fields_set:
        setattr(row, name, getattr(patch, name))
    session.flush()
    if all(getattr(row, name) is None for name in _NAMES):
        session.delete(row)
        session.flush()


# --- of users and of the organization -----------------------------------------------------------------------------------


def quotas_of_users(session: Session, actor: Actor) -> list[Quota]:
    """Of the users who have one and whom the actor may see, by name."""
    having = select(RoomQuota.subject_id).where(RoomQuota.subject_type == "user")
    query = select(User).where(visible(session, actor, "user:get", User), User.archived.is_(None), User.id.in_(having))
    users = session.scalars(query.order_by(User.name)).all()
    limits = limits_of_subjects(session, [user.id for user in users])
    return [_to_wire("user", user, limits.get(user.id)) for user in users]


def quota_of_organization(session: Session, actor: Actor) -> list[Quota]:
    """Of the actor's, if it has one and the actor may see it."""
    limits = limits_of_subjects(session, [actor.organization_id]).get(actor.organization_id)
    if limits is None or not allowed(session, actor, "organization:get", actor.organization_id):
        return []
    return [_to_wire("organization", session.get_one(Organization, actor.organization_id), limits)]


def get_room_quota(session: Session, actor: Actor, kind: Literal["user", "organization"], ref: str) -> Quota:
    """Raises `NotFound` for whom the actor may not see."""
    holder = _find(session, actor, kind, ref)
    return _to_wire(kind, holder, limits_of_subjects(session, [holder.id]).get(holder.id))


def set_room_quota(
    session: Session, actor: Actor, kind: Literal["user", "organization"], ref: str, patch: RoomQuotaPatch
) -> Quota:
    """Set what is given; it is asked of the organization, as for accounts."""
    holder = _find(session, actor, kind, ref)
    authorise(session, actor, "organization:quota", actor.organization_id)
    change_limits(session, kind, holder.id, patch.room)
    told = {kind: holder_name(holder), **patch.model_dump(mode="json", by_alias=True, exclude_unset=True)}
    tell(session, actor, "organization:quota", "quota.changed", holder.urn, **told)
    return get_room_quota(session, actor, kind, holder.id)


def _find(session: Session, actor: Actor, kind: str, ref: str) -> User | Organization:
    find = resolve.find_user if kind == "user" else resolve.find_organization
    holder: User | Organization = find(session, actor, ref)
    authorise(session, actor, f"{kind}:get", holder.urn)
    return holder


def _to_wire(kind: Literal["user", "organization"], holder: User | Organization, limits: RoomLimits | None) -> Quota:
    return Quota(type=kind, name=holder_name(holder), id=holder.id, room=limits or RoomLimits())
