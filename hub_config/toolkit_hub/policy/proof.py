"""Decisions that explain themselves, and the questions behind ``rule ls``, ``rule why`` and ``rule who-is-allowed``. Pure.

They ask the same world as `decide` and match by the same rules, so none of them can say something else than it does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .actions import ACTIONS
from .decision import Decision, decide, matching_atoms, reserved
from .matching import action_matches, actions_for, patterns_for, urn_matches
from .world import Atom, Held, Resource, Step, Subject, World

__all__ = ["Explanation", "Way", "explain", "rules", "who"]

_NEAREST = 5


@dataclass(frozen=True)
class Way:
    """From a subject through the groups that it is in (`steps`, none for what it holds itself) to what the last one holds."""

    steps: tuple[Step, ...]
    held: Held

    @property
    def subject_id(self) -> str:
        """Who has the right by it."""
        return self.steps[0].member_id if self.steps else self.held.subject_id


@dataclass(frozen=True)
class Explanation:
    """`proofs`: for a yes, a way for each statement that allows it, the shortest first. `nearest`: for a no, the ways to the
    statements that come closest. `smallest`: the one rule that would be enough."""

    decision: Decision
    smallest: Atom
    proofs: list[Way] = field(default_factory=list)
    nearest: list[Way] = field(default_factory=list)


def explain(world: World, subject: Subject, action: str, resource: Resource) -> Explanation:
    """The decision with its reasons. Raises `KeyError` for an action that was never declared."""
    decision = decide(world, subject, action, resource)
    smallest = Atom(action, resource.urn)
    if decision.allowed:
        found = matching_atoms(world, subject, action, resource)
        return Explanation(decision, smallest, proofs=_ways(world, subject, found))
    scored = [(_nearness(held.atom, action, resource.urn), held) for held in rules(world, subject)]
    close = [held for score, held in sorted(scored, key=lambda pair: -pair[0]) if score > 0][:_NEAREST]
    return Explanation(decision, smallest, nearest=_ways(world, subject, close, keep_order=True))


def rules(world: World, subject: Subject) -> list[Held]:
    """Every atom by which a decision for `subject` could be a yes, its own first. None while it is stopped."""
    if subject.stopped:
        return []
    own = [Held(atom, subject.id, "") for atom in subject.own]
    here = (subject.organization_id, "*")
    return own + [held for held in world.all_held(subject.roots) if held.atom.pattern.partition(":")[0] in here]


def who(world: World, action: str, resource: Resource) -> list[Way]:
    """For each user, team and role that may do `action` to `resource`, its shortest way; the nearest to a policy first.

    The ids are of any subject that there is: the caller keeps those of the resource's organization who can act now.
    Raises `KeyError` for an action that was never declared.
    """
    if action not in ACTIONS:
        raise KeyError(action)
    holders: dict[str, Held] = {}
    for held in world.holders(patterns_for(resource.urn), actions_for(action)):
        holders.setdefault(held.subject_id, held)
    below: dict[str, list[Step]] = {}
    for step in world.members(list(holders)):
        below.setdefault(step.group_id, []).append(step)
    ways = {subject_id: Way((), held) for subject_id, held in holders.items()}
    queue = deque(ways.items())
    while queue:
        group_id, way = queue.popleft()
        for step in below.get(group_id, ()):
            if step.member_id not in ways:
                ways[step.member_id] = Way((step, *way.steps), way.held)
                queue.append((step.member_id, ways[step.member_id]))
    return [way for subject_id, way in ways.items() if not reserved(subject_id, action, resource)]


def _ways(world: World, subject: Subject, found: Iterable[Held], keep_order: bool = False) -> list[Way]:
    paths = _paths(world.groups(subject.roots), subject.roots)
    ways = [Way(paths[held.subject_id], held) for held in found if held.subject_id in paths]
    return ways if keep_order else sorted(ways, key=lambda way: len(way.steps))


def _paths(steps: Sequence[Step], roots: Sequence[str]) -> dict[str, tuple[Step, ...]]:
    """The shortest path from a root to each group."""
    above: dict[str, list[Step]] = {}
    for step in steps:
        above.setdefault(step.member_id, []).append(step)
    paths: dict[str, tuple[Step, ...]] = dict.fromkeys(roots, ())
    queue = deque(roots)
    while queue:
        member_id = queue.popleft()
        for step in above.get(member_id, ()):
            if step.group_id not in paths:
                paths[step.group_id] = (*paths[member_id], step)
                queue.append(step.group_id)
    return paths


def _nearness(atom: Atom, action: str, urn: str) -> int:
    """How much of the question an atom answers; 0: nothing that would help to see what is missing.

    An atom on just this URN but for another action, and one for just this action but elsewhere, say most. The organization
    alone, which all URNs share, says nothing.
    """
    wanted, given = action.split(":"), atom.action.split(":")
    fits_action = action_matches(atom.action, action)
    fits_urn = urn_matches(atom.pattern, urn)
    same_type = given[0] in ("*", wanted[0])
    shared = 0
    for part, segment in zip(atom.pattern.split(":"), urn.split(":"), strict=False):
        if part not in ("*", segment):
            break
        shared += 1
    if fits_urn:
        return 20 + 2 * same_type
    if fits_action:
        return 10 + shared
    return shared if same_type and shared > 1 else 0
