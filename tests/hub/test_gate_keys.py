"""The gate and whoever is no user: roles by their keys, jobs by their own tokens; and the ports that a job declares."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import select, update

from tests.hub.gate_house import BROWSER, House, eventually, is_closed, read_head
from tests.hub.gate_programs import App
from toolkit_client.access_models import NewLock, NewRole, NewRoleKey
from toolkit_hub import clock
from toolkit_hub.domain import locks, role_keys, roles
from toolkit_hub.domain.job_tokens import job_token
from toolkit_hub.store.access_tables import AuditEntry, RoleKey
from toolkit_hub.store.tables import Job, Run

PORTS = {"ports": [{"port": 9090, "public": False}, {"port": 9091, "public": True}]}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("gate"))
    others = [App(made.ip, port) for port in (9090, 9091)]
    for app in others:
        made.apps.run(app.start())
    yield made
    for app in others:
        made.apps.run(app.stop())
    made.stop()


@pytest.fixture(scope="module")
def job(house: House) -> str:
    """A running job of alice's with two ports beside 8080, of which 9091 is open to everybody."""
    return house.job(spec=PORTS)


class Key:
    """A key of a role that may do `action` to one job."""

    def __init__(self, house: House, job: str, action: str = "job:get") -> None:
        self.house, self.role = house, f"acme.alice.r{time.monotonic_ns()}"
        with house.store.begin() as session:
            alice = house.actor(session, "alice")
            policy = f"{action}@{session.get_one(Job, job).urn}"
            roles.create_role(session, alice, NewRole(name=self.role, policies=[policy]))
            made, _ = role_keys.create_key(session, alice, self.role, NewRoleKey())
        self.id, self.token = made.id, made.token

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def revoke(self) -> None:
        with self.house.store.begin() as session:
            role_keys.revoke_key(session, self.house.actor(session, "alice"), self.role, self.id)

    def expire(self) -> None:
        with self.house.store.begin() as session:
            past = clock.now() - timedelta(seconds=1)
            session.execute(update(RoleKey).where(RoleKey.id == self.id).values(expires=past))

    def lock(self) -> None:
        with self.house.store.begin() as session:
            locks.lock(session, self.house.actor(session, "root"), NewLock(type="key", ref=self.id, why="leaked"))


def error(response: httpx.Response) -> str:
    return str(response.json()["error"]["message"])


def refusals(house: House, urn_part: str) -> list[AuditEntry]:
    with house.store.begin(write=False) as session:
        query = select(AuditEntry).where(AuditEntry.outcome == "refused", AuditEntry.urn.contains(urn_part))
        return list(session.scalars(query))


# --- role keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", "-9090"])
@pytest.mark.parametrize("header", ["Authorization", "X-Toolkit-Key"])
def test_a_key_opens_the_jobs_ports_and_stays_at_the_gate(house: House, job: str, header: str, suffix: str) -> None:
    key = Key(house, job)
    value = key.token if header == "X-Toolkit-Key" else f"Bearer {key.token}"
    host = house.host(job).replace(job, job + suffix)
    response = house.ask(host, "/v1/predict?x=1", "POST", headers={header: value}, content=b"{}")
    assert response.status_code == 200
    assert key.token not in response.text
    sent = {name.lower(): value for name, value in response.json()["headers"]}
    assert sent["x-toolkit-user"] == key.role
    assert not {"authorization", "x-toolkit-key", "x-toolkit-run-secret"} & set(sent)
    assert response.json()["port"] == (9090 if suffix else 8080)
    # A page of whatever origin may send it: the key does not come by itself.
    assert house.ask(host, "/", "POST", headers={header: value, "Origin": "http://a.example"}).status_code == 200


def test_a_key_opens_nothing_else(house: House, job: str) -> None:
    key, other = Key(house, job), house.job()
    assert house.ask(house.host(other), headers=key.headers).status_code == 404
    refused = house.ask(house.host(job, lab=True), "/", headers=key.headers)
    assert refused.status_code == 403
    assert "job:exec" in error(refused)
    assert key.role in error(refused)
    path = f"/user/alice/{house.server_name(job)}/api/status"
    assert house.ask_proxy_side(path, headers=key.headers).status_code == 403
    unknown = {"Authorization": f"Bearer {key.token[:-1]}-"}
    assert house.ask(house.host(job), headers=unknown).status_code == 401
    eventually(lambda: {entry.action for entry in refusals(house, job)} >= {"job:exec"})
    eventually(lambda: [entry for entry in refusals(house, other) if entry.actor == key.role])


