"""Teams: members at any depth, the dedicated account, and how a team ends."""

from __future__ import annotations

from tests.unit.access.house import House
from tests.unit.conftest import People
from toolkit_client.access_models import NewData, NewMember, NewTeam, RenamePatch
from toolkit_client.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from toolkit_hub.domain import accounts, data, members, roles, teams


def test_a_team_has_an_account_that_its_members_work_in(house: House) -> None:
    team = house.do("admin", teams.create_team, NewTeam(name="acme.cocos"))[0]
    assert (team.name, team.full_name, team.account) == ("cocos", "acme.cocos", "acme.cocos")
    house.do("admin", members.add_member, "team", "acme.cocos", NewMember(user="acme.alice"))
    house.do("admin", members.add_member, "team", "acme.cocos", NewMember(user="acme.bob"))
    assert house.names("acme.cocos", "team") == ["alice", "bob"]
    image = house.do("alice", data.create_data, NewData(name="acme.cocos.images"))[0]
    assert house.allowed("bob", "data:set", image.urn)
    house.do("admin", members.remove_member, "team", "acme.cocos", "user", "acme.bob")
    assert not house.allowed("bob", "data:get", image.urn)


def test_the_roles_of_a_team(house: House) -> None:
    house.team("admin", "cocos")
    found = house.do("alice", roles.list_roles, "team", "acme.cocos")
    assert [(role.name, role.parent, role.parent_type) for role in found] == [
        ("admin", "acme.cocos", "team"),
        ("user", "acme.cocos", "team"),
    ]
    assert [member.name for member in house.do("admin", members.list_members, "role", found[0].id)] == ["admin"]
    assert [member.name for member in house.do("admin", members.list_members, "role", found[1].id)] == ["cocos"]
    assert house.names("acme.cocos.user") == ["cocos"]
    assert house.names("acme.cocos.admin") == ["acme.cocos.admin"]


def test_who_administers_a_team_administers_its_account(house: House) -> None:
    house.team("admin", "cocos")
    added = NewMember(user="alice")
    house.do("admin", members.add_member, "role", "acme.cocos.admin", added, None, "team")
    house.do("alice", members.add_member, "team", "acme.cocos", NewMember(user="bob"))
    house.account("alice", "acme.cocos.sub")
    house.refused(PermissionDenied, "bob", teams.change_team, "acme.cocos", RenamePatch(name="mine"))


def test_members_of_teams_of_teams(house: House) -> None:
    for name in ("inner", "middle", "outer"):
        house.team("admin", name)
    house.do("admin", members.add_member, "team", "inner", NewMember(user="alice"))
    house.do("admin", members.add_member, "team", "middle", NewMember(team="inner"))
    house.do("admin", members.add_member, "team", "outer", NewMember(team="middle"))
    account = house.do("admin", accounts.get_account, "acme.outer")
    assert house.allowed("alice", "job:new", account.urn)
    circle = house.refused(Conflict, "admin", members.add_member, "team", "inner", NewMember(team="outer"))
    assert "itself" in circle.message
    house.refused(Conflict, "admin", members.add_member, "team", "inner", NewMember(team="inner"))
    house.do("admin", members.remove_member, "team", "outer", "team", "middle")
    house.do("admin", members.add_member, "team", "inner", NewMember(team="outer"))


def test_only_who_may_makes_teams(house: House) -> None:
    house.refused(PermissionDenied, "alice", teams.create_team, NewTeam(name="mine"))
    house.refused(NotFound, "admin", teams.create_team, NewTeam(name="other.mine"))
    house.refused(InvalidRequest, "admin", teams.create_team, NewTeam(name="acme.-"))
    house.team("admin", "cocos")
    house.refused(Conflict, "admin", teams.create_team, NewTeam(name="acme.cocos"))


def test_the_account_of_a_team_whose_name_is_taken_has_another_one(house: House) -> None:
    house.account("admin", "acme.team-alice")
    team = house.do("admin", teams.create_team, NewTeam(name="acme.alice"))[0]
    assert (team.full_name, team.account) == ("acme.alice", "acme.team-alice-2")


def test_a_rename_changes_no_right_and_not_the_account(house: House) -> None:
    team = house.team("admin", "cocos")
    house.do("admin", members.add_member, "team", "cocos", NewMember(user="alice"))
    before = house.rules("alice")
    renamed = house.do("admin", teams.change_team, "acme.cocos", RenamePatch(name="palms"))
    assert (renamed.id, renamed.name, renamed.account) == (team, "palms", "acme.cocos")
    assert [action for action, _ in house.rules("alice")] == [action for action, _ in before]
    house.refused(NotFound, "admin", teams.get_team, "acme.cocos")
    house.team("admin", "cocos")


def test_archiving_a_team_takes_its_account_along(house: House) -> None:
    team = house.team("admin", "cocos")
    house.do("admin", members.add_member, "team", "cocos", NewMember(user="alice"))
    house.account("alice", "acme.alice.x")
    house.do("alice", members.add_member, "role", "acme.alice.x.user", NewMember(team="cocos"))
    assert house.allowed("alice", "job:new", house.do("admin", accounts.get_account, "acme.cocos").urn)
    house.do("admin", teams.archive_team, "acme.cocos")
    assert house.names("acme.alice.x.user", who="alice") == []
    assert not any("cocos" in rule for _, rule in house.rules("alice"))
    for reference in ("acme.cocos", team):
        house.refused(NotFound, "admin", teams.get_team, reference)
    house.refused(NotFound, "admin", accounts.get_account, "acme.cocos")
    assert house.do("admin", teams.list_teams) == []
    assert house.do("admin", teams.create_team, NewTeam(name="cocos"))[0].account == "acme.cocos"


def test_an_account_in_use_outlives_its_team_with_its_administrators(house: House, people: People) -> None:
    house.team("admin", "cocos")
    house.do("admin", members.add_member, "team", "cocos", NewMember(user="alice"))
    people.submit("alice", account="acme.cocos")
    house.do("admin", teams.archive_team, "acme.cocos")
    assert house.names("acme.cocos.admin") == ["admin"]
    assert house.names("acme.cocos.user") == []
    house.refused(NotFound, "alice", accounts.get_account, "acme.cocos")


def test_a_team_that_alone_administers_something_stays(house: House) -> None:
    house.team("admin", "cocos")
    house.do("admin", members.add_member, "team", "cocos", NewMember(user="alice"))
    house.account("admin", "acme.project")
    house.do("admin", members.add_member, "role", "acme.project.admin", NewMember(team="cocos"))
    house.do("admin", members.remove_member, "role", "acme.project.admin", "user", "admin")
    left = house.refused(Conflict, "admin", teams.archive_team, "acme.cocos")
    assert "acme.project" in left.message
    house.refused(Conflict, "admin", members.remove_member, "team", "cocos", "user", "alice")
