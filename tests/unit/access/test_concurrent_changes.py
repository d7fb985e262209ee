"""Two changes of one thing at the same moment: one after the other, each on what the other has left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.unit.access.house import House
from toolkit_client.access_models import NewAccount, NewMember, NewPolicy, NewRole, RenamePatch
from toolkit_client.errors import Conflict, NotFound, ToolkitError
from toolkit_hub.domain import accounts, members, policies, roles
from toolkit_hub.store import Store

Work = tuple[Any, ...]


def at_once(house: House, url: str, *calls: Work) -> list[Any]:
    """Each call on a store of its own, as in units of their own; what it gave or how it was refused."""
    together = threading.Barrier(len(calls))

    def run(call: Work) -> Any:
        mine = House(Store(url))
        try:
            together.wait(10)
            return mine.do(*call)
        except ToolkitError as error:
            return error
        finally:
            mine.store.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def refusals(answers: list[Any]) -> list[type[ToolkitError]]:
    return [type(answer) for answer in answers if isinstance(answer, ToolkitError)]


def test_two_renames_to_one_name(house: House, people_url: str) -> None:
    one, two = house.role("alice", "acme.alice.one"), house.role("alice", "acme.alice.two")
    new = RenamePatch(name="same")
    answers = at_once(house, people_url, ("alice", roles.change_role, one, new), ("alice", roles.change_role, two, new))
    assert refusals(answers) == [Conflict]
    assert (
        len([role for role in house.do("alice", roles.list_roles, "account", "acme.alice") if role.name == "same"]) == 1
    )


def test_one_name_is_given_once(house: House, people_url: str) -> None:
    calls: list[Work] = [("alice", roles.create_role, NewRole(name="acme.alice.same")) for _ in range(4)]
    assert refusals(at_once(house, people_url, *calls)) == [Conflict] * 3
    calls = [("alice", accounts.create_account, NewAccount(name="acme.alice.same")) for _ in range(4)]
    assert refusals(at_once(house, people_url, *calls)) == [Conflict] * 3


def test_the_same_member_is_added_once(house: House, people_url: str) -> None:
    calls = [("alice", members.add_member, "role", "acme.alice.user", NewMember(user="bob")) for _ in range(4)]
    answers = at_once(house, people_url, *calls)
    assert refusals(answers) == []
    assert sorted(new for _, new in answers) == [False, False, False, True]
    assert house.names("acme.alice.user", who="alice") == ["bob"]


def test_the_same_member_is_removed_once(house: House, people_url: str) -> None:
    house.join("alice", "acme.alice.user", "bob")
    calls = [("alice", members.remove_member, "role", "acme.alice.user", "user", "bob") for _ in range(3)]
    assert refusals(at_once(house, people_url, *calls)) == [NotFound] * 2


def test_of_two_administrators_one_stays(house: House, people_url: str) -> None:
    house.join("alice", "acme.alice.admin", "bob")
    calls: list[Work] = [
        ("admin", members.remove_member, "role", "acme.alice.admin", "user", name) for name in ("alice", "bob")
    ]
    assert refusals(at_once(house, people_url, *calls)) == [Conflict]
    assert len(house.names("acme.alice.admin")) == 1


def test_two_teams_do_not_become_a_circle(house: House, people_url: str) -> None:
    house.team("admin", "one")
    house.team("admin", "two")
    answers = at_once(
        house,
        people_url,
        ("admin", members.add_member, "team", "one", NewMember(team="two")),
        ("admin", members.add_member, "team", "two", NewMember(team="one")),
    )
    assert refusals(answers) == [Conflict]


def test_policies_of_one_role(house: House, people_url: str) -> None:
    role = house.role("alice", "acme.alice.reader")
    verbs = ("get", "set", "exec", "lock")
    calls = [
        ("alice", policies.add_policy, "role", role, NewPolicy(policy=f"job:{verb}@acme:account:acme.alice:*"))
        for verb in verbs
    ]
    answers = at_once(house, people_url, *calls)
    assert refusals(answers) == []
    assert len({policy.id for policy in house.do("alice", policies.list_policies, "role", role)}) == 4
    (first, _), *_ = answers
    removing = [("alice", policies.remove_policy, "role", role, first.id) for _ in range(2)]
    assert refusals(at_once(house, people_url, *removing)) == [NotFound]


def test_a_member_of_a_role_that_is_being_archived(house: House, people_url: str) -> None:
    for _ in range(3):
        role = house.role("alice", "acme.alice.reader", "data:get@acme:account:acme.alice:*")
        add: Callable[..., Any] = members.add_member
        answers = at_once(
            house,
            people_url,
            ("alice", add, "role", role, NewMember(user="bob")),
            ("alice", roles.archive_role, role),
        )
        assert refusals(answers) in ([], [NotFound])
        assert len(house.rules("bob")) == 6
