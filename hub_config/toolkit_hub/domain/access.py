"""Who acts, and the one question that every domain function asks first: `authorise`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Executable, bindparam, select
from sqlalchemy.orm import Session

from toolkit_client.errors import NotFound, NotSignedIn, PermissionDenied
from toolkit_client.urn import role_urn
from toolkit_hub import clock
from toolkit_hub.domain import refusals
from toolkit_hub.domain.job_tokens import JOB_TOKEN_PREFIX, run_of_token
from toolkit_hub.domain.readable import named
from toolkit_hub.domain.visibility import visible_rows
from toolkit_hub.policy.actions import ACTIONS
from toolkit_hub.policy.decision import Decision, decide
from toolkit_hub.policy.world import Atom, Subject
from toolkit_hub.store.access_tables import Lock, Role, RoleKey, Team
from toolkit_hub.store.tables import Account, Job, Organization, User
from toolkit_hub.store.world import SqlWorld

__all__ = [
    "ASKED_AS",
    "GRANTED_BY",
    "Actor",
    "DeadKey",
    "Hidden",
    "Refused",
    "actor_by_id",
    "actor_by_key",
    "actor_by_name",
    "actor_by_sign_in_name",
    "allowed",
    "authorise",
    "decision",
    "hidden",
    "key_hash",
    "may_see",
    "no_such",
    "resource_type",
    "role_full_name",
    "stopped",
    "user_subject",
    "visible",
    "world_of",
]

#: Where a session keeps what `authorise` has found: (id of the subject, action) → the statement, in words.
GRANTED_BY = "toolkit_granted_by"

#: Key of `Session.info`: URN → what the caller wrote for it, so that a refusal that hides a thing can say the same as
#: if it were not there.
ASKED_AS = "toolkit_asked_as"


@dataclass(frozen=True)
class Actor:
    """Who makes a request: a signed-in user, a role by its key, or a job by its own token.

    `user_id` is the user who stands for it in what it makes: of a role its service user, of a job the user who submitted it.
    `name` is that user's name, `full_name` what events and the audit log call the actor. `key_id` is the role key's. `via`
    is the URN of the job whose token acts for a user, since the job carries their rights.
    """

    user_id: str
    name: str
    full_name: str
    organization_id: str
    organization_name: str
    home_account_id: str | None
    subject: Subject
    request_id: str = ""
    address: str = ""
    key_id: str = ""
    via: str = ""

    @property
    def shown_name(self) -> str:
        """What others are told of who it is: a user's name; of roles and jobs, which may share one, the full name."""
        return self.name if self.subject.type == "user" else self.full_name


class Refused(PermissionDenied):
    """A refusal, with what the audit log keeps of it."""

    def __init__(self, message: str, hint: str, action: str, urn: str, reason: str) -> None:
        super().__init__(message, hint)
        self.action, self.urn, self.reason = action, urn, reason


class Hidden(NotFound):
    """A refusal that reads like the absence of the thing."""

    def __init__(self, message: str, hint: str, action: str, urn: str, reason: str) -> None:
        super().__init__(message, hint)
        self.action, self.urn, self.reason = action, urn, reason


# --- who acts ---------------------------------------------------------------------------------------------------------

_USERS = (
    select(
        User.id,
        User.name,
        Organization.name.label("organization"),
        User.organization_id,
        User.home_account_id,
        User.disabled,
        Lock.why.label("locked"),
    )
    .join(Organization, Organization.id == User.organization_id)
    .outerjoin(Lock, Lock.resource_id == User.id)
    .where(User.archived.is_(None), User.kind == "person")
)
#: Each request asks one of these: built once, so that only the value is new.
_BY_HUB_NAME, _BY_NAME, _BY_ID = (
    _USERS.where(column == bindparam("value")) for column in (User.hub_name, User.name, User.id)
)


def actor_by_name(session: Session, name: str, request_id: str = "", address: str = "") -> Actor | None:
    """The user whom the hub calls `name`."""
    return _actor(session, _BY_HUB_NAME, name, request_id, address)


def actor_by_sign_in_name(session: Session, name: str) -> Actor | None:
    """The user who signs in as `name`, whatever the hub calls it."""
    return _actor(session, _BY_NAME, name, "", "")


def actor_by_id(session: Session, user_id: str, request_id: str = "", address: str = "") -> Actor | None:
    return _actor(session, _BY_ID, user_id, request_id, address)


def user_subject(session: Session, user_id: str) -> Subject | None:
    """The user as the policy sees it."""
    actor = actor_by_id(session, user_id)
    return actor.subject if actor else None


