"""Locks: the emergency brake on a user, a role, a role key or a job. While one is there, every decision about it is no."""

from __future__ import annotations

from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from toolkit_client.access_models import Lock as WireLock
from toolkit_client.access_models import NewLock
from toolkit_client.errors import Conflict, InvalidRequest
from toolkit_hub import clock
from toolkit_hub.domain import gate_sessions, jobs, resolve
from toolkit_hub.domain.access import Actor, Refused, allowed, authorise, no_such, visible
from toolkit_hub.domain.administrators import administrators_kept
from toolkit_hub.domain.changes import tell
from toolkit_hub.domain.owners import full_name_of_role
from toolkit_hub.store.access_tables import Lock, Role, RoleKey
from toolkit_hub.store.tables import Job, User

__all__ = ["list_locks", "lock", "unlock"]

Locked = User | Role | RoleKey | Job


def lock(session: Session, actor: Actor, new: NewLock) -> tuple[WireLock, bool]:
    """Stop it now; returns the lock, and whether it is new. One by whoever may lock the whole organization makes an owner's
    lock the organization's.

    Raises `Conflict` for what nobody could unlock any more: the last administrator, and the organization's role `admin`.
    """
    thing = _find(session, actor, new.type, new.ref)
    action, urn = _asked(session, thing)
    authorise(session, actor, action, urn)
    level = "organization" if allowed(session, actor, "organization:lock", actor.organization_id) else "owner"
    known = session.get(Lock, thing.id)
    if known is not None:
        if level == "organization" and known.level == "owner":
            known.level = level
            tell(session, actor, action, f"{new.type}.locked", urn, {"why": new.why}, id=thing.id, level=level)
        return _to_wire(session, known), False
    made = Lock(
        resource_id=thing.id,
        resource_type=new.type,
        urn=urn,
        level=level,
        why=new.why,
        created=clock.now(),
        created_by=actor.full_name,
    )
    subjects = [thing.id] if isinstance(thing, User | Role) else []
    with administrators_kept(session, subjects, only=actor.organization_id, unlocked=True):
        session.add(made)
    if isinstance(thing, User):
        gate_sessions.end_sessions(session, thing.id)
    tell(session, actor, action, f"{new.type}.locked", urn, {"why": new.why}, id=thing.id, level=level)
    return _to_wire(session, made), True


def unlock(session: Session, actor: Actor, type_: str, ref: str) -> WireLock:
    """Let it go on. Raises `PermissionDenied` for a lock of the organization's, unless the actor may set such."""
    thing = _find(session, actor, type_, ref)
    action, urn = _asked(session, thing)
    authorise(session, actor, action, urn)
    known = session.get(Lock, thing.id)
    if known is None:
        raise Conflict(f"that {type_} is not locked", "see what is with `toolkit lock ls`")
    if known.level == "organization" and not allowed(session, actor, "organization:lock", actor.organization_id):
        raise Refused(
            f"{known.created_by} has locked that {type_} for the organization",
            "only who may do organization:lock takes such a lock away; ask an administrator of the organization",
            action,
            urn,
            "the lock is the organization's",
        )
    shown = _to_wire(session, known)
    session.delete(known)
    session.flush()
    tell(session, actor, action, f"{type_}.unlocked", urn, id=thing.id)
    return shown


def list_locks(session: Session, actor: Actor) -> list[WireLock]:
    """The locks on what the actor may lock and unlock, the oldest first."""
    roles = select(Role.id).where(visible(session, actor, "role:lock", Role))
    query = select(Lock).where(
        or_(
            Lock.resource_id.in_(select(User.id).where(visible(session, actor, "user:lock", User))),
            Lock.resource_id.in_(roles),
            Lock.resource_id.in_(select(RoleKey.id).where(RoleKey.role_id.in_(roles))),
            Lock.resource_id.in_(select(Job.id).where(visible(session, actor, "job:lock", Job))),
        )
    )
    return [_to_wire(session, found) for found in session.scalars(query.order_by(Lock.created)).all()]


def _find(session: Session, actor: Actor, type_: str, ref: str) -> Locked:
    match type_:
        case "user":
            return resolve.find_user(session, actor, ref)
        case "role":
            return resolve.find_role(session, actor, ref)
        case "job":
            return jobs.find_job(session, actor, ref)
        case "key":
            key = session.get(RoleKey, ref) if ref.isprintable() else None
            if key is None or key.revoked is not None:
                raise no_such("key")
            return key
        case _:
            raise InvalidRequest(f"{type_[:40]!r} is not locked", "users, roles, keys and jobs are")


def _asked(session: Session, thing: Locked) -> tuple[str, str]:
    """The action that locking it is, and the URN that it is asked of: a key belongs to its role."""
    if isinstance(thing, RoleKey):
        return "role:lock", session.get_one(Role, thing.role_id).urn
    return f"{type(thing).__name__.lower()}:lock", thing.urn


def _to_wire(session: Session, known: Lock) -> WireLock:
    return WireLock(
        resource_id=known.resource_id,
        type=known.resource_type,
        name=_name(session, known),
        urn=known.urn,
        why=known.why,
        created=known.created,
        created_by=known.created_by,
    )


def _name(session: Session, known: Lock) -> str:
    found: Any
    match known.resource_type:
        case "user":
            return session.get_one(User, known.resource_id).full_name
        case "role":
            return full_name_of_role(session, session.get_one(Role, known.resource_id))
        case "job":
            found = session.get(Job, known.resource_id)
            return f"{found.account.full_name}.{found.name}" if found and found.name else known.resource_id
        case _:
            return known.resource_id
