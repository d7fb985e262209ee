"""A world of access as Cedar policies: the second opinion of an engine that has nothing in common with ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cedarpy

from tests.support.worlds import CARRIED, MemoryWorld
from toolkit_hub.policy.actions import ACTIONS
from toolkit_hub.policy.matching import actions_for
from toolkit_hub.policy.statements import Statement
from toolkit_hub.policy.world import Resource, Subject

_VETOES = """
forbid(principal, action, resource) when { principal.stopped };
forbid(principal, action, resource) when { principal.organization != resource.s0 };
forbid(principal, action, resource) when { resource.stopped } unless { context.verb == "lock" };
forbid(principal, action == Action::"job:exec", resource)
  when { resource has private_to && principal.name != resource.private_to };
forbid(principal, action, resource) when { principal.carried } unless { context.carried };
"""


def decisions(
    world: MemoryWorld, subject: Subject, questions: Sequence[tuple[str, Resource]], policies: str | None = None
) -> list[bool]:
    """Cedar's answers. `policies`: those of `policy_text(world)`, where they are made once for many subjects."""
    requests = [_request(subject, action, resource) for action, resource in questions]
    text = (policies or policy_text(world)) + "".join(
        permit(subject.id, Statement((atom.action,), (atom.pattern,)), "==") for atom in subject.own
    )
    entities = _subjects(world, subject) + list({_resource_uid(r): _resource(r) for _, r in questions}.values())
    entities += [_action(action) for action in dict.fromkeys(action for action, _ in questions)]
    return [answer.allowed for answer in cedarpy.is_authorized_batch(requests, text, entities)]


def request(
    world: MemoryWorld, subject: Subject, action: str, resource: Resource
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One question, and the entities that Cedar has to know for it."""
    return _request(subject, action, resource), [*_subjects(world, subject), _resource(resource), _action(action)]


def policy_text(world: MemoryWorld) -> str:
    """Everything that the world's living policies say."""
    living = [p for p in world.policies if p.expires is None or p.expires > world.now]
    return _VETOES + "".join(
        permit(policy.subject_id, policy.statement) for policy in living if policy.subject_id not in world.locked_roles
    )


def permit(holder: str, statement: Statement, relation: str = "in") -> str:
    actions = ", ".join(f'Action::"{action}"' for action in statement.actions)
    conditions = " || ".join(map(_condition, statement.patterns))
    return (
        f'permit(principal {relation} Subject::"{holder}", action in [{actions}], resource) when {{ {conditions} }};\n'
    )


def _condition(pattern: str) -> str:
    segments = pattern.split(":")
    if "*" not in segments:
        return f'resource == Resource::"{pattern}"'
    conditions = [f"resource.n {'>=' if segments[-1] == '*' else '=='} {len(segments)}"]
    conditions += [f'resource.s{index} == "{part}"' for index, part in enumerate(segments) if part != "*"]
    return f"({' && '.join(conditions)})"


def _action(name: str) -> dict[str, Any]:
    """Action patterns are groups, which the actions that they match are in."""
    groups = [{"type": "Action", "id": pattern} for pattern in actions_for(name) if pattern != name]
    return {"uid": {"type": "Action", "id": name}, "parents": groups, "attrs": {}}


def _request(subject: Subject, action: str, resource: Resource) -> dict[str, Any]:
    return {
        "principal": f'Subject::"{subject.id}"',
        "action": f'Action::"{action}"',
        "resource": _resource_uid(resource),
        "context": {"verb": ACTIONS[action].verb, "carried": action in CARRIED},
    }


def _subjects(world: MemoryWorld, subject: Subject) -> list[dict[str, Any]]:
    parents: dict[str, set[str]] = {}
    for step in world.memberships:
        alive = step.expires is None or step.expires > world.now
        if alive and not world.locked_roles & {step.member_id, step.group_id}:
            parents.setdefault(step.member_id, set()).add(step.group_id)
    if subject.also is not None:
        parents.setdefault(subject.id, set()).add(subject.also)
    names, further = {subject.id}, [subject.id]
    while further:
        further = [group for group in parents.get(further.pop(), ()) if group not in names] + further
        names.update(further)
    return [
        {
            "uid": {"type": "Subject", "id": name},
            "parents": [{"type": "Subject", "id": group} for group in sorted(parents.get(name, ()))],
            "attrs": {
                "name": name,
                "carried": name == subject.id and bool(subject.carried_by),
                "stopped": name == subject.id and bool(subject.stopped),
                "organization": subject.organization_id,
            },
        }
        for name in sorted(names)
    ]


def _resource_uid(resource: Resource) -> str:
    return f'Resource::"{resource.urn}"'


def _resource(resource: Resource) -> dict[str, Any]:
    segments = resource.urn.split(":")
    attributes: dict[str, Any] = {f"s{index}": segment for index, segment in enumerate(segments)}
    attributes |= {"n": len(segments), "stopped": bool(resource.stopped)}
    if resource.private_to is not None:
        attributes["private_to"] = resource.private_to
    return {"uid": {"type": "Resource", "id": resource.urn}, "parents": [], "attrs": attributes}
