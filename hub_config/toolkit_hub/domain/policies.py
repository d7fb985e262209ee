"""Policies: the statements that users, teams and roles hold."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from toolkit_client.access_models import NewPolicy
from toolkit_client.access_models import Policy as WirePolicy
from toolkit_client.errors import Conflict, InvalidRequest, NotFound
from toolkit_hub import clock
from toolkit_hub.domain import granting, idempotency, owners, resolve
from toolkit_hub.domain.access import Actor, Refused, authorise, may_see, no_such, resource_type
from toolkit_hub.domain.changes import tell
from toolkit_hub.domain.names import check_expiry
from toolkit_hub.policy.statements import Statement, parse_statement
from toolkit_hub.store.access_tables import Policy, PolicyAtom, Role, Team
from toolkit_hub.store.tables import Organization, User, new_id

__all__ = ["add_policy", "attach", "list_policies", "read_statement", "remove_policies", "remove_policy"]

#: Characters of one URN pattern; each is an index entry.
LONGEST_PATTERN = 255

Subject = User | Team | Role


def list_policies(
    session: Session, actor: Actor, subject_type: str, ref: str, owner_type: str | None = None
) -> list[WirePolicy]:
    """What the subject itself holds, in the order of writing. A user's are for whoever may change them, and for the user."""
    subject = _find(session, actor, subject_type, ref, owner_type)
    if isinstance(subject, Role):
        authorise(session, actor, "role:get", subject.urn)
    elif isinstance(subject, Team):
        authorise(session, actor, "team:get", subject.urn)
    elif subject.id != actor.subject.id:
        authorise(session, actor, "user:policy", subject.urn)
    query = (
        select(Policy)
        .where(Policy.subject_id == subject.id, Policy.expires.is_(None) | (Policy.expires > clock.now()))
        .order_by(
            Policy.created, select(PolicyAtom.id).where(PolicyAtom.policy_id == Policy.id).limit(1).scalar_subquery()
        )
    )
    return _to_wire(session, actor, list(session.scalars(query)))


def add_policy(
    session: Session,
    actor: Actor,
    subject_type: str,
    ref: str,
    new: NewPolicy,
    idempotency_key: str | None = None,
    owner_type: str | None = None,
) -> tuple[WirePolicy, bool]:
    """Attach a statement; returns the policy, and whether it is new.

    Raises `InvalidRequest` for a statement that means nothing here, `PermissionDenied` for one that gives more than the
    actor holds.
    """
    subject = _find(session, actor, subject_type, ref, owner_type)
    action = f"{subject_type}:policy"
    authorise(session, actor, action, subject.urn)
    request = f"POST policies {subject.id} {new.model_dump_json()}"
    known = idempotency.replayed(session, actor, idempotency_key, request)
    if known is not None:
        return _made_before(session, actor, known), False
    policy = write_policy(session, actor, subject, new.policy, new.expires)
    idempotency.remember(session, actor, idempotency_key, request, policy.id)
    return _to_wire(session, actor, [policy])[0], True


def write_policy(
    session: Session, actor: Actor, subject: Subject, text: str, expires: datetime | None = None
) -> Policy:
    """Check and attach one statement. The caller has asked whether the actor may attach policies to `subject`."""
    check_expiry(expires)
    statement = read_statement(session, actor, text)
    _check_grant(session, actor, statement, expires)
    type_ = _type_of(subject)
    policy = attach(session, (type_, subject.id), statement, actor.full_name, expires)
    _tell(session, actor, f"{type_}.policy_added", subject, policy)
    return policy


def remove_policy(
    session: Session, actor: Actor, subject_type: str, ref: str, policy_id: str, owner_type: str | None = None
) -> WirePolicy:
    """Take a policy away from its subject. Raises `Conflict` for the one that makes a predefined `admin` role one."""
    subject = _find(session, actor, subject_type, ref, owner_type)
    authorise(session, actor, f"{subject_type}:policy", subject.urn)
    policy = session.get(Policy, policy_id) if policy_id.isprintable() else None
    if policy is None or policy.subject_id != subject.id:
        raise NotFound(f"this {subject_type} has no such policy", "see its policies with `policy ls`")
    if isinstance(subject, Role) and subject.predefined and subject.name == "admin":
        everything = f"*@{owners.owner_urn(subject)}+{owners.owner_urn(subject)}:*"
        if policy.statement == everything and policy.expires is None:
            raise Conflict("the role `admin` keeps the policy that it was made with", "remove members of it instead")
    shown = _to_wire(session, actor, [policy])[0]
    _tell(session, actor, f"{subject_type}.policy_removed", subject, policy)
    _delete(session, [policy.id])
    return shown


