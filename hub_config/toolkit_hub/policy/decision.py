"""May this user do that? Pure: everything that counts is in the arguments.

The rules so far: administrators may do everything, owners everything to what is theirs, members of the organization may see
it and its users. A user's own server carries its user's rights inside, so nobody else may ever run code there.
"""

from __future__ import annotations

from dataclasses import dataclass

from .actions import ACTIONS

__all__ = ["Resource", "Subject", "decide"]


@dataclass(frozen=True)
class Subject:
    """Who asks."""

    user_id: str
    organization_id: str
    admin: bool


@dataclass(frozen=True)
class Resource:
    """What is asked for: its URN, who owns it, and whether its owner's rights are open to whoever runs code in it."""

    urn: str
    owner_ids: frozenset[str] = frozenset()
    carries_owner_rights: bool = False

    @property
    def organization_id(self) -> str:
        return self.urn.partition(":")[0]


def decide(subject: Subject, action: str, resource: Resource) -> bool:
    """Whether `subject` may do `action` to `resource`. Raises `KeyError` for an action that was never declared."""
    declared = ACTIONS[action]
    if subject.organization_id != resource.organization_id:
        return False
    if subject.user_id in resource.owner_ids:
        return True
    if resource.carries_owner_rights and declared.name == "job:exec":
        return False
    return subject.admin or declared.name in ("organization:get", "user:get")
