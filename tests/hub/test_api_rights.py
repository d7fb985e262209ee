"""Every address of the service names its action, and every route answers each kind of caller as the rights say.

The callers are the members of the six default roles. The table says of each route who gets what; it is written by hand, and
walked on a running site.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.running_site import RunningSite, wait_until
from toolkit_client import Client
from toolkit_client.errors import Conflict
from toolkit_hub.api.internal import InternalHandler
from toolkit_hub.api.routing import API_PREFIX, ApiHandler, Route
from toolkit_hub.configure import Toolkit
from toolkit_hub.pages import api_page, handlers
from toolkit_hub.policy.actions import ACTIONS
from toolkit_hub.service import ROUTES, Service

#: What everybody may read, with the reason. Nothing else may go without an action.
OPEN = {
    "GET /transfer": "the address of the data host, the same for everybody",
    "GET /openapi.json": "describes the interface, and says nothing of the site",
    "ApiPage": "the same, as a page",
    "OAuthCallback": "checks the hub's state cookie and code",
    "Static": "scripts and styles",
}


def test_every_address_names_its_action(tmp_path: Any) -> None:
    """Walks the service's own URL table: the API's routes, the pages, and the interface of the hub's spawner."""
    service = Service(Toolkit(state_dir=str(tmp_path)))
    try:
        rules = service.application().default_router.rules[0].target.rules
        assert len(rules) > 10
        for rule in rules:
            for name, action in named_actions(rule.target, rule.target_kwargs):
                if action is None:
                    assert name in OPEN, f"{name} names no action"
                else:
                    assert action in ACTIONS, f"{name} names an unknown action {action!r}"
        for rule in service.job_application().default_router.rules[0].target.rules:
            assert issubclass(rule.target, ApiHandler), "jobs reach the API, and nothing else"
    finally:
        service.store.close()
        service.engine.close()


