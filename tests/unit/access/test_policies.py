"""Policies: read, resolved to ids, granted only by who holds them, removed."""

from __future__ import annotations

import pytest

from tests.unit.access.house import House, moved_clock, soon
from toolkit_client.access_models import AccountPatch, NewData, NewLock, NewMember, NewPolicy
from toolkit_client.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from toolkit_hub.domain import accounts, data, locks, members, policies


def test_names_become_ids_and_are_shown_again(house: House) -> None:
    role = house.role("alice", "acme.alice.reader")
    account = house.do("alice", accounts.get_account, "acme.alice")
    statement = "data:get+data:set@acme:account:acme.alice:*+acme:account:alice:*"
    made, new = house.do("alice", policies.add_policy, "role", role, NewPolicy(policy=statement))
    assert new
    assert made.policy == f"data:get+data:set@{account.urn}:*"
    assert made.named == "data:get+data:set@acme:account:acme.alice:*"
    assert made.created_by == "acme.alice"
    assert house.do("alice", policies.list_policies, "role", role) == [made]
    house.do("alice", accounts.change_account, "acme.alice", AccountPatch(name="wonder"))
    shown = house.do("alice", policies.list_policies, "role", role)[0]
    assert (shown.policy, shown.named) == (made.policy, "data:get+data:set@acme:account:acme.wonder:*")


def test_a_policy_takes_effect_and_goes_at_once(house: House) -> None:
    role = house.role("alice", "acme.alice.reader")
    house.join("alice", role, "bob")
    image = house.do("alice", data.create_data, NewData(name="acme.alice.images"))[0]
    assert not house.allowed("bob", "data:get", image.urn)
    policy = house.grant("alice", role, f"data:*@{image.urn}")
    assert house.allowed("bob", "data:set", image.urn)
    removed = house.do("alice", policies.remove_policy, "role", role, policy)
    assert removed.id == policy
    assert not house.allowed("bob", "data:get", image.urn)
    house.refused(NotFound, "alice", policies.remove_policy, "role", role, policy)


def test_policies_of_users_and_teams(house: House) -> None:
    house.team("admin", "cocos")
    house.do("admin", members.add_member, "team", "cocos", NewMember(user="bob"))
    urn = house.do("alice", accounts.get_account, "acme.alice").urn
    house.do("admin", policies.add_policy, "team", "acme.cocos", NewPolicy(policy=f"account:get@{urn}"))
    house.do("admin", policies.add_policy, "user", "acme.bob", NewPolicy(policy=f"job:new@{urn}"))
    assert house.allowed("bob", "account:get", urn)
    assert house.allowed("bob", "job:new", urn)
    assert [policy.named for policy in house.do("bob", policies.list_policies, "user", "bob")] == [
        "user:set@acme:user:bob",
        "job:new@acme:account:acme.alice",
    ]
    house.refused(PermissionDenied, "alice", policies.list_policies, "user", "bob")
    house.refused(PermissionDenied, "bob", policies.add_policy, "user", "bob", NewPolicy(policy=f"job:*@{urn}:*"))
    assert len(house.do("alice", policies.list_policies, "team", "cocos")) == 1


def test_a_policy_of_a_user_is_told_to_the_audit_log_only(house: House) -> None:
    """Everybody may see users, and so the events about them."""
    urn = house.do("alice", accounts.get_account, "acme.alice").urn
    house.do("admin", policies.add_policy, "user", "acme.bob", NewPolicy(policy=f"job:exec@{urn}:*"))
    contents = house.contents()
    assert not [row for row in contents["events"] if "job:exec" in repr(row)]
    assert [row for row in contents["audit_log"] if f"job:exec@{urn}:*" in repr(row)]


def test_only_what_one_holds_is_granted(house: House) -> None:
    role = house.role("alice", "acme.alice.reader")
    for statement in ("*@*", "*:get@*", "job:get@acme:account:*", "role:escalate@acme", "*@acme:account:acme.alice+*"):
        refusal = house.refused(
            PermissionDenied, "alice", policies.add_policy, "role", role, NewPolicy(policy=statement)
        )
        assert "does not hold" in refusal.message
        assert "role:escalate" in refusal.hint
    for statement in ("*@acme:account:acme.alice", "*:get@acme:user:*", "user:set@acme:user:alice"):
        house.grant("alice", role, statement)


def test_the_right_to_escalate_is_of_the_organization(house: House) -> None:
    writers = house.role(
        "admin", "acme.writers", "role:escalate@acme", "role:get+role:policy@acme:account:acme.alice:*"
    )
    house.join("admin", writers, "bob")
    house.grant("bob", house.role("alice", "acme.alice.reader"), "organization:set@acme")
    house.refused(PermissionDenied, "alice", policies.add_policy, "role", "acme.alice.admin", NewPolicy(policy="*@*"))


