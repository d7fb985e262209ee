"""What roles belong to: an organization, a team or an account."""

from __future__ import annotations

from sqlalchemy.orm import Session

from toolkit_client import urn
from toolkit_hub.store.access_tables import Role, Team
from toolkit_hub.store.tables import Account, Organization

__all__ = ["Owner", "full_name_of_owner", "full_name_of_role", "full_name_of_team", "owner_of", "owner_urn"]

Owner = Organization | Team | Account


def owner_of(session: Session, role: Role) -> Owner:
    """The row that the role belongs to."""
    return _row(session, role.owner_type, role.owner_id)


def owner_urn(role: Role) -> str:
    """URN of what the role belongs to."""
    match role.owner_type:
        case "organization":
            return role.organization_id
        case "team":
            return urn.team_urn(role.organization_id, role.owner_id)
        case _:
            return urn.account_urn(role.organization_id, role.owner_id)


def full_name_of_owner(session: Session, owner_type: str, owner_id: str) -> str:
    owner = _row(session, owner_type, owner_id)
    if isinstance(owner, Team):
        return full_name_of_team(session, owner)
    return owner.full_name if isinstance(owner, Account) else owner.name


def full_name_of_team(session: Session, team: Team) -> str:
    return f"{session.get_one(Organization, team.organization_id).name}.{team.name}"


def full_name_of_role(session: Session, role: Role) -> str:
    return f"{full_name_of_owner(session, role.owner_type, role.owner_id)}.{role.name}"


def _row(session: Session, owner_type: str, owner_id: str) -> Owner:
    table = {"organization": Organization, "team": Team, "account": Account}[owner_type]
    return session.get_one(table, owner_id)  # type: ignore[return-value]
