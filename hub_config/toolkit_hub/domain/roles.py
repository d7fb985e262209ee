"""Roles of organizations, teams and accounts: named sets of policies that members hold together."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from toolkit_client.access_models import NewRole, RenamePatch
from toolkit_client.access_models import Role as WireRole
from toolkit_client.errors import Conflict, InvalidRequest, NotFound
from toolkit_hub import clock
from toolkit_hub.domain import idempotency, resolve
from toolkit_hub.domain.access import Actor, authorise, hidden, may_see, no_such, visible
from toolkit_hub.domain.administrators import administrators_kept
from toolkit_hub.domain.changes import tell
from toolkit_hub.domain.names import check_name, split_name, taken
from toolkit_hub.domain.owners import Owner, full_name_of_owner, owner_of
from toolkit_hub.domain.policies import write_policy
from toolkit_hub.domain.removal import hide_role
from toolkit_hub.store.access_tables import Lock, Role, Team
from toolkit_hub.store.tables import Account, Organization, new_id

__all__ = ["archive_role", "change_role", "create_role", "get_role", "list_roles", "role_to_wire"]


def list_roles(
    session: Session,
    actor: Actor,
    owner_type: str | None = None,
    owner_ref: str | None = None,
    account: str | None = None,
) -> list[WireRole]:
    """The roles of an organization, team or account; with none named, all that the actor may see (or those of `account`)."""
    if account is not None:
        owner_type, owner_ref = "account", account
    query = select(Role).where(Role.archived.is_(None), Role.organization_id == actor.organization_id)
    if owner_type is None or owner_ref is None:
        found = session.scalars(query.where(_seen(session, actor)).order_by(Role.created, Role.name)).all()
    else:
        owner = _find_owner(session, actor, owner_type, owner_ref)
        query = query.where(Role.owner_id == owner.id)
        if not may_see(session, actor, owner.urn):
            query = query.where(visible(session, actor, "role:get", Role))
        found = session.scalars(query.order_by(Role.created, Role.name)).all()
        if not found:
            # Every owner has roles, so none to be seen means that the owner itself is not.
            raise hidden(no_such(owner_type), f"{owner_type}:get", owner.urn)
    return _to_wire(session, found)


def get_role(session: Session, actor: Actor, ref: str, owner_type: str | None = None) -> WireRole:
    role = resolve.find_role(session, actor, ref, owner_type)
    authorise(session, actor, "role:get", role.urn)
    return role_to_wire(session, role)


def create_role(
    session: Session, actor: Actor, new: NewRole, idempotency_key: str | None = None
) -> tuple[WireRole, bool]:
    """Add a role with its first policies, all or none; returns it, and whether it is new.

    Raises `Conflict` when the name is taken, and what `policies.write_policy` raises.
    """
    above, name = split_name(new.name)
    owner = _owner_for(session, actor, above, new.owner_type)
    authorise(session, actor, "role:new", owner.urn)
    request = f"POST /roles {new.model_dump_json()}"
    known = idempotency.replayed(session, actor, idempotency_key, request)
    if known is not None:
        return role_to_wire(session, session.get_one(Role, known)), False
    check_name("role", name)
    _check_free(session, owner, name)
    role = Role(
        id=new_id(),
        organization_id=actor.organization_id,
        owner_type=_type_of(owner),
        owner_id=owner.id,
        name=name,
        predefined=False,
        created=clock.now(),
        archived=None,
    )
    session.add(role)
    session.flush()
    made = role_to_wire(session, role)
    tell(session, actor, "role:new", "role.created", role.urn, name=made.full_name)
    if new.policies:
        authorise(session, actor, "role:policy", role.urn)
        for statement in new.policies:
            write_policy(session, actor, role, statement)
    idempotency.remember(session, actor, idempotency_key, request, role.id)
    return made, True


def change_role(
    session: Session, actor: Actor, ref: str, patch: RenamePatch, owner_type: str | None = None
) -> WireRole:
    """Rename it. Raises `Conflict` for a predefined role and for a name that is taken."""
    role = resolve.find_role(session, actor, ref, owner_type)
    authorise(session, actor, "role:set", role.urn)
    if patch.name is not None and patch.name != role.name:
        _refuse_predefined(role, "renamed")
        _check_free(session, owner_of(session, role), patch.name)
        before, role.name = role.name, patch.name
        session.flush()
        tell(session, actor, "role:set", "role.changed", role.urn, name=patch.name, before=before)
    return role_to_wire(session, role)


def archive_role(session: Session, actor: Actor, ref: str, owner_type: str | None = None) -> WireRole:
    """Hide the role and free its name: its members and policies go, its keys are dead. Raises `Conflict` for a predefined
    role, and when the last administrator of something was one by this role."""
    role = resolve.find_role(session, actor, ref, owner_type)
    authorise(session, actor, "role:archive", role.urn)
    _refuse_predefined(role, "archived")
    with administrators_kept(session, [role.id]):
        hide_role(session, role)
    archived = role_to_wire(session, role)
    tell(session, actor, "role:archive", "role.archived", role.urn, name=archived.full_name)
    return archived


def _seen(session: Session, actor: Actor) -> ColumnElement[bool]:
    """A role is seen by whoever may see it, or what it belongs to."""
    owners = {
        "account": select(Account.id).where(visible(session, actor, "account:get", Account)),
        "team": select(Team.id).where(visible(session, actor, "team:get", Team)),
    }
    seen = [visible(session, actor, "role:get", Role)]
    seen += [(Role.owner_type == type_) & Role.owner_id.in_(ids) for type_, ids in owners.items()]
    if may_see(session, actor, actor.organization_id):
        seen.append(Role.owner_id == actor.organization_id)
    return or_(*seen)


def _find_owner(session: Session, actor: Actor, owner_type: str, ref: str) -> Owner:
    match owner_type:
        case "organization":
            return resolve.find_organization(session, actor, ref)
        case "team":
            return resolve.find_team(session, actor, ref)
        case "account":
            return resolve.find_account(session, actor, ref)
        case _:
            raise InvalidRequest(f"{owner_type[:40]!r} has no roles", "organizations, teams and accounts have roles")


def _owner_for(session: Session, actor: Actor, ref: str, owner_type: str | None) -> Owner:
    """What a new role is to belong to: of an account, a team and an organization of that name the first that the actor sees."""
    if not ref:
        if actor.home_account_id is None:
            raise InvalidRequest("the role's name does not say what it belongs to", "write it as acme.joe.reader")
        return session.get_one(Account, actor.home_account_id)
    if owner_type is not None:
        return _find_owner(session, actor, owner_type, ref)
    if ref in (actor.organization_id, actor.organization_name):
        return _find_owner(session, actor, "organization", ref)
    unseen: Owner | None = None
    for type_ in ("account", "team"):
        try:
            owner = _find_owner(session, actor, type_, ref)
        except NotFound:
            continue
        if may_see(session, actor, owner.urn):
            return owner
        unseen = unseen or owner
    absent = no_such("account or team")
    raise hidden(absent, "role:new", unseen.urn) if unseen is not None else absent


def _type_of(owner: Owner) -> str:
    return type(owner).__name__.lower()


def _check_free(session: Session, owner: Owner, name: str) -> None:
    query = select(Role.id).where(Role.owner_id == owner.id, Role.name == name, Role.archived.is_(None))
    if session.scalar(query) is not None:
        raise taken("role", f"{full_name_of_owner(session, _type_of(owner), owner.id)}.{name}")


def _refuse_predefined(role: Role, done: str) -> None:
    if role.predefined:
        raise Conflict(
            f"the predefined role {role.name} is not {done}",
            f"it lives as long as its {role.owner_type}; make a role of your own with `toolkit role new`",
        )


def role_to_wire(session: Session, role: Role) -> WireRole:
    return _to_wire(session, [role])[0]


def _to_wire(session: Session, roles: Sequence[Role]) -> list[WireRole]:
    ids = [role.id for role in roles]
    locked = set(session.scalars(select(Lock.resource_id).where(Lock.resource_id.in_(ids))))
    owners = [role.owner_id for role in roles]
    _kept = [  # loaded by three queries, where each role would make one of its own
        *session.scalars(select(Organization).where(Organization.id.in_({role.organization_id for role in roles}))),
        *session.scalars(select(Account).where(Account.id.in_(owners))),
        *session.scalars(select(Team).where(Team.id.in_(owners))).unique(),
    ]
    parents = {role.owner_id: full_name_of_owner(session, role.owner_type, role.owner_id) for role in roles}
    return [
        WireRole(
            id=role.id,
            urn=role.urn,
            name=role.name,
            full_name=f"{parents[role.owner_id]}.{role.name}",
            organization=session.get_one(Organization, role.organization_id).name,
            parent=parents[role.owner_id],
            parent_type=role.owner_type,
            predefined=role.predefined,
            created=role.created,
            archived=role.archived,
            locked=role.id in locked,
        )
        for role in roles
    ]