def test_what_ends_sooner_is_not_granted_for_longer(house: House) -> None:
    until = soon(days=1)
    house.join("alice", "acme.alice.admin", "bob", expires=until)
    role = house.role("bob", "acme.bob.role")
    statement = "data:get@acme:account:acme.alice:*"
    refusal = house.refused(PermissionDenied, "bob", policies.add_policy, "role", role, NewPolicy(policy=statement))
    assert "not for as long" in refusal.message
    house.grant("bob", role, statement, until)
    with moved_clock(days=2):
        assert house.do("bob", policies.list_policies, "role", role) == []


def test_the_longest_way_to_a_right_counts(house: House) -> None:
    house.team("admin", "cocos")
    house.do("admin", members.add_member, "team", "cocos", NewMember(user="bob"))
    house.join("alice", "acme.alice.admin", "bob", expires=soon(days=1))
    house.join("alice", "acme.alice.admin", team="cocos")
    house.grant("bob", house.role("bob", "acme.bob.role"), "data:get@acme:account:acme.alice:*")


def test_what_a_locked_role_gives_is_not_granted(house: House) -> None:
    house.join("alice", "acme.alice.admin", "bob")
    role = house.role("bob", "acme.bob.role")
    house.do("alice", locks.lock, NewLock(type="role", ref="acme.alice.admin"))
    statement = NewPolicy(policy="data:get@acme:account:acme.alice:*")
    house.refused(NotFound, "bob", policies.add_policy, "role", role, statement)


def test_what_is_not_seen_reads_as_what_is_not_there(house: House) -> None:
    role = house.role("bob", "acme.bob.role")

    def told(name: str) -> tuple[str, str]:
        statement = NewPolicy(policy=f"account:get@acme:account:{name}")
        refusal = house.refused(NotFound, "bob", policies.add_policy, "role", role, statement)
        return refusal.message, refusal.hint

    assert told("acme.alice") == told("acme.nobody")
    house.grant("alice", house.role("alice", "acme.alice.r"), "data:get@acme:account:acme.alice:*")


def test_what_made_an_administrator_stays(house: House) -> None:
    (policy,) = house.do("alice", policies.list_policies, "role", "acme.alice.admin")
    house.refused(Conflict, "alice", policies.remove_policy, "role", "acme.alice.admin", policy.id)
    (policy,) = house.do("admin", policies.list_policies, "role", "acme.admin")
    house.refused(Conflict, "admin", policies.remove_policy, "role", "acme.admin", policy.id)
    for policy in house.do("alice", policies.list_policies, "role", "acme.alice.user"):
        house.do("alice", policies.remove_policy, "role", "acme.alice.user", policy.id)


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("data:get@acme:account:acme.alice:data:nothing", NotFound),
        ("data:get@acme:account:6f1f9d8e-0000-4000-8000-000000000000:*", NotFound),
        ("data:get@other:account:acme.alice:*", InvalidRequest),
        ("data:get@acme:account:" + "a" * 300, NotFound),
        ("data:get@" + ":".join(["acme", *["*"] * 200]), InvalidRequest),
        ("data:get@", InvalidRequest),
    ],
)
def test_statements_that_mean_nothing_are_refused(house: House, statement: str, error: type[InvalidRequest]) -> None:
    role = house.role("alice", "acme.alice.reader")
    house.refused(error, "alice", policies.add_policy, "role", role, NewPolicy(policy=statement))


def test_the_same_key_attaches_once(house: House) -> None:
    role = house.role("alice", "acme.alice.reader")
    new = NewPolicy(policy="data:get@acme:account:acme.alice:*")
    one, first = house.do("alice", policies.add_policy, "role", role, new, "key")
    two, second = house.do("alice", policies.add_policy, "role", role, new, "key")
    assert (one, first, second) == (two, True, False)
    assert len(house.do("alice", policies.list_policies, "role", role)) == 1


def test_every_user_begins_with_the_same_six_rules(house: House) -> None:
    assert house.rules("alice") == [
        ("user:set", "acme:user:alice"),
        ("*:get", "acme"),
        ("*:get", "acme:user:*"),
        ("*:get", "acme:team:*"),
        ("*", "acme:account:acme.alice"),
        ("*", "acme:account:acme.alice:*"),
    ]
    assert [rule for rule in house.rules("admin") if rule[1] in ("acme", "acme:*")] == [
        ("*:get", "acme"),
        ("*", "acme"),
        ("*", "acme:*"),
    ]
