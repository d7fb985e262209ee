"""Users and the organization that they belong to."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.errors import Conflict
from toolkit_client.models import Me, NewUser
from toolkit_client.models import User as WireUser
from toolkit_hub import clock
from toolkit_hub.domain import events, idempotency
from toolkit_hub.domain.access import Actor, authorise
from toolkit_hub.domain.passwords import password_hash_of, set_password, verify_password
from toolkit_hub.store.tables import Account, Organization, User, new_id

__all__ = ["create_user", "ensure_first_admin", "list_users", "me"]


def ensure_first_admin(session: Session, organization_name: str, user_name: str, password: str) -> bool:
    """Make the organization and its first administrator when the site has no user yet; returns whether it did."""
    if session.scalar(select(User.id).limit(1)) is not None:
        return False
    organization = Organization(id=new_id(), name=organization_name, created=clock.now())
    session.add(organization)
    session.flush()
    events.record(session, "organization.created", organization.urn, data={"name": organization_name})
    _add_user(session, organization, NewUser(name=user_name, password=password, admin=True), events.SYSTEM, "")
    return True


def create_user(
    session: Session, actor: Actor, new: NewUser, idempotency_key: str | None = None
) -> tuple[WireUser, bool]:
    """Add a user with a home account; returns it, and whether it is new. Raises `Conflict` when the name is taken.

    The same key again gives the same user; the key's record says nothing of the password, so that is compared by its hash.
    """
    authorise(session, actor, "user:new", actor.organization_id)
    request = f"POST /users {new.model_dump_json(exclude={'password'})}"
    made = idempotency.replayed(session, actor, idempotency_key, request)
    if made is not None:
        return _made_before(session, made, new), False
    organization = session.get_one(Organization, actor.organization_id)
    if session.scalar(select(User.id).where(User.name == new.name)) is not None:
        raise Conflict(f"there is a user {organization.name}.{new.name} already", "choose another name")
    user = _add_user(session, organization, new, actor.full_name, actor.request_id)
    idempotency.remember(session, actor, idempotency_key, request, user.id)
    return to_wire(user), True


def _made_before(session: Session, user_id: str, new: NewUser) -> WireUser:
    user = session.get(User, user_id)
    if user is None or not verify_password(password_hash_of(session, user.name), new.password):
        raise Conflict("this Idempotency-Key was used for another request", "send a new key with a new request")
    return to_wire(user)


def _add_user(session: Session, organization: Organization, new: NewUser, actor: str, request_id: str) -> User:
    account = Account(
        id=new_id(),
        organization_id=organization.id,
        name=new.name,
        full_name=f"{organization.name}.{new.name}",
        created=clock.now(),
    )
    session.add(account)
    session.flush()
    user = User(
        id=new_id(),
        organization_id=organization.id,
        organization=organization,
        home_account_id=account.id,
        home_account=account,
        name=new.name,
        admin=new.admin,
        created=clock.now(),
    )
    session.add(user)
    session.flush()
    set_password(session, user.id, new.password)
    events.record(
        session,
        "user.created",
        user.urn,
        actor=actor,
        request_id=request_id,
        data={"name": new.name, "admin": new.admin},
    )
    return user


def list_users(session: Session, actor: Actor) -> list[WireUser]:
    """The users of the actor's organization."""
    authorise(session, actor, "organization:get", actor.organization_id)
    query = select(User).where(User.organization_id == actor.organization_id).order_by(User.name)
    return [to_wire(user) for user in session.scalars(query)]


def me(session: Session, actor: Actor) -> Me:
    """Who the caller is."""
    user = session.get_one(User, actor.user_id)
    authorise(session, actor, "user:get", user.urn)
    return Me(
        id=user.id,
        urn=user.urn,
        name=user.name,
        full_name=user.full_name,
        organization=user.organization.name,
        organization_id=user.organization_id,
        account=user.home_account.full_name,
        account_id=user.home_account_id,
        admin=user.admin,
    )


def to_wire(user: User) -> WireUser:
    return WireUser(
        id=user.id,
        urn=user.urn,
        name=user.name,
        full_name=user.full_name,
        account=user.home_account.full_name,
        admin=user.admin,
        created=user.created,
    )