@pytest.mark.parametrize("end", ["revoke", "expire", "lock"])
def test_a_key_that_ends_cuts_what_it_opened(house: House, job: str, end: str) -> None:
    key = Key(house, job)
    stream = f"GET /stream HTTP/1.1\r\nHost: {house.host(job)}\r\nAuthorization: Bearer {key.token}\r\n\r\n"
    socket = house.upgrade(job, "/ws", f"Authorization: Bearer {key.token}")
    with house.connect(stream) as streaming, house.connect(socket) as websocket:
        assert [read_head(streaming)[0], read_head(websocket)[0]] == [200, 101]
        getattr(key, end)()
        eventually(lambda: is_closed(streaming) and is_closed(websocket), 15)
    dead = house.ask(house.host(job), headers=key.headers)
    assert dead.status_code == 401
    assert {"revoke": "revoked", "expire": "expired", "lock": "locked"}[end] in error(dead)
    eventually(lambda: [entry for entry in refusals(house, ":role:") if entry.actor.endswith(key.role)])


def test_the_last_use_of_a_key_is_kept(house: House, job: str) -> None:
    key = Key(house, job)
    house.ask(house.host(job), headers=key.headers)

    def used() -> bool:
        with house.store.begin(write=False) as session:
            return session.get_one(RoleKey, key.id).last_used is not None

    eventually(used)


def test_a_jobs_own_token_opens_its_ports_and_no_other_jobs(house: House, job: str) -> None:
    with house.store.begin(write=False) as session:
        token = job_token(session.get_one(Job, job).runs[-1])
    headers = {"Authorization": f"token {token}"}
    response = house.ask(house.host(job), headers=headers)
    assert response.status_code == 200
    assert dict(response.json()["headers"])["X-Toolkit-User"] == f"acme.alice/job:{job}"
    assert token not in response.text
    assert house.ask(house.host(house.job()), headers=headers).status_code == 404
    assert house.ask(house.host(job, lab=True), "/", headers=headers).status_code == 403


