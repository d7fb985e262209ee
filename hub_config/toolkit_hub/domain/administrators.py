"""The last administrator stays: no change leaves an organization, account or team without anybody who may set it right.

An administrator is a living user (neither disabled nor archived) who is in the predefined role `admin`, directly or by way of
teams and of the roles above, by memberships that never end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy import select, true
from sqlalchemy.orm import Session

from toolkit_client.errors import Conflict
from toolkit_hub.domain.memberships import groups_above, members_below
from toolkit_hub.domain.owners import full_name_of_owner
from toolkit_hub.store.access_tables import Lock, Role
from toolkit_hub.store.tables import User

__all__ = ["administrators_kept", "administrators_of", "predefined_role"]


def predefined_role(session: Session, owner_id: str, name: str) -> Role:
    """The living role `admin` or `user` of an organization, team or account."""
    query = select(Role).where(Role.owner_id == owner_id, Role.name == name, Role.predefined, Role.archived.is_(None))
    return session.scalars(query).one()


def administrators_of(session: Session, role_id: str, *, unlocked: bool = False) -> set[str]:
    """Ids of the users who are administrators by this role; `unlocked`: without those whom a lock stops."""
    locked = set(session.scalars(select(Lock.resource_id))) if unlocked else set()
    members = members_below(session, role_id, without=locked)
    query = select(User.id).where(
        User.id.in_(members), User.disabled.is_(None), User.archived.is_(None), User.kind == "person"
    )
    return set(session.scalars(query))


@contextmanager
def administrators_kept(
    session: Session,
    subjects: Iterable[str],
    *,
    but: Collection[str] = (),
    only: str | None = None,
    unlocked: bool = False,
) -> Iterator[None]:
    """Around a change of these users, teams or roles: raises `Conflict` when it takes the last administrator away.

    Where there was none before, the change makes nothing worse. `but` are ids of owners that may be left without one,
    `only` the one owner that may not; `unlocked`: whom a lock stops is none.
    """
    session.flush()
    above = groups_above(session, subjects)
    query = select(Role).where(
        Role.id.in_(above),
        Role.name == "admin",
        Role.predefined,
        Role.archived.is_(None),
        Role.owner_id.not_in(list(but)),
        Role.owner_id == only if only else true(),
    )
    roles = [role for role in session.scalars(query) if administrators_of(session, role.id, unlocked=unlocked)]
    yield
    session.flush()
    for role in roles:
        if role.archived is None and not administrators_of(session, role.id, unlocked=unlocked):
            owner = full_name_of_owner(session, role.owner_type, role.owner_id)
            adding = f"`toolkit {role.owner_type} role member add {owner}.admin --user USER`"
            raise Conflict(
                f"that would leave the {role.owner_type} {owner} without an administrator",
                f"add another one first, without an expiry: {adding}",
            )