def _actor(session: Session, query: Executable, value: str, request_id: str, address: str) -> Actor | None:
    session.flush()
    row = session.connection().execute(query, {"value": value}).one_or_none()
    if row is None:
        return None
    stopped = "the user is disabled" if row.disabled else ""
    if row.locked is not None:
        stopped = refusals.locked("user", row.locked)
    subject = Subject(row.id, "user", row.organization_id, stopped)
    full_name = f"{row.organization}.{row.name}"
    return Actor(
        row.id,
        row.name,
        full_name,
        row.organization_id,
        row.organization,
        row.home_account_id,
        subject,
        request_id,
        address,
    )


# --- roles by their keys, jobs by their tokens --------------------------------------------------------------------------


class DeadKey(NotSignedIn):
    """A role key or job token that was right once: who it was, for the audit log."""

    def __init__(self, what: str, urn: str, reason: str, hint: str) -> None:
        super().__init__(f"{what}: {reason}", hint)
        self.actor, self.urn, self.reason = what, urn, reason


def actor_by_key(session: Session, token: str, request_id: str = "", address: str = "") -> Actor | None:
    """The role whose key, or the job whose own token, `token` is; None for a text that was never one.

    Raises `DeadKey` for one that is revoked, expired or locked, or whose role or run is no more.
    """
    if token.startswith(JOB_TOKEN_PREFIX):
        found = run_of_token(session, token)
        return _job_actor(session, *found, request_id, address) if found else None
    key = session.execute(_KEYS.where(RoleKey.secret_hash == key_hash(token))).one_or_none()
    if key is None:
        return None
    urn = role_urn(key.organization_id, key.owner_type, key.owner_id, key.role_id)
    name = role_full_name(session, key.role_id)
    dead = _why_dead(session, key)
    if dead:
        raise DeadKey(f"a key of the role {name}", urn, dead, "ask for a new key: `toolkit role key new`")
    subject = Subject(key.role_id, "role", key.organization_id)
    home = key.home_account_id
    return Actor(
        key.user_id or key.role_id, key.user_name or "", name, key.organization_id, key.organization, home, subject,
        request_id, address, key.id,
    )  # fmt: skip


def key_hash(token: str) -> str:
    """What is stored of a role key. It is random and long, so no slow hash is needed."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


_KEYS = (
    select(
        RoleKey.id,
        RoleKey.role_id,
        RoleKey.expires,
        RoleKey.revoked,
        Role.archived,
        Role.organization_id,
        Role.owner_type,
        Role.owner_id,
        Organization.name.label("organization"),
        User.id.label("user_id"),
        User.name.label("user_name"),
        User.home_account_id,
    )
    .join(Role, Role.id == RoleKey.role_id)
    .join(Organization, Organization.id == Role.organization_id)
    .outerjoin(User, (User.role_id == Role.id) & User.archived.is_(None))
)


def _why_dead(session: Session, key: Any) -> str:
    if key.revoked is not None:
        return "the key is revoked"
    if key.expires is not None and key.expires <= clock.now():
        return "the key has expired"
    if key.archived is not None:
        return "the role is archived"
    locks = set(session.scalars(select(Lock.resource_type).where(Lock.resource_id.in_((key.id, key.role_id)))))
    return f"the {min(locks)} is locked" if locks else ""


def _job_actor(session: Session, job_id: str, alive: bool, request_id: str, address: str) -> Actor:
    job = session.get_one(Job, job_id)
    creator = job.creator
    full_name = f"{creator.full_name}/job:{job.id}"
    reason = "" if alive else "the run has ended"
    locks = set(session.scalars(select(Lock.resource_type).where(Lock.resource_id.in_((job.id, creator.id)))))
    if alive and locks:
        reason = "the job is locked" if "job" in locks else "the user who submitted it is locked"
    user = actor_by_id(session, creator.id, request_id, address) if job.carries_rights else None
    if job.carries_rights and user is None:
        reason = reason or "the user whose rights it carries has left"
    if reason:
        raise DeadKey(f"the token of job {job.id}", job.urn, reason, "a job's own token counts while its run lasts")
    if user is not None:
        return replace(user, subject=replace(user.subject, carried_by=job.id), via=job.urn)
    own = (Atom("job:get", job.urn), Atom("job:set", job.urn))
    organization = creator.organization
    subject = Subject(job.id, "job", organization.id, "", own, job.role_id)
    return Actor(
        creator.id,
        creator.name,
        full_name,
        organization.id,
        organization.name,
        job.account_id,
        subject,
        request_id,
        address,
    )


def role_full_name(session: Session, role_id: str) -> str:
    """`acme.admin`, `acme.joe.x.user`, `acme.cocos.admin`."""
    role = session.get_one(Role, role_id)
    if role.owner_type == "account":
        owner = session.get_one(Account, role.owner_id).full_name
    else:
        owner = session.get_one(Organization, role.organization_id).name
        if role.owner_type == "team":
            owner = f"{owner}.{session.get_one(Team, role.owner_id).name}"
    return f"{owner}.{role.name}"


# --- one question -----------------------------------------------------------------------------------------------------


def world_of(session: Session) -> SqlWorld:
    """The policy's world as it is now."""
    return SqlWorld(session, clock.now())


