"""Users: made with their defaults, renamed, disabled, gone."""

from __future__ import annotations

import pytest

from tests.unit.access.house import House
from tests.unit.conftest import People
from toolkit_client.access_models import NewMember, Offboarding, UserPatch
from toolkit_client.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from toolkit_client.models import NewUser
from toolkit_hub.domain import access, accounts, job_changes, jobs, members, offboarding, passwords, policies, users
from toolkit_hub.store.tables import User


def new(name: str, **more: object) -> NewUser:
    return NewUser.model_validate({"name": name, "password": "a good password", **more})


def test_an_administrator_is_a_member_of_the_role(house: House) -> None:
    made = house.do("admin", users.create_user, new("carol", admin=True))[0]
    assert made.admin
    assert house.names("acme.admin") == ["admin", "carol"]
    house.do("carol", users.create_user, new("dave"))
    house.refused(PermissionDenied, "alice", users.create_user, new("eve"))


def test_who_makes_users_gives_no_more_than_they_hold(house: House) -> None:
    house.role("admin", "acme.hosts", "organization:get+user:new@acme")
    house.join("admin", "acme.hosts", "bob")
    house.do("bob", users.create_user, new("carol"))
    house.refused(PermissionDenied, "bob", users.create_user, new("eve", admin=True))


def test_names(house: House) -> None:
    house.refused(Conflict, "admin", users.create_user, new("alice"))
    house.account("admin", "acme.project")
    house.refused(Conflict, "admin", users.create_user, new("project"))
    house.refused(InvalidRequest, "admin", users.create_user, new("svc-0123456789"))
    house.refused(InvalidRequest, "alice", users.change_user, "alice", UserPatch(name="svc-1"))
    house.refused(Conflict, "alice", users.change_user, "alice", UserPatch(name="bob"))


def test_a_rename_takes_the_home_account_along_and_changes_no_right(house: House) -> None:
    before = house.do("alice", users.get_user, "alice")
    house.account("alice", "acme.alice.x")
    rules = [rule for rule, _ in house.rules("alice")]
    renamed = house.do("alice", users.change_user, before.id, UserPatch(name="alicia"))
    assert (renamed.id, renamed.urn, renamed.full_name, renamed.account) == (
        before.id,
        before.urn,
        "acme.alicia",
        "acme.alicia",
    )
    # The hub's name follows when the hub has been told.
    assert [rule for rule, _ in house.rules("alice")] == rules
    assert house.do("alice", accounts.get_account, "acme.alicia.x").name == "x"
    house.refused(PermissionDenied, "bob", users.change_user, "alicia", UserPatch(name="mine"))
    assert house.do("admin", users.create_user, new("alice"))[0].id != before.id
    with house.store.begin(write=False) as session:
        names = {user.name: user.hub_name for user in session.query(User)}
    assert names["alicia"] == "alice"
    assert names["alice"] is not None
    assert names["alice"].startswith("alice-")


def test_who_has_living_jobs_is_not_renamed(house: House, people: People) -> None:
    job = people.submit("alice")
    house.refused(Conflict, "alice", users.change_user, "alice", UserPatch(name="alicia"))
    house.do("alice", lambda session, actor: job_changes.kill_job(session, people.site, actor, job.id))
    house.do("alice", users.change_user, "alice", UserPatch(name="alicia"))


def test_a_disabled_user_may_nothing_until_enabled(house: House) -> None:
    disabled = house.do("admin", users.disable_user, "bob")
    assert disabled.disabled is not None
    refusal = house.refused(PermissionDenied, "bob", accounts.get_account, "acme.bob")
    assert "disabled" in refusal.message
    assert house.do("admin", users.disable_user, "bob") == disabled
    assert house.do("admin", users.enable_user, "bob").disabled is None
    house.do("bob", accounts.get_account, "acme.bob")
    house.refused(PermissionDenied, "alice", users.disable_user, "bob")
    house.refused(Conflict, "admin", users.disable_user, "admin")


