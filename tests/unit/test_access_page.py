"""What the page of access shows: things by whatever was typed, one's own places, proofs as a tree."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy.orm import Session

from tests.unit.conftest import People
from toolkit_client.access_models import NewAccount, NewData, NewMember, NewRole, NewRoleKey, NewTeam, Proof, ProofStep
from toolkit_client.errors import InvalidRequest, NotFound, PermissionDenied
from toolkit_hub.domain import accounts, data, members, overview, role_keys, roles, rules, teams
from toolkit_hub.domain.access import Actor, Hidden
from toolkit_hub.domain.things import find_things
from toolkit_hub.pages.access import as_tree, read_page
from toolkit_hub.policy.actions import ACTIONS


@pytest.fixture
def world(people: People) -> People:
    """alice's child account `acme.alice.lab` with data, a role and a key; the team `acme.crew` with bob may use it."""
    with people.store.begin() as session:
        alice, admin = people.actor(session, "alice"), people.actor(session, "admin")
        accounts.create_account(session, alice, NewAccount(name="acme.alice.lab"))
        data.create_data(session, alice, NewData(name="acme.alice.lab.images"))
        roles.create_role(session, alice, NewRole(name="acme.alice.lab.reader"))
        role_keys.create_key(session, alice, "acme.alice.lab.reader", NewRoleKey(name="robot"))
        teams.create_team(session, admin, NewTeam(name="acme.crew"))
        members.add_member(session, admin, "team", "acme.crew", NewMember(user="acme.bob"))
        members.add_member(session, alice, "role", "acme.alice.lab.user", NewMember(team="acme.crew"))
    return people


def types(session: Session, actor: Actor, text: str) -> list[str]:
    return [thing.type for thing in find_things(session, actor, text)]


def test_whatever_is_typed_is_found_by_name_id_and_urn(world: People) -> None:
    job = world.submit("alice", name="train", account="acme.alice.lab")
    with world.store.begin(write=False) as session:
        alice = world.actor(session, "alice")
        names = {
            "acme.alice": ["account", "user"],
            "acme.alice.lab": ["account"],
            "acme.alice.lab.reader": ["role"],
            "acme.alice.lab.images": ["data"],
            "acme.alice.lab.train": ["job"],
            "acme": ["organization"],
            " acme.crew ": ["team"],
            job.id: ["job"],
        }
        for text, expected in names.items():
            found = find_things(session, alice, text)
            assert [thing.type for thing in found] == expected, text
            for thing in found:
                assert find_things(session, alice, thing.urn) == [thing]
                assert thing in find_things(session, alice, thing.id)
        assert find_things(session, alice, "acme:account:acme.alice.lab") == find_things(
            session, alice, "acme.alice.lab"
        )


def test_what_may_not_be_seen_is_not_found_in_the_same_words(world: People) -> None:
    def words(text: str) -> str:
        with world.store.begin(write=False) as session, pytest.raises(NotFound) as raised:
            find_things(session, world.actor(session, "bob"), text)
        return f"{raised.value.message} {raised.value.hint}".replace(text, "X")

    with world.store.begin(write=False) as session:
        assert types(session, world.actor(session, "bob"), "acme.alice") == ["user"]  # not the home account
        urn = find_things(session, world.actor(session, "alice"), "acme.alice")[0].urn
    assert words("acme.admin.admin") == words("acme.bdmin.bdmin")
    with world.store.begin(write=False) as session, pytest.raises(Hidden) as hidden:  # for the audit log
        find_things(session, world.actor(session, "bob"), "acme.admin.admin")
    assert (hidden.value.action, hidden.value.status) == ("role:get", 404)
    assert words(urn) == words(urn[:-12] + "0" * 12)


def test_a_slip_of_the_pen_is_noticed(world: People) -> None:
    with world.store.begin(write=False) as session:
        bob = world.actor(session, "bob")
        for text, meant in (
            ("acme.alcie.lab", "acme.alice.lab"),
            ("acme.alcie.lab.reader", "acme.alice.lab.reader"),
            ("acme.alice.lab.raeder", "acme.alice.lab.reader"),
            ("acme.alice.lab.imagse", "acme.alice.lab.images"),
            ("acme.alic", "acme.alice"),
            ("acme.crwe", "acme.crew"),
        ):
            with pytest.raises(NotFound) as raised:
                find_things(session, bob, text)
            assert f"did you mean {meant}?" in raised.value.hint, text


@pytest.mark.parametrize("text", ["", "   ", "acme:account:*", "*", "x" * 1201, "other:account:acme.alice"])
def test_what_is_no_thing_is_refused(world: People, text: str) -> None:
    with world.store.begin(write=False) as session, pytest.raises(InvalidRequest):
        find_things(session, world.actor(session, "alice"), text)