def remove_policies(session: Session, subject_id: str) -> None:
    """All that the subject itself holds: it is being archived."""
    session.flush()
    _delete(session, list(session.scalars(select(Policy.id).where(Policy.subject_id == subject_id))))


def attach(
    session: Session, subject: tuple[str, str], statement: Statement, by: str, expires: datetime | None = None
) -> Policy:
    """Store a statement with its atoms; `subject` is a type and an id. Asks nothing: the caller has."""
    policy = Policy(
        id=new_id(),
        subject_type=subject[0],
        subject_id=subject[1],
        statement=str(statement),
        expires=expires,
        created=clock.now(),
        created_by=by,
    )
    session.add(policy)
    session.flush()
    for atom in statement.atoms:
        session.add(
            PolicyAtom(
                policy_id=policy.id, subject_id=subject[1], action=atom.action, pattern=atom.pattern, expires=expires
            )
        )
    session.flush()
    return policy


def read_statement(session: Session, actor: Actor, text: str) -> Statement:
    """The statement that `text` is, with ids where it has names. Raises `InvalidRequest`, `NotFound`."""
    parsed = parse_statement(text)
    patterns = dict.fromkeys(resolve.resolve_urn(session, actor, pattern) for pattern in parsed.patterns)
    for pattern in patterns:
        if len(pattern) > LONGEST_PATTERN:
            raise InvalidRequest(
                f"the URN {pattern[:40]}… has {len(pattern)} characters, and the longest there is has {LONGEST_PATTERN}",
                "use ids, or a wildcard further to the left",
            )
    return Statement(parsed.actions, tuple(patterns))


def _check_grant(session: Session, actor: Actor, statement: Statement, expires: datetime | None) -> None:
    """A refusal must not tell that something is there which the actor may not see."""
    try:
        granting.check_statement(session, actor, statement.atoms, expires)
    except Refused:
        for pattern in statement.patterns:
            thing = _nearest_thing(pattern, actor.organization_id)
            if thing is not None and not may_see(session, actor, thing):
                raise no_such(resource_type(thing)) from None
        raise


def _nearest_thing(pattern: str, organization_id: str) -> str | None:
    """URN of the one thing that the pattern names, or in which all is that it matches; None: it is not below one thing."""
    named = pattern.split(":*", 1)[0].split(":")
    whole = named[: len(named) - (len(named) + 1) % 2]
    return ":".join(whole) if len(whole) > 1 and whole[0] == organization_id else None


def _find(session: Session, actor: Actor, subject_type: str, ref: str, owner_type: str | None) -> Subject:
    match subject_type:
        case "user":
            return resolve.find_user(session, actor, ref)
        case "team":
            return resolve.find_team(session, actor, ref)
        case "role":
            return resolve.find_role(session, actor, ref, owner_type)
        case _:
            raise InvalidRequest(f"{subject_type[:40]!r} holds no policies", "users, teams and roles do")


def _type_of(subject: Subject) -> str:
    return type(subject).__name__.lower()


def _delete(session: Session, policy_ids: list[str]) -> None:
    session.execute(delete(PolicyAtom).where(PolicyAtom.policy_id.in_(policy_ids)))
    session.execute(delete(Policy).where(Policy.id.in_(policy_ids)))


def _made_before(session: Session, actor: Actor, policy_id: str) -> WirePolicy:
    policy = session.get(Policy, policy_id)
    if policy is None:
        raise Conflict("the policy that this Idempotency-Key made has been removed", "send a new key for a new policy")
    return _to_wire(session, actor, [policy])[0]


def _tell(session: Session, actor: Actor, type_: str, subject: Subject, policy: Policy) -> None:
    private = {"statement": policy.statement, "expires": policy.expires}
    tell(session, actor, f"{_type_of(subject)}:policy", type_, subject.urn, private, policy=policy.id)


def _to_wire(session: Session, actor: Actor, policies: list[Policy]) -> list[WirePolicy]:
    statements = {policy.id: parse_statement(policy.statement) for policy in policies}
    patterns = [pattern for statement in statements.values() for pattern in statement.patterns]
    names = resolve.named(session, session.get_one(Organization, actor.organization_id), patterns)
    return [
        WirePolicy(
            id=policy.id,
            policy=policy.statement,
            named=str(
                Statement(
                    statements[policy.id].actions,
                    tuple(names.get(pattern, pattern) for pattern in statements[policy.id].patterns),
                )
            ),
            expires=policy.expires,
            created=policy.created,
            created_by=policy.created_by,
        )
        for policy in policies
    ]
