"""Users: the people of an organization."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from toolkit_client.access_models import UserPatch
from toolkit_client.errors import Conflict, InvalidRequest
from toolkit_client.models import Me, NewUser
from toolkit_client.models import User as WireUser
from toolkit_hub import clock
from toolkit_hub.domain import accounts, defaults, gate_sessions, granting, idempotency, resolve
from toolkit_hub.domain.access import Actor, allowed, authorise, visible
from toolkit_hub.domain.administrators import administrators_kept, administrators_of, predefined_role
from toolkit_hub.domain.changes import author, tell
from toolkit_hub.domain.hub_users import wanted_hub_name
from toolkit_hub.domain.memberships import join
from toolkit_hub.domain.names import taken
from toolkit_hub.domain.passwords import password_hash_of, set_password, verify_password
from toolkit_hub.domain.policies import attach
from toolkit_hub.domain.submission import ALIVE
from toolkit_hub.policy.statements import Statement
from toolkit_hub.store.access_tables import Lock, Role
from toolkit_hub.store.tables import Account, Job, Organization, User, new_id

__all__ = [
    "SERVICE_PREFIX",
    "change_user",
    "create_user",
    "disable_user",
    "enable_user",
    "ensure_first_admin",
    "get_user",
    "home_tree",
    "list_users",
    "me",
    "to_wire",
]

#: Names that begin so belong to the users that stand for roles.
SERVICE_PREFIX = "svc-"


def ensure_first_admin(session: Session, organization_name: str, user_name: str, password: str) -> bool:
    """Make the organization and its first administrator when the site has no user yet; returns whether it did."""
    if session.scalar(select(User.id).limit(1)) is not None:
        return False
    organization = defaults.add_organization(session, organization_name, author(None))
    tell(session, None, "organization:set", "organization.created", organization.urn, name=organization_name)
    _add_user(session, organization, NewUser(name=user_name, password=password, admin=True), None)
    return True


def create_user(
    session: Session, actor: Actor, new: NewUser, idempotency_key: str | None = None
) -> tuple[WireUser, bool]:
    """Add a user with a home account; returns it, and whether it is new.

    Raises `Conflict` when the name is taken, `PermissionDenied` when the actor does not hold what every user of the
    organization does (or, for an administrator, what those do).
    The same key again gives the same user; the key's record says nothing of the password, so that is compared by its hash.
    """
    authorise(session, actor, "user:new", actor.organization_id)
    request = f"POST /users {new.model_dump_json(exclude={'password'})}"
    made = idempotency.replayed(session, actor, idempotency_key, request)
    if made is not None:
        return _made_before(session, made, new), False
    organization = session.get_one(Organization, actor.organization_id)
    _check_free(session, organization, new.name)
    accounts.check_free(session, f"{organization.name}.{new.name}")
    for name in ("user", "admin") if new.admin else ("user",):
        granting.check_joining(session, actor, predefined_role(session, organization.id, name).id, None)
    user = _add_user(session, organization, new, actor)
    idempotency.remember(session, actor, idempotency_key, request, user.id)
    return to_wire(session, user), True


def _made_before(session: Session, user_id: str, new: NewUser) -> WireUser:
    user = session.get(User, user_id)
    if user is None or not verify_password(password_hash_of(session, user.name), new.password):
        raise Conflict("this Idempotency-Key was used for another request", "send a new key with a new request")
    return to_wire(session, user)


def _add_user(session: Session, organization: Organization, new: NewUser, actor: Actor | None) -> User:
    """The user with the home account, the password, and the six rules that every user begins with."""
    by, id_ = author(actor), new_id()
    account = defaults.add_account(session, organization, None, new.name, by)
    user = User(
        id=id_,
        organization_id=organization.id,
        organization=organization,
        home_account_id=account.id,
        home_account=account,
        name=new.name,
        hub_name=wanted_hub_name(session, new.name, id_),
        kind="person",
        created=clock.now(),
        disabled=None,
        archived=None,
    )
    session.add(user)
    session.flush()
    attach(session, ("user", user.id), Statement(("user:set",), (user.urn,)), by)
    roles = [predefined_role(session, organization.id, "user"), predefined_role(session, account.id, "admin")]
    if new.admin:
        roles.append(predefined_role(session, organization.id, "admin"))
    for role in roles:
        join(session, ("role", role.id), ("user", user.id), by)
    set_password(session, user.id, new.password)
    tell(session, actor, "user:new", "user.created", user.urn, name=new.name, admin=new.admin)
    return user


def list_users(session: Session, actor: Actor) -> list[WireUser]:
    """The users whom the actor may see, by name; those who have left are not among them."""
    query = select(User).where(
        visible(session, actor, "user:get", User), User.archived.is_(None), User.kind == "person"
    )
    return _to_wire(session, actor.organization_id, session.scalars(query.order_by(User.name)).all())


def get_user(session: Session, actor: Actor, ref: str) -> WireUser:
    user = resolve.find_user(session, actor, ref)
    authorise(session, actor, "user:get", user.urn)
    return to_wire(session, user)


def me(session: Session, actor: Actor) -> Me:
    """Who the caller is: a user, a role by its key, or a job by its own token. Of themselves all may know this much."""
    subject = actor.subject
    home = session.get(Account, actor.home_account_id) if actor.home_account_id else None
    who: User | Role | Job
    if subject.type == "role":
        who = session.get_one(Role, subject.id)
    elif subject.type == "job":
        who = session.get_one(Job, subject.id)
    else:
        who = session.get_one(User, subject.id)
        authorise(session, actor, "user:get", who.urn)
    return Me(
        id=who.id,
        urn=who.urn,
        name=who.name or who.id,
        full_name=actor.full_name,
        organization=actor.organization_name,
        organization_id=actor.organization_id,
        account=home.full_name if home else "",
        account_id=home.id if home else "",
        admin=allowed(session, actor, "organization:maintain", actor.organization_id),
    )


def change_user(session: Session, actor: Actor, ref: str, patch: UserPatch) -> WireUser:
    """Rename a user, and with them the home account when it bears the user's name. Ids, and so every right, stay.

    Raises `Conflict` while the user has living jobs, whose address at the hub has the name in it.
    """
    user = resolve.find_user(session, actor, ref)
    authorise(session, actor, "user:set", user.urn)
    if patch.name is None or patch.name == user.name:
        return to_wire(session, user)
    _refuse_service(user)
    living = session.scalar(select(func.count()).where(Job.creator_id == user.id, Job.state.in_(ALIVE))) or 0
    if living:
        raise Conflict(
            f"{user.full_name} has {living} living job{'s' * (living > 1)}, whose address has the user's name in it",
            "kill them or wait for their end, then rename",
        )
    _check_free(session, user.organization, patch.name)
    before, home = user.name, user.home_account
    if home is not None and home.full_name == f"{user.organization.name}.{before}":
        accounts.rename_account(session, home, patch.name)
    user.name = patch.name
    session.flush()
    tell(session, actor, "user:set", "user.changed", user.urn, name=patch.name, before=before)
    return to_wire(session, user)


def disable_user(session: Session, actor: Actor, ref: str) -> WireUser:
    """From the next request on the user may do nothing; jobs go on, memberships stay. `enable_user` undoes it.

    Raises `Conflict` for the last administrator of anything but the user's own home account and what is below it.
    """
    user = resolve.find_user(session, actor, ref)
    authorise(session, actor, "user:archive", user.urn)
    _refuse_service(user)
    if user.disabled is None:
        with administrators_kept(session, [user.id], but=home_tree(session, user)):
            user.disabled = clock.now()
        gate_sessions.end_sessions(session, user.id)
        tell(session, actor, "user:archive", "user.disabled", user.urn, name=user.name)
    return to_wire(session, user)


def enable_user(session: Session, actor: Actor, ref: str) -> WireUser:
    """Let a disabled user in again."""
    user = resolve.find_user(session, actor, ref)
    authorise(session, actor, "user:archive", user.urn)
    _refuse_service(user)
    if user.disabled is not None:
        user.disabled = None
        session.flush()
        tell(session, actor, "user:archive", "user.enabled", user.urn, name=user.name)
    return to_wire(session, user)


def home_tree(session: Session, user: User) -> list[str]:
    """Ids of the user's home account and of all below it."""
    tree = select(Account.id).where(Account.id == user.home_account_id).cte("tree", recursive=True)
    tree = tree.union_all(select(Account.id).join(tree, Account.parent_id == tree.c.id))
    return list(session.scalars(select(tree.c.id)))


