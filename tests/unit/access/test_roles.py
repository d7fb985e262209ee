"""Roles of one's own: made with their policies, renamed, archived."""

from __future__ import annotations

import pytest

from tests.unit.access.house import House
from toolkit_client.access_models import NewMember, NewPolicy, NewRole, NewRoleKey, RenamePatch
from toolkit_client.errors import Conflict, InvalidRequest, NotFound, NotSignedIn, PermissionDenied
from toolkit_hub.domain import access, accounts, members, policies, role_keys, roles


def test_a_role_of_an_account(house: House) -> None:
    made, new = house.do("alice", roles.create_role, NewRole(name="acme.alice.shared_my_data"))
    assert new
    assert (made.name, made.organization, made.parent) == ("shared_my_data", "acme", "acme.alice")
    assert house.do("alice", roles.get_role, "acme.alice.shared_my_data") == made
    assert house.do("alice", roles.get_role, made.id) == made
    listed = house.do("alice", roles.list_roles, "account", "acme.alice")
    assert [role.name for role in listed] == ["admin", "user", "shared_my_data"]
    house.refused(NotFound, "bob", roles.get_role, made.id)


def test_a_role_with_its_policies_is_made_whole_or_not_at_all(house: House) -> None:
    good, bad = "data:get@acme:account:acme.alice:*", "data:fetch@acme:account:acme.alice:*"
    house.refused(InvalidRequest, "alice", roles.create_role, NewRole(name="acme.alice.reader", policies=[good, bad]))
    other = "data:get@acme:account:acme.bob:*"
    house.refused(NotFound, "alice", roles.create_role, NewRole(name="acme.alice.reader", policies=[good, other]))
    house.role("alice", "acme.alice.reader", good)
    assert [policy.named for policy in house.do("alice", policies.list_policies, "role", "acme.alice.reader")] == [good]


def test_making_roles_is_not_attaching_policies(house: House) -> None:
    house.role(
        "alice", "acme.alice.makers", "account:get+role:new@acme:account:acme.alice", "data:*@acme:account:acme.alice:*"
    )
    house.join("alice", "acme.alice.makers", "bob")
    statement = "data:get@acme:account:acme.alice:*"
    house.refused(PermissionDenied, "bob", roles.create_role, NewRole(name="acme.alice.mine", policies=[statement]))
    house.role("bob", "acme.alice.mine")


def test_roles_of_the_organization_and_of_teams(house: House) -> None:
    house.team("admin", "cocos")
    made = house.do("admin", roles.create_role, NewRole(name="acme.operators"))[0]
    assert (made.full_name, made.parent_type) == ("acme.operators", "organization")
    made = house.do("admin", roles.create_role, NewRole(name="acme.cocos.divers", owner_type="team"))[0]
    assert (made.full_name, made.parent_type) == ("acme.cocos.divers", "team")
    made = house.do("admin", roles.create_role, NewRole(name="acme.cocos.divers"))[0]
    assert made.parent_type == "account"
    assert house.do("admin", roles.get_role, "acme.cocos.divers").parent_type == "account"
    assert house.do("admin", roles.get_role, "acme.cocos.divers", "team").parent_type == "team"
    refusal = house.refused(PermissionDenied, "alice", roles.create_role, NewRole(name="acme.mine"))
    assert "role:new" in refusal.message


def test_everybody_sees_the_roles_of_the_organization(house: House) -> None:
    found = house.do("alice", roles.list_roles, "organization", "acme")
    assert [role.name for role in found] == ["admin", "user"]
    assert house.names("acme.user", who="alice") == ["admin", "alice", "bob"]
    everything = house.do("alice", roles.list_roles)
    assert [role.full_name for role in everything] == ["acme.admin", "acme.user", "acme.alice.admin", "acme.alice.user"]


def test_one_role_may_be_shown_without_its_account(house: House) -> None:
    role = house.role("alice", "acme.alice.shown", "role:get@acme:account:acme.alice:role:acme.alice.user")
    house.join("alice", role, "bob")
    assert [one.full_name for one in house.do("bob", roles.list_roles, "account", "acme.alice")] == ["acme.alice.user"]
    assert house.names("acme.alice.user", who="bob") == []
    house.refused(NotFound, "bob", accounts.get_account, "acme.alice")
    house.refused(NotFound, "bob", roles.get_role, role)


def test_a_rename_keeps_members_and_policies(house: House) -> None:
    role = house.role("alice", "acme.alice.reader", "data:get@acme:account:acme.alice:*")
    house.join("alice", role, "bob")
    before = house.rules("bob")
    house.do("alice", roles.change_role, "acme.alice.reader", RenamePatch(name="viewer"))
    assert house.rules("bob") == before
    assert house.names("acme.alice.viewer", who="alice") == ["bob"]
    house.refused(NotFound, "alice", roles.get_role, "acme.alice.reader")
    house.refused(Conflict, "alice", roles.change_role, role, RenamePatch(name="user"))


def test_predefined_roles_stay_as_they_are(house: House) -> None:
    for role in ("acme.admin", "acme.user", "acme.alice.admin", "acme.alice.user"):
        house.refused(Conflict, "admin", roles.change_role, role, RenamePatch(name="other"))
        house.refused(Conflict, "admin", roles.archive_role, role)


def test_archiving_takes_everything_away_that_the_role_gave(house: House) -> None:
    role = house.role("alice", "acme.alice.reader", "data:get@acme:account:acme.alice:*")
    house.join("alice", role, "bob")
    token = house.do("alice", role_keys.create_key, role, NewRoleKey())[0].token
    archived = house.do("alice", roles.archive_role, "acme.alice.reader")
    assert archived.archived is not None
    assert len(house.rules("bob")) == 6
    for reference in (role, "acme.alice.reader"):
        house.refused(NotFound, "alice", roles.get_role, reference)
    with house.store.begin(write=False) as session, pytest.raises(NotSignedIn):
        access.actor_by_key(session, token)
    assert house.role("alice", "acme.alice.reader") != role
    assert house.do("alice", policies.list_policies, "role", "acme.alice.reader") == []
    assert house.do("alice", members.list_members, "role", "acme.alice.reader") == []


def test_a_name_is_taken_once_in_one_place(house: House) -> None:
    house.role("alice", "acme.alice.reader")
    house.refused(Conflict, "alice", roles.create_role, NewRole(name="acme.alice.reader"))
    house.refused(Conflict, "alice", roles.create_role, NewRole(name="acme.alice.admin"))
    house.role("bob", "acme.bob.reader")
    house.refused(NotFound, "alice", roles.create_role, NewRole(name="acme.bob.other"))
    house.refused(NotFound, "alice", members.add_member, "role", "acme.bob.reader", NewMember(user="alice"))
    house.refused(NotFound, "alice", policies.add_policy, "role", "acme.bob.reader", NewPolicy(policy="job:get@acme"))