def decision(session: Session, subject: Subject, action: str, urn: str) -> Decision:
    """What the policy says, as the store is now. Raises `KeyError` for an action that was never declared.

    Whether `urn` names something that exists is for the caller to know: it comes from a row, or `resolve` has looked.
    """
    world, subject, resource = world_of(session).ask(subject, action, urn)
    return decide(world, subject, action, resource)


def allowed(session: Session, actor: Actor, action: str, urn: str) -> bool:
    """Whether `actor` may do `action` to the resource that `urn` names, as the store is now."""
    return decision(session, actor.subject, action, urn).allowed


def may_see(session: Session, actor: Actor, urn: str) -> bool:
    """Whether the actor may know of the resource. A role is seen by who may see it, or what it belongs to."""
    kind = resource_type(urn)
    if allowed(session, actor, f"{kind}:get", urn):
        return True
    if kind != "role":
        return False
    owner = urn.rsplit(":", 2)[0]
    return allowed(session, actor, f"{resource_type(owner)}:get", owner)


def authorise(session: Session, actor: Actor, action: str, urn: str) -> None:
    """Let pass or raise: `PermissionDenied` for what the actor may see, `NotFound` for what it may not even see.

    For an action `new` the `urn` is that of the organization, team or account in which the thing is to be.
    """
    decided = decision(session, actor.subject, action, urn)
    if decided.allowed:
        # The audit log's entry of the change says by what it was allowed, as it was before the change.
        session.info.setdefault(GRANTED_BY, {})[actor.subject.id, action] = decided.reason
        return
    kind = resource_type(urn)
    seen = may_see(session, actor, urn) or (ACTIONS[action].verb == "new" and _is_account_of(actor.subject, urn))
    if seen and action == "role:get":
        return
    if seen or actor.subject.stopped:
        shown = _readable(session, actor, urn)
        what = f"{action} on {shown} ({ACTIONS[action].opens})"
        message = f"{actor.full_name} may not do {what}: {decided.reason}"
        hint = refusals.who_could(session, actor.subject, action, urn, decided.reason, shown)
        raise Refused(message, hint, action, urn, decided.reason)
    reference = session.info.get(ASKED_AS, {}).get(urn)
    raise Hidden(*_no_such(session, actor, kind, reference), action, urn, decided.reason)


def _is_account_of(subject: Subject, urn: str) -> bool:
    """Whether it is the account that the job belongs to whose token asks: of that one the job's own row tells."""
    return subject.type == "job" and any(atom.pattern.startswith(f"{urn}:job:") for atom in subject.own)


def stopped(actor: Actor, action: str) -> Refused:
    """What somebody hears who may do nothing at all."""
    reason = actor.subject.stopped
    message = f"{actor.full_name} may not do {action}, or anything else: {reason}"
    return Refused(message, "ask an administrator of the organization", action, actor.organization_id, reason)


def _readable(session: Session, actor: Actor, urn: str) -> str:
    if urn.partition(":")[0] != actor.organization_id:
        return urn
    return named(session, session.get_one(Organization, actor.organization_id), [urn])[urn]


def no_such(kind: str, session: Session | None = None, actor: Actor | None = None, reference: str = "") -> NotFound:
    """The same words for what is not there and for what the caller may not see: they must not tell which.

    With what the caller wrote, the hint names something like it that they may see.
    """
    return NotFound(*_no_such(session, actor, kind, reference))


def _no_such(session: Session | None, actor: Actor | None, kind: str, reference: str | None) -> tuple[str, str]:
    if actor is not None and kind == "data" and actor.subject.type == "job" and actor.subject.also is None:
        return "no such data", refusals.ALONE
    hint = "check the id or the full name; you may also lack the right to see it"
    if session is not None and actor is not None and reference:
        meant = refusals.similar(session, actor.subject, kind, reference)
        hint = f"did you mean {meant}? Otherwise {hint}" if meant else hint
    return f"no such {kind}", hint


def hidden(error: NotFound, action: str, urn: str) -> Hidden:
    """The same words to the caller; for the audit log, that `action` on `urn` was refused."""
    return Hidden(error.message, error.hint, action, urn, f"no statement lets it be seen, so {action} neither")


def resource_type(urn: str) -> str:
    """`ORG:account:ID:job:ID` → `job`; of the organization's own URN `organization`."""
    parts = urn.split(":")
    return parts[-2] if len(parts) > 1 else "organization"


# --- lists ------------------------------------------------------------------------------------------------------------


def visible(session: Session, actor: Actor, action: str, model: type[Any]) -> ColumnElement[bool]:
    """The rows of `model` on which `action` is allowed to the actor, as a condition of a query. Archived ones included."""
    return visible_rows(session, actor.subject, action, model)
