"""Who may do what, and why: the answers, who gets them, and what refusals say."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from tests.unit.access.house import House, soon
from tests.unit.conftest import People
from toolkit_client.access_models import NewData, NewLock, NewMember, NewRoleKey
from toolkit_client.errors import InvalidRequest, NotFound, PermissionDenied
from toolkit_hub.domain import (
    access,
    accounts,
    data,
    job_changes,
    job_list,
    jobs,
    locks,
    members,
    resolve,
    role_keys,
    rules,
    users,
)
from toolkit_hub.domain.access import Actor, DeadKey
from toolkit_hub.domain.job_tokens import job_token
from toolkit_hub.store.tables import Job


@pytest.fixture
def house(people: People) -> House:
    """admin, alice and bob; alice's account `acme.alice.x` with a role of which bob's team is a member."""
    made = House(people.store)
    made.account("alice", "acme.alice.x")
    made.team("admin", "cocos")
    made.do("admin", members.add_member, "team", "acme.cocos", NewMember(user="acme.bob"))
    made.do(
        "alice", members.add_member, "role", "acme.alice.x.user", NewMember(team="acme.cocos", expires=soon(days=1))
    )
    made.do("alice", data.create_data, NewData(name="acme.alice.x.images"))
    return made


QUESTION = "data:set@acme:account:acme.alice.x:data:images"


def test_allowed_is_answered_by_names_and_by_ids(house: House) -> None:
    urn = house.do("bob", data.get_data, "acme.alice.x.images").urn
    for rule in (QUESTION, f"data:set@{urn}"):
        assert [house.do(who, rules.allowed, rule).allowed for who in ("alice", "bob", "admin")] == [True] * 3
    house.user("carol")
    assert not house.do("carol", rules.allowed, QUESTION).allowed


@pytest.mark.parametrize("urn", ["acme:account:acme.alice:data:nothing", "acme:account:nobody", "acme:user:nobody"])
def test_to_what_is_not_there_nobody_may_do_anything(house: House, urn: str) -> None:
    kind = urn.split(":")[-2]
    assert not house.do("admin", rules.allowed, f"{kind}:get@{urn}").allowed


def test_an_id_below_the_wrong_account_is_nothing(house: House) -> None:
    """Or else rights on one account would open what is in another."""
    image = house.do("alice", data.get_data, "acme.alice.x.images").id
    assert not house.do("bob", rules.allowed, f"data:get@acme:account:acme.bob:data:{image}").allowed
    assert not house.do("alice", rules.allowed, f"data:get@acme:account:acme.alice:data:{image}").allowed


def test_who_is_allowed_are_all_users_and_roles_with_living_keys(house: House) -> None:
    house.do("alice", role_keys.create_key, "acme.alice.x.user", NewRoleKey())
    found = house.do("alice", rules.who_is_allowed, QUESTION)
    assert [(one.type, one.name) for one in found] == [
        ("user", "acme.admin"),
        ("user", "acme.alice"),
        ("user", "acme.bob"),
        ("role", "acme.alice.x.user"),
    ]
    assert {one.name: one.via for one in found}["acme.bob"] == "acme.bob > team acme.cocos > role acme.alice.x.user"
    house.do("admin", locks.lock, NewLock(type="user", ref="acme.bob"))
    house.do(
        "alice",
        role_keys.revoke_key,
        "acme.alice.x.user",
        house.do("alice", role_keys.list_keys, "acme.alice.x.user")[0].id,
    )
    assert [one.name for one in house.do("alice", rules.who_is_allowed, QUESTION)] == ["acme.admin", "acme.alice"]


def test_the_proof_of_a_yes(house: House) -> None:
    answer = house.do("bob", rules.why, QUESTION)
    assert (answer.allowed, answer.reason, answer.smallest) == (True, "", "")
    (proof,) = answer.proofs
    assert [(step.type, step.name) for step in proof.path] == [
        ("user", "acme.bob"),
        ("team", "acme.cocos"),
        ("role", "acme.alice.x.user"),
    ]
    assert [step.expires is None for step in proof.path] == [True, True, False]
    assert proof.named == "job:get+job:set+job:exec+data:get+data:set+role:get@acme:account:acme.alice.x:*"


def test_a_no_says_what_is_nearest_and_who_could_help(house: House) -> None:
    answer = house.do("bob", rules.why, "data:archive@acme:account:acme.alice.x:data:images")
    assert not answer.allowed
    assert answer.reason == "no statement allows it"
    assert answer.nearest[0].named.endswith("@acme:account:acme.alice.x:*")
    assert set(answer.grantors) == {"acme.admin", "acme.alice"}
    assert answer.smallest == f"data:archive@{answer.urn}"


def test_of_others_one_learns_by_right_only(house: House) -> None:
    assert house.do("admin", rules.why, QUESTION, "acme.bob").subject == "acme.bob"
    assert len(house.do("admin", rules.list_rules, "bob")) > 6
    assert house.do("bob", rules.list_rules, "bob") == house.do("bob", rules.list_rules)
    house.refused(PermissionDenied, "bob", rules.list_rules, "alice")
    house.refused(PermissionDenied, "bob", rules.why, QUESTION, "alice")
    house.user("carol")
    house.refused(NotFound, "carol", rules.who_is_allowed, QUESTION)
    house.refused(NotFound, "carol", rules.why, QUESTION)


def test_the_rules_of_a_locked_user_are_none(house: House) -> None:
    house.do("admin", locks.lock, NewLock(type="user", ref="acme.bob", why="stolen laptop"))
    assert house.do("admin", rules.list_rules, "bob") == []
    answer = house.do("admin", rules.why, QUESTION, "bob")
    assert (answer.allowed, answer.reason) == (False, "the user is locked (stolen laptop)")
    with pytest.raises(PermissionDenied, match="locked"):
        house.do("bob", users.get_user, "bob")


def test_what_is_hidden_reads_like_what_is_not_there(house: House) -> None:
    """Also where something of a similar name, which the caller may see, is named in the hint."""

    def words(name: str) -> tuple[str, str]:
        with pytest.raises(NotFound) as caught:
            house.do("bob", accounts.get_account, name)
        return caught.value.message, caught.value.hint

    house.account("bob", "acme.bob.secret")
    names = ("acme.alice.other", "acme.bod.secret")
    before = [words(name) for name in names]
    assert "did you mean acme.bob.secret?" in before[1][1]
    house.account("alice", "acme.alice.other")
    house.account("admin", "acme.bod")
    house.account("admin", "acme.bod.secret")
    assert [words(name) for name in names] == before


def test_a_slip_is_answered_with_what_was_meant(house: House) -> None:
    with pytest.raises(NotFound) as caught:
        house.do("alice", accounts.get_account, "acme.alcie.x")
    assert "did you mean acme.alice.x?" in caught.value.hint


def test_a_refusal_names_who_could_help(house: House) -> None:
    with pytest.raises(PermissionDenied) as caught:
        house.do("bob", access.authorise, "account:archive", house.do("bob", accounts.get_account, "acme.alice.x").urn)
    assert "acme.alice" in caught.value.hint
    assert "rule why" in caught.value.hint


def test_urns_of_another_organization_are_refused(house: House) -> None:
    for urn in ("other:account:x", "3c0e93a5-4174-4487-bbaa-59138ba24833"):
        house.refused(InvalidRequest, "admin", resolve.resolve_urn, urn)


def test_names_in_urns_become_ids_and_come_back(house: House) -> None:
    def both(session: Session, actor: Actor, text: str) -> tuple[str, str]:
        urn = resolve.resolve_urn(session, actor, text)
        organization = resolve.find_organization(session, actor, "acme")
        return urn, resolve.named(session, organization, [urn])[urn]

    for text in (
        "acme",
        "acme:*",
        "*",
        "acme:user:*",
        "acme:user:bob",
        "acme:team:cocos",
        "acme:account:acme.alice.x:*",
        "acme:account:acme.alice.x:role:user",
        "acme:account:acme.alice.x:data:images",
        "acme:team:cocos:role:admin",
        "acme:role:admin",
        "acme:account:*:data:*",
    ):
        urn, named = house.do("admin", both, text)
        assert named == text
        assert house.do("admin", both, urn) == (urn, text)
        assert "bob" not in urn
        assert "alice" not in urn


# --- a job's own token ------------------------------------------------------------------------------------------------


def test_a_jobs_own_token_acts_on_that_job_alone(house: House, people: People) -> None:
    mine, other = people.submit("alice"), people.submit("alice")
    with people.store.begin() as session:
        token = job_token(session.get_one(Job, mine.id).runs[0])
        actor = access.actor_by_key(session, token)
        assert actor is not None
        assert actor.full_name == f"acme.alice/job:{mine.id}"
        assert jobs.get_job(session, people.site, actor, mine.id).id == mine.id
        assert [
            one["id"] for one in job_list.list_jobs(session, people.site, actor, job_list.JobFilter())["items"]
        ] == [mine.id]
        for action, urn in (
            ("job:get", other.urn),
            ("job:exec", mine.urn),
            ("account:get", mine.urn.rpartition(":job:")[0]),
        ):
            assert not access.allowed(session, actor, action, urn)
        assert access.actor_by_key(session, token[:-1] + ("0" if token[-1] != "0" else "1")) is None
        job_changes.kill_job(session, people.site, actor, mine.id)
        session.flush()
        with pytest.raises(DeadKey, match="the run has ended"):
            access.actor_by_key(session, token)


def test_only_a_user_has_a_server_of_their_own(house: House, people: People) -> None:
    """Its inside has its user's rights one day: nobody comes by them with a job's token."""
    job = people.submit("alice", role="acme.alice.x.admin")
    with people.store.begin() as session:
        actor = access.actor_by_key(session, job_token(session.get_one(Job, job.id).runs[0]))
        assert actor is not None
        with pytest.raises(PermissionDenied, match="only users"):
            jobs.own_server(session, people.site, actor)


def test_a_job_submitted_with_a_role_has_its_rights(house: House, people: People) -> None:
    job = people.submit("alice", role="acme.alice.x.user")
    with people.store.begin() as session:
        actor = access.actor_by_key(session, job_token(session.get_one(Job, job.id).runs[0]))
        assert actor is not None
        urn = data.get_data(session, actor, "acme.alice.x.images").urn
        assert access.allowed(session, actor, "data:set", urn)
        assert not access.allowed(session, actor, "data:archive", urn)
    house.do("admin", locks.lock, NewLock(type="role", ref="acme.alice.x.user"))
    with people.store.begin() as session:
        assert not access.allowed(session, actor, "data:set", urn)
        assert access.allowed(session, actor, "job:get", job.urn)


def test_a_role_that_one_does_not_hold_is_not_given_to_a_job(house: House, people: People) -> None:
    with pytest.raises(PermissionDenied):
        people.submit("bob", role="acme.admin")
    with pytest.raises(NotFound):
        people.submit("bob", role="acme.alice.admin")


def test_the_token_of_a_locked_users_job_is_dead(house: House, people: People) -> None:
    job = people.submit("alice")
    house.do("admin", locks.lock, NewLock(type="user", ref="acme.alice"))
    with people.store.begin() as session, pytest.raises(DeadKey, match="locked"):
        access.actor_by_key(session, job_token(session.get_one(Job, job.id).runs[0]))
