"""Grant only what you hold: what each new statement, membership and key has to pass.

A *grant* is a list of atoms and how long each will be held. It passes when every atom lies within one atom that the actor
holds for at least as long; or when the actor has the right to give more: `role:escalate` for statements, `role:bind` for
memberships and keys. Both are asked of the organization, so that nobody has them by administering an account.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_hub import clock
from toolkit_hub.domain import refusals
from toolkit_hub.domain.access import Actor, Refused, decision
from toolkit_hub.domain.memberships import groups_above
from toolkit_hub.policy.grants import earlier, not_held
from toolkit_hub.policy.world import Atom, Held
from toolkit_hub.store.access_tables import Lock, PolicyAtom

__all__ = ["check_joining", "check_statement", "held_by", "held_by_group"]

#: Atoms named in a refusal.
TOLD = 3


def check_statement(session: Session, actor: Actor, atoms: Sequence[Atom], until: datetime | None) -> None:
    """May the actor attach a policy of these atoms that lasts until `until`? Raises `PermissionDenied`."""
    grants = [Held(atom, "", "", until) for atom in atoms]
    _check(session, actor, grants, "role:escalate", "write a policy of")


def check_joining(session: Session, actor: Actor, group_id: str, until: datetime | None) -> None:
    """May the actor make somebody a member of the group, or a key of the role, until `until`? Raises `PermissionDenied`.

    The newcomer gets whatever the group holds, and the groups that it is in. What a locked role would give counts: it may
    be unlocked again.
    """
    grants = [
        Held(held.atom, held.subject_id, held.policy_id, earlier(held.expires, until))
        for held in _rights(session, groups_above(session, [group_id]))
    ]
    _check(session, actor, grants, "role:bind", "hand on")


def held_by(session: Session, actor: Actor) -> list[Held]:
    """All that the actor holds now, each until the end of the way to it that lasts longest."""
    subject = actor.subject
    locked = set(session.scalars(select(Lock.resource_id)))
    own = [Held(atom, subject.id, "") for atom in subject.own]
    return own + _rights(session, groups_above(session, subject.roots, without=locked))


def held_by_group(session: Session, group_id: str) -> list[Atom]:
    """All that members of the group have by it."""
    return [held.atom for held in _rights(session, groups_above(session, [group_id]))]


def _rights(session: Session, until: dict[str, datetime | None]) -> list[Held]:
    session.flush()
    query = (
        select(PolicyAtom)
        .where(PolicyAtom.subject_id.in_(until), PolicyAtom.expires.is_(None) | (PolicyAtom.expires > clock.now()))
        .order_by(PolicyAtom.id)
    )
    return [
        Held(Atom(row.action, row.pattern), row.subject_id, row.policy_id, earlier(row.expires, until[row.subject_id]))
        for row in session.scalars(query)
    ]


def _check(session: Session, actor: Actor, grants: Iterable[Held], waiver: str, verb: str) -> None:
    wanted: dict[datetime | None, list[Atom]] = {}
    for grant in grants:
        wanted.setdefault(grant.expires, []).append(grant.atom)
    held = held_by(session, actor)
    missing = [(atom, until) for until, atoms in wanted.items() for atom in not_held(held, atoms, until)]
    if not missing:
        return
    organization = actor.organization_id
    waived = decision(session, actor.subject, waiver, organization)
    if waived.allowed:
        return
    atoms = list(dict.fromkeys(atom for atom, _ in missing))
    if not not_held(held, atoms, clock.now()):
        message = f"{actor.full_name} holds {_listed(atoms)}, but not for as long as that would last"
        hint = "give an earlier expiry with --expires, or ask somebody who holds it for longer"
    else:
        message = f"{actor.full_name} may not {verb} what {actor.full_name} does not hold: {_listed(atoms)}"
        who = refusals.who_could(session, actor.subject, waiver, organization, waived.reason)
        hint = f"ask somebody who holds it, or who has {waiver} on the organization: {who}"
    raise Refused(message, hint, waiver, organization, f"not held: {_listed(atoms)}")


def _listed(atoms: Sequence[Atom]) -> str:
    told = ", ".join(str(atom) for atom in atoms[:TOLD])
    return told if len(atoms) <= TOLD else f"{told} and {len(atoms) - TOLD} more"
