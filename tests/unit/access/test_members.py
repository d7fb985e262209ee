"""Members of roles: added once, until an end, by those who hold what they give; the last administrator stays."""

from __future__ import annotations

import pytest

from tests.unit.access.house import House, moved_clock, soon
from toolkit_client.access_models import NewMember, UserPatch
from toolkit_client.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from toolkit_hub.domain import accounts, members, users


def test_members_are_listed_in_the_order_of_adding(house: House) -> None:
    house.team("admin", "cocos")
    house.account("alice", "acme.alice.submarine")
    role = "acme.alice.submarine.user"
    house.join("alice", role, "acme.bob")
    house.join("alice", role, team="acme.cocos")
    found = house.do("alice", members.list_members, "role", role)
    assert [(member.name, member.type, member.full_name) for member in found] == [
        ("bob", "user", "acme.bob"),
        ("cocos", "team", "acme.cocos"),
    ]
    house.refused(NotFound, "admin", members.list_members, "role", "acme.job.submarine.user")


def test_adding_twice_is_adding_once(house: House) -> None:
    once = house.do("alice", members.add_member, "role", "acme.alice.user", NewMember(user="bob"))
    before = house.contents()
    twice = house.do("alice", members.add_member, "role", "acme.alice.user", NewMember(user="acme.bob"))
    assert (once[1], twice[1]) == (True, False)
    assert once[0] == twice[0]
    assert house.contents() == before


def test_a_membership_ends(house: House) -> None:
    urn = house.do("alice", accounts.get_account, "acme.alice").urn
    house.join("alice", "acme.alice.user", "bob", expires=soon(hours=1))
    assert house.allowed("bob", "job:new", urn)
    with moved_clock(hours=2):
        assert not house.allowed("bob", "job:new", urn)
        assert house.names("acme.alice.user", who="alice") == []
        house.refused(NotFound, "alice", members.remove_member, "role", "acme.alice.user", "user", "bob")
        assert house.do("alice", members.add_member, "role", "acme.alice.user", NewMember(user="bob"))[1]
        assert house.allowed("bob", "job:new", urn)


def test_the_end_of_a_membership_is_changed_by_adding_again(house: House) -> None:
    until, later = soon(days=1), soon(days=2)
    house.join("alice", "acme.alice.user", "bob", expires=until)
    for expires in (later, until, None):
        changed, new = house.do(
            "alice", members.add_member, "role", "acme.alice.user", NewMember(user="bob", expires=expires)
        )
        assert (changed.expires, new) == (expires, False)
    unchanged, _ = house.do("alice", members.add_member, "role", "acme.alice.user", NewMember(user="bob"))
    assert unchanged.expires is None
    house.refused(
        InvalidRequest,
        "alice",
        members.add_member,
        "role",
        "acme.alice.user",
        NewMember(user="bob", expires=soon(days=-1)),
    )


def test_only_what_one_holds_is_handed_on(house: House) -> None:
    house.role("alice", "acme.alice.people", "role:get+role:member@acme:account:acme.alice:*")
    house.join("alice", "acme.alice.people", "bob")
    house.user("carol")
    refusal = house.refused(
        PermissionDenied, "bob", members.add_member, "role", "acme.alice.admin", NewMember(user="carol")
    )
    assert "does not hold" in refusal.message
    assert "role:bind" in refusal.hint
    house.join("bob", "acme.alice.people", "carol")


def test_what_ends_sooner_is_not_handed_on_for_longer(house: House) -> None:
    until = soon(days=1)
    house.join("alice", "acme.alice.admin", "bob", expires=until)
    house.user("carol")
    longer = house.refused(
        PermissionDenied, "bob", members.add_member, "role", "acme.alice.user", NewMember(user="carol")
    )
    assert "not for as long" in longer.message
    house.join("bob", "acme.alice.user", "carol", expires=until)
    house.refused(
        PermissionDenied,
        "bob",
        members.add_member,
        "role",
        "acme.alice.user",
        NewMember(user="carol", expires=soon(days=3)),
    )


def test_the_right_to_bind_is_of_the_organization(house: House) -> None:
    house.role("admin", "acme.binders", "role:bind@acme", "role:get+role:member@acme:account:*")
    house.join("admin", "acme.binders", "bob")
    house.user("carol")
    house.join("bob", "acme.alice.admin", "carol")
    assert house.names("acme.alice.admin", who="alice") == ["alice", "carol"]


@pytest.mark.parametrize("role", ["acme.admin", "acme.alice.admin"])
def test_the_last_administrator_stays(house: House, role: str) -> None:
    last = role.split(".")[1] if role.count(".") == 2 else "admin"
    refusal = house.refused(Conflict, "admin", members.remove_member, "role", role, "user", last)
    assert "without an administrator" in refusal.message
    ends = NewMember(user=last, expires=soon(days=1))
    house.refused(Conflict, "admin", members.add_member, "role", role, ends)
    house.join("admin", role, "bob", expires=soon(days=1))
    house.refused(Conflict, "admin", members.remove_member, "role", role, "user", last)
    house.join("admin", role, "bob", expires=None)
    house.do("admin", members.remove_member, "role", role, "user", last)
    assert house.names(role, who="bob") == ["bob"]


def test_the_administrators_above_count_for_what_is_below(house: House) -> None:
    house.account("alice", "acme.alice.x")
    house.join("alice", "acme.alice.x.admin", "bob")
    house.do("alice", members.remove_member, "role", "acme.alice.x.admin", "user", "bob")
    role = house.do("alice", members.list_members, "role", "acme.alice.x.admin")[0]
    assert role.inherited
    inherited = house.refused(Conflict, "alice", members.remove_member, "role", "acme.alice.x.admin", "role", role.id)
    assert "follows from the tree" in inherited.message


def test_disabled_users_are_no_administrators(house: House) -> None:
    house.join("alice", "acme.alice.admin", "bob")
    house.do("admin", users.disable_user, "bob")
    house.refused(Conflict, "admin", members.remove_member, "role", "acme.alice.admin", "user", "alice")
    house.do("admin", users.enable_user, "bob")
    house.do("admin", members.remove_member, "role", "acme.alice.admin", "user", "alice")


def test_a_rename_of_a_member_changes_nothing(house: House) -> None:
    house.join("alice", "acme.alice.user", "bob")
    house.do("bob", users.change_user, "bob", UserPatch(name="robert"))
    assert house.names("acme.alice.user", who="alice") == ["robert"]


def test_who_is_a_member_twice_over_stays_one(house: House) -> None:
    urn = house.do("alice", accounts.get_account, "acme.alice").urn
    house.team("admin", "cocos")
    house.do("admin", members.add_member, "team", "cocos", NewMember(user="bob"))
    house.join("alice", "acme.alice.user", team="cocos")
    house.join("alice", "acme.alice.user", "bob")
    house.do("alice", members.remove_member, "role", "acme.alice.user", "user", "bob")
    assert house.allowed("bob", "job:new", urn)
    house.do("alice", members.remove_member, "role", "acme.alice.user", "team", "acme.cocos")
    assert not house.allowed("bob", "job:new", urn)