def named_actions(handler: type[Any], arguments: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    if issubclass(handler, ApiHandler):
        for route in arguments["routes"].values():
            yield f"{route.method} {route.path}", route.action
    elif issubclass(handler, InternalHandler):
        return  # behind a secret that only the hub's spawner has; see test_the_internal_interface_is_not_public
    else:
        assert issubclass(handler, handlers.PageHandler | handlers.OAuthCallback | handlers.Static | api_page.ApiPage)
        yield handler.__name__, handler.action


#: Who asks, and of which default role each is a member besides the organization's `user`.
CALLERS = {
    "admin": "organization admin",
    "bob": "organization user",
    "anna": "account admin",
    "cleo": "account user",
    "dora": "team admin",
    "erik": "team user",
}


@dataclass
class Place:
    """What the routes are asked about: an account with what belongs in one, a team, and things to spend."""

    admin: Client
    owner: Client
    account: str
    team: str
    living: str
    ended: str
    data: str = ""
    role: str = ""
    #: Refusals: caller, request id, route.
    refused: list[tuple[str, str, str]] = field(default_factory=list)

    def new_account(self) -> str:
        full_name = self.owner.accounts.new(f"{self.account}.{name()}").full_name
        self.owner.roles.add_member(f"{full_name}.user", user="acme.cleo")
        return full_name

    def new_team(self) -> str:
        team = self.admin.teams.new(f"acme.{name()}")
        self.admin.roles.add_member(self.role_of(team.full_name, "admin"), user="acme.dora")
        return team.full_name

    def role_of(self, team: str, which: str) -> str:
        return next(role.id for role in self.admin.roles.list("team", team) if role.name == which)

    def new_role(self) -> str:
        return self.owner.roles.new(f"{self.account}.{name()}").full_name

    def new_data(self) -> str:
        return self.owner.data.new(f"{self.account}.{name()}").id

    def new_user(self) -> str:
        return self.admin.users.new({"name": name(), "password": "long enough"}).id

    def disabled_user(self) -> str:
        return self.admin.users.disable(self.new_user()).id

    def team_member(self) -> str:
        user = self.new_user()
        self.admin.teams.add_member(self.team, user=user)
        return user

    def role_member(self) -> str:
        user = self.new_user()
        self.owner.roles.add_member(self.role, user=user)
        return user

    def user_policy(self) -> str:
        user = self.new_user()
        return f"/users/{user}/policies/{self.admin.users.add_policy(user, 'user:get@acme').id}"

    def unlocked(self) -> str:
        with contextlib.suppress(Conflict):
            self.admin.locks.remove("job", self.ended)
        return self.ended

    def locked(self) -> str:
        self.unlocked()
        self.owner.locks.new("job", self.ended)
        return self.ended


def name() -> str:
    return f"x{uuid4().hex[:10]}"


#: For each caller in the order of CALLERS: + it is done, - 403, ? 404.
ALL = "++++++"
ORGANIZATION = "+-----"
SEEN_IN_ACCOUNT = "+?++??"
ACCOUNT = "+?+-??"
TEAM = "+---+-"
USE_ACCOUNT = "+?++??"
#: A locked job is hidden from whoever may not unlock it.
UNLOCK = "+?+???"

_USER = {"password": "long enough"}
Ask = Callable[[Place], tuple[str, Any]]
MATRIX: dict[str, tuple[str, Ask]] = {
    "GET /me": (ALL, lambda p: ("/me", None)),
    "GET /queue": (ALL, lambda p: ("/queue", None)),
    "GET /queue/jobs": (ALL, lambda p: ("/queue/jobs", None)),
    "GET /gpus": (ALL, lambda p: ("/gpus", None)),
    "GET /usage": (ALL, lambda p: ("/usage", None)),
    "GET /events": (USE_ACCOUNT, lambda p: (f"/events?job={p.living}", None)),
    "GET /admin/doctor": (ORGANIZATION, lambda p: ("/admin/doctor", None)),
    "POST /admin/gc": (ORGANIZATION, lambda p: ("/admin/gc", {"dryRun": True})),
    "POST /servers": (ALL, lambda p: ("/servers", None)),
    # --- jobs
    "GET /jobs": (SEEN_IN_ACCOUNT, lambda p: (f"/jobs?account={p.account}", None)),
    "POST /jobs": (USE_ACCOUNT, lambda p: ("/jobs", {"account": p.account, "command": ["true"]})),
    "GET /jobs/{job}": (USE_ACCOUNT, lambda p: (f"/jobs/{p.living}", None)),
    "PATCH /jobs/{job}": (USE_ACCOUNT, lambda p: (f"/jobs/{p.living}", {"bid": 1})),
    "POST /jobs/{job}/retry": (USE_ACCOUNT, lambda p: (f"/jobs/{p.ended}/retry", None)),
    "GET /jobs/{job}/logs": (USE_ACCOUNT, lambda p: (f"/jobs/{p.ended}/logs", None)),
    "GET /jobs/{job}/events": (USE_ACCOUNT, lambda p: (f"/jobs/{p.ended}/events", None)),
    "GET /jobs/{job}/why": (USE_ACCOUNT, lambda p: (f"/jobs/{p.living}/why", None)),
    "GET /jobs/{job}/metrics": (USE_ACCOUNT, lambda p: (f"/jobs/{p.living}/metrics", None)),
    "GET /top": (SEEN_IN_ACCOUNT, lambda p: (f"/top?account={p.account}", None)),
    "GET /jobs/{job}/apps": (USE_ACCOUNT, lambda p: (f"/jobs/{p.living}/apps", None)),
    "POST /jobs/{job}/visits": (USE_ACCOUNT, lambda p: (f"/jobs/{p.living}/visits", {"app": "ttyd"})),
    "DELETE /jobs/{job}": (USE_ACCOUNT, lambda p: (f"/jobs/{p.living}", None)),
    # --- users
    "GET /users": (ALL, lambda p: ("/users", None)),
    "POST /users": (ORGANIZATION, lambda p: ("/users", {"name": name(), **_USER})),
    "GET /users/{user}": (ALL, lambda p: ("/users/acme.bob", None)),
    "PATCH /users/{user}": (ORGANIZATION, lambda p: (f"/users/{p.new_user()}", {"name": name()})),
    "DELETE /users/{user}": (ORGANIZATION, lambda p: (f"/users/{p.new_user()}", None)),
    "POST /users/{user}/disable": (ORGANIZATION, lambda p: (f"/users/{p.new_user()}/disable", None)),
    "POST /users/{user}/enable": (ORGANIZATION, lambda p: (f"/users/{p.disabled_user()}/enable", None)),
    "POST /users/{user}/offboard": (
        ORGANIZATION,
        lambda p: (f"/users/{p.new_user()}/offboard", {"to": "acme.anna"}),
    ),
    "GET /users/{user}/policies": (ORGANIZATION, lambda p: (f"/users/{p.new_user()}/policies", None)),
    "POST /users/{user}/policies": (
        ORGANIZATION,
        lambda p: (f"/users/{p.new_user()}/policies", {"policy": "user:get@acme"}),
    ),
    "DELETE /users/{user}/policies/{policy}": (ORGANIZATION, lambda p: (p.user_policy(), None)),
    # --- organization, accounts
    "GET /organizations/{organization}": (ALL, lambda p: ("/organizations/acme", None)),
    "PATCH /organizations/{organization}": (ORGANIZATION, lambda p: ("/organizations/acme", {"name": "acme"})),
    "GET /organizations/{organization}/roles": (ALL, lambda p: ("/organizations/acme/roles", None)),
    "GET /accounts": (SEEN_IN_ACCOUNT, lambda p: (f"/accounts?parent={p.account}", None)),
    "POST /accounts": (ACCOUNT, lambda p: ("/accounts", {"name": f"{p.account}.{name()}"})),
    "GET /accounts/{account}": (SEEN_IN_ACCOUNT, lambda p: (f"/accounts/{p.account}", None)),
    "PATCH /accounts/{account}": (ACCOUNT, lambda p: (f"/accounts/{p.new_account()}", {"name": name()})),
    "DELETE /accounts/{account}": (ACCOUNT, lambda p: (f"/accounts/{p.new_account()}", None)),
    "GET /accounts/{account}/roles": (SEEN_IN_ACCOUNT, lambda p: (f"/accounts/{p.account}/roles", None)),
    # --- teams
    "GET /teams": (ALL, lambda p: ("/teams", None)),
    "POST /teams": (ORGANIZATION, lambda p: ("/teams", {"name": f"acme.{name()}"})),
    "GET /teams/{team}": (ALL, lambda p: (f"/teams/{p.team}", None)),
    "PATCH /teams/{team}": (TEAM, lambda p: (f"/teams/{p.new_team()}", {"name": name()})),
    "DELETE /teams/{team}": (TEAM, lambda p: (f"/teams/{p.new_team()}", None)),
    "GET /teams/{team}/roles": (ALL, lambda p: (f"/teams/{p.team}/roles", None)),
    "GET /teams/{team}/members": (ALL, lambda p: (f"/teams/{p.team}/members", None)),
    "POST /teams/{team}/members": (TEAM, lambda p: (f"/teams/{p.team}/members", {"user": p.new_user()})),
    "DELETE /teams/{team}/members/{type}/{member}": (
        TEAM,
        lambda p: (f"/teams/{p.team}/members/user/{p.team_member()}", None),
    ),
    "GET /teams/{team}/policies": (ALL, lambda p: (f"/teams/{p.team}/policies", None)),
    "POST /teams/{team}/policies": (
        TEAM,
        lambda p: (f"/teams/{p.team}/policies", {"policy": f"team:get@acme:team:{p.team}"}),
    ),
    "DELETE /teams/{team}/policies/{policy}": (
        TEAM,
        lambda p: (
            f"/teams/{p.team}/policies/{p.admin.teams.add_policy(p.team, f'team:get@acme:team:{p.team}').id}",
            None,
        ),
    ),
    # --- roles
    "GET /roles": (SEEN_IN_ACCOUNT, lambda p: (f"/roles?account={p.account}", None)),
    "POST /roles": (ACCOUNT, lambda p: ("/roles", {"name": f"{p.account}.{name()}"})),
    "GET /roles/{role}": (SEEN_IN_ACCOUNT, lambda p: (f"/roles/{p.role}", None)),
    "PATCH /roles/{role}": (ACCOUNT, lambda p: (f"/roles/{p.new_role()}", {"name": name()})),
    "DELETE /roles/{role}": (ACCOUNT, lambda p: (f"/roles/{p.new_role()}", None)),
    "GET /roles/{role}/members": (SEEN_IN_ACCOUNT, lambda p: (f"/roles/{p.role}/members", None)),
    "POST /roles/{role}/members": (ACCOUNT, lambda p: (f"/roles/{p.role}/members", {"user": p.new_user()})),
    "DELETE /roles/{role}/members/{type}/{member}": (
        ACCOUNT,
        lambda p: (f"/roles/{p.role}/members/user/{p.role_member()}", None),
    ),
    "GET /roles/{role}/policies": (SEEN_IN_ACCOUNT, lambda p: (f"/roles/{p.role}/policies", None)),
    "POST /roles/{role}/policies": (
        ACCOUNT,
        lambda p: (f"/roles/{p.role}/policies", {"policy": f"data:get@acme:account:{p.account}:*"}),
    ),
    "DELETE /roles/{role}/policies/{policy}": (
        ACCOUNT,
        lambda p: (
            f"/roles/{p.role}/policies/{p.owner.roles.add_policy(p.role, f'data:get@acme:account:{p.account}:*').id}",
            None,
        ),
    ),
    "GET /roles/{role}/keys": (ACCOUNT, lambda p: (f"/roles/{p.role}/keys", None)),
    "POST /roles/{role}/keys": (ACCOUNT, lambda p: (f"/roles/{p.role}/keys", {"name": "a key"})),
    "DELETE /roles/{role}/keys/{key}": (
        ACCOUNT,
        lambda p: (f"/roles/{p.role}/keys/{p.owner.roles.new_key(p.role).id}", None),
    ),
    # --- rules, locks, audit log
    "GET /rules": (ALL, lambda p: ("/rules", None)),
    "GET /rules/allowed": (ALL, lambda p: (f"/rules/allowed?rule=account:set@acme:account:{p.account}", None)),
    "GET /rules/who-is-allowed": (
        SEEN_IN_ACCOUNT,
        lambda p: (f"/rules/who-is-allowed?rule=account:set@acme:account:{p.account}", None),
    ),
    "GET /rules/why": (SEEN_IN_ACCOUNT, lambda p: (f"/rules/why?rule=account:set@acme:account:{p.account}", None)),
    "GET /locks": (ALL, lambda p: ("/locks", None)),
    "POST /locks": (ACCOUNT, lambda p: ("/locks", {"type": "job", "ref": p.unlocked()})),
    "DELETE /locks/{type}/{ref}": (UNLOCK, lambda p: (f"/locks/job/{p.locked()}", None)),
    "GET /audit": (ALL, lambda p: ("/audit", None)),
    # --- data
    "GET /data": (SEEN_IN_ACCOUNT, lambda p: (f"/data?account={p.account}", None)),
    "POST /data": (USE_ACCOUNT, lambda p: ("/data", {"name": f"{p.account}.{name()}"})),
    "GET /data/{data}": (USE_ACCOUNT, lambda p: (f"/data/{p.data}", None)),
    "PATCH /data/{data}": (USE_ACCOUNT, lambda p: (f"/data/{p.new_data()}", {"name": name()})),
    "DELETE /data/{data}": (ACCOUNT, lambda p: (f"/data/{p.new_data()}", None)),
    "POST /data/{data}/versions": (USE_ACCOUNT, lambda p: (f"/data/{p.data}/versions", {"allowEmpty": True})),
    "GET /data/{data}/versions": (USE_ACCOUNT, lambda p: (f"/data/{p.data}/versions", None)),
    "GET /data/{data}/versions/{version}": (USE_ACCOUNT, lambda p: (f"/data/{p.data}/versions/1", None)),
    "GET /data/{data}/size": (USE_ACCOUNT, lambda p: (f"/data/{p.data}/size?measure=true", None)),
    # --- quotas
    "GET /quotas": (ALL, lambda p: ("/quotas", None)),
    "GET /quotas/{account}": (SEEN_IN_ACCOUNT, lambda p: (f"/quotas/{p.account}", None)),
    "PATCH /quotas/{account}": ("+?--??", lambda p: (f"/quotas/{p.account}", {"filesLimit": 1000})),
    "GET /quotas/user/{user}": (ALL, lambda p: ("/quotas/user/acme.bob", None)),
    "PATCH /quotas/user/{user}": (
        ORGANIZATION,
        lambda p: (f"/quotas/user/{p.new_user()}", {"room": {"running": 1000}}),
    ),
    "GET /quotas/organization/{organization}": (ALL, lambda p: ("/quotas/organization/acme", None)),
    "PATCH /quotas/organization/{organization}": (
        ORGANIZATION,
        lambda p: ("/quotas/organization/acme", {"room": {"running": None}}),
    ),
}


@pytest.fixture(scope="module")
def place(site: RunningSite) -> Iterator[Place]:
    for caller in CALLERS:
        site.token(caller)
    with site.client() as admin, site.client("anna") as anna:
        account = anna.accounts.new(f"acme.anna.{name()}").full_name
        anna.roles.add_member(f"{account}.user", user="acme.cleo")
        team = admin.teams.new(f"acme.{name()}").full_name
        found = Place(admin, anna, account, team, "", "")
        admin.roles.add_member(found.role_of(team, "admin"), user="acme.dora")
        admin.roles.add_member(found.role_of(team, "user"), user="acme.erik")
        found.living = site.submit("sleep", "300", user="anna", account=account, resources={"mem": 0.1}).id
        found.ended = site.submit("true", user="anna", account=account, resources={"mem": 0.1}).id
        found.data, found.role = found.new_data(), found.new_role()
        site.wait_state(found.ended, "SUCCEEDED", user="anna")
        yield found
        found.unlocked()
        for caller in CALLERS:
            with site.client(caller) as client:
                for job in client.jobs.list(state="alive", mine=True, limit=50):
                    client.jobs.kill(job.id)


def routes_in_order() -> list[Route]:
    """The one that ends the living job comes last."""
    return sorted(
        (route for route in ROUTES if route.action),
        key=lambda route: (route.method, route.path) == ("DELETE", "/jobs/{job}"),
    )


@pytest.mark.engine
@pytest.mark.parametrize("route", routes_in_order(), ids=lambda route: f"{route.method} {route.path}")
def test_who_gets_what(site: RunningSite, place: Place, route: Route) -> None:
    title = f"{route.method} {route.path}"
    assert title in MATRIX, f"{title} is not in the matrix: say who gets what"
    outcomes, ask = MATRIX[title]
    path, body = ask(place)
    for token in (None, "0" * 32, "tkr_" + "0" * 43, f"tkj_j{'a' * 26}_{'0' * 64}"):
        assert request(site, route.method, path, body, token=token).status_code == 401
    # What may be there already is answered with 200, and a second kill of the same job with 409.
    late = {409} if title == "DELETE /jobs/{job}" else {200} if route.status == 201 else set()
    for (caller, role), outcome in zip(CALLERS.items(), outcomes, strict=True):
        reply = request(site, route.method, *ask(place), token=site.token(caller))
        wanted = {"+": {route.status, *late}, "-": {403}, "?": {404}}[outcome]
        assert reply.status_code in wanted, f"{caller} ({role}) got {reply.status_code}: {reply.text[:500]}"
        if outcome != "+":
            place.refused.append((f"acme.{caller}", reply.headers["X-Request-Id"], title))


def request(site: RunningSite, method: str, path: str, body: Any, *, token: str | None) -> httpx.Response:
    """The answer; of a stream without its body."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    address = site.url + API_PREFIX + path
    with httpx.stream(method, address, json=body, headers=headers, timeout=30) as reply:
        if not re.search(r"/events|/logs", path) or reply.status_code >= 400:
            reply.read()
        return reply


@pytest.mark.engine
def test_each_refusal_is_in_the_audit_log(site: RunningSite, place: Place) -> None:
    """Those of the test above; what is hidden too."""
    if not place.refused:
        pytest.skip("the test above did not run")

    def missing() -> list[str]:
        known = {(entry.actor, entry.request_id) for entry in place.admin.audit.list(outcome="refused")}
        return [f"{title} by {actor}" for actor, id_, title in place.refused if (actor, id_) not in known]

    wait_until(lambda: not missing(), "the refusals to be in the audit log", 10, lambda: f"missing: {missing()}")


@pytest.mark.engine
def test_what_is_hidden_and_what_is_not_there_read_the_same(site: RunningSite, place: Place) -> None:
    headers = {"Authorization": f"Bearer {site.token('bob')}"}
    role, data, account = (client.id for client in hidden_things(place))
    pairs = [
        *((path, place.ended) for path in ("/jobs/{}", "/jobs/{}/logs", "/jobs/{}/events", "/events?job={}")),
        ("/roles/{}", role),
        ("/roles/{}/members", role),
        ("/roles/{}/policies", role),
        ("/roles/{}/keys", role),
        ("/data/{}", data),
        ("/accounts/{}", account),
        ("/accounts/{}/roles", account),
        ("/jobs?account={}", account),
        ("/rules/why?rule=job:get@acme:account:{}", account),
    ]
    for path, reference in pairs:
        hidden, absent = (
            httpx.get(site.url + API_PREFIX + path.format(tried), headers=headers) for tried in (reference, uuid4())
        )
        assert (hidden.status_code, hidden.json()) == (absent.status_code, absent.json()), path
        assert hidden.status_code == 404, path


def hidden_things(place: Place) -> list[Any]:
    return [
        place.owner.roles.get(place.role),
        place.owner.data.get(place.data),
        place.owner.accounts.get(place.account),
    ]


@pytest.mark.engine
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_other_methods_are_refused(site: RunningSite, method: str) -> None:
    reply = httpx.request(method, f"{site.url}{API_PREFIX}/me", headers={"Authorization": f"Bearer {site.admin_token}"})
    assert reply.status_code == 405
    assert method == "HEAD" or re.search(r"not possible", reply.json()["error"]["message"])
