"""Accounts: the tree, its names, who administers it, and how one ends."""

from __future__ import annotations

import pytest

from tests.unit.access.house import House
from tests.unit.conftest import People
from toolkit_client.access_models import AccountPatch, NewAccount, NewData, NewTeam
from toolkit_client.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from toolkit_hub.domain import accounts, data, job_changes, roles, teams


def test_a_child_account_is_administered_by_those_above_visibly_so(house: House) -> None:
    house.account("alice", "acme.alice.submarine")
    house.account("alice", "acme.alice.submarine.torpedo")
    assert house.names("acme.alice.submarine.torpedo.admin", who="alice") == ["acme.alice.submarine.admin"]
    assert house.names("acme.alice.submarine.admin", who="alice") == ["acme.alice.admin"]
    made = house.do("alice", accounts.get_account, "acme.alice.submarine.torpedo")
    assert (made.name, made.organization, made.parent) == ("torpedo", "acme", "acme.alice.submarine")
    assert house.allowed("alice", "job:new", made.urn)
    assert not house.allowed("bob", "account:get", made.urn)


def test_who_makes_an_account_below_another_ones_administers_it(house: House) -> None:
    house.role("alice", "acme.alice.makers", "account:new+account:get@acme:account:acme.alice")
    house.join("alice", "acme.alice.makers", "acme.bob")
    house.account("bob", "acme.alice.bobs")
    assert house.names("acme.alice.bobs.admin", who="bob") == ["acme.alice.admin", "bob"]


def test_an_account_at_the_top_belongs_to_whoever_made_it(house: House) -> None:
    house.account("admin", "acme.project")
    assert house.names("acme.project.admin") == ["admin"]
    denied = house.refused(PermissionDenied, "alice", accounts.create_account, NewAccount(name="acme.mine"))
    assert "acme.admin" in denied.hint


def test_a_bare_name_goes_below_the_home_account(house: House) -> None:
    house.account("alice", "submarine")
    assert house.do("alice", accounts.get_account, "acme.alice.submarine").name == "submarine"


def test_the_roles_of_an_account_and_what_they_hold(house: House) -> None:
    house.account("alice", "acme.alice.x")
    found = house.do("alice", roles.list_roles, "account", "acme.alice.x")
    assert [(role.name, role.full_name, role.predefined) for role in found] == [
        ("admin", "acme.alice.x.admin", True),
        ("user", "acme.alice.x.user", True),
    ]
    house.join("alice", "acme.alice.x.user", "acme.bob")
    assert house.rules("bob")[6:] == [
        *((action, "acme:account:acme.alice.x") for action in ("account:get", "job:new", "data:new")),
        *(
            (action, "acme:account:acme.alice.x:*")
            for action in ("job:get", "job:set", "job:exec", "data:get", "data:set", "role:get")
        ),
    ]


def test_lists_hold_what_may_be_seen_and_no_more(house: House) -> None:
    for name in ("acme.alice.a", "acme.alice.b", "acme.alice.a.c"):
        house.account("alice", name)

    def listed(who: str, parent: str | None = None) -> list[str]:
        return [account.full_name for account in house.do(who, accounts.list_accounts, parent)]

    assert listed("alice") == ["acme.alice", "acme.alice.a", "acme.alice.a.c", "acme.alice.b"]
    assert listed("alice", "acme.alice") == ["acme.alice.a", "acme.alice.b"]
    assert listed("alice", "acme") == ["acme.alice"]
    assert listed("bob") == ["acme.bob"]
    assert listed("admin", "acme") == ["acme.admin", "acme.alice", "acme.bob"]
    house.refused(NotFound, "bob", accounts.list_accounts, "acme.alice")
    house.join("alice", "acme.alice.a.user", "acme.bob")
    assert listed("bob") == ["acme.alice.a", "acme.bob"]
    assert listed("bob", "acme.alice") == ["acme.alice.a"]