def test_archiving_a_user_takes_everything_but_the_memory(house: House) -> None:
    before = house.do("admin", users.get_user, "bob")
    house.join("alice", "acme.alice.user", "bob")
    gone = house.do("admin", offboarding.archive_user, "bob")
    assert gone.archived is not None
    assert gone.disabled is not None
    assert house.names("acme.alice.user", who="alice") == []
    assert [user.name for user in house.do("admin", users.list_users)] == ["admin", "alice"]
    for reference in ("bob", before.id):
        house.refused(NotFound, "admin", users.get_user, reference)
    house.refused(NotFound, "admin", accounts.get_account, "acme.bob")
    with house.store.begin(write=False) as session:
        assert access.actor_by_id(session, before.id) is None
        assert passwords.password_hash_of(session, "bob") is None
        assert session.get_one(User, before.id).name == "bob"
    again = house.do("admin", users.create_user, new("bob"))[0]
    assert again.id != before.id
    assert house.do("admin", policies.list_policies, "user", "bob")[0].created_by == "acme.admin"


@pytest.mark.parametrize("used_by", ["a job", "a child account", "another user"])
def test_a_user_whose_home_is_in_use_is_offboarded_instead(house: House, people: People, used_by: str) -> None:
    house.account("bob", "acme.bob.x") if used_by == "a child account" else None
    house.join("bob", "acme.bob.user", "alice") if used_by == "another user" else None
    job = people.submit("bob") if used_by == "a job" else None
    refusal = house.refused(Conflict, "admin", offboarding.archive_user, "bob")
    assert "offboard bob --to" in refusal.hint
    left = house.do("admin", offboarding.offboard_user, "bob", Offboarding(to="acme.alice"))
    assert left.archived is not None
    assert house.names("acme.bob.admin", who="alice") == ["alice"]
    if job is not None:
        assert house.do("alice", lambda session, actor: jobs.get_job(session, people.site, actor, job.id)).alive
    if used_by == "a child account":
        assert house.do("alice", accounts.get_account, "acme.bob.x").parent == "acme.bob"
    house.refused(Conflict, "admin", users.create_user, new("bob"))


def test_who_administers_something_alone_leaves_it_first(house: House) -> None:
    house.account("admin", "acme.project")
    house.join("admin", "acme.project.admin", "bob")
    house.do("admin", members.remove_member, "role", "acme.project.admin", "user", "admin")
    for work in (users.disable_user, offboarding.archive_user):
        refusal = house.refused(Conflict, "admin", work, "bob")
        assert "acme.project" in refusal.message
    house.refused(Conflict, "admin", offboarding.offboard_user, "bob", Offboarding(to="alice"))
    house.join("admin", "acme.project.admin", "alice")
    house.do("admin", offboarding.offboard_user, "bob", Offboarding(to="alice"))


def test_only_who_holds_the_home_gives_it_away(house: House) -> None:
    house.role("admin", "acme.porters", "user:archive@acme:user:*")
    house.join("admin", "acme.porters", "alice")
    house.refused(PermissionDenied, "alice", offboarding.offboard_user, "bob", Offboarding(to="alice"))
    house.refused(InvalidRequest, "admin", offboarding.offboard_user, "bob", Offboarding(to="bob"))
    house.refused(NotFound, "admin", offboarding.offboard_user, "bob", Offboarding(to="nobody"))
    house.do("admin", users.disable_user, "alice")
    house.refused(InvalidRequest, "admin", offboarding.offboard_user, "bob", Offboarding(to="alice"))


def test_an_expiring_heir_becomes_a_lasting_one(house: House) -> None:
    from tests.unit.access.house import soon

    house.do("bob", members.add_member, "role", "acme.bob.admin", NewMember(user="alice", expires=soon(days=1)))
    house.do("admin", offboarding.offboard_user, "bob", Offboarding(to="alice"))
    (heir,) = house.do("alice", members.list_members, "role", "acme.bob.admin")
    assert (heir.name, heir.expires) == ("alice", None)
