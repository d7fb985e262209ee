"""Subjects by their ids: what they are called, and whether they can act now. One statement for all types of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    CompoundSelect,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    select,
    union_all,
)
from sqlalchemy.orm import Session

from toolkit_hub import clock
from toolkit_hub.store.access_tables import Lock, Role, RoleKey, Team
from toolkit_hub.store.tables import Account, Job, Organization, User

__all__ = ["Known", "known_subjects"]

#: Ids in one statement, which names each of them once for each type: databases take some ten thousand values.
_AT_ONCE = 5000


class Known(NamedTuple):
    """A subject. `acts`: a person who is neither disabled, archived nor locked, or a role with a key that counts."""

    type: str
    name: str
    acts: bool


def known_subjects(session: Session, ids: Collection[str], organization_id: str) -> dict[str, Known]:
    """Users, teams, roles and jobs by id; `acts` is true in this organization only. Unknown ids are left out."""
    found: dict[str, Known] = {}
    values = {"organization": organization_id, "now": clock.now()}
    for some in _batches(sorted(ids)):
        for id_, kind, name, acts in session.execute(_KNOWN, {"ids": some, **values}):
            found[id_] = Known(kind, name, bool(acts))
    return found


def _batches(ids: list[str]) -> list[list[str]]:
    return [ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE)]


def _flag(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, literal_column("1")), else_=literal_column("0"))


# Built once: making these expressions takes longer than the database does.
_IDS: BindParameter[list[str]] = bindparam("ids", expanding=True)
_LOCKED = select(Lock.resource_id)
_HERE: BindParameter[str] = bindparam("organization")
_NAME = Organization.name + "."
_LIVING_KEY = (
    select(RoleKey.id)
    .where(
        RoleKey.role_id == Role.id,
        RoleKey.revoked.is_(None),
        RoleKey.expires.is_(None) | (RoleKey.expires > bindparam("now")),
        RoleKey.id.not_in(_LOCKED),
    )
    .exists()
)
_KNOWN: CompoundSelect[str, str, str, int] = union_all(
    select(
        User.id,
        literal_column("'user'"),
        _NAME + User.name,
        _flag(
            and_(
                User.organization_id == _HERE,
                User.kind == "person",
                User.disabled.is_(None),
                User.archived.is_(None),
                User.id.not_in(_LOCKED),
            )
        ),
    )
    .join(Organization, Organization.id == User.organization_id)
    .where(User.id.in_(_IDS)),
    select(Team.id, literal_column("'team'"), _NAME + Team.name, literal_column("0"))
    .join(Organization, Organization.id == Team.organization_id)
    .where(Team.id.in_(_IDS)),
    select(
        Role.id,
        literal_column("'role'"),
        func.coalesce(Account.full_name, _NAME + Team.name, Organization.name) + "." + Role.name,
        _flag(and_(Role.organization_id == _HERE, Role.archived.is_(None), Role.id.not_in(_LOCKED), _LIVING_KEY)),
    )
    .join(Organization, Organization.id == Role.organization_id)
    .outerjoin(Account, Account.id == Role.owner_id)
    .outerjoin(Team, Team.id == Role.owner_id)
    .where(Role.id.in_(_IDS)),
    select(Job.id, literal_column("'job'"), func.coalesce(Job.name, Job.id), literal_column("0")).where(
        Job.id.in_(_IDS)
    ),
)