def test_a_rename_takes_the_names_below_along_and_changes_no_right(house: House) -> None:
    below = house.account("alice", "acme.alice.x")
    deeper = house.account("alice", "acme.alice.x.y")
    house.account("alice", "acme.alice.xy")
    house.join("alice", "acme.alice.x.user", "acme.bob")
    before = house.do("bob", accounts.get_account, below).urn
    house.do("alice", accounts.change_account, "acme.alice.x", AccountPatch(name="z"))
    assert house.do("alice", accounts.get_account, deeper).full_name == "acme.alice.z.y"
    assert house.do("alice", accounts.get_account, "acme.alice.xy").full_name == "acme.alice.xy"
    assert house.do("bob", accounts.get_account, "acme.alice.z").urn == before
    house.refused(NotFound, "alice", accounts.get_account, "acme.alice.x")
    house.refused(Conflict, "alice", accounts.change_account, below, AccountPatch(name="xy"))


def test_the_dedicated_account_of_a_team_can_be_renamed(house: House) -> None:
    team = house.do("admin", teams.create_team, NewTeam(name="acme.cocos"))[0]
    house.do("admin", accounts.change_account, team.account, AccountPatch(name="cocos"))
    house.do("admin", accounts.change_account, team.account, AccountPatch(name="coconut"))
    assert house.do("admin", teams.get_team, "acme.cocos").account == "acme.coconut"


def test_archiving_hides_the_account_and_frees_its_name(house: House) -> None:
    house.account("alice", "acme.alice.x")
    house.join("alice", "acme.alice.x.user", "acme.bob")
    made = house.do("alice", data.create_data, NewData(name="acme.alice.x.images"))[0]
    urn = house.do("alice", accounts.get_account, "acme.alice.x").urn
    archived = house.do("alice", accounts.archive_account, "acme.alice.x")
    assert archived.archived is not None
    for reference in ("acme.alice.x", archived.id):
        house.refused(NotFound, "alice", accounts.get_account, reference)
    assert "acme.alice.x" not in [account.full_name for account in house.do("admin", accounts.list_accounts)]
    assert not house.allowed("bob", "account:get", urn)
    house.refused(NotFound, "alice", data.get_data, made.id)
    assert house.account("alice", "acme.alice.x") != archived.id


@pytest.mark.parametrize("used_by", ["a child", "a job", "a user", "a team"])
def test_an_account_in_use_is_not_archived(house: House, people: People, used_by: str) -> None:
    name = house.do("alice", accounts.get_account, house.account("alice", "acme.alice.x")).full_name
    if used_by == "a child":
        house.account("alice", "acme.alice.x.y")
    if used_by == "a job":
        job = people.submit("alice", account="acme.alice.x")
    if used_by == "a user":
        name = "acme.alice"
    if used_by == "a team":
        house.team("admin", "acme.cocos")
        name = "acme.cocos"
    who = "admin" if used_by == "a team" else "alice"
    refusal = house.refused(Conflict, who, accounts.archive_account, name)
    assert "in use" in refusal.message
    if used_by == "a job":
        house.do("alice", lambda session, actor: job_changes.kill_job(session, people.site, actor, job.id))
        house.do("alice", accounts.archive_account, name)


def test_the_tree_has_an_end(house: House) -> None:
    name = "acme.alice"
    for level in range(15):
        name = f"{name}.l{level}"
        house.account("alice", name)
    deepest = house.refused(Conflict, "alice", accounts.create_account, NewAccount(name=f"{name}.more"))
    assert "16" in deepest.message


def test_names_that_are_too_long_are_refused_also_for_those_below(house: House) -> None:
    name = "acme.alice"
    for _ in range(7):
        name = f"{name}.{'n' * 64}"
        house.account("alice", name)
    house.refused(InvalidRequest, "alice", accounts.create_account, NewAccount(name=f"{name}.{'n' * 64}"))
    house.account("alice", "acme.alice.n")
    renamed = house.do("alice", accounts.list_accounts, "acme.alice")
    assert {account.name for account in renamed} == {"n", "n" * 64}


def test_the_same_key_makes_one_account(house: House) -> None:
    new = NewAccount(name="acme.alice.x")
    one, first = house.do("alice", accounts.create_account, new, "key")
    other, second = house.do("alice", accounts.create_account, new, "key")
    assert (one, first, second) == (other, True, False)
    house.refused(Conflict, "alice", accounts.create_account, NewAccount(name="acme.alice.y"), "key")
