"""Every address of the service names its action, and every route answers each kind of caller as the rights say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.running_site import RunningSite
from toolkit_hub.api.internal import InternalHandler
from toolkit_hub.api.routing import API_PREFIX, ApiHandler, Route
from toolkit_hub.configure import Toolkit
from toolkit_hub.pages import api_page, handlers
from toolkit_hub.policy.actions import ACTIONS
from toolkit_hub.service import ROUTES, Service

#: What everybody may read, with the reason. Nothing else may go without an action.
OPEN = {
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


@dataclass(frozen=True)
class Place:
    """What the routes are asked about: a living job and an ended one of alice."""

    living: str
    ended: str


#: Route → (its path and body for a test, status for its owner alice, for bob, for an administrator). Nobody gets 401.
Ask = Callable[[Place], tuple[str, Any]]
MATRIX: dict[str, tuple[Ask, int, int, int]] = {
    "GET /me": (lambda place: ("/me", None), 200, 200, 200),
    "GET /queue": (lambda place: ("/queue", None), 200, 200, 200),
    "GET /users": (lambda place: ("/users", None), 200, 200, 200),
    "POST /users": (
        lambda place: ("/users", {"name": f"u{uuid4().hex[:8]}", "password": "long enough"}),
        403,
        403,
        201,
    ),
    "GET /jobs": (lambda place: ("/jobs?account=acme.alice", None), 200, 404, 200),
    "POST /jobs": (lambda place: ("/jobs", {"account": "acme.alice", "command": ["true"]}), 201, 404, 201),
    "GET /jobs/{job}": (lambda place: (f"/jobs/{place.living}", None), 200, 404, 200),
    "PATCH /jobs/{job}": (lambda place: (f"/jobs/{place.living}", {"bid": 1}), 200, 404, 200),
    "POST /jobs/{job}/retry": (lambda place: (f"/jobs/{place.ended}/retry", None), 201, 404, 201),
    "GET /jobs/{job}/logs": (lambda place: (f"/jobs/{place.ended}/logs", None), 200, 404, 200),
    "GET /jobs/{job}/events": (lambda place: (f"/jobs/{place.ended}/events", None), 200, 404, 200),
    "GET /events": (lambda place: (f"/events?job={place.living}", None), 200, 404, 200),
    "DELETE /jobs/{job}": (lambda place: (f"/jobs/{place.living}", None), 200, 404, 200),
    "GET /admin/doctor": (lambda place: ("/admin/doctor", None), 403, 403, 200),
    "POST /admin/gc": (lambda place: ("/admin/gc", {"dryRun": True}), 403, 403, 200),
    "POST /servers": (lambda place: ("/servers", None), 201, 201, 201),
}


@pytest.fixture(scope="module")
def place(site: RunningSite) -> Iterator[Place]:
    living = site.submit("sleep", "300", user="alice", resources={"mem": 0.1})
    ended = site.submit("true", user="alice", resources={"mem": 0.1})
    site.wait_state(ended.id, "SUCCEEDED", user="alice")
    yield Place(living.id, ended.id)
    for user in ("alice", "bob", "admin"):
        with site.client(user) as client:
            for job in client.jobs.list(state="alive", mine=True, limit=50):
                if job.kind == "server" or job.id == living.id:
                    client.jobs.kill(job.id)


def routes_in_order() -> list[Route]:
    """The one that ends the living job comes last."""
    return sorted((route for route in ROUTES if route.action), key=lambda route: route.method == "DELETE")


@pytest.mark.engine
@pytest.mark.parametrize("route", routes_in_order(), ids=lambda route: f"{route.method} {route.path}")
def test_who_gets_what(site: RunningSite, place: Place, route: Route) -> None:
    name = f"{route.method} {route.path}"
    assert name in MATRIX, f"{name} is not in the matrix: say who gets what"
    ask, owner, other, administrator = MATRIX[name]
    nobody = request(site, route.method, *ask(place), token=None)
    assert nobody == 401
    wrong = request(site, route.method, *ask(place), token="0" * 32)
    assert wrong == 401
    # A second kill of the same job finds it being killed, or ended.
    late = {409} if route.method == "DELETE" else {200} if route.path == "/servers" else set()
    for user, status in (("bob", other), ("alice", owner), ("admin", administrator)):
        seen = request(site, route.method, *ask(place), token=site.token(user))
        assert seen in {status, *late}, f"{user} got {seen}"


def request(site: RunningSite, method: str, path: str, body: Any, *, token: str | None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    address = site.url + API_PREFIX + path
    with httpx.stream(method, address, json=body, headers=headers, timeout=30) as reply:
        return reply.status_code


@pytest.mark.engine
def test_what_is_hidden_and_what_is_not_there_read_the_same(site: RunningSite, place: Place) -> None:
    headers = {"Authorization": f"Bearer {site.token('bob')}"}
    for path in ("/jobs/{}", "/jobs/{}/logs", "/jobs/{}/events", "/events?job={}"):
        hidden, absent = (
            httpx.get(site.url + API_PREFIX + path.format(reference), headers=headers).json()
            for reference in (place.ended, uuid4())
        )
        assert hidden == absent
    for account in ("acme.alice", "acme.nobody"):
        reply = httpx.get(f"{site.url}{API_PREFIX}/jobs?account={account}", headers=headers)
        assert reply.json()["error"]["message"] == "no such account"


@pytest.mark.engine
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_other_methods_are_refused(site: RunningSite, method: str) -> None:
    reply = httpx.request(method, f"{site.url}{API_PREFIX}/me", headers={"Authorization": f"Bearer {site.admin_token}"})
    assert reply.status_code == 405
    assert method == "HEAD" or re.search(r"not possible", reply.json()["error"]["message"])
