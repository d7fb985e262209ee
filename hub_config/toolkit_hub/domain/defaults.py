"""What comes with a new organization, account and team: its roles, what they hold, and who is in them from the start."""

from __future__ import annotations

from sqlalchemy.orm import Session

from toolkit_hub import clock
from toolkit_hub.domain.administrators import predefined_role
from toolkit_hub.domain.memberships import check_edge, join
from toolkit_hub.domain.policies import attach
from toolkit_hub.policy.statements import Statement
from toolkit_hub.store.access_tables import Role
from toolkit_hub.store.tables import Account, Organization, new_id

__all__ = ["add_account", "add_organization", "add_role", "add_team_roles"]


def add_organization(session: Session, name: str, by: str) -> Organization:
    """The tenant with its roles: `admin` may do everything, `user` sees it, its users and its teams."""
    organization = Organization(id=new_id(), name=name, created=clock.now())
    session.add(organization)
    session.flush()
    whole = organization.urn
    owner = ("organization", organization.id)
    add_role(session, organization.id, owner, "admin", by, [Statement(("*",), (whole, f"{whole}:*"))])
    seen = (whole, f"{whole}:user:*", f"{whole}:team:*")
    add_role(session, organization.id, owner, "user", by, [Statement(("*:get",), seen)])
    return organization


def add_account(session: Session, organization: Organization, parent: Account | None, name: str, by: str) -> Account:
    """An account with its roles: `admin` may do everything in it, `user` works in it.

    The administrators of the account above are administrators of this one, as a member of its `admin` role that everybody
    sees.
    """
    above = parent.full_name if parent else organization.name
    account = Account(
        id=new_id(),
        organization_id=organization.id,
        parent_id=parent.id if parent else None,
        name=name,
        full_name=f"{above}.{name}",
        created=clock.now(),
        archived=None,
    )
    session.add(account)
    session.flush()
    whole, owner = account.urn, ("account", account.id)
    admin = add_role(session, organization.id, owner, "admin", by, [Statement(("*",), (whole, f"{whole}:*"))])
    uses = ("job:get", "job:set", "job:exec", "data:get", "data:set", "role:get")
    works = [Statement(("account:get", "job:new", "data:new"), (whole,)), Statement(uses, (f"{whole}:*",))]
    add_role(session, organization.id, owner, "user", by, works)
    if parent is not None:
        inherit(session, admin, predefined_role(session, parent.id, "admin"), by)
    return account


def add_team_roles(session: Session, organization_id: str, team_id: str, whole: str, by: str) -> tuple[Role, Role]:
    """`admin` manages the team, `user` sees it."""
    owner = ("team", team_id)
    admin = add_role(session, organization_id, owner, "admin", by, [Statement(("*",), (whole, f"{whole}:*"))])
    return admin, add_role(session, organization_id, owner, "user", by, [Statement(("team:get",), (whole,))])


def add_role(
    session: Session, organization_id: str, owner: tuple[str, str], name: str, by: str, holds: list[Statement]
) -> Role:
    """A predefined role of `owner` (a type and an id)."""
    role = Role(
        id=new_id(),
        organization_id=organization_id,
        owner_type=owner[0],
        owner_id=owner[1],
        name=name,
        predefined=True,
        created=clock.now(),
        archived=None,
    )
    session.add(role)
    session.flush()
    for statement in holds:
        attach(session, ("role", role.id), statement, by)
    return role


def inherit(session: Session, role: Role, above: Role, by: str) -> None:
    """Whoever is in `above` is in `role`. Raises `Conflict` when that nests too deep."""
    check_edge(session, role.id, above.id)
    join(session, ("role", role.id), ("role", above.id), by, inherited=True)
