"""Access on a running site: what is taken away is gone at the next request; keys, jobs' tokens; users as the hub has them."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import httpx
import pytest

from tests.support.running_site import PASSWORD, RunningSite, wait_until
from toolkit_client import Client
from toolkit_client.access_models import AuditRecord
from toolkit_client.errors import Conflict, NotFound, NotSignedIn, PermissionDenied, ToolkitError
from toolkit_client.hub_tokens import new_token
from toolkit_hub.store.tables import User

pytestmark = pytest.mark.engine

SMALL = {"mem": 0.1, "cpu": 0.1}


def name() -> str:
    return f"y{uuid4().hex[:10]}"


@pytest.fixture
def admin(site: RunningSite) -> Iterator[Client]:
    with site.client() as client:
        yield client


@pytest.fixture
def owner(site: RunningSite) -> Iterator[Client]:
    """Who shares things: anna, with her home account."""
    with site.client("anna") as client:
        yield client


@pytest.fixture
def account(owner: Client) -> str:
    return owner.accounts.new(f"acme.anna.{name()}").full_name


def status_of(ask: Callable[[], object]) -> int:
    try:
        ask()
    except ToolkitError as error:
        return error.status
    return 200


# --- what is taken away -----------------------------------------------------------------------------------------------


def test_a_membership_taken_away_is_gone_at_the_next_request(site: RunningSite, owner: Client, account: str) -> None:
    with site.client("bob") as bob:
        for _ in range(5):
            assert status_of(lambda: bob.accounts.get(account)) == 404
            owner.roles.add_member(f"{account}.user", user="acme.bob")
            assert status_of(lambda: bob.accounts.get(account)) == 200
            assert account in {found.full_name for found in bob.accounts.list()}
            owner.roles.remove_user(f"{account}.user", "acme.bob")
            assert status_of(lambda: bob.accounts.get(account)) == 404
            assert account not in {found.full_name for found in bob.accounts.list()}


def test_a_policy_taken_away_is_gone_at_the_next_request(site: RunningSite, owner: Client, account: str) -> None:
    data = owner.data.new(f"{account}.images")
    role = owner.roles.new(f"{account}.reader").full_name
    owner.roles.add_member(role, user="acme.bob")
    with site.client("bob") as bob:
        for _ in range(5):
            policy = owner.roles.add_policy(role, f"data:get@{data.urn}")
            assert bob.data.get(data.id).name == "images"
            assert data.id in {found.id for found in bob.data.list()}
            owner.roles.remove_policy(role, policy.id)
            assert status_of(lambda: bob.data.get(data.id)) == 404
            assert data.id not in {found.id for found in bob.data.list()}


def test_a_key_taken_away_is_nobodys_at_the_next_request(site: RunningSite, owner: Client, account: str) -> None:
    role = owner.roles.new(f"{account}.reader", policies=[f"account:get@acme:account:{account}"]).full_name
    for _ in range(5):
        key = owner.roles.new_key(role)
        with Client(site.url, key.token) as robot:
            assert robot.accounts.get(account).full_name == account
            owner.roles.revoke_key(role, key.id)
            with pytest.raises(NotSignedIn, match="revoked"):
                robot.accounts.get(account)


def test_a_lock_holds_at_the_next_request(site: RunningSite, admin: Client, owner: Client, account: str) -> None:
    user = name()
    token = site.token(user)
    role = owner.roles.new(f"{account}.reader", policies=[f"account:get@acme:account:{account}"])
    key = owner.roles.new_key(role.id)
    with Client(site.url, token) as client, Client(site.url, key.token) as robot:
        assert status_of(lambda: client.accounts.get(f"acme.{user}")) == 200
        admin.locks.new("user", f"acme.{user}", "stolen laptop")
        with pytest.raises(PermissionDenied, match="lock"):
            client.accounts.get(f"acme.{user}")
        with pytest.raises(NotSignedIn):
            new_token(site.url, user, PASSWORD)
        admin.locks.remove("user", f"acme.{user}")
        assert status_of(lambda: client.accounts.get(f"acme.{user}")) == 200

        assert status_of(lambda: robot.accounts.get(account)) == 200
        for type_, ref in (("role", role.id), ("key", key.id)):
            owner.locks.new(type_, ref)  # type: ignore[arg-type]
            assert status_of(lambda: robot.accounts.get(account)) == 401
            owner.locks.remove(type_, ref)  # type: ignore[arg-type]
            assert status_of(lambda: robot.accounts.get(account)) == 200


# --- keys and jobs' tokens --------------------------------------------------------------------------------------------


def test_a_key_acts_as_its_role_and_as_nothing_else(site: RunningSite, owner: Client, account: str) -> None:
    statement = f"job:new+account:get@acme:account:{account}"
    role = owner.roles.new(f"{account}.robot", policies=[statement, f"job:*@acme:account:{account}:*"])
    key = owner.roles.new_key(role.id, name="ci")
    assert key.token.startswith("tkr_")
    with Client(site.url, key.token) as robot:
        assert status_of(lambda: robot.accounts.get("acme.anna")) == 404
        assert (robot.me().id, robot.me().full_name, robot.me().account) == (role.id, role.full_name, account)
        assert [rule.action for rule in robot.rules.list()] == ["job:new", "account:get", "job:*"]
        job = robot.jobs.submit({"account": account, "command": ["true"], "resources": SMALL})
        wait_until(lambda: not robot.jobs.get(job.id).alive, "the job to end", 60, site.logs)
        assert robot.jobs.get(job.id).state == "SUCCEEDED"
    assert owner.jobs.get(job.id).creator.startswith("acme.svc-")
    used = owner.roles.keys(role.id)[0].last_used
    assert used is not None
    assert key.token not in owner.roles.keys(role.id)[0].model_dump_json()


def test_a_key_opens_no_page_and_is_never_shown_to_the_hub(site: RunningSite, owner: Client, account: str) -> None:
    key = owner.roles.new_key(owner.roles.new(f"{account}.reader").id)
    headers = {"Authorization": f"Bearer {key.token}"}
    page = httpx.get(f"{site.url}/services/toolkit/", headers=headers)
    assert page.status_code == 302
    assert "/hub/api/oauth2/authorize" in page.headers["Location"]
    assert httpx.get(f"{site.url}/hub/api/user", headers=headers).status_code == 403
    logs = "".join(file.read_text(errors="replace") for file in (site.state / "logs").glob("*.log"))
    assert key.token not in logs


def test_a_dead_keys_use_is_in_the_audit_log(site: RunningSite, owner: Client, account: str) -> None:
    role = owner.roles.new(f"{account}.reader")
    key = owner.roles.new_key(role.id)
    owner.roles.revoke_key(role.id, key.id)
    forged = {"Authorization": f"Bearer {key.token}", "X-Forwarded-For": "203.0.113.9"}
    reply = httpx.get(f"{site.url}/services/toolkit/api/v1/jobs", headers=forged)
    assert reply.status_code == 401
    seen = reply.headers["X-Request-Id"]

    def entry() -> object:
        found = [one for one in owner.audit.list(urn=role.urn, outcome="refused") if one.request_id == seen]
        assert all(one.address == "127.0.0.1" for one in found), "what a caller writes is no address"
        return found

    wait_until(entry, "the audit log to have it", 5)


def test_a_jobs_own_token_acts_on_that_job_alone(site: RunningSite, owner: Client, account: str) -> None:
    data = owner.data.new(f"{account}.images")
    role = owner.roles.new(f"{account}.reader", policies=[f"data:get@{data.urn}"])
    other = site.submit("sleep", "300", user="anna", account=account, resources=SMALL)
    plain = site.submit("sh", "-c", "echo $TOOLKIT_TOKEN; sleep 300", user="anna", account=account, resources=SMALL)
    with_role = site.submit(
        "sh", "-c", "echo $TOOLKIT_TOKEN; sleep 300", user="anna", account=account, resources=SMALL, role=role.full_name
    )
    tokens = {}
    for job in (plain, with_role):
        site.wait_state(job.id, "RUNNING", user="anna")
        wait_until(lambda found=job: site.log_of(found.id, "anna").strip(), "the job to say its token", 20)
        tokens[job.id] = site.log_of(job.id, "anna").decode().strip()
    for job, sees_data in ((plain, 404), (with_role, 200)):
        assert tokens[job.id].startswith("tkj_")
        with Client(site.url, tokens[job.id]) as inside:
            assert inside.jobs.get(job.id).id == inside.me().id == job.id
            assert inside.jobs.change(job.id, {"tags": [{"key": "step", "value": "2"}]}).id == job.id
            assert status_of(lambda client=inside: client.jobs.get(other.id)) == 404
            assert status_of(lambda client=inside: client.data.get(data.id)) == sees_data
            assert status_of(lambda client=inside: client.accounts.get(account)) == 404
            assert [found.id for found in inside.jobs.list()] == [job.id]
            owner.jobs.kill(job.id)
            site.wait_state(job.id, "CANCELLED", user="anna")
            with pytest.raises(NotSignedIn, match="ended"):
                inside.jobs.get(job.id)
    owner.jobs.kill(other.id)


INSIDE = """
import json, os, urllib.error, urllib.request
def ask(path, **headers):
    request = urllib.request.Request(os.environ["TOOLKIT_URL"] + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("X-Request-Id")
key = {"Authorization": "Bearer " + os.environ["TOOLKIT_TOKEN"], "X-Forwarded-For": "203.0.113.9"}
api = "/services/toolkit/api/v1"
mine = ask(f"{api}/jobs/{os.environ['TOOLKIT_JOB_ID']}", **key)
others = ask(f"{api}/jobs/acme.admin.other", **key)
refused = ask(f"{api}/organizations/acme", **key)
print(json.dumps([mine[0], mine[1]["id"], others[0], refused, ask("/services/toolkit/")[0], ask("/internal/launch")[0]]))
"""


def test_a_job_reaches_the_api_and_nothing_else_of_the_service(site: RunningSite) -> None:
    job = site.submit("/opt/lab/bin/python3", "-c", INSIDE, resources=SMALL)
    site.wait_state(job.id, "SUCCEEDED", "FAILED")
    said = site.log_of(job.id).decode()
    mine, id_, others, refused, page, internal = json.loads(said)
    assert (mine, id_, others, page, internal) == (200, job.id, 404, 404, 404), said
    assert refused[0] == 404
    with site.client() as admin:

        def noted() -> list[AuditRecord]:
            """It is written a moment after the answer."""
            return [entry for entry in admin.audit.list(outcome="refused") if entry.request_id == refused[1]]

        found = wait_until(noted, "the refusal in the audit log", 20)
        assert [entry.action for entry in found] == ["organization:get"]
        address = ipaddress.ip_address(found[0].address)
        assert address.is_private, "what a job writes is no address"
        assert not address.is_loopback, "it came over the bridge"


# --- users, here and at the hub ---------------------------------------------------------------------------------------


def hub_name_of(site: RunningSite, user_id: str) -> str | None:
    store = site.store()
    try:
        with store.begin(write=False) as session:
            return session.get_one(User, user_id).hub_name
    finally:
        store.close()


def at_hub(site: RunningSite, token: str) -> str | None:
    reply = httpx.get(f"{site.url}/hub/api/user", headers={"Authorization": f"token {token}"})
    return str(reply.json()["name"]) if reply.status_code == 200 else None


def test_a_rename_reaches_the_hub_and_ends_no_log_in(site: RunningSite, admin: Client) -> None:
    old, new = name(), name()
    token = site.token(old)
    user = admin.users.get(old)
    with Client(site.url, token) as client:
        job = client.jobs.submit({"command": ["sleep", "300"], "resources": SMALL})
        site.wait_state(job.id, "RUNNING")
        with pytest.raises(Conflict):
            admin.users.change(user.id, {"name": new})
        client.jobs.kill(job.id)
        site.wait_state(job.id, "CANCELLED")
        client.users.change(user.id, {"name": new})  # user:set on oneself is one of the six rules
        began = time.monotonic()
        while at_hub(site, token) == old:
            assert client.me().name == new, "the token is good all the time"
            assert time.monotonic() - began < 40, site.logs()
        assert at_hub(site, token) == new
        assert client.me().full_name == f"acme.{new}"
        assert new_token(site.url, new, PASSWORD)
        with pytest.raises(NotSignedIn):
            new_token(site.url, old, PASSWORD)
        again = client.jobs.submit({"command": ["true"], "resources": SMALL})
        site.wait_state(again.id, "SUCCEEDED")


def test_who_is_disabled_is_out_and_comes_back(site: RunningSite, admin: Client) -> None:
    user = name()
    token = site.token(user)
    id_ = admin.users.get(user).id
    with Client(site.url, token) as client:
        assert client.me().name == user
        admin.users.disable(id_)
        assert status_of(client.me) in (401, 403)
        with pytest.raises(NotSignedIn):
            new_token(site.url, user, PASSWORD)
        wait_until(lambda: hub_name_of(site, id_) is None, "the hub to forget the user", 40, site.logs)
        assert at_hub(site, token) is None
        admin.users.enable(id_)
        again = new_token(site.url, user, PASSWORD)
        assert at_hub(site, again) == user
        # What the hub said of a token counts for some seconds; then those of before are dead.
        wait_until(lambda: status_of(client.me) == 401, "the old token to be nobody's", 15)
    with Client(site.url, again) as client:
        assert client.me().id == id_


def test_an_archived_users_name_is_free(site: RunningSite, admin: Client) -> None:
    user = name()
    token = site.token(user)
    first = admin.users.get(user).id
    with Client(site.url, token) as client:
        job = client.jobs.submit({"command": ["sleep", "300"], "resources": SMALL})
        site.wait_state(job.id, "RUNNING")
        admin.users.offboard(user, to="acme.anna")
        assert status_of(client.me) == 401
    # The home account has gone to anna, under its name still.
    with pytest.raises(Conflict):
        admin.users.new({"name": user, "password": "another password"})
    admin.accounts.change(f"acme.{user}", {"name": name()})
    second = admin.users.new({"name": user, "password": "another password"})
    assert second.id != first
    with pytest.raises(NotSignedIn):
        new_token(site.url, user, PASSWORD)
    with Client(site.url, new_token(site.url, user, "another password")) as client:
        assert client.me().id == second.id
        with pytest.raises(NotFound):
            client.jobs.get(job.id)
    with site.client("anna") as anna:  # to whom the leaver's account went
        assert anna.jobs.get(job.id).state == "RUNNING"
        anna.jobs.kill(job.id)
    wait_until(lambda: hub_name_of(site, first) is None, "the hub to forget the leaver", 60, site.logs)


def test_the_mirror_goes_on_after_the_hub_was_away(own_site: RunningSite) -> None:
    site = own_site
    token = site.token("old-name")
    with site.client() as admin:
        user, key = admin.users.get("old-name"), admin.roles.new_key("acme.admin")
        site.unit("stop", "hub")
        # The hub identifies nobody now; a key is asked of the store.
        with Client(site.url, key.token) as robot:
            robot.users.change(user.id, {"name": "new-name"})
            assert robot.users.get("new-name").id == user.id
        site.unit("restart", "service")
        site.unit("start", "hub")
    wait_until(lambda: at_hub(site, token) == "new-name", "the hub to follow", 60, site.logs)
    with Client(site.url, token) as client:
        assert client.me().name == "new-name"
