"""Worlds of access in memory: memberships and policies, a second and simpler answer to every question, and random ones.

Ids are short words, the same for the store's tests, which write a world's rows as they are here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from toolkit_hub.policy.actions import ACTIONS, RESOURCE_TYPES
from toolkit_hub.policy.statements import Statement, parse_statement
from toolkit_hub.policy.world import Held, Resource, Step, Subject

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
PAST, SOON, LATER = NOW - timedelta(days=1), NOW + timedelta(days=1), NOW + timedelta(days=30)

ORGANIZATION, FOREIGN = "org", "other"
USERS = ("u1", "u2", "u3")
TEAMS = ("t1", "t2", "t3")
ROLES = ("r1", "r2", "r3", "r4")
#: Somebody of another organization, with a role of it.
FOREIGN_USER, FOREIGN_ROLE = "x1", "q1"
SUBJECTS = (*USERS, *TEAMS, *ROLES)
#: Where a role belongs: its URN without the last two segments.
ROLE_OWNERS = {
    "r1": ORGANIZATION,
    "r2": f"{ORGANIZATION}:team:t1",
    "r3": f"{ORGANIZATION}:account:a1",
    "r4": f"{ORGANIZATION}:account:a2",
}
ACCOUNTS, JOBS, DATA = ("a1", "a2"), ("j1", "j2"), ("d1", "d2")

#: Every resource that there is in a random world, by its type; and a few of another organization.
URNS: dict[str, tuple[str, ...]] = {
    "organization": (ORGANIZATION,),
    "user": tuple(f"{ORGANIZATION}:user:{name}" for name in USERS),
    "team": tuple(f"{ORGANIZATION}:team:{name}" for name in TEAMS),
    "account": tuple(f"{ORGANIZATION}:account:{name}" for name in ACCOUNTS),
    "role": tuple(f"{owner}:role:{name}" for name, owner in ROLE_OWNERS.items()),
    "job": tuple(f"{ORGANIZATION}:account:{account}:job:{account}-{name}" for account in ACCOUNTS for name in JOBS),
    "data": tuple(f"{ORGANIZATION}:account:{account}:data:{account}-{name}" for account in ACCOUNTS for name in DATA),
}
ALL_URNS = tuple(urn for urns in URNS.values() for urn in urns)
FOREIGN_URNS = (FOREIGN, f"{FOREIGN}:user:x1", f"{FOREIGN}:account:a1", f"{FOREIGN}:account:a1:job:a1-j1")


@dataclass(frozen=True)
class PolicyRow:
    """A policy of `subject_id`."""

    id: str
    subject_id: str
    statement: Statement
    expires: datetime | None = None


@dataclass
class MemoryWorld:
    """Implements `toolkit_hub.policy.world.World`. `policies` are in the order in which they were written."""

    policies: list[PolicyRow] = field(default_factory=list)
    memberships: list[Step] = field(default_factory=list)
    locked_roles: frozenset[str] = frozenset()
    now: datetime = NOW

    def held(self, roots: Sequence[str], patterns: Collection[str], actions: Collection[str]) -> list[Held]:
        return [one for one in self.all_held(roots) if one.atom.pattern in patterns and one.atom.action in actions]

    def all_held(self, roots: Sequence[str]) -> list[Held]:
        holders = [root for root in roots if root not in self.locked_roles]
        holders += [step.group_id for step in self.groups(roots)]
        order = list(dict.fromkeys(holders))
        return sorted(
            (one for one in self._atoms() if one.subject_id in order), key=lambda one: order.index(one.subject_id)
        )

    def holders(self, patterns: Collection[str], actions: Collection[str]) -> list[Held]:
        return [one for one in self._atoms() if one.atom.pattern in patterns and one.atom.action in actions]

    def groups(self, roots: Sequence[str]) -> list[Step]:
        return self._walk(roots, upwards=True)

    def members(self, groups: Collection[str]) -> list[Step]:
        return self._walk(groups, upwards=False)

    def _atoms(self) -> Iterator[Held]:
        for policy in self.policies:
            if self._living(policy.expires) and policy.subject_id not in self.locked_roles:
                for atom in policy.statement.atoms:
                    yield Held(atom, policy.subject_id, policy.id, policy.expires)

    def _living(self, expires: datetime | None) -> bool:
        return expires is None or expires > self.now

    def _walk(self, start: Collection[str], upwards: bool) -> list[Step]:
        """Breadth first, each subject once."""
        found: list[Step] = []
        front = [one for one in start if one not in self.locked_roles]
        seen = set(front)
        while front:
            further = []
            for step in self.memberships:
                near, far = (step.member_id, step.group_id) if upwards else (step.group_id, step.member_id)
                if near in front and far not in seen and far not in self.locked_roles and self._living(step.expires):
                    seen.add(far)
                    further.append(far)
                    found.append(step)
            front = further
        return found


#: What the token of a job may do with the rights that the job carries. Written here by itself: an action more is a decision.
CARRIED = frozenset(
    f"{kind}:{verb}"
    for kind, verbs in {
        **dict.fromkeys(("organization", "user", "team", "account", "role"), ("get",)),
        "job": ("new", "get", "set", "exec"),
        "data": ("new", "get", "set", "archive"),
    }.items()
    for verb in verbs
)


def oracle(world: MemoryWorld, subject: Subject, action: str, resource: Resource) -> bool:
    """The same decision in the fewest words, by other means: regular expressions over every policy."""
    if subject.stopped or subject.organization_id != resource.urn.split(":")[0]:
        return False
    if resource.stopped and not action.endswith(":lock"):
        return False
    if subject.carried_by and action not in CARRIED:
        return False
    if action == "job:exec" and resource.private_to and resource.private_to != subject.id:
        return False
    texts = [f"{atom.action}@{atom.pattern}" for atom in subject.own]
    for policy in world.policies:
        alive = policy.expires is None or policy.expires > world.now
        if alive and any(_in(world, root, policy.subject_id) for root in subject.roots):
            texts += [f"{a}@{p}" for a in policy.statement.actions for p in policy.statement.patterns]
    return any(_expression(text).fullmatch(f"{action}@{resource.urn}") for text in texts)


def _in(world: MemoryWorld, member: str, group: str) -> bool:
    if member in world.locked_roles or group in world.locked_roles:
        return False
    living = [step for step in world.memberships if step.expires is None or step.expires > world.now]
    return member == group or any(_in(world, step.group_id, group) for step in living if step.member_id == member)


def _expression(text: str) -> re.Pattern[str]:
    action, _, urn = text.partition("@")
    urn = re.sub(r"\*$", "LAST", urn).replace(".", r"\.").replace("*", "[^:]+").replace("LAST", ".+")
    return re.compile(re.sub(r"\*", "[^:@]+", action if ":" in action else "*:*") + "@" + urn)


# Random ones.

_verbs = sorted({action.verb for action in ACTIONS.values()})
actions: SearchStrategy[str] = st.sampled_from(sorted(ACTIONS))
action_patterns: SearchStrategy[str] = st.one_of(
    actions,
    st.sampled_from(["*", *(f"{kind}:*" for kind in RESOURCE_TYPES), *(f"*:{verb}" for verb in _verbs)]),
)
urns: SearchStrategy[str] = st.sampled_from(ALL_URNS)
#: What a question may be about, weighted so that the action often fits the resource.
questions: SearchStrategy[tuple[str, str]] = st.one_of(
    st.tuples(actions, urns),
    actions.flatmap(lambda action: st.tuples(st.just(action), st.sampled_from(URNS[action.partition(":")[0]]))),
)


@st.composite
def urn_patterns(draw: DrawFn, source: SearchStrategy[str] = urns) -> str:
    """A URN with some segments made wildcards, perhaps cut behind one: all forms that a statement may have."""
    segments = draw(source).split(":")
    if len(segments) > 1 and draw(st.booleans()):
        segments = [*segments[: draw(st.integers(0, len(segments) - 1))], "*"]
    for index in draw(st.sets(st.integers(0, len(segments) - 1), max_size=2)):
        segments[index] = "*"
    return ":".join(segments)


@st.composite
def statements(draw: DrawFn, source: SearchStrategy[str] = urns) -> Statement:
    chosen = draw(st.lists(action_patterns, min_size=1, max_size=2))
    patterns = draw(st.lists(urn_patterns(source), min_size=1, max_size=2))
    return parse_statement(f"{'+'.join(chosen)}@{'+'.join(patterns)}")


_ends = st.sampled_from((None, None, None, PAST, SOON, LATER))


@st.composite
def memberships(draw: DrawFn) -> list[Step]:
    """Without a cycle: who comes first in `SUBJECTS` is a member of who comes later. Nobody is a member of a user."""
    pairs = st.sampled_from(
        [
            (member, group)
            for index, member in enumerate(SUBJECTS)
            for group in SUBJECTS[index + 1 :]
            if group not in USERS
        ]
    )
    return [Step(member, group, draw(_ends)) for member, group in draw(st.lists(pairs, max_size=10, unique=True))]


@st.composite
def policy_rows(draw: DrawFn, count: int = 6) -> list[PolicyRow]:
    holders = draw(st.lists(st.sampled_from(SUBJECTS), max_size=count))
    return [
        PolicyRow(f"p{number}", holder, draw(statements()), draw(_ends))
        for number, holder in enumerate(holders, start=1)
    ]


@st.composite
def worlds(draw: DrawFn) -> MemoryWorld:
    """Half of the statements end up with nobody who is asked about; the rest make about as many yes as no."""
    return MemoryWorld(
        draw(policy_rows()), draw(memberships()), frozenset(draw(st.lists(st.sampled_from(ROLES), max_size=1)))
    )


@st.composite
def subjects(draw: DrawFn, stopped: bool = True) -> Subject:
    """A user, a job's token that acts as one, a role, or a job with a role's rights."""
    kind = draw(st.sampled_from(("user", "user", "user", "role", "job")))
    why = draw(st.sampled_from(("", "", "", "it is locked"))) if stopped else ""
    if kind == "user":
        by = draw(st.sampled_from(("", "", "a1-j1")))
        return Subject(draw(st.sampled_from(USERS)), "user", ORGANIZATION, why, carried_by=by)
    if kind == "role":
        return Subject(draw(st.sampled_from(ROLES)), "role", ORGANIZATION, why)
    urn = draw(st.sampled_from(URNS["job"]))
    own = parse_statement(f"job:get+job:set@{urn}").atoms
    return Subject(urn.rpartition(":")[2], "job", ORGANIZATION, why, own, draw(st.sampled_from((None, *ROLES))))


@st.composite
def resources(draw: DrawFn, source: SearchStrategy[str] = urns) -> Resource:
    urn = draw(source)
    stopped = draw(st.sampled_from(("", "", "", "it is locked"))) if ":job:" in urn else ""
    private = draw(st.sampled_from((None, None, *USERS))) if ":job:" in urn else None
    return Resource(urn, stopped, private)
