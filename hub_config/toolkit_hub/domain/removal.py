"""What ends with a user, a team or a role: memberships, policies, keys, locks. The row itself stays, archived."""

from __future__ import annotations

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from toolkit_hub import clock
from toolkit_hub.domain.policies import remove_policies
from toolkit_hub.store.access_tables import Lock, Membership, Role, RoleKey
from toolkit_hub.store.tables import User

__all__ = ["archive_roles_of", "hide_role", "strip"]


def strip(session: Session, subject_id: str) -> None:
    """Take away the subject's policies, its members, and its memberships in others."""
    remove_policies(session, subject_id)
    session.execute(
        delete(Membership)
        .where((Membership.group_id == subject_id) | (Membership.member_id == subject_id))
        .execution_options(synchronize_session="fetch")
    )


def hide_role(session: Session, role: Role) -> None:
    """Archive the role: nobody holds anything by it any more, its keys are dead, and its service user has left."""
    now = clock.now()
    strip(session, role.id)
    keys = select(RoleKey.id).where(RoleKey.role_id == role.id)
    session.execute(delete(Lock).where((Lock.resource_id == role.id) | Lock.resource_id.in_(keys)))
    session.execute(update(RoleKey).where(RoleKey.role_id == role.id, RoleKey.revoked.is_(None)).values(revoked=now))
    session.execute(
        update(User).where(User.role_id == role.id, User.archived.is_(None)).values(disabled=now, archived=now)
    )
    role.archived = now
    session.flush()


def archive_roles_of(session: Session, owner_id: str) -> None:
    """All roles of an account or a team that is being archived, the predefined ones too."""
    for role in session.scalars(select(Role).where(Role.owner_id == owner_id, Role.archived.is_(None))).all():
        hide_role(session, role)
