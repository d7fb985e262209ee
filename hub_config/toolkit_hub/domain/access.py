"""Who acts, and the one question that every domain function asks first: `authorise`."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.errors import NotFound, PermissionDenied
from toolkit_hub.policy.actions import ACTIONS
from toolkit_hub.policy.decision import Resource, Subject, decide
from toolkit_hub.store.tables import Account, Job, User

__all__ = ["Actor", "actor_by_id", "actor_by_name", "allowed", "authorise", "no_such"]


@dataclass(frozen=True)
class Actor:
    """A signed-in user, for the length of one request."""

    user_id: str
    name: str
    full_name: str
    organization_id: str
    organization_name: str
    home_account_id: str
    admin: bool
    request_id: str = ""

    @property
    def subject(self) -> Subject:
        return Subject(self.user_id, self.organization_id, self.admin)


def actor_by_name(session: Session, name: str, request_id: str = "") -> Actor | None:
    """The user whom the hub calls `name`."""
    user = session.scalar(select(User).where(User.name == name))
    return _actor(user, request_id) if user else None


def actor_by_id(session: Session, user_id: str, request_id: str = "") -> Actor | None:
    user = session.get(User, user_id)
    return _actor(user, request_id) if user else None


def _actor(user: User, request_id: str) -> Actor:
    return Actor(
        user.id,
        user.name,
        user.full_name,
        user.organization_id,
        user.organization.name,
        user.home_account_id,
        user.admin,
        request_id,
    )


def allowed(session: Session, actor: Actor, action: str, urn: str) -> bool:
    """Whether `actor` may do `action` to the resource that `urn` names, as the store is now."""
    return decide(actor.subject, action, _resource(session, urn))


def authorise(session: Session, actor: Actor, action: str, urn: str) -> None:
    """Let pass or raise: `PermissionDenied` for what the actor may see, `NotFound` for what it may not even see."""
    resource = _resource(session, urn)
    if decide(actor.subject, action, resource):
        return
    declared = ACTIONS[action]
    visible = f"{'account' if declared.verb == 'new' and declared.resource == 'job' else declared.resource}:get"
    if declared.verb == "new" and declared.resource == "user":
        visible = "organization:get"
    if visible != action and decide(actor.subject, visible, resource):
        raise PermissionDenied(
            f"{actor.full_name} may not do {action} on {urn} ({declared.opens})",
            "ask the owner of the resource or an administrator",
        )
    raise no_such(visible.partition(":")[0])


def no_such(kind: str) -> NotFound:
    """The same words for what is not there and for what the caller may not see: they must not tell which."""
    return NotFound(f"no such {kind}", "check the id or the full name; you may also lack the right to see it")


def _resource(session: Session, urn: str) -> Resource:
    parts = urn.split(":")
    match parts[1:]:
        case ["account", account_id]:
            return Resource(urn, _account_owners(session, account_id))
        case ["account", account_id, "job", job_id]:
            job = session.get(Job, job_id)
            if job is None:
                return Resource(urn)
            if job.kind == "server":
                return Resource(urn, frozenset({job.creator_id}), carries_owner_rights=True)
            return Resource(urn, _account_owners(session, account_id) | {job.creator_id})
        case ["user", user_id]:
            return Resource(urn, frozenset({user_id}))
        case _:
            return Resource(urn)


def _account_owners(session: Session, account_id: str) -> frozenset[str]:
    """The users whose home the account, or one of its parents, is."""
    owners: set[str] = set()
    current: str | None = account_id
    while current is not None:
        owners.update(session.scalars(select(User.id).where(User.home_account_id == current)))
        current = session.scalar(select(Account.parent_id).where(Account.id == current))
    return frozenset(owners)