def test_the_token_of_a_run_that_has_ended_is_dead(house: House) -> None:
    job = house.job()
    with house.store.begin() as session:
        token = job_token(session.get_one(Job, job).runs[-1])
        session.execute(update(Run).where(Run.job_id == job).values(state="SUCCEEDED"))
    response = house.ask(house.host(job), headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 401
    assert "the run has ended" in error(response)


# --- declared ports -------------------------------------------------------------------------------------------------------


def at_port(job: str, port: int, house: House) -> str:
    return house.host(job).replace(job, f"{job}-{port}")


def test_a_port_that_is_not_declared_is_not_served(house: House, job: str) -> None:
    response = house.ask(at_port(job, 9092, house), headers=house.token())
    assert response.status_code == 404
    assert error(response) == "this job does not serve its port 9092"
    assert "8080, 9090, 9091" in response.json()["error"]["hint"]
    # Whoever may not see the job is not told which ports it has, and the control port is not for visitors.
    assert error(house.ask(at_port(job, 9090, house), headers=house.token("bob"))) == "no such job"
    assert house.ask(at_port(job, 9090, house)).status_code == 401
    for port in (8886, 8887, 8888):
        assert house.ask(at_port(job, port, house), headers=house.token()).status_code == 404


def test_each_port_has_a_log_in_of_its_own(house: House, job: str) -> None:
    response = house.ask(at_port(job, 9090, house), "/x", headers=BROWSER)
    assert response.status_code == 302
    assert f"{job}-9090" in response.headers["Location"]
    cookie = {"Cookie": house.cookie("alice", job)}
    assert house.ask(house.host(job), headers=cookie).status_code == 200
    assert house.ask(at_port(job, 9090, house), headers=cookie).status_code == 401


def test_a_public_port_serves_everybody_and_is_told_nothing(house: House, job: str) -> None:
    host = at_port(job, 9091, house)
    cookie = f"{house.cookie('alice', job)}; mine=1"
    forged = {"X-Toolkit-User": "root", "X-Toolkit-Run-Secret": "x"}
    for headers in ({}, BROWSER, {**house.token(), "Cookie": cookie}, Key(house, job).headers, forged):
        response = house.ask(host, "/x", "POST", headers=headers)
        assert response.status_code == 200
        sent = {name.lower() for name, _ in response.json()["headers"]}
        assert not {"authorization", "x-toolkit-user", "x-toolkit-key", "x-toolkit-run-secret"} & sent
        assert "toolkit-gate" not in response.text


def sent_on(house: House, host: str, headers: dict[str, str]) -> dict[str, str]:
    """What the app got."""
    response = house.ask(host, "/x", "POST", headers=headers)
    assert response.status_code == 200
    return dict(response.json()["headers"])


@pytest.mark.parametrize("by", ["public", "key"])
def test_an_authorization_that_is_not_ours_is_the_apps(house: House, job: str, by: str) -> None:
    """At a public port, where the gate lets everybody in, and beside `X-Toolkit-Key`."""
    host = at_port(job, 9091 if by == "public" else 9090, house)
    with house.store.begin(write=False) as session:
        own = job_token(session.get_one(Job, job).runs[-1])
    token = house.token()["Authorization"].split()[1]
    service = house.hub.token("toolkit", "access:services", kind="service")
    beside = {} if by == "public" else {"X-Toolkit-Key": token}
    for theirs in ("Bearer app.jwt-token_1", "Basic YWxpY2U6aHVudGVyMg==", "Digest username=a", "opaque", "ApiKey x:y"):
        sent = sent_on(house, host, {**beside, "Authorization": theirs})
        assert sent["Authorization"] == theirs
        assert "X-Toolkit-Key" not in sent
        assert ("X-Toolkit-User" in sent) == (by == "key")
    key = Key(house, job).token
    for ours in (key, own, token, service):
        basic = base64.b64encode(f"alice:{ours}".encode()).decode()
        for value in (f"Bearer {ours}", f"token {ours}", f"bearer  {ours}", f"Basic {basic}", f"ApiKey {ours}", ours):
            assert "Authorization" not in sent_on(house, host, {**beside, "Authorization": value}), value


def test_while_the_hub_is_away_a_token_that_may_be_its_own_goes_to_no_app(house: House, job: str) -> None:
    host = at_port(job, 9091, house)
    house.hub.status = 503
    try:
        assert "Authorization" not in sent_on(house, host, {"Authorization": f"token {'0' * 32}"})
        assert sent_on(house, host, {"Authorization": "Basic YTpi"})["Authorization"] == "Basic YTpi"
    finally:
        house.hub.status = 0


def test_pages_of_other_origins_read_what_the_app_of_a_public_port_lets_them(house: House, job: str) -> None:
    origin = {"Origin": "https://elsewhere.example"}
    public = house.ask(at_port(job, 9091, house), "/nasty", headers=origin)
    assert public.headers["Access-Control-Allow-Origin"] == "*"
    for name in ("Clear-Site-Data", "Strict-Transport-Security", "X-Toolkit-User"):
        assert name not in public.headers
    preflight = {**origin, "Access-Control-Request-Method": "PUT"}
    assert house.ask(at_port(job, 9091, house), "/x", "OPTIONS", headers=preflight).json()["method"] == "OPTIONS"
    closed = house.ask(at_port(job, 9090, house), "/nasty", headers={**origin, **house.token()})
    assert closed.status_code == 200
    assert not [name for name in closed.headers if name.startswith("access-control-")]


def test_a_lock_closes_a_public_port(house: House) -> None:
    job = house.job(spec=PORTS)
    host = at_port(job, 9091, house)
    with house.connect(f"GET /stream HTTP/1.1\r\nHost: {host}\r\n\r\n") as streaming:
        assert read_head(streaming)[0] == 200
        with house.store.begin() as session:
            locks.lock(session, house.actor(session, "root"), NewLock(type="job", ref=job, why="mined coins"))
        eventually(lambda: is_closed(streaming), 15)
    assert house.ask(host).status_code == 401


def test_8080_may_be_public_too(house: House) -> None:
    job = house.job(spec={"ports": [{"port": 8080, "public": True}]})
    response = house.ask(house.host(job))
    assert response.status_code == 200
    assert "X-Toolkit-User" not in dict(json.loads(response.text)["headers"])
    assert house.ask(house.host(job, lab=True)).status_code == 401