def _refuse_service(user: User) -> None:
    if user.kind != "person":
        raise InvalidRequest(f"{user.full_name} stands for a role", "change the role, or revoke its keys")


def _check_free(session: Session, organization: Organization, name: str) -> None:
    if name.startswith(SERVICE_PREFIX):
        raise InvalidRequest(
            f"names that begin with {SERVICE_PREFIX} belong to the users that stand for roles", "choose another name"
        )
    if session.scalar(select(User.id).where(User.name == name, User.archived.is_(None))) is not None:
        raise taken("user", f"{organization.name}.{name}")


def to_wire(session: Session, user: User) -> WireUser:
    return _to_wire(session, user.organization_id, [user])[0]


def _to_wire(session: Session, organization_id: str, found: Sequence[User]) -> list[WireUser]:
    admins = administrators_of(session, predefined_role(session, organization_id, "admin").id)
    locked = set(session.scalars(select(Lock.resource_id).where(Lock.resource_type == "user")))
    return [
        WireUser(
            id=user.id,
            urn=user.urn,
            name=user.name,
            full_name=user.full_name,
            account=user.home_account.full_name if user.home_account else "",
            admin=user.id in admins,
            created=user.created,
            disabled=user.disabled,
            archived=user.archived,
            locked=user.id in locked,
        )
        for user in found
    ]
