"""Members of teams and roles."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.access_models import Member, NewMember
from toolkit_client.errors import Conflict, InvalidRequest, NotFound
from toolkit_hub import clock
from toolkit_hub.domain import granting, resolve
from toolkit_hub.domain.access import Actor, authorise, may_see, no_such
from toolkit_hub.domain.administrators import administrators_kept
from toolkit_hub.domain.changes import tell
from toolkit_hub.domain.memberships import check_edge, find_membership, is_living, join
from toolkit_hub.domain.names import check_expiry
from toolkit_hub.domain.owners import full_name_of_role, full_name_of_team
from toolkit_hub.store.access_tables import Membership, Role, Team
from toolkit_hub.store.tables import User

__all__ = ["add_member", "list_members", "member_to_wire", "remove_member"]

Group = Role | Team


def list_members(
    session: Session, actor: Actor, group_type: str, ref: str, owner_type: str | None = None
) -> list[Member]:
    """The direct members, in the order in which they were added."""
    group = _find_group(session, actor, group_type, ref, owner_type)
    authorise(session, actor, f"{group_type}:get", group.urn)
    query = (
        select(Membership)
        .where(Membership.group_id == group.id, Membership.expires.is_(None) | (Membership.expires > clock.now()))
        .order_by(Membership.created, Membership.id)
    )
    found = session.scalars(query).all()
    _kept = _load(session, found)  # by two queries, where each member would make one of its own
    return [member_to_wire(session, membership) for membership in found]


def add_member(
    session: Session,
    actor: Actor,
    group_type: str,
    ref: str,
    new: NewMember,
    idempotency_key: str | None = None,
    owner_type: str | None = None,
) -> tuple[Member, bool]:
    """Make a user or a team a member; returns it, and whether it is new. Who is one already stays one: an expiry that is
    given replaces the one before. So asking twice is the same as asking once, and the key adds nothing.

    Raises `PermissionDenied` when the group holds what the actor does not, `Conflict` for a circle of teams and when an
    expiry would leave the group's thing without a lasting administrator.
    """
    group = _find_group(session, actor, group_type, ref, owner_type)
    authorise(session, actor, f"{group_type}:member", group.urn)
    member = _find_newcomer(session, actor, new)
    check_expiry(new.expires)
    known = find_membership(session, group.id, member.id)
    if known is not None and is_living(known):
        return _prolonged(session, actor, group, known, new), False
    if known is not None:  # one that has expired
        session.delete(known)
        session.flush()
    check_edge(session, group.id, member.id)
    granting.check_joining(session, actor, group.id, new.expires)
    who = (_type_of(member), member.id)
    made = join(session, (group_type, group.id), who, actor.full_name, expires=new.expires)
    _tell(session, actor, "member_added", group, made)
    return member_to_wire(session, made), True


def remove_member(
    session: Session,
    actor: Actor,
    group_type: str,
    ref: str,
    member_type: str,
    member_ref: str,
    owner_type: str | None = None,
) -> Member:
    """Raises `Conflict` for the last administrator, and for what follows from the tree of accounts."""
    group = _find_group(session, actor, group_type, ref, owner_type)
    authorise(session, actor, f"{group_type}:member", group.urn)
    membership = _member_of(session, actor, group, member_type, member_ref)
    if membership.inherited:
        raise Conflict(
            "that membership follows from the tree of accounts: the administrators above administer what is below",
            "remove members of the role above instead",
        )
    shown = member_to_wire(session, membership)
    with administrators_kept(session, [group.id]):
        session.delete(membership)
    _tell(session, actor, "member_removed", group, membership)
    return shown


def member_to_wire(session: Session, membership: Membership) -> Member:
    name, full_name = _names(session, membership)
    return Member(
        id=membership.member_id,
        name=name,
        full_name=full_name,
        type=membership.member_type,
        inherited=membership.inherited,
        expires=membership.expires,
        created=membership.created,
    )


def _prolonged(session: Session, actor: Actor, group: Group, known: Membership, new: NewMember) -> Member:
    """Give a membership another end; to make it last longer is to grant it anew."""
    if "expires" in new.model_fields_set and new.expires != known.expires and not known.inherited:
        longer = new.expires is None or (known.expires is not None and new.expires > known.expires)
        if longer:
            granting.check_joining(session, actor, group.id, new.expires)
        with administrators_kept(session, [group.id]):
            known.expires = new.expires
        _tell(session, actor, "member_changed", group, known)
    return member_to_wire(session, known)


def _find_group(session: Session, actor: Actor, group_type: str, ref: str, owner_type: str | None) -> Group:
    if group_type == "role":
        return resolve.find_role(session, actor, ref, owner_type)
    if group_type == "team":
        return resolve.find_team(session, actor, ref)
    raise InvalidRequest(f"{group_type[:40]!r} has no members", "roles and teams have members")


def _find_newcomer(session: Session, actor: Actor, new: NewMember) -> User | Team:
    """Whom the actor may not see, they cannot add."""
    if (new.user is None) == (new.team is None):
        raise InvalidRequest("a member is one user or one team", "give exactly one of `user` and `team`")
    found: User | Team
    if new.user is not None:
        found = resolve.find_user(session, actor, new.user)
    else:
        found = resolve.find_team(session, actor, new.team or "")
    if not may_see(session, actor, found.urn) or (isinstance(found, User) and found.kind != "person"):
        raise no_such(_type_of(found))
    return found


def _member_of(session: Session, actor: Actor, group: Group, member_type: str, ref: str) -> Membership:
    member: User | Team | Role
    match member_type:
        case "user":
            member = resolve.find_user(session, actor, ref)
        case "team":
            member = resolve.find_team(session, actor, ref)
        case "role":
            member = resolve.find_role(session, actor, ref)
        case _:
            raise InvalidRequest(f"a member is a user or a team, not {member_type[:40]!r}", "")
    membership = find_membership(session, group.id, member.id)
    if membership is None or not is_living(membership):
        if not may_see(session, actor, member.urn):
            raise no_such(member_type)
        raise NotFound(f"that {member_type} is no member of it", "see its members with `member ls`")
    return membership


def _type_of(subject: Group | User) -> str:
    return type(subject).__name__.lower()


def _load(session: Session, memberships: Sequence[Membership]) -> list[object]:
    ids = [membership.member_id for membership in memberships]
    users = session.scalars(select(User).where(User.id.in_(ids))).unique()
    return [*users, *session.scalars(select(Team).where(Team.id.in_(ids))).unique()]


def _names(session: Session, membership: Membership) -> tuple[str, str]:
    """The bare and the full name. A role is told apart by its full name only: most are called `admin`."""
    match membership.member_type:
        case "user":
            user = session.get_one(User, membership.member_id)
            return user.name, user.full_name
        case "team":
            team = session.get_one(Team, membership.member_id)
            return team.name, full_name_of_team(session, team)
        case _:
            full_name = full_name_of_role(session, session.get_one(Role, membership.member_id))
            return full_name, full_name


def _tell(session: Session, actor: Actor, what: str, group: Group, membership: Membership) -> None:
    type_ = _type_of(group)
    tell(
        session,
        actor,
        f"{type_}:member",
        f"{type_}.{what}",
        group.urn,
        member=_names(session, membership)[1],
        memberType=membership.member_type,
        memberId=membership.member_id,
        expires=membership.expires.isoformat() if membership.expires else None,
    )
