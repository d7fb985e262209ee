"""May this subject do that? Deny by default; statements only allow, so their order never matters. Pure.

1. Who is stopped (locked, disabled) may nothing, and to what is stopped nothing may be done but locking and unlocking it.
2. Nothing reaches into another organization.
3. Where code runs with its user's rights (their own server, their interactive jobs), nobody else ever runs code.
4. The token of such a job may do what its user may, but for what would outlast the job: giving rights, taking them away.
5. Otherwise one atom that matches, held by the subject or a group that it is in at any depth, is enough.
"""

from __future__ import annotations

from dataclasses import dataclass

from .actions import ACTIONS
from .matching import actions_for, patterns_for, urn_matches
from .world import Held, Resource, Subject, World

__all__ = ["Decision", "decide", "matching_atoms", "reserved", "veto", "withheld"]


#: Why not, when there is no veto.
NOTHING_ALLOWS = "no statement allows it"


@dataclass(frozen=True)
class Decision:
    """`held` is the atom that allows it, `reason` the same in words, or why not. `vetoed`: no statement could allow it."""

    allowed: bool
    held: Held | None
    reason: str
    vetoed: bool = False


def decide(world: World, subject: Subject, action: str, resource: Resource) -> Decision:
    """Whether `subject` may do `action` to `resource`. Raises `KeyError` for an action that was never declared."""
    if action not in ACTIONS:
        raise KeyError(action)
    refusal = veto(subject, action, resource)
    if refusal:
        return Decision(False, None, refusal, vetoed=True)
    found = matching_atoms(world, subject, action, resource)
    if found:
        return Decision(True, found[0], f"allowed by {found[0].atom}")
    return Decision(False, None, NOTHING_ALLOWS)


def veto(subject: Subject, action: str, resource: Resource) -> str:
    """Why it is no, whatever statements say; empty: they decide."""
    if subject.stopped:
        return subject.stopped
    if subject.organization_id != resource.organization_id:
        return "it belongs to another organization"
    if withheld(subject, action):
        return f"that is not among what a job may do with its user's rights, and this is the token of job {subject.carried_by}"
    return reserved(subject.id, action, resource)


def withheld(subject: Subject, action: str) -> bool:
    """Whether it is left out of the rights that a job carries, whatever its user holds."""
    return bool(subject.carried_by) and not ACTIONS[action].carried


def reserved(subject_id: str, action: str, resource: Resource) -> str:
    """The part of `veto` that comes from the resource alone."""
    if resource.stopped and ACTIONS[action].verb != "lock":
        return resource.stopped
    if action == "job:exec" and resource.private_to not in (None, subject_id):
        owner = resource.private_name or resource.private_to
        return f"this job carries the rights of {owner}; only {owner} can enter it"
    return ""


def matching_atoms(world: World, subject: Subject, action: str, resource: Resource) -> list[Held]:
    """The atoms by which `subject` may do `action` to `resource`, unless there is a veto."""
    actions = actions_for(action)
    own = [
        Held(atom, subject.id, "")
        for atom in subject.own
        if atom.action in actions and urn_matches(atom.pattern, resource.urn)
    ]
    return own + world.held(subject.roots, patterns_for(resource.urn), actions)
