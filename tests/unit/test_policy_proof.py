"""Proofs: each way that is shown exists and allows what it is shown for, and for a no the nearest statements come first."""

from __future__ import annotations

from hypothesis import given, settings

from tests.support import worlds
from tests.support.worlds import ORGANIZATION, MemoryWorld, PolicyRow, oracle
from toolkit_hub.policy.matching import action_matches, urn_matches
from toolkit_hub.policy.proof import Way, explain, rules, who
from toolkit_hub.policy.statements import parse_statement
from toolkit_hub.policy.world import Atom, Resource, Step, Subject

ACCOUNT = f"{ORGANIZATION}:account:a1"
JOB = f"{ACCOUNT}:job:a1-j1"
ALICE = Subject("u1", "user", ORGANIZATION)
many = settings(max_examples=200, deadline=None)


def exists(world: MemoryWorld, way: Way, start: tuple[str, ...]) -> bool:
    """Whether each step is a membership of now, from `start` up to who holds the statement."""
    here = way.steps[0].member_id if way.steps else way.held.subject_id
    if here not in start:
        return False
    for step in way.steps:
        if step not in world.memberships or step.member_id != here or (step.expires and step.expires <= world.now):
            return False
        here = step.group_id
    written = [row for row in world.policies if row.id == way.held.policy_id]
    return here == way.held.subject_id and (not written or way.held.atom in written[0].statement.atoms)


@many
@given(worlds.worlds(), worlds.subjects(), worlds.actions, worlds.resources())
def test_each_proof_of_a_yes_is_one(world: MemoryWorld, subject: Subject, action: str, resource: Resource) -> None:
    why = explain(world, subject, action, resource)
    assert bool(why.proofs) == why.decision.allowed
    assert (why.decision.held is not None) == why.decision.allowed
    assert [len(way.steps) for way in why.proofs] == sorted(len(way.steps) for way in why.proofs)
    for way in why.proofs:
        assert exists(world, way, subject.roots)
        assert action_matches(way.held.atom.action, action)
        assert urn_matches(way.held.atom.pattern, resource.urn)


@many
@given(worlds.worlds(), worlds.subjects(), worlds.actions, worlds.resources())
def test_a_no_has_reasons_and_near_misses(
    world: MemoryWorld, subject: Subject, action: str, resource: Resource
) -> None:
    why = explain(world, subject, action, resource)
    if why.decision.allowed:
        assert why.nearest == []
        return
    assert why.decision.reason
    assert all(exists(world, way, subject.roots) for way in why.nearest)
    vetoed = why.decision.vetoed
    for way in why.nearest:
        missed = not action_matches(way.held.atom.action, action) or not urn_matches(
            way.held.atom.pattern, resource.urn
        )
        assert missed or vetoed


@many
@given(worlds.worlds(), worlds.subjects(), worlds.actions, worlds.resources())
def test_the_smallest_statement_would_be_enough(
    world: MemoryWorld, subject: Subject, action: str, resource: Resource
) -> None:
    smallest = explain(world, subject, action, resource).smallest
    given_it = PolicyRow("new", subject.id, parse_statement(str(smallest)))
    more = MemoryWorld([*world.policies, given_it], world.memberships, frozenset(), world.now)
    free = Subject(subject.id, subject.type, subject.organization_id)
    assert oracle(more, free, action, Resource(resource.urn))


@many
@given(worlds.worlds(), worlds.actions, worlds.resources())
def test_who_names_each_once_by_its_shortest_way(world: MemoryWorld, action: str, resource: Resource) -> None:
    ways = who(world, action, resource)
    ids = [way.subject_id for way in ways]
    assert len(ids) == len(set(ids))
    for way in ways:
        assert exists(world, way, (way.subject_id,))
        if way.subject_id in worlds.USERS:
            shortest = explain(world, Subject(way.subject_id, "user", ORGANIZATION), action, resource).proofs[0]
            assert len(way.steps) == len(shortest.steps)


@many
@given(worlds.worlds(), worlds.subjects())
def test_rules_are_what_is_held_in_order(world: MemoryWorld, subject: Subject) -> None:
    found = rules(world, subject)
    if subject.stopped:
        assert found == []
        return
    living = [row for row in world.policies if row.expires is None or row.expires > world.now]
    for held in found:
        assert held.atom in subject.own or any(
            held.policy_id == row.id and held.subject_id == row.subject_id and held.atom in row.statement.atoms
            for row in living
        )
    first = [held.subject_id in subject.roots for held in found]
    assert first == sorted(first, reverse=True)


def test_rules_name_nothing_of_another_organization() -> None:
    """Were such a statement ever stored, it would still be no rule, for no decision would come of it."""
    world = MemoryWorld(
        [PolicyRow("p1", "u1", parse_statement("job:get@other:account:a1+*:account:a1+org:account:a1"))]
    )
    assert [held.atom.pattern for held in rules(world, ALICE)] == ["*:account:a1", "org:account:a1"]


def test_a_proof_by_example() -> None:
    steps = [Step("u1", "t1"), Step("t1", "t2"), Step("t2", "r1"), Step("u1", "r2")]
    policies = [
        PolicyRow("p1", "r1", parse_statement(f"job:*@{ACCOUNT}:*")),
        PolicyRow("p2", "r2", parse_statement(f"*:get@{ORGANIZATION}:account:*:job:*")),
        PolicyRow("p3", "u1", parse_statement(f"data:get@{ACCOUNT}:*")),
    ]
    why = explain(MemoryWorld(policies, steps), ALICE, "job:get", Resource(JOB))
    assert [way.held.policy_id for way in why.proofs] == ["p2", "p1"]
    assert why.proofs[1].steps == tuple(steps[:3])
    assert [way.subject_id for way in who(MemoryWorld(policies, steps), "job:get", Resource(JOB))][-1] in ("t1", "u1")


def test_the_nearest_statements_by_example() -> None:
    texts = {
        "elsewhere": f"job:exec@{ORGANIZATION}:account:a2:*",
        "unrelated": f"user:get@{ORGANIZATION}:user:*",
        "other-action": f"job:get+job:set@{JOB}",
        "other-type": f"data:get@{ACCOUNT}:data:*",
    }
    world = MemoryWorld([PolicyRow(name, "u1", parse_statement(text)) for name, text in texts.items()])
    why = explain(world, ALICE, "job:exec", Resource(JOB))
    assert [way.held.policy_id for way in why.nearest] == ["other-action", "other-action", "elsewhere"]
    assert why.smallest == Atom("job:exec", JOB)
    assert why.decision.reason == "no statement allows it"
