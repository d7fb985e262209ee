"""How a user leaves. The row stays, for what was done by whom; everything that the user could do goes."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from toolkit_client.access_models import Offboarding
from toolkit_client.errors import Conflict, InvalidRequest
from toolkit_client.models import User as WireUser
from toolkit_hub import clock
from toolkit_hub.domain import accounts, gate_sessions, granting, resolve
from toolkit_hub.domain.access import Actor, authorise, may_see, no_such
from toolkit_hub.domain.administrators import administrators_kept, predefined_role
from toolkit_hub.domain.changes import tell
from toolkit_hub.domain.memberships import find_membership, join
from toolkit_hub.domain.removal import strip
from toolkit_hub.domain.users import home_tree, to_wire
from toolkit_hub.store.access_tables import Data, Lock, Membership
from toolkit_hub.store.tables import Account, Credential, User

__all__ = ["archive_user", "offboard_user"]


def offboard_user(session: Session, actor: Actor, ref: str, offboarding: Offboarding) -> WireUser:
    """Archive the user and make another one administrator of their home account, with its jobs and data; nothing is killed.

    Raises `Conflict` when the user is the last administrator of anything else, `PermissionDenied` when the actor may not
    give the home account away.
    """
    user = _leaver(session, actor, ref)
    heir = resolve.find_user(session, actor, offboarding.to)
    if not may_see(session, actor, heir.urn) or heir.kind != "person":
        raise no_such("user")
    if heir.id == user.id or heir.disabled is not None:
        raise InvalidRequest(
            f"{heir.full_name} cannot take over: that user is leaving or disabled", "name another user"
        )
    home = user.home_account
    if home is not None and home.archived is None:
        _hand_over(session, actor, home, heir)
    _leave(session, actor, user, "user.offboarded", heir.full_name)
    return to_wire(session, user)


def archive_user(session: Session, actor: Actor, ref: str) -> WireUser:
    """Archive the user together with the home account. Raises `Conflict` when that is in use, or the user is the last
    administrator of anything else."""
    user = _leaver(session, actor, ref)
    home = user.home_account
    if home is not None and home.archived is None:
        used = accounts.use_of(session, home, but_user=user.id)
        if used or (used := _others(session, home, user)):
            raise Conflict(
                f"the home account {home.full_name} is in use: {used[0]}",
                f"`toolkit user offboard {user.name} --to USER` gives it to somebody else; or {used[1]}",
            )
        accounts.hide_account(session, home)
    _leave(session, actor, user, "user.archived")
    return to_wire(session, user)


def _leaver(session: Session, actor: Actor, ref: str) -> User:
    user = resolve.find_user(session, actor, ref)
    authorise(session, actor, "user:archive", user.urn)
    if user.kind != "person":
        raise InvalidRequest(f"{user.full_name} stands for a role", "archive the role, or revoke its keys")
    return user


def _hand_over(session: Session, actor: Actor, home: Account, heir: User) -> None:
    """Administrators of an account administer what is below it, so one membership gives the whole tree."""
    admin = predefined_role(session, home.id, "admin")
    known = find_membership(session, admin.id, heir.id)
    if known is not None and known.expires is None:
        return
    granting.check_joining(session, actor, admin.id, None)
    if known is not None:
        known.expires = None
    else:
        join(session, ("role", admin.id), ("user", heir.id), actor.full_name)


def _others(session: Session, home: Account, user: User) -> tuple[str, str] | None:
    """What would be lost with the account, though nothing runs in it."""
    if session.scalar(select(Data.id).where(Data.account_id == home.id, Data.archived.is_(None)).limit(1)):
        return "there is data in it", "archive the data first"
    roles = [predefined_role(session, home.id, name).id for name in ("admin", "user")]
    member = select(Membership.id).where(Membership.group_id.in_(roles), Membership.member_id != user.id)
    if session.scalar(member.limit(1)):
        return "others work in it", "remove its other members first"
    return None


def _leave(session: Session, actor: Actor, user: User, type_: str, heir: str | None = None) -> None:
    """The hub's user goes when no server of theirs is left, and with it every token."""
    kept = home_tree(session, user) if user.home_account and user.home_account.archived is not None else []
    with administrators_kept(session, [user.id], but=kept):
        strip(session, user.id)
        user.disabled = user.disabled or clock.now()
        user.archived = clock.now()
    session.execute(delete(Credential).where(Credential.user_id == user.id))
    session.execute(delete(Lock).where(Lock.resource_id == user.id))
    gate_sessions.end_sessions(session, user.id)
    tell(session, actor, "user:archive", type_, user.urn, name=user.name, to=heir)
