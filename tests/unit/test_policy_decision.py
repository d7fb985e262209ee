"""The properties of decisions, on random worlds: the engine, the oracle and Cedar agree, and so do all ways to ask."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.support import cedar, worlds
from tests.support.worlds import ALL_URNS, ORGANIZATION, ROLES, USERS, MemoryWorld, PolicyRow, oracle
from toolkit_hub.policy.actions import ACTIONS
from toolkit_hub.policy.decision import decide, withheld
from toolkit_hub.policy.matching import SHAPES
from toolkit_hub.policy.proof import explain, rules, who
from toolkit_hub.policy.reach import reach
from toolkit_hub.policy.statements import Statement, parse_statement
from toolkit_hub.policy.world import Resource, Step, Subject

JOB = f"{ORGANIZATION}:account:a1:job:a1-j1"
ALICE, BOB = Subject("u1", "user", ORGANIZATION), Subject("u2", "user", ORGANIZATION)
many = settings(max_examples=300, deadline=None)
some = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def world_with(holder: str, text: str, *steps: Step) -> MemoryWorld:
    return MemoryWorld([PolicyRow("p1", holder, parse_statement(text))], list(steps))


def allowed(world: MemoryWorld, subject: Subject, action: str, resource: Resource) -> bool:
    return decide(world, subject, action, resource).allowed


#: What can be asked of each resource.
ASKED = [(action.name, urn) for action in ACTIONS.values() for kind in action.asked_of for urn in worlds.URNS[kind]]


def everything_allowed(world: MemoryWorld, subject: Subject) -> set[tuple[str, str]]:
    return {(action, urn) for action, urn in ASKED if allowed(world, subject, action, Resource(urn))}


# The engine and other engines.


@many
@given(worlds.worlds(), worlds.subjects(), worlds.actions, worlds.resources())
def test_the_engine_is_the_oracle(world: MemoryWorld, subject: Subject, action: str, resource: Resource) -> None:
    assert allowed(world, subject, action, resource) == oracle(world, subject, action, resource)


@some
@given(worlds.worlds(), worlds.subjects(), worlds.resources(), worlds.resources())
def test_cedar_agrees_on_every_action(
    world: MemoryWorld, subject: Subject, resource: Resource, other: Resource
) -> None:
    assume(resource.urn != other.urn)
    asked = [(action, one) for action in ACTIONS for one in (resource, other)]
    assert cedar.decisions(world, subject, asked) == [allowed(world, subject, action, one) for action, one in asked]


# Deny by default, and only allow.


@given(worlds.memberships(), worlds.subjects(), worlds.actions, worlds.resources())
def test_nothing_without_a_statement(steps: list[Step], subject: Subject, action: str, resource: Resource) -> None:
    assert not allowed(MemoryWorld([], steps), replace(subject, own=()), action, resource)


@some
@given(worlds.worlds(), worlds.subjects(stopped=False), st.sampled_from(worlds.SUBJECTS), worlds.statements())
def test_adding_never_removes_and_removing_never_adds(
    world: MemoryWorld, subject: Subject, holder: str, statement: Statement
) -> None:
    more = replace(world, policies=[*world.policies, PolicyRow("new", holder, statement)])
    assert everything_allowed(world, subject) <= everything_allowed(more, subject)


@some
@given(worlds.worlds(), worlds.subjects(stopped=False), st.data())
def test_a_membership_less_never_adds(world: MemoryWorld, subject: Subject, data: st.DataObject) -> None:
    assume(world.memberships)
    gone = data.draw(st.sampled_from(world.memberships))
    fewer = replace(world, memberships=[step for step in world.memberships if step is not gone])
    assert everything_allowed(fewer, subject) <= everything_allowed(world, subject)


@some
@given(worlds.worlds(), worlds.subjects(stopped=False), st.randoms(use_true_random=False))
def test_order_does_not_matter(world: MemoryWorld, subject: Subject, random: st.Random) -> None:
    before = everything_allowed(world, subject)
    policies, memberships = world.policies[:], world.memberships[:]
    random.shuffle(policies)
    random.shuffle(memberships)
    assert everything_allowed(replace(world, policies=policies, memberships=memberships), subject) == before


@some
@given(worlds.worlds(), worlds.subjects(stopped=False))
def test_only_what_ids_are_the_same_counts_not_what_they_are(world: MemoryWorld, subject: Subject) -> None:
    """Statements hold ids only, so that a rename cannot change a decision; and the ids themselves mean nothing either."""
    ids = {
        name: f"id-of-{name}"
        for urn in (*ALL_URNS, *worlds.SUBJECTS)
        for name in urn.split(":")
        if name not in SHAPES and name != ORGANIZATION
    }

    def other(pattern: str) -> str:
        return ":".join(ids.get(segment, segment) for segment in pattern.split(":"))

    moved = MemoryWorld(
        [
            replace(
                row,
                subject_id=other(row.subject_id),
                statement=parse_statement(
                    f"{'+'.join(row.statement.actions)}@{'+'.join(map(other, row.statement.patterns))}"
                ),
            )
            for row in world.policies
        ],
        [Step(other(step.member_id), other(step.group_id), step.expires) for step in world.memberships],
        frozenset(map(other, world.locked_roles)),
    )
    who_asks = replace(
        subject,
        id=other(subject.id),
        also=subject.also and other(subject.also),
        own=tuple(atom._replace(pattern=other(atom.pattern)) for atom in subject.own),
    )
    for action, urn in ASKED:
        here = allowed(world, subject, action, Resource(urn))
        assert here == allowed(moved, who_asks, action, Resource(other(urn)))


# One answer, however it is asked.


@some
@given(worlds.worlds(), worlds.actions, worlds.resources())
def test_who_is_allowed_are_those_who_are(world: MemoryWorld, action: str, resource: Resource) -> None:
    named = {way.subject_id for way in who(world, action, resource)}
    for subject in [Subject(name, "user", ORGANIZATION) for name in USERS] + [
        Subject(name, "role", ORGANIZATION) for name in ROLES
    ]:
        assert (subject.id in named) == allowed(world, subject, action, resource), subject


@many
@given(worlds.worlds(), worlds.subjects(), worlds.questions)
def test_a_list_has_what_is_allowed(world: MemoryWorld, subject: Subject, question: tuple[str, str]) -> None:
    action, urn = question
    (kind,) = [kind for kind, urns in worlds.URNS.items() if urn in urns]
    atoms = [held.atom for held in rules(world, subject)]
    segments = urn.split(":")
    covered = []
    for shape in SHAPES[kind]:
        if len(shape) == len(segments) and all(f[0] == "{" or f == s for f, s in zip(shape, segments, strict=True)):
            values = {form[1:-1]: segment for form, segment in zip(shape, segments, strict=True) if form[0] == "{"}
            covered.append(reach(atoms, action, shape).covers(values))
    assert len(covered) == 1
    # What a job with its user's rights may never do is in no list of its, see `domain.visibility.reach_of`.
    listed = covered[0] and not withheld(subject, action)
    assert listed == allowed(world, subject, action, Resource(urn))


@many
@given(worlds.worlds(), worlds.subjects(), worlds.actions, worlds.resources())
def test_why_is_the_same_decision(world: MemoryWorld, subject: Subject, action: str, resource: Resource) -> None:
    assert explain(world, subject, action, resource).decision == decide(world, subject, action, resource)


# What statements cannot do.


@given(worlds.worlds(), worlds.subjects(), worlds.resources())
def test_a_lock_is_no_to_everything(world: MemoryWorld, subject: Subject, resource: Resource) -> None:
    locked = replace(subject, stopped="the user is locked")
    assert rules(world, locked) == []
    for action in ACTIONS:
        decision = decide(world, locked, action, resource)
        assert not decision.allowed
        assert decision.reason == "the user is locked"


@given(worlds.worlds(), worlds.subjects(), worlds.resources())
def test_a_locked_resource_can_only_be_locked_and_unlocked(
    world: MemoryWorld, subject: Subject, resource: Resource
) -> None:
    locked = replace(resource, stopped="the job is locked")
    for action in ACTIONS:
        if action.endswith(":lock"):
            assert allowed(world, subject, action, locked) == allowed(
                world, subject, action, replace(resource, stopped="")
            )
        else:
            assert not allowed(world, subject, action, locked)
            assert who(world, action, locked) == []


@some
@given(worlds.worlds(), st.sampled_from(ROLES), worlds.subjects(stopped=False))
def test_a_locked_role_gives_nothing(world: MemoryWorld, role: str, subject: Subject) -> None:
    assume(subject.also != role)
    locked = replace(world, locked_roles=frozenset({role}))
    without = replace(
        world,
        locked_roles=frozenset(),
        policies=[policy for policy in world.policies if policy.subject_id != role],
        memberships=[step for step in world.memberships if role not in (step.member_id, step.group_id)],
    )
    assert everything_allowed(locked, subject) == everything_allowed(without, subject)


@given(
    st.lists(worlds.statements() | worlds.statements(st.sampled_from(worlds.FOREIGN_URNS)), max_size=4), worlds.actions
)
def test_statements_never_reach_another_organization(statements: list[Statement], action: str) -> None:
    stranger = Subject(worlds.FOREIGN_USER, "user", worlds.FOREIGN)
    rows = [
        PolicyRow(f"p{number}", holder, statement)
        for number, statement in enumerate([*statements, parse_statement("*@*")])
        for holder in ("u1", worlds.FOREIGN_USER)
    ]
    world = MemoryWorld(rows)
    for urn in ALL_URNS:
        assert not allowed(world, stranger, action, Resource(urn))
    for urn in worlds.FOREIGN_URNS:
        assert not allowed(world, ALICE, action, Resource(urn))
        assert allowed(world, stranger, action, Resource(urn))


# By example.


def test_nobody_else_runs_code_in_a_users_own_server() -> None:
    world = MemoryWorld([PolicyRow("p1", name, parse_statement("*@*")) for name in ("u1", "u2", "r1")])
    server = Resource(JOB, private_to="u1")
    assert allowed(world, ALICE, "job:exec", server)
    assert not allowed(world, BOB, "job:exec", server)
    assert not allowed(world, Subject("r1", "role", ORGANIZATION), "job:exec", server)
    assert allowed(world, BOB, "job:get", server)
    assert [way.subject_id for way in who(world, "job:exec", server)] == ["u1"]


@many
@given(worlds.worlds(), st.sampled_from(USERS), st.sampled_from(worlds.URNS["job"]), worlds.subjects(stopped=False))
def test_nobody_but_its_creator_enters_a_job_that_carries_rights(
    world: MemoryWorld, creator: str, urn: str, subject: Subject
) -> None:
    """Whatever rules there are, and with a statement on just this job and one on everything for everybody besides."""
    for_all = [PolicyRow("all", name, parse_statement(f"job:exec@{urn}+*")) for name in worlds.SUBJECTS]
    open_wide = replace(world, policies=[*world.policies, *for_all])
    own = parse_statement(f"job:exec@{urn}").atoms
    carrying = Resource(urn, private_to=creator, private_name="acme.joe")
    for rules_of_now in (world, open_wide):
        for asks in (subject, replace(subject, own=(*subject.own, *own))):
            decided = decide(rules_of_now, asks, "job:exec", carrying)
            if asks.id != creator:
                assert (decided.allowed, decided.vetoed) == (False, True)
                assert decided.reason == "this job carries the rights of acme.joe; only acme.joe can enter it"
                assert not explain(rules_of_now, asks, "job:exec", carrying).proofs
        assert {way.subject_id for way in who(rules_of_now, "job:exec", carrying)} <= {creator}
    may = decide(open_wide, Subject(creator, "user", ORGANIZATION), "job:exec", carrying)
    assert may.allowed, "the creator, by a statement like anybody"
    # Of what else can be done with it nothing changes.
    for action in ("job:get", "job:set", "job:lock"):
        assert allowed(world, subject, action, carrying) == allowed(world, subject, action, Resource(urn))


@many
@given(worlds.worlds(), st.sampled_from(USERS), worlds.questions)
def test_a_jobs_token_may_what_its_user_may_but_for_what_outlasts_it(
    world: MemoryWorld, user: str, question: tuple[str, str]
) -> None:
    action, urn = question
    person = Subject(user, "user", ORGANIZATION)
    carried = replace(person, carried_by="a1-j1")
    may = allowed(world, person, action, Resource(urn))
    assert allowed(world, carried, action, Resource(urn)) == (may and action in worlds.CARRIED)


def test_what_a_job_may_do_with_its_users_rights_is_written_down() -> None:
    assert {name for name, action in ACTIONS.items() if action.carried} == worlds.CARRIED
    assert not {name for name in worlds.CARRIED if ACTIONS[name].dangerous} - {"job:exec"}


def test_a_jobs_token_may_act_on_that_job_and_with_its_role() -> None:
    own = parse_statement(f"job:get+job:set@{JOB}").atoms
    job = Subject("a1-j1", "job", ORGANIZATION, own=own)
    world = world_with("r1", f"data:get@{ORGANIZATION}:account:a1:*")
    data = Resource(f"{ORGANIZATION}:account:a1:data:a1-d1")
    assert allowed(world, job, "job:set", Resource(JOB))
    assert not allowed(world, job, "job:exec", Resource(JOB))
    assert not allowed(world, job, "job:set", Resource(JOB.replace("j1", "j2")))
    assert not allowed(world, job, "data:get", data)
    assert allowed(world, replace(job, also="r1"), "data:get", data)


def test_what_has_ended_gives_nothing() -> None:
    text = f"job:get@{JOB}"
    assert allowed(world_with("r1", text, Step("u1", "r1", worlds.SOON)), ALICE, "job:get", Resource(JOB))
    assert not allowed(world_with("r1", text, Step("u1", "r1", worlds.PAST)), ALICE, "job:get", Resource(JOB))
    for end in (worlds.PAST, worlds.NOW):
        ended = MemoryWorld([PolicyRow("p1", "u1", parse_statement(text), end)])
        assert not allowed(ended, ALICE, "job:get", Resource(JOB))


def test_an_action_that_was_never_declared_is_an_error() -> None:
    world = world_with("u1", "*@*")
    for ask in (decide, explain):
        with pytest.raises(KeyError):
            ask(world, ALICE, "job:fly", Resource(JOB))
    with pytest.raises(KeyError):
        who(world, "job:fly", Resource(JOB))
