"""Role keys: long-lived tokens that act as a role. The token is shown once; the store keeps its hash."""

from __future__ import annotations

import secrets

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.access_models import NewRoleKey, RoleKeySecret
from toolkit_client.access_models import RoleKey as WireKey
from toolkit_client.errors import Conflict, NotFound
from toolkit_hub import clock
from toolkit_hub.domain import granting, idempotency, resolve
from toolkit_hub.domain.access import Actor, authorise, key_hash
from toolkit_hub.domain.changes import tell
from toolkit_hub.domain.names import check_expiry
from toolkit_hub.domain.owners import full_name_of_role
from toolkit_hub.store.access_tables import Lock, Role, RoleKey, Team
from toolkit_hub.store.tables import User, new_id

__all__ = ["KEY_PREFIX", "create_key", "list_keys", "revoke_key", "service_user"]

#: By which a key is known among other tokens, by people and by scanners for leaked secrets.
KEY_PREFIX = "tkr_"


def list_keys(session: Session, actor: Actor, role_ref: str, owner_type: str | None = None) -> list[WireKey]:
    """The role's keys that are not revoked, expired ones included, in the order of making."""
    role = resolve.find_role(session, actor, role_ref, owner_type)
    authorise(session, actor, "role:key", role.urn)
    query = select(RoleKey).where(RoleKey.role_id == role.id, RoleKey.revoked.is_(None))
    return [_to_wire(session, role, key) for key in session.scalars(query.order_by(RoleKey.created, RoleKey.id))]


def create_key(
    session: Session,
    actor: Actor,
    role_ref: str,
    new: NewRoleKey,
    idempotency_key: str | None = None,
    owner_type: str | None = None,
) -> tuple[RoleKeySecret, bool]:
    """Make a key; the answer is the only place where its token ever is.

    Raises `PermissionDenied` when the role holds what the actor does not, `Conflict` when the same Idempotency-Key comes
    again: a token is not shown twice.
    """
    role = resolve.find_role(session, actor, role_ref, owner_type)
    authorise(session, actor, "role:key", role.urn)
    request = f"POST keys {role.id} {new.model_dump_json()}"
    known = idempotency.replayed(session, actor, idempotency_key, request)
    if known is not None:
        raise Conflict(
            f"this request has made the key {known} already, and a token is shown only once",
            "if its token was lost on the way: `toolkit role key rm`, then make another with a new Idempotency-Key",
        )
    check_expiry(new.expires)
    granting.check_joining(session, actor, role.id, new.expires)
    service_user(session, role)
    token = KEY_PREFIX + secrets.token_urlsafe(32)
    key = RoleKey(
        id=new_id(),
        role_id=role.id,
        name=new.name,
        secret_hash=key_hash(token),
        expires=new.expires,
        created=clock.now(),
        created_by=actor.full_name,
    )
    session.add(key)
    session.flush()
    tell(session, actor, "role:key", "role.key_created", role.urn, key=key.id, name=key.name)
    idempotency.remember(session, actor, idempotency_key, request, key.id)
    return RoleKeySecret(**_to_wire(session, role, key).model_dump(), token=token), True


def revoke_key(session: Session, actor: Actor, role_ref: str, key_id: str, owner_type: str | None = None) -> WireKey:
    """From the next request on the key is nobody's."""
    role = resolve.find_role(session, actor, role_ref, owner_type)
    authorise(session, actor, "role:key", role.urn)
    key = session.get(RoleKey, key_id) if key_id.isprintable() else None
    if key is None or key.role_id != role.id or key.revoked is not None:
        raise NotFound("this role has no such key", "see its keys with `toolkit role key ls`")
    key.revoked = clock.now()
    session.flush()
    tell(session, actor, "role:key", "role.key_revoked", role.urn, key=key.id, name=key.name)
    return _to_wire(session, role, key)


def service_user(session: Session, role: Role) -> User:
    """The user that stands for the role in what its keys make, as jobs, which have a user for owner."""
    known = session.scalar(select(User).where(User.role_id == role.id, User.archived.is_(None)))
    if known is not None:
        return known
    home = {"account": role.owner_id, "organization": None}.get(role.owner_type)
    if role.owner_type == "team":
        home = session.get_one(Team, role.owner_id).account_id
    name = f"svc-{role.id.replace('-', '')[:10]}"
    user = User(
        id=new_id(),
        organization_id=role.organization_id,
        home_account_id=home,
        name=name,
        hub_name=name,
        kind="service",
        role_id=role.id,
        created=clock.now(),
        disabled=None,
        archived=None,
    )
    session.add(user)
    session.flush()
    return user


def _to_wire(session: Session, role: Role, key: RoleKey) -> WireKey:
    locked = session.scalar(select(Lock.resource_id).where(Lock.resource_id.in_([key.id, role.id])).limit(1))
    return WireKey(
        id=key.id,
        name=key.name,
        role=full_name_of_role(session, role),
        expires=key.expires,
        last_used=key.last_used,
        created=key.created,
        created_by=key.created_by,
        locked=locked is not None,
    )
