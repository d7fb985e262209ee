"""The answers to "who may do what, and why?". Every one comes from the engine that also decides."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.access_models import Allowed, HeldRule, Proof, ProofStep, RuleAnswer, WhoIsAllowed
from toolkit_client.errors import NotFound
from toolkit_hub.domain import refusals, resolve
from toolkit_hub.domain.access import (
    Actor,
    actor_by_id,
    authorise,
    decision,
    hidden,
    may_see,
    no_such,
    resource_type,
    world_of,
)
from toolkit_hub.domain.subjects import known_subjects
from toolkit_hub.policy import proof
from toolkit_hub.policy.proof import Explanation, Way
from toolkit_hub.policy.statements import parse_question
from toolkit_hub.policy.world import Atom, Step, Subject
from toolkit_hub.store.access_tables import Policy
from toolkit_hub.store.tables import Organization

__all__ = ["allowed", "list_rules", "who_is_allowed", "why"]


def list_rules(session: Session, actor: Actor, user: str | None = None) -> list[HeldRule]:
    """What the actor, or another user, holds: own policies first, then those of the organization's roles, of teams, of
    accounts. Raises `PermissionDenied` for another user without user:policy on them."""
    subject, _ = _subject(session, actor, user)
    held = proof.rules(world_of(session), subject)
    names = _names(session, actor, {one.subject_id for one in held})
    readable = _named(session, actor, (one.atom.pattern for one in held))
    return [
        HeldRule(
            action=one.atom.action,
            expression=one.atom.pattern,
            named=readable[one.atom.pattern],
            via=names.get(one.subject_id, (subject.type, one.subject_id))[1],
            policy_id=one.policy_id,
            expires=one.expires,
        )
        for one in held
    ]


def allowed(session: Session, actor: Actor, rule: str) -> Allowed:
    """Whether the actor may do it. Always answered; what is not there, nobody may do anything to."""
    question = parse_question(rule)
    try:
        urn = resolve.resolve_urn(session, actor, question.pattern)
    except NotFound:
        return Allowed(allowed=False)
    return Allowed(allowed=decision(session, actor.subject, question.action, urn).allowed)


def who_is_allowed(session: Session, actor: Actor, rule: str) -> list[WhoIsAllowed]:
    """Every user, and every role with a living key, that may do it; users first, by name. All of them or an error.

    Raises `NotFound` for a resource that the actor may not see.
    """
    question = _visible_question(session, actor, rule)
    world = world_of(session)
    _, _, resource = world.ask(actor.subject, question.action, question.pattern)
    ways = {way.subject_id: way for way in proof.who(world, question.action, resource)}
    known = known_subjects(session, {id_ for way in ways.values() for id_ in _ids(way)}, resource.organization_id)
    names = {id_: (one.type, one.name) for id_, one in known.items()}
    acting = sorted((one.type == "role", one.name, id_) for id_, one in known.items() if one.acts and id_ in ways)
    return [
        WhoIsAllowed(type="role" if is_role else "user", name=name, id=id_, via=_via(ways[id_], names))
        for is_role, name, id_ in acting
    ]


def why(session: Session, actor: Actor, rule: str, user: str | None = None) -> RuleAnswer:
    """The decision for the actor, or another user, with its proofs; for a no the nearest statements and who could help.

    Raises `NotFound` for a resource that the actor may not see, `PermissionDenied` for another user without user:policy.
    """
    question = _visible_question(session, actor, rule)
    subject, name = _subject(session, actor, user)
    world = world_of(session)
    _, subject, resource = world.ask(subject, question.action, question.pattern)
    found = proof.explain(world, subject, question.action, resource)
    grantable = not found.decision.allowed and not found.decision.vetoed
    return RuleAnswer(
        allowed=found.decision.allowed,
        subject=name,
        action=question.action,
        urn=question.pattern,
        named=_named(session, actor, [question.pattern])[question.pattern],
        reason="" if found.decision.allowed else found.decision.reason,
        grantors=_grantors(session, actor, question, subject.id) if grantable else [],
        smallest=str(found.smallest) if grantable else "",
        **_proofs(session, actor, subject, name, found),
    )


# --- the question -----------------------------------------------------------------------------------------------------


def _visible_question(session: Session, actor: Actor, rule: str) -> Atom:
    question = parse_question(rule)
    urn = resolve.resolve_urn(session, actor, question.pattern)
    if not may_see(session, actor, urn):
        kind = resource_type(urn)
        raise hidden(no_such(kind), f"{kind}:get", urn)
    return Atom(question.action, urn)


def _subject(session: Session, actor: Actor, user: str | None) -> tuple[Subject, str]:
    if user is None:
        return world_of(session).now_of(actor.subject), actor.full_name
    row = resolve.find_user(session, actor, user)
    if row.id != actor.subject.id:
        authorise(session, actor, "user:policy", row.urn)
    other = actor_by_id(session, row.id)
    if other is None:
        raise no_such("user")
    return other.subject, other.full_name


# --- the answer in words ----------------------------------------------------------------------------------------------


def _proofs(session: Session, actor: Actor, subject: Subject, name: str, found: Explanation) -> dict[str, list[Proof]]:
    proofs, nearest = _once_each(found.proofs), _once_each(found.nearest)
    ways = [*proofs, *nearest]
    names = _names(session, actor, {id_ for way in ways for id_ in _ids(way)})
    names[subject.id] = (subject.type, name)
    ids = {way.held.policy_id for way in ways}
    found_statements = session.execute(select(Policy.id, Policy.statement).where(Policy.id.in_(ids)))
    statements = {row[0]: row[1] for row in found_statements}
    texts = {way.held.policy_id: statements.get(way.held.policy_id, str(way.held.atom)) for way in ways}
    readable = {text: _named_statement(session, actor, text) for text in texts.values()}

    def told(way: Way) -> Proof:
        text = texts[way.held.policy_id]
        first = way.steps[0].member_id if way.steps else way.held.subject_id
        path = [_step(names, first, None), *(_step(names, step.group_id, step) for step in way.steps)]
        expires = way.held.expires
        return Proof(path=path, statement=text, named=readable[text], policy_id=way.held.policy_id, expires=expires)

    return {"proofs": [told(way) for way in proofs], "nearest": [told(way) for way in nearest]}


def _once_each(ways: Iterable[Way]) -> list[Way]:
    """A statement is told as a whole, so of several of its rules the first is enough."""
    found: dict[object, Way] = {}
    for way in ways:
        found.setdefault((way.held.policy_id or way.held.atom, way.steps), way)
    return [*found.values()]


def _step(names: dict[str, tuple[str, str]], id_: str, step: Step | None) -> ProofStep:
    kind, name = names.get(id_, ("", id_))
    return ProofStep(type=kind, name=name, id=id_, expires=step.expires if step else None)


def _grantors(session: Session, actor: Actor, question: Atom, subject_id: str) -> list[str]:
    """Users who may do it themselves and so can give it on, as far as the actor may know of them."""
    world = world_of(session)
    _, _, resource = world.ask(actor.subject, question.action, question.pattern)
    ids = [way.subject_id for way in proof.who(world, question.action, resource) if way.subject_id != subject_id]
    return refusals.known_users(session, actor.subject, ids, resource.organization_id)


def _named_statement(session: Session, actor: Actor, text: str) -> str:
    actions, _, urns = text.partition("@")
    patterns = urns.split("+")
    readable = _named(session, actor, patterns)
    return f"{actions}@{'+'.join(readable[pattern] for pattern in patterns)}"


def _named(session: Session, actor: Actor, urns: Iterable[str]) -> dict[str, str]:
    return resolve.named(session, session.get_one(Organization, actor.organization_id), list(urns))


def _ids(way: Way) -> list[str]:
    return [way.subject_id, *(step.group_id for step in way.steps)]


def _via(way: Way, names: dict[str, tuple[str, str]]) -> str:
    """`acme.alice > team acme.cocos > role acme.joe.x.user`: a user and a team may have the same name."""
    first, *groups = _ids(way)
    return " > ".join([names.get(first, ("", first))[1], *(" ".join(names.get(id_, ("", id_))) for id_ in groups)])


def _names(session: Session, actor: Actor, ids: set[str]) -> dict[str, tuple[str, str]]:
    """id → type and full name, of users, teams, roles and jobs."""
    return {id_: (one.type, one.name) for id_, one in known_subjects(session, ids, actor.organization_id).items()}
