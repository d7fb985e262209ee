"""The client's parts about access: what goes over the wire, and that both clients have the same."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.canned_service import CREATED, TOKEN, Service, running_service
from toolkit_client import AsyncClient, Client, access_calls, access_groups, async_access_groups, calls, data_calls
from toolkit_client.access_models import AuditRecord, Member, Policy, Role, RoleKeySecret
from toolkit_client.call import Call
from toolkit_hub.api.routing import Route
from toolkit_hub.service import ROUTES

ROLE = Role(
    id="r",
    urn="o:account:a:role:r",
    name="reader",
    full_name="acme.joe.reader",
    organization="acme",
    parent="acme.joe",
    parent_type="account",
    created=CREATED,
)
POLICY = Policy(id="p", policy="job:get@o:account:a:*", created=CREATED)
MEMBER = Member(id="u", name="alice", full_name="acme.alice", type="user", created=CREATED)
KEY = RoleKeySecret(id="k", role="acme.joe.reader", created=CREATED, token="tkr_secret")


@pytest.fixture
def service() -> Iterator[Service]:
    with running_service() as running:
        yield running


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url, TOKEN, retry_pauses=(0.01, 0.02)) as open_client:
        yield open_client


def test_both_clients_have_the_same_groups_and_methods() -> None:
    blocking = {name.lower() for name in access_groups.__all__}
    assert blocking == {name.removeprefix("Async").lower() for name in async_access_groups.__all__}
    for name in access_groups.__all__:
        one, other = (
            {key: inspect.signature(value) for key, value in inspect.getmembers(group, inspect.isfunction)}
            for group in (getattr(access_groups, name), getattr(async_access_groups, f"Async{name}"))
        )
        assert one.keys() == other.keys()
        for key in one.keys() - {"__init__"}:
            assert list(one[key].parameters.values()) == list(other[key].parameters.values()), key


def all_calls() -> Iterator[Call[Any]]:
    """One of each kind."""
    one: dict[str, Any] = {"name": "x"}
    for subject in ("user", "team", "role"):
        yield access_calls.list_policies(subject, "x")
        yield access_calls.add_policy(subject, "x", {"policy": "a@b"})
        yield access_calls.remove_policy(subject, "x", "y")
    for group in ("team", "role"):
        yield access_calls.list_members(group, "x")
        yield access_calls.add_member(group, "x", {"user": "y"})
        yield access_calls.remove_member(group, "x", "user", "y")
    for owner in ("organization", "team", "account"):
        yield access_calls.list_roles(owner, "x")
    yield from (access_calls.list_roles(), calls.list_users(), calls.create_user(one))
    yield from (access_calls.get_organization("x"), access_calls.change_organization("x", one))
    yield from (access_calls.list_accounts(), access_calls.create_account(one), access_calls.get_account("x"))
    yield from (access_calls.change_account("x", one), access_calls.archive_account("x"))
    yield from (access_calls.list_teams(), access_calls.create_team(one), access_calls.get_team("x"))
    yield from (access_calls.change_team("x", one), access_calls.archive_team("x"))
    yield from (access_calls.get_user("x"), access_calls.change_user("x", one), access_calls.archive_user("x"))
    yield from (access_calls.disable_user("x"), access_calls.enable_user("x"), access_calls.offboard_user("x", one))
    yield from (access_calls.create_role(one), access_calls.get_role("x"), access_calls.change_role("x", one))
    yield from (access_calls.archive_role("x"), access_calls.list_keys("x"), access_calls.create_key("x", one))
    yield from (access_calls.revoke_key("x", "y"), access_calls.list_rules(), access_calls.is_allowed("a@b"))
    yield from (access_calls.who_is_allowed("a@b"), access_calls.explain_rule("a@b"), access_calls.list_locks())
    yield from (access_calls.lock(one), access_calls.unlock("user", "x"), access_calls.list_audit())
    yield from (access_calls.list_data(), access_calls.create_data(one), access_calls.get_data("x"))
    yield from (access_calls.change_data("x", one), access_calls.archive_data("x"))
    yield from (data_calls.commit_data("x"), data_calls.list_versions("x"), data_calls.get_version("x", 1))
    yield from (data_calls.get_size("x"), data_calls.list_quotas(), data_calls.get_quota("x"))
    yield data_calls.set_quota("x", {"filesLimit": 1})
    for holder in ("user", "organization"):
        yield data_calls.get_room_quota(holder, "x")
        yield data_calls.set_room_quota(holder, "x", {"room": {"gpus": 1}})


def test_every_route_about_access_has_its_call() -> None:
    nouns = {"accounts", "teams", "roles", "organizations", "users", "rules", "locks", "audit", "data", "quotas"}
    routes = [route for route in ROUTES if route.path.split("/")[1] in nouns]
    met = set()
    for call in all_calls():
        fits = [route for route in routes if route.method == call.method and pattern_of(route).fullmatch(call.path)]
        exact = [route for route in fits if "{" not in route.path]
        assert len(exact or fits) == 1, f"{call.method} {call.path}"
        met.add((call.method, (exact or fits)[0].path))
        assert call.repeatable, f"{call.method} {call.path}"
    assert met == {(route.method, route.path) for route in routes}


def pattern_of(route: Route) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{\w+\}", "[^/]+", route.path))


def test_what_goes_over_the_wire(service: Service, client: Client) -> None:
    service.answers = {
        ("POST", "/roles"): ROLE,
        ("GET", "/roles/acme.joe.reader"): ROLE,
        ("POST", "/roles/acme.joe.reader/policies"): POLICY,
        ("POST", "/teams/acme.cocos/members"): MEMBER,
        ("POST", "/roles/acme.joe.reader/keys"): KEY,
    }
    client.roles.new("acme.joe.reader", policies=["job:get@x"])
    client.roles.get("acme.joe.reader", "team")
    until = datetime(2030, 1, 2, tzinfo=UTC)
    client.roles.add_policy("acme.joe.reader", "job:get@x", expires=until)
    client.teams.add_member("acme.cocos", user="acme.alice")
    key = client.roles.new_key("acme.joe.reader", name="ci")
    assert [one.body for one in service.seen] == [
        {"name": "acme.joe.reader", "ownerType": None, "policies": ["job:get@x"]},
        None,
        {"policy": "job:get@x", "expires": "2030-01-02T00:00:00+00:00"},
        {"user": "acme.alice"},
        {"name": "ci", "expires": None},
    ]
    assert service.seen[1].query == {"owner": "team"}
    assert all("Idempotency-Key" in one.headers for one in service.seen if one.method == "POST")
    assert key.token == "tkr_secret"
    assert "tkr_secret" not in repr(key)


@pytest.mark.parametrize("fault", [503, None])
def test_what_makes_something_is_sent_again_with_the_same_key(
    service: Service, client: Client, fault: int | None
) -> None:
    service.answers = {("POST", "/roles"): ROLE}
    service.faults = [fault, fault]
    client.roles.new("acme.joe.reader")
    assert len({one.headers["Idempotency-Key"] for one in service.seen}) == 1
    assert len(service.seen) == 3


def test_the_audit_log_is_read_page_by_page(service: Service, client: Client) -> None:
    entries = [
        AuditRecord(seq=seq, time=CREATED, actor="acme.joe", action="role:new", urn="o", outcome="done")
        for seq in (2, 1)
    ]
    service.answers = {("GET", "/audit"): entries}
    assert [entry.seq for entry in client.audit.list(since="2026-01-01T00:00:00Z", outcome="done")] == [2, 1]
    assert service.seen[0].query == {"since": "2026-01-01T00:00:00Z", "outcome": "done", "limit": "500"}


def test_the_asynchronous_client_does_the_same(service: Service) -> None:
    service.answers = {("GET", "/roles/acme.joe.reader/members"): [MEMBER], ("POST", "/roles"): ROLE}

    async def run() -> None:
        async with AsyncClient(service.url, TOKEN) as client:
            assert await client.roles.members("acme.joe.reader") == [MEMBER]
            assert await client.roles.new("acme.joe.reader") == ROLE

    asyncio.run(run())
