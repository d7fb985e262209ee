"""What is refused, with which status; each refusal has a message and a hint, and leaves nothing half-written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.access.house import House, moved_clock, soon
from toolkit_client.access_models import NewAccount, NewMember, NewPolicy, NewRole, NewRoleKey, NewTeam
from toolkit_client.errors import ToolkitError
from toolkit_client.models import NewUser
from toolkit_hub.domain import access, accounts, members, policies, role_keys, roles, teams, users

Case = Callable[[House], ToolkitError]


def statement(text: str) -> Case:
    def case(house: House) -> ToolkitError:
        house.role("alice", "acme.alice.r")
        return house.refused(ToolkitError, "alice", policies.add_policy, "role", "acme.alice.r", NewPolicy(policy=text))

    return case


def call(who: str, work: Any, *args: Any) -> Case:
    return lambda house: house.refused(ToolkitError, who, work, *args)


def circle(house: House) -> ToolkitError:
    house.team("admin", "one")
    house.team("admin", "two")
    house.do("admin", members.add_member, "team", "one", NewMember(team="two"))
    return house.refused(ToolkitError, "admin", members.add_member, "team", "two", NewMember(team="one"))


def id_of_another_type(house: House) -> ToolkitError:
    user = house.do("alice", users.get_user, "bob")
    return house.refused(ToolkitError, "alice", members.list_members, "role", user.id)


def id_of_another_type_in_a_statement(house: House) -> ToolkitError:
    user = house.do("alice", users.get_user, "bob")
    return statement(f"job:get@acme:account:{user.id}")(house)


def key_that_is(end: str) -> Case:
    def case(house: House) -> ToolkitError:
        made, _ = house.do("alice", role_keys.create_key, "acme.alice.user", NewRoleKey(expires=soon(hours=1)))
        if end == "revoked":
            house.do("alice", role_keys.revoke_key, "acme.alice.user", made.id)
        moved = moved_clock(hours=2 if end == "expired" else 0)
        with moved, pytest.raises(ToolkitError) as caught, house.store.begin() as session:
            access.actor_by_key(session, made.token)
        return caught.value

    return case


ADMIN, READER = "acme.alice.admin", "acme.alice.reader"
CASES: dict[str, tuple[int, Case]] = {
    "unknown action": (400, statement("data:fetch@acme:account:acme.alice:*")),
    "unknown type": (400, statement("pod:get@acme:account:acme.alice:*")),
    "partial wildcard in an action": (400, statement("data:g*@acme:account:acme.alice:*")),
    "partial wildcard in a URN": (400, statement("data:get@acme:account:acme.al*")),
    "question mark": (400, statement("data:get@acme:account:?")),
    "empty segment": (400, statement("data:get@acme::acme.alice")),
    "no URN": (400, statement("data:get")),
    "upper case": (400, statement("Data:get@acme:account:acme.alice:*")),
    "unicode look-alike": (400, statement("d\u0430ta:get@acme:account:acme.alice:*")),
    "unicode look-alike in a URN": (400, statement("data:get@acme:account:acme.\u0430lice:*")),
    "control character": (400, statement("data:get@acme:account:acme.alice:*\n")),
    "NUL": (400, statement("data:get@acme:account:\0")),
    "foreign organization": (400, statement("data:get@other:account:acme.alice:*")),
    "100 KB": (400, statement("data:get@acme:account:" + "a" * 100_000)),
    "too many atoms": (
        400,
        statement("data:get+data:set@" + "+".join(f"acme:user:{n}" for n in range(200))),
    ),
    "an account that does not exist": (404, statement("data:get@acme:account:acme.nobody:*")),
    "an id of another type in a statement": (404, id_of_another_type_in_a_statement),
    "more than one holds": (403, statement("*@*")),
    "membership circle": (409, circle),
    "the last administrator of an account": (409, call("alice", members.remove_member, "role", ADMIN, "user", "alice")),
    "the last administrator of the organization": (
        409,
        call("admin", members.remove_member, "role", "acme.admin", "user", "admin"),
    ),
    "a user who does not exist": (404, call("alice", members.add_member, "role", ADMIN, NewMember(user="nobody"))),
    "a team that does not exist": (404, call("alice", members.add_member, "role", ADMIN, NewMember(team="none"))),
    "nobody": (400, call("alice", members.add_member, "role", ADMIN, NewMember())),
    "a user and a team at once": (400, call("alice", members.add_member, "role", ADMIN, NewMember(user="a", team="b"))),
    "a NUL in a name": (404, call("alice", members.add_member, "role", ADMIN, NewMember(user="bo\0b"))),
    "a newline in a name": (404, call("alice", roles.get_role, "acme.alice.admin\n")),
    "a user's name that is taken": (409, call("admin", users.create_user, NewUser(name="bob", password="12345678"))),
    "an account's name that is taken": (409, call("admin", accounts.create_account, NewAccount(name="acme.bob"))),
    "a role's name that is taken": (409, call("alice", roles.create_role, NewRole(name=ADMIN))),
    "a name that is none": (400, call("alice", accounts.create_account, NewAccount(name="acme.alice.-x"))),
    "a name without an account": (404, call("alice", accounts.create_account, NewAccount(name="acme.nobody.x"))),
    "an organization that is not there": (404, call("admin", teams.create_team, NewTeam(name="other.team"))),
    "an id of another type": (404, id_of_another_type),
    "an expiry that is past": (
        400,
        call("alice", members.add_member, "role", ADMIN, NewMember(user="bob", expires=soon(days=-1))),
    ),
    "an expiry without a zone": (
        400,
        call("alice", role_keys.create_key, ADMIN, NewRoleKey(expires=soon(days=1).replace(tzinfo=None))),
    ),
    "members of a user": (400, call("alice", members.list_members, "user", "bob")),
    "policies of an account": (400, call("alice", policies.list_policies, "account", "acme.alice")),
    "a policy id that is none": (404, call("alice", policies.remove_policy, "role", ADMIN, "\0")),
    "revoked key": (401, key_that_is("revoked")),
    "expired key": (401, key_that_is("expired")),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_whole(house: House, name: str) -> None:
    status, case = CASES[name]
    refusal = case(house)
    assert refusal.status == status, refusal.message
    assert refusal.message
    assert refusal.hint
    assert refusal.code
    assert len(refusal.message) < 1000


def test_a_malformed_key_is_nobodys(house: House) -> None:
    with house.store.begin(write=False) as session:
        for token in ("", "tkr_", "tkr_\0", "tkr_" + "a" * 100_000, "tkr_\udcff", "tkj_x_y", "tkj_\n"):
            assert access.actor_by_key(session, token) is None
