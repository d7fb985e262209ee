"""What the engine reasons about, and the few questions that it asks of whoever keeps it: the store, or a test's own world."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

__all__ = ["Atom", "Held", "Resource", "Step", "Subject", "World"]


class Atom(NamedTuple):
    """One action pattern on one URN pattern, as ``data:*`` on ``ORG:account:ID:*``."""

    action: str
    pattern: str

    def __str__(self) -> str:
        return f"{self.action}@{self.pattern}"


@dataclass(frozen=True)
class Held:
    """An atom that a subject holds by a policy of its own; `expires` is when that policy ends."""

    atom: Atom
    subject_id: str
    policy_id: str
    expires: datetime | None = None


@dataclass(frozen=True)
class Step:
    """A membership: who is in `member_id` is in `group_id` (a team or a role), until `expires`."""

    member_id: str
    group_id: str
    expires: datetime | None = None


@dataclass(frozen=True)
class Subject:
    """Who asks: a user, a role (by its key), or a job (by its own token).

    `own` are rights that need no policy: a job's on itself. `also` is the role whose rights a job's token has besides.
    `stopped` says why every decision is no (locked, disabled); empty: it is not. `carried_by`: of a user, the id of the job
    whose token acts for them, which may do less than they themselves.
    """

    id: str
    type: str
    organization_id: str
    stopped: str = ""
    own: tuple[Atom, ...] = ()
    also: str | None = None
    carried_by: str = ""

    @property
    def roots(self) -> tuple[str, ...]:
        """The ids whose rights it has."""
        return (self.id,) if self.also is None else (self.id, self.also)


@dataclass(frozen=True)
class Resource:
    """What is asked about. `stopped`: why every decision about it is no. `private_to`: the one user who may run code in it."""

    urn: str
    stopped: str = ""
    private_to: str | None = None

    @property
    def organization_id(self) -> str:
        return self.urn.partition(":")[0]


class World(Protocol):
    """Memberships and policies as they are now. What has expired, and what hangs on a locked role, is not in it."""

    def held(self, roots: Sequence[str], patterns: Collection[str], actions: Collection[str]) -> list[Held]:
        """The atoms made of these patterns and actions that `roots`, or a group that they are in at any depth, hold."""

    def all_held(self, roots: Sequence[str]) -> list[Held]:
        """Every atom that `roots`, or a group that they are in at any depth, hold; in the order of `groups`, then of writing."""

    def holders(self, patterns: Collection[str], actions: Collection[str]) -> list[Held]:
        """The atoms made of these patterns and actions, whoever holds them."""

    def groups(self, roots: Sequence[str]) -> list[Step]:
        """The memberships by which `roots` are in groups, nearest first: a path to each group, the shortest one."""

    def members(self, groups: Collection[str]) -> list[Step]:
        """The memberships below these groups, nearest first: a path from each group to each member at any depth."""
