"""The audit log of a running site: what was done and what was refused, with request and address, and never a secret anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.support.running_site import RunningSite, wait_until
from toolkit_client.access_models import AuditRecord

pytestmark = pytest.mark.engine


@pytest.fixture
def api(site: RunningSite) -> Iterator[httpx.Client]:
    with client(site, site.admin_token) as opened:
        yield opened


def client(site: RunningSite, token: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=f"{site.url}/services/toolkit/api/v1", headers=headers, timeout=30)


def entries(api: httpx.Client, **wanted: str) -> list[AuditRecord]:
    answer = api.get("/audit", params=wanted).raise_for_status()
    return [AuditRecord.model_validate(item) for item in answer.json()["items"]]


def test_changes_and_refusals_are_in_it_and_secrets_nowhere(site: RunningSite, api: httpx.Client) -> None:
    name, password = f"u{uuid4().hex[:8]}", f"pass-{uuid4().hex}"
    made = api.post("/users", json={"name": name, "password": password}).raise_for_status()
    role = api.post("/roles", json={"name": f"acme.{name}.robots"}).raise_for_status().json()
    key = api.post(f"/roles/{role['id']}/keys", json={"name": "robot"}).raise_for_status().json()
    with client(site, key["token"]) as robot:
        assert robot.get("/jobs").status_code == 200
        refused = robot.post("/users", json={"name": "eve", "password": password})
        assert refused.status_code in (403, 404)
        api.delete(f"/roles/{role['id']}/keys/{key['id']}").raise_for_status()
        assert robot.get("/jobs").status_code == 401

    [created] = entries(api, urn=made.json()["urn"], action="user:new")
    assert (created.actor, created.outcome) == ("acme.admin", "done")
    assert created.request_id == made.headers["X-Request-Id"]
    assert created.address == "127.0.0.1"
    assert created.data["name"] == name
    assert "allowed by" in created.reason
    by_role = wait_until(
        lambda: entries(api, actor=role["fullName"], outcome="refused", action="user:new"), "the refusal to be written"
    )
    assert by_role[0].request_id == refused.headers["X-Request-Id"]
    dead = wait_until(
        lambda: entries(api, urn=role["urn"], outcome="refused", action="role:key"), "the dead key to be written"
    )
    assert "revoked" in dead[0].reason

    secret = key["token"].split("_", 1)[1].encode()
    assert files_with(site.state, secret) == []
    assert files_with(site.state, password.encode()) == []
    assert files_with(site.state, name.encode()), "the search finds what is there"


def files_with(folder: Path, text: bytes) -> list[Path]:
    """Databases, their logs of writing, the units' logs, all that the site keeps."""
    return [
        file
        for file in folder.rglob("*")
        if "runtime" not in file.relative_to(folder).parts and file.is_file() and text in file.read_bytes()
    ]


def test_nobody_can_edit_it(site: RunningSite, api: httpx.Client) -> None:
    for method in ("DELETE", "PUT", "PATCH", "POST"):
        assert api.request(method, "/audit").status_code == 405
