"""Who is in what: memberships walked through the store's rows, for changes.

Decisions ask the policy's `World`. A change must know more: until when the longest way to a group lasts, what a locked role
would give once it is unlocked, and whether a new membership would close a circle.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from toolkit_client.errors import Conflict
from toolkit_hub import clock
from toolkit_hub.policy.grants import earlier
from toolkit_hub.store.access_tables import Membership
from toolkit_hub.store.tables import new_id

__all__ = ["MAX_DEPTH", "check_edge", "find_membership", "groups_above", "is_living", "join", "members_below"]

#: Memberships on the way from a user to the farthest group.
MAX_DEPTH = 16


def join(
    session: Session,
    group: tuple[str, str],
    member: tuple[str, str],
    by: str,
    *,
    inherited: bool = False,
    expires: datetime | None = None,
) -> Membership:
    """Store a membership; `group` and `member` are each a type and an id. Asks nothing: the caller has."""
    made = Membership(
        id=new_id(),
        group_type=group[0],
        group_id=group[1],
        member_type=member[0],
        member_id=member[1],
        inherited=inherited,
        expires=expires,
        created=clock.now(),
        created_by=by,
    )
    session.add(made)
    session.flush()
    return made


def find_membership(session: Session, group_id: str, member_id: str) -> Membership | None:
    """The direct membership, whether it has expired or not."""
    return session.scalar(select(Membership).where(Membership.group_id == group_id, Membership.member_id == member_id))


def is_living(membership: Membership) -> bool:
    return membership.expires is None or membership.expires > clock.now()


def groups_above(
    session: Session, roots: Iterable[str], *, without: Collection[str] = ()
) -> dict[str, datetime | None]:
    """`roots` and the groups that they are in at any depth, each with the end of the way that lasts longest (None: no end).

    `without` are ids that lead nowhere, as those of locked roles.
    """
    until: dict[str, datetime | None] = {root: None for root in roots if root not in without}
    level = set(until)
    while level:
        query = select(Membership.member_id, Membership.group_id, Membership.expires).where(
            Membership.member_id.in_(level), _living()
        )
        level = set()
        for member_id, group_id, expires in session.execute(query):
            end = earlier(until[member_id], expires)
            if group_id not in without and (group_id not in until or _is_later(end, until[group_id])):
                until[group_id] = end
                level.add(group_id)
    return until


def members_below(session: Session, group_id: str, *, without: Collection[str] = ()) -> set[str]:
    """Ids of all that are in the group at any depth by memberships that never end."""
    found: set[str] = set()
    level = {group_id} - set(without)
    while level:
        query = select(Membership.member_id).where(Membership.group_id.in_(level), Membership.expires.is_(None))
        level = set(session.scalars(query)) - found - set(without)
        found |= level
    return found


def check_edge(session: Session, group_id: str, member_id: str) -> None:
    """Raises `Conflict` for a membership that would close a circle or make the way to a group too long."""
    if member_id in groups_above(session, [group_id]):
        raise Conflict(
            "that would make it a member of itself, by way of its own members",
            "remove the membership in the other direction first",
        )
    length = _longest(session, member_id, below=True) + 1 + _longest(session, group_id, below=False)
    if length > MAX_DEPTH:
        raise Conflict(
            f"that would nest memberships {length} deep; the limit is {MAX_DEPTH}",
            "add the members further up, or make fewer levels",
        )


def _longest(session: Session, start: str, *, below: bool) -> int:
    """Memberships on the longest way down or up from `start`, counted as far as the limit."""
    near, far = Membership.member_id, Membership.group_id
    if below:
        near, far = far, near
    level, length = {start}, -1
    while level and length <= MAX_DEPTH:
        level = set(session.scalars(select(far).where(near.in_(level), _living())))
        length += 1
    return length


def _living() -> ColumnElement[bool]:
    return Membership.expires.is_(None) | (Membership.expires > clock.now())


def _is_later(one: datetime | None, other: datetime | None) -> bool:
    if one is None or other is None:
        return one is None and other is not None
    return one > other
