"""Locks: every decision no, until who may takes them away."""

from __future__ import annotations

from tests.unit.access.house import House
from tests.unit.conftest import People
from toolkit_client.access_models import NewLock, NewRoleKey
from toolkit_client.errors import Conflict, NotFound, PermissionDenied
from toolkit_hub.domain import accounts, locks, role_keys, users


def test_a_locked_user_may_nothing(house: House) -> None:
    made, new = house.do("admin", locks.lock, NewLock(type="user", ref="acme.bob", why="laptop stolen"))
    assert (new, made.name, made.created_by, made.why) == (True, "acme.bob", "acme.admin", "laptop stolen")
    assert house.do("admin", users.get_user, "bob").locked
    refusal = house.refused(PermissionDenied, "bob", accounts.get_account, "acme.bob")
    assert "locked" in refusal.message
    assert house.do("admin", locks.list_locks) == [made]
    again, new = house.do("admin", locks.lock, NewLock(type="user", ref="bob"))
    assert (again, new) == (made, False)
    assert house.do("admin", locks.unlock, "user", "acme.bob") == made
    house.do("bob", accounts.get_account, "acme.bob")
    house.refused(Conflict, "admin", locks.unlock, "user", "bob")


def test_a_locked_role_gives_nothing(house: House) -> None:
    urn = house.do("alice", accounts.get_account, "acme.alice").urn
    house.join("alice", "acme.alice.user", "bob")
    house.do("alice", locks.lock, NewLock(type="role", ref="acme.alice.user"))
    assert not house.allowed("bob", "account:get", urn)
    house.do("alice", locks.unlock, "role", "acme.alice.user")
    assert house.allowed("bob", "account:get", urn)


def test_a_locked_job_is_left_alone(house: House, people: People) -> None:
    job = people.submit("alice", name="train")
    made, _ = house.do("alice", locks.lock, NewLock(type="job", ref=job.id))
    assert made.name == "acme.alice.train"
    assert not house.allowed("alice", "job:get", job.urn)
    assert not house.allowed("admin", "job:exec", job.urn)
    assert house.allowed("alice", "job:lock", job.urn)
    assert [lock.resource_id for lock in house.do("alice", locks.list_locks)] == [job.id]
    house.do("alice", locks.unlock, "job", job.id)
    assert house.allowed("alice", "job:get", job.urn)


def test_only_the_organization_takes_its_own_locks_away(house: House) -> None:
    house.do("alice", locks.lock, NewLock(type="role", ref="acme.alice.user"))
    upgraded, new = house.do("admin", locks.lock, NewLock(type="role", ref="acme.alice.user"))
    assert not new
    refusal = house.refused(PermissionDenied, "alice", locks.unlock, "role", "acme.alice.user")
    assert "organization:lock" in refusal.hint
    assert house.do("admin", locks.unlock, "role", "acme.alice.user") == upgraded


def test_who_may_lock_what(house: House) -> None:
    house.refused(PermissionDenied, "alice", locks.lock, NewLock(type="user", ref="bob"))
    house.refused(PermissionDenied, "alice", locks.lock, NewLock(type="role", ref="acme.user"))
    house.refused(NotFound, "alice", locks.lock, NewLock(type="role", ref="acme.bob.user"))
    house.refused(NotFound, "alice", locks.lock, NewLock(type="key", ref="nothing"))
    house.refused(NotFound, "alice", locks.lock, NewLock(type="job", ref="nothing"))
    key, _ = house.do("bob", role_keys.create_key, "acme.bob.user", NewRoleKey())
    house.refused(NotFound, "alice", locks.lock, NewLock(type="key", ref=key.id))
    house.do("bob", locks.lock, NewLock(type="key", ref=key.id))
    assert house.do("alice", locks.list_locks) == []
    assert house.do("bob", role_keys.list_keys, "acme.bob.user")[0].locked


def test_what_nobody_could_unlock_is_not_locked(house: House) -> None:
    house.refused(Conflict, "admin", locks.lock, NewLock(type="user", ref="admin"))
    house.refused(Conflict, "admin", locks.lock, NewLock(type="role", ref="acme.admin"))
    house.join("admin", "acme.admin", "bob")
    house.do("bob", locks.lock, NewLock(type="user", ref="admin"))
    house.refused(Conflict, "bob", locks.lock, NewLock(type="user", ref="bob"))
