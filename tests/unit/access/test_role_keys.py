"""Role keys: shown once, as good as the role and no better than who made them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from tests.unit.access.house import House, moved_clock, soon
from toolkit_client.access_models import NewAccount, NewData, NewLock, NewMember, NewRole, NewRoleKey
from toolkit_client.errors import Conflict, InvalidRequest, NotFound, NotSignedIn, PermissionDenied
from toolkit_hub.domain import access, accounts, data, locks, members, role_keys, roles, users
from toolkit_hub.domain.access import Actor
from toolkit_hub.store.access_tables import Role
from toolkit_hub.store.tables import User


def by_key(house: House, token: str, work: Any, *args: Any) -> Any:
    """Call a domain function as a key's role."""
    with house.store.begin() as session:
        actor = access.actor_by_key(session, token)
        assert isinstance(actor, Actor)
        return work(session, actor, *args)


def test_a_key_acts_as_its_role(house: House) -> None:
    house.account("alice", "acme.alice.x")
    role = house.role(
        "alice",
        "acme.alice.x.pusher",
        "data:new+data:get@acme:account:acme.alice.x",
        "data:*@acme:account:acme.alice.x:*",
    )
    made, new = house.do("alice", role_keys.create_key, role, NewRoleKey(name="ci"))
    assert new
    assert made.token.startswith("tkr_")
    assert made.role == "acme.alice.x.pusher"
    pushed = by_key(house, made.token, data.create_data, NewData(name="acme.alice.x.images"))[0]
    assert pushed.creator.startswith("acme.svc-")
    assert by_key(house, made.token, data.get_data, pushed.id) == pushed
    with pytest.raises(NotFound):
        by_key(house, made.token, accounts.get_account, "acme.alice")


def test_the_token_is_nowhere_but_in_the_answer(house: House) -> None:
    role = house.role("alice", "acme.alice.reader")
    made, _ = house.do("alice", role_keys.create_key, role, NewRoleKey(name="ci"), "key")
    assert made.token not in repr(made)
    assert made.token not in repr(house.contents())
    (listed,) = house.do("alice", role_keys.list_keys, role)
    assert (listed.id, listed.name, listed.created_by) == (made.id, "ci", "acme.alice")
    assert "token" not in listed.model_dump()
    again = house.refused(Conflict, "alice", role_keys.create_key, role, NewRoleKey(name="ci"), "key")
    assert made.id in again.message


def test_a_key_never_exceeds_who_made_it(house: House) -> None:
    house.role(
        "admin", "acme.keymakers", "role:get+role:key@acme:account:acme.alice:*", "data:get@acme:account:acme.alice:*"
    )
    house.join("admin", "acme.keymakers", "bob")
    house.refused(PermissionDenied, "bob", role_keys.create_key, "acme.alice.admin", NewRoleKey())
    reader = house.role("alice", "acme.alice.reader", "data:get@acme:account:acme.alice:*")
    house.do("bob", role_keys.create_key, reader, NewRoleKey())


@pytest.mark.parametrize("end", ["revoked", "expired", "key locked", "role locked"])
def test_a_dead_key_is_nobody(house: House, end: str) -> None:
    role = house.role("alice", "acme.alice.reader", "account:get@acme:account:acme.alice")
    made, _ = house.do("alice", role_keys.create_key, role, NewRoleKey(expires=soon(days=1)))
    assert by_key(house, made.token, accounts.get_account, "acme.alice").name == "alice"
    match end:
        case "revoked":
            house.do("alice", role_keys.revoke_key, role, made.id)
            house.refused(NotFound, "alice", role_keys.revoke_key, role, made.id)
            assert house.do("alice", role_keys.list_keys, role) == []
        case "key locked":
            house.do("alice", locks.lock, NewLock(type="key", ref=made.id))
        case "role locked":
            house.do("alice", locks.lock, NewLock(type="role", ref=role))
    with moved_clock(days=2 if end == "expired" else 0), pytest.raises(NotSignedIn):
        by_key(house, made.token, accounts.get_account, "acme.alice")


def test_service_users_are_no_people(house: House) -> None:
    role = house.role("alice", "acme.alice.reader")
    house.do("alice", role_keys.create_key, role, NewRoleKey())
    house.do("alice", role_keys.create_key, role, NewRoleKey())
    assert [user.name for user in house.do("admin", users.list_users)] == ["admin", "alice", "bob"]
    with house.store.begin() as session:
        service = role_keys.service_user(session, session.get_one(Role, role))
    house.refused(NotFound, "alice", members.add_member, "role", role, NewMember(user=service.id))
    house.refused(InvalidRequest, "admin", users.disable_user, service.id)


def test_what_a_key_makes_at_the_top_has_the_organizations_administrators(house: House) -> None:
    role = house.role("admin", "acme.makers", "organization:get+account:new+team:new@acme")
    made, _ = house.do("admin", role_keys.create_key, role, NewRoleKey())
    by_key(house, made.token, accounts.create_account, NewAccount(name="acme.project"))
    assert house.names("acme.project.admin") == ["acme.admin"]


def test_keys_are_for_who_may_make_them(house: House) -> None:
    made, _ = house.do("alice", role_keys.create_key, "acme.alice.user", NewRoleKey())
    house.join("alice", "acme.alice.user", "bob")
    house.refused(PermissionDenied, "bob", role_keys.list_keys, "acme.alice.user")
    house.refused(PermissionDenied, "bob", role_keys.revoke_key, "acme.alice.user", made.id)
    house.refused(NotFound, "alice", role_keys.revoke_key, "acme.alice.admin", made.id)
    house.refused(InvalidRequest, "alice", role_keys.create_key, "acme.alice.user", NewRoleKey(expires=soon(days=-1)))


def test_a_service_user_stands_where_its_role_does_and_leaves_with_it(house: House) -> None:
    house.team("admin", "cocos")
    homes = {"acme.alice.r": "acme.alice", "acme.cocos.r": "acme.cocos", "acme.r": None}
    for name, home in homes.items():
        owner = "team" if "cocos" in name else None
        role = house.do("admin", roles.create_role, NewRole(name=name, owner_type=owner))[0].id
        house.do("admin", role_keys.create_key, role, NewRoleKey())
        with house.store.begin(write=False) as session:
            service = session.scalars(select(User).where(User.role_id == role)).one()
            assert (service.home_account.full_name if service.home_account else None) == home
            assert service.hub_name == service.name
        house.do("admin", roles.archive_role, role)
        with house.store.begin(write=False) as session:
            assert session.scalars(select(User).where(User.role_id == role)).one().archived is not None
