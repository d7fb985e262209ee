"""What subjects are called, and which of them can act now."""

from __future__ import annotations

import pytest

from tests.unit.access.house import House, soon
from tests.unit.conftest import People
from toolkit_client.access_models import NewLock, NewRoleKey
from toolkit_hub.domain import locks, resolve, role_keys, subjects, users
from toolkit_hub.domain.subjects import Known


@pytest.fixture
def house(people: People) -> House:
    """With the team `cocos`, and a key of the role `acme.alice.user`."""
    made = House(people.store)
    made.team("admin", "cocos")
    made.do("alice", role_keys.create_key, "acme.alice.user", NewRoleKey(expires=soon(days=1)))
    return made


def known(house: House) -> dict[str, Known]:
    """By name."""
    with house.store.begin(write=False) as session:
        admin = People.actor(session, "admin")
        rows = [resolve.find_user(session, admin, name) for name in ("acme.alice", "acme.bob")]
        rows += [resolve.find_team(session, admin, "acme.cocos")]
        names = ("acme.alice.user", "acme.alice.admin", "acme.admin")
        rows += [resolve.find_role(session, admin, name) for name in names]
        rows += [resolve.find_role(session, admin, "acme.cocos.admin", "team")]
        found = subjects.known_subjects(session, [*(row.id for row in rows), "unknown"], admin.organization_id)
        elsewhere = subjects.known_subjects(session, list(found), "another organization")
    assert not any(one.acts for one in elsewhere.values())
    return {one.name: one for one in found.values()}


def acting(house: House) -> set[str]:
    return {one.name for one in known(house).values() if one.acts}


def test_names_and_types(house: House) -> None:
    assert {name: one.type for name, one in known(house).items()} == {
        "acme.alice": "user",
        "acme.bob": "user",
        "acme.cocos": "team",
        "acme.alice.user": "role",
        "acme.alice.admin": "role",
        "acme.admin": "role",
        "acme.cocos.admin": "role",
    }


def test_people_and_roles_with_a_key_act(house: House) -> None:
    assert acting(house) == {"acme.alice", "acme.bob", "acme.alice.user"}


def test_who_is_locked_or_disabled_does_not(house: House) -> None:
    house.do("admin", locks.lock, NewLock(type="user", ref="acme.alice"))
    house.do("admin", users.disable_user, "acme.bob")
    assert acting(house) == {"acme.alice.user"}


@pytest.mark.parametrize("what", ["role", "key"])
def test_a_role_does_not_that_is_locked_or_whose_only_key_is(house: House, what: str) -> None:
    key = house.do("alice", role_keys.list_keys, "acme.alice.user")[0].id
    ref = key if what == "key" else "acme.alice.user"
    house.do("admin", locks.lock, NewLock.model_validate({"type": what, "ref": ref}))
    assert acting(house) == {"acme.alice", "acme.bob"}


def test_many_are_asked_about_in_several_statements(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = known(house)
    monkeypatch.setattr(subjects, "_AT_ONCE", 2)
    assert known(house) == whole