def test_where_somebody_belongs(world: People) -> None:
    with world.store.begin(write=False) as session:
        shown = overview.overview(session, world.actor(session, "bob"))
        assert [(place.type, place.name, place.mine) for place in shown.belongings] == [
            ("account", "acme.bob", ["admin"]),
            ("account", "acme.alice.lab", ["user"]),
            ("account", "acme.crew", ["user"]),
            ("team", "acme.crew", ["user"]),
            ("organization", "acme", ["user"]),
        ]
        lab = {group.role.name: group for group in shown.belongings[1].groups}
        assert {name: group.mine for name, group in lab.items()} == {"admin": False, "user": True, "reader": False}
        assert [member.full_name for member in lab["user"].members or ()] == ["acme.crew"]
        assert [name for _, name in shown.teams] == ["acme.crew"]
        assert shown.rules == rules.list_rules(session, world.actor(session, "bob"))


def test_names_to_choose_from_are_those_that_may_be_seen(world: People) -> None:
    with world.store.begin(write=False) as session:
        names = {name: set(overview.known_names(session, world.actor(session, name))) for name in ("bob", "admin")}
        assert names["admin"] >= names["bob"] >= {"acme.bob", "acme.alice.lab", "acme.crew", "acme.admin", "acme.alice"}
        assert not any(name.startswith("acme.svc-") for name in names["admin"])


def test_many_members_are_counted(world: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "FEW", 2)
    with world.store.begin(write=False) as session:
        organization = overview.overview(session, world.actor(session, "alice")).belongings[-1]
        groups = {group.role.name: (group.count, group.members is None) for group in organization.groups}
        assert groups == {"admin": (1, False), "user": (3, True)}


def test_a_thing_says_who_may_do_what(world: People) -> None:
    """Each cell is what the policy answers to the same question."""
    with world.store.begin(write=False) as session:
        for name in ("alice", "bob", "admin"):
            actor = world.actor(session, name)
            for text in ("acme.alice.lab", "acme.alice.lab.reader", "acme.alice.lab.images", "acme.crew", "acme"):
                thing = find_things(session, actor, text)[0]
                view = overview.thing_view(session, actor, thing)
                assert [one.action.name for one in view.asked] == [
                    action.name for action in ACTIONS.values() if thing.type in action.asked_of
                ]
                for one in view.asked:
                    rule = f"{one.action.name}@{thing.urn}"
                    assert one.me == rules.allowed(session, actor, rule).allowed
                    assert one.who == rules.who_is_allowed(session, actor, rule)
                    assert one.me == (actor.user_id in {who.id for who in one.who})


def test_keys_and_rules_are_for_those_who_may(world: People) -> None:
    with world.store.begin(write=False) as session:
        for name, keys in (("alice", 1), ("bob", None)):
            actor = world.actor(session, name)
            [role] = find_things(session, actor, "acme.alice.lab.reader")
            shown = overview.thing_view(session, actor, role).keys
            assert (None if shown is None else len(shown)) == keys
        bob = world.actor(session, "bob")
        me, other = (
            next(thing for thing in find_things(session, bob, text) if thing.type == "user")
            for text in ("acme.bob", "acme.alice")
        )
        assert overview.thing_view(session, bob, me).rules == rules.list_rules(session, bob)
        assert overview.thing_view(session, bob, other).rules is None


def test_questions(world: People) -> None:
    with world.store.begin(write=False) as session:
        bob = world.actor(session, "bob")
        assert set(read_page(session, bob, "", "", "")) == {"mine"}
        assert [thing.type for thing in read_page(session, bob, "acme.bob", "", "")["meanings"]] == ["account", "user"]
        # The action says which of the two is meant.
        asked = read_page(session, bob, "acme.bob", "job:new", "")
        assert asked["view"].thing.type == "account"
        assert asked["answer"].answer.allowed
        for thing, action, user, error in (
            ("", "job:new", "", InvalidRequest),
            ("acme.bob", "job:dance", "", InvalidRequest),
            ("acme.bob", "role:member", "", InvalidRequest),
            ("acme.bob", "job:new", "acme.alice", PermissionDenied),
            ("acme.bob", "job:new", "acme.nobody", NotFound),
        ):
            with pytest.raises(error):
                read_page(session, bob, thing, action, user)


def step(name: str) -> ProofStep:
    return ProofStep(type="role", name=name, id=name)


def test_proofs_share_what_they_have_in_common() -> None:
    end = datetime(2030, 1, 1, tzinfo=UTC)
    proofs = [
        Proof(path=[step("u"), step("a")], statement="s1", policy_id="1"),
        Proof(path=[step("u"), step("a"), step("b")], statement="s2", policy_id="2", expires=end),
        Proof(path=[step("u"), step("b")], statement="s2", policy_id="2"),
        Proof(path=[step("u")], statement="s3", policy_id="3"),
        Proof(path=[step("u")], statement="s3", policy_id="3"),  # another rule of the same policy
    ]
    [root] = as_tree(proofs)
    assert [proof.statement for proof in root.statements] == ["s3"]
    assert [branch.step.name for branch in root.branches] == ["a", "b"]
    a, b = root.branches
    assert [proof.statement for proof in a.statements] == ["s1"]
    assert [branch.step.name for branch in a.branches] == ["b"]
    assert b.branches == []
    assert as_tree([]) == []
