"""The policy's world in the store: on random worlds it says what the engine says in memory, and so does a list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, insert, select, update
from sqlalchemy.orm import Session

from tests.support import worlds
from tests.support.worlds import NOW, ORGANIZATION, MemoryWorld, oracle
from toolkit_hub import clock
from toolkit_hub.domain import access, visibility
from toolkit_hub.policy.decision import decide
from toolkit_hub.policy.proof import rules, who
from toolkit_hub.policy.world import Resource, Subject
from toolkit_hub.store import Store
from toolkit_hub.store.access_tables import Data, Lock, Membership, Policy, PolicyAtom, Role, Team
from toolkit_hub.store.tables import Account, Job, Organization, User
from toolkit_hub.store.world import SqlWorld

#: Few examples, for each writes a database; the engine itself is tried on many more in memory.
ON_STORE = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MADE = {"created": NOW, "created_by": "tests"}


@contextmanager
def stored(
    store: Store, world: MemoryWorld, locked: frozenset[str] = frozenset(), *, carrying: bool = False
) -> Iterator[Session]:
    """The world as rows, for as long as the block takes. `carrying`: all jobs carry the rights of u1, who made them."""
    clock.set_clock(NOW.timestamp)
    try:
        with store.engine.connect() as connection, Session(bind=connection) as session:
            _write(session, world, locked)
            session.execute(update(Job).values(carries_rights=carrying))
            yield session
            session.rollback()
    finally:
        clock.set_clock()


def _write(session: Session, world: MemoryWorld, locked: frozenset[str]) -> None:
    for organization in (ORGANIZATION, worlds.FOREIGN):
        session.execute(insert(Organization).values(id=organization, name=organization, created=NOW))
    here = {"organization_id": ORGANIZATION, "created": NOW}
    session.execute(insert(Account), [{"id": id_, "name": id_, "full_name": id_, **here} for id_ in worlds.ACCOUNTS])
    session.execute(
        insert(User), [{"id": id_, "name": id_, "hub_name": id_, "kind": "person", **here} for id_ in worlds.USERS]
    )
    session.execute(
        insert(Team), [{"id": id_, "name": id_, "account_id": worlds.ACCOUNTS[0], **here} for id_ in worlds.TEAMS]
    )
    for id_, owner in worlds.ROLE_OWNERS.items():
        parts = owner.split(":")
        kind = {"owner_type": parts[-2] if len(parts) > 1 else "organization", "owner_id": parts[-1]}
        session.execute(insert(Role).values(id=id_, name=id_, predefined=False, **kind, **here))
    for number, urn in enumerate(worlds.URNS["job"], start=1):
        _, _, account, _, id_ = urn.split(":")
        session.add(
            Job(id=id_, seq=number, account_id=account, creator_id="u1", state="SUCCEEDED", cpu=1, mem=1, image="i",
                spec={}, created=NOW)
        )  # fmt: skip
    for urn in worlds.URNS["data"]:
        _, _, account, _, id_ = urn.split(":")
        session.add(Data(id=id_, account_id=account, creator_id="u1", name=id_, created=NOW))
    _write_access(session, world, locked)
    session.flush()


def _type_of(id_: str) -> str:
    return {"u": "user", "t": "team"}.get(id_[0], "role")


def _write_access(session: Session, world: MemoryWorld, locked: frozenset[str]) -> None:
    for step in world.memberships:
        kinds = {"group_type": _type_of(step.group_id), "member_type": _type_of(step.member_id)}
        ids = {"group_id": step.group_id, "member_id": step.member_id}
        session.execute(insert(Membership).values(**kinds, **ids, inherited=False, expires=step.expires, **MADE))
    for policy in world.policies:
        subject = {"subject_id": policy.subject_id, "subject_type": _type_of(policy.subject_id)}
        row = {"id": policy.id, "statement": str(policy.statement), "expires": policy.expires}
        session.execute(insert(Policy).values(**row, **subject, **MADE))
        for atom in policy.statement.atoms:
            where = {"policy_id": policy.id, "subject_id": policy.subject_id, "expires": policy.expires}
            session.execute(insert(PolicyAtom).values(**where, action=atom.action, pattern=atom.pattern))
    for id_ in world.locked_roles | locked:
        kind = {"resource_type": _type_of(id_), "level": "owner", "urn": id_, "why": "tried"}
        session.execute(insert(Lock).values(resource_id=id_, **kind, **MADE))


@ON_STORE
@given(world=worlds.worlds(), subject=worlds.subjects(stopped=False), questions=st.lists(worlds.questions, min_size=8))
def test_the_store_decides_as_the_engine_and_the_oracle(
    store: Store, world: MemoryWorld, subject: Subject, questions: list[tuple[str, str]]
) -> None:
    with stored(store, world) as session:
        if subject.id in world.locked_roles:
            return  # locked as a subject, which the next test is about
        for action, urn in questions:
            resource = Resource(urn)
            expected = oracle(world, subject, action, resource)
            assert decide(world, subject, action, resource).allowed == expected
            assert access.decision(session, subject, action, urn).allowed == expected


@ON_STORE
@given(world=worlds.worlds(), user=st.sampled_from(worlds.USERS), questions=st.lists(worlds.questions, min_size=3))
def test_a_locked_user_may_nothing(
    store: Store, world: MemoryWorld, user: str, questions: list[tuple[str, str]]
) -> None:
    subject = Subject(user, "user", ORGANIZATION)
    with stored(store, world, frozenset({user})) as session:
        for action, urn in questions:
            decided = access.decision(session, subject, action, urn)
            assert (decided.allowed, decided.reason) == (False, "the user is locked (tried)")
        assert (
            session.scalars(select(User.id).where(visibility.visible_rows(session, subject, "user:get", User))).all()
            == []
        )


@ON_STORE
@given(world=worlds.worlds(), question=worlds.questions, carrying=st.booleans())
def test_allowed_and_who_and_the_list_say_the_same(
    store: Store, world: MemoryWorld, question: tuple[str, str], carrying: bool
) -> None:
    """allowed(u, a, x) ⇔ u ∈ who(a, x) ⇔ x ∈ list(u, a)."""
    action, urn = question
    kind = access.resource_type(urn)
    model = {"user": User, "team": Team, "account": Account, "role": Role, "job": Job, "data": Data}.get(
        kind, Organization
    )
    with stored(store, world, carrying=carrying) as session:
        _, _, resource = SqlWorld(session, NOW).ask(Subject("u1", "user", ORGANIZATION), action, urn)
        assert resource.private_to == ("u1" if carrying and kind == "job" else None)
        found = {way.subject_id for way in who(SqlWorld(session, NOW), action, resource)}
        for user in worlds.USERS:
            subject = Subject(user, "user", ORGANIZATION)
            may = access.decision(session, subject, action, urn).allowed
            assert (user in found) == may
            listed = select(model.id).where(visibility.visible_rows(session, subject, action, model))
            assert (urn.rpartition(":")[2] in set(session.scalars(listed))) == may


@ON_STORE
@given(world=worlds.worlds(), subject=worlds.subjects(stopped=False))
def test_the_store_knows_all_that_is_held(store: Store, world: MemoryWorld, subject: Subject) -> None:
    with stored(store, world) as session:
        in_store = SqlWorld(session, NOW)
        assert set(rules(in_store, subject)) == set(rules(world, subject))
        # The store names every membership, the memory one way to each; so those who are asked about may be among them.
        known = {*worlds.ROLES, *subject.roots}
        above = [{step.group_id for step in each.groups(subject.roots)} - known for each in (in_store, world)]
        below = [{step.member_id for step in each.members(worlds.ROLES)} - known for each in (in_store, world)]
        assert above[0] == above[1]
        assert below[0] == below[1]


def test_a_decision_is_one_statement(store: Store) -> None:
    world = MemoryWorld()
    with stored(store, world) as session:
        sent: list[str] = []
        event.listen(session.connection(), "before_cursor_execute", lambda *args: sent.append(args[2]))
        access.decision(session, Subject("u1", "user", ORGANIZATION), "job:exec", worlds.URNS["job"][0])
        assert len(sent) == 1


@pytest.mark.parametrize("column", ["disabled", "archived"])
def test_who_is_disabled_may_nothing(store: Store, column: str) -> None:
    statement = worlds.parse_statement(f"*@{ORGANIZATION}:*")
    world = MemoryWorld([worlds.PolicyRow("p", "u1", statement)])
    subject = Subject("u1", "user", ORGANIZATION)
    with stored(store, world) as session:
        assert access.decision(session, subject, "user:get", worlds.URNS["user"][1]).allowed
        setattr(session.get_one(User, "u1"), column, NOW)
        decided = access.decision(session, subject, "user:get", worlds.URNS["user"][1])
        assert (decided.allowed, decided.reason) == (False, f"the user is {column}")


def test_a_locked_job_and_a_users_own_server(store: Store) -> None:
    statement = worlds.parse_statement(f"*@{ORGANIZATION}:*")
    world = MemoryWorld([worlds.PolicyRow("p", "u1", statement), worlds.PolicyRow("q", "u2", statement)])
    urn = worlds.URNS["job"][0]
    with stored(store, world) as session:
        job = session.get_one(Job, urn.rpartition(":")[2])
        job.carries_rights = True
        may = {
            user: access.decision(session, Subject(user, "user", ORGANIZATION), "job:exec", urn)
            for user in ("u1", "u2")
        }
        assert (may["u1"].allowed, may["u2"].allowed) == (True, False)
        _write_access(session, MemoryWorld(), frozenset({job.id}))
        u1 = Subject("u1", "user", ORGANIZATION)
        assert access.decision(session, u1, "job:get", urn).reason == "the job is locked (tried)"
        assert access.decision(session, u1, "job:lock", urn).allowed
        assert job.id not in set(
            session.scalars(select(Job.id).where(visibility.visible_rows(session, u1, "job:get", Job)))
        )
