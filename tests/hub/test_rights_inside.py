"""Which rights code inside a job has: the command line and the client in real containers, with nothing but what a job gets."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.running_site import RunningSite, wait_until
from toolkit_client import Client
from toolkit_client.errors import PermissionDenied
from toolkit_client.exec.commands import Done, JobCommands
from toolkit_hub.domain.job_tokens import job_token
from toolkit_hub.store.tables import Job as JobRow

pytestmark = pytest.mark.engine

SMALL = {"cpu": 0.1, "mem": 0.3}
USER = "ines"


@pytest.fixture(scope="module")
def ines(site: RunningSite) -> Iterator[Client]:
    with site.client(USER) as client:
        yield client


@pytest.fixture(scope="module")
def start(site: RunningSite, ines: Client) -> Iterator[Callable[..., JobCommands]]:
    """A running job of ines' that waits: a way to run commands in it."""
    made = []

    def submitted(**spec: object) -> JobCommands:
        job = site.submit("sleep", "infinity", user=USER, resources=SMALL, **spec)
        made.append(job.id)
        site.wait_state(job.id, "RUNNING", user=USER)
        return ines.jobs.commands(job.id)

    yield submitted
    for job_id in made:
        if ines.jobs.get(job_id).alive:
            ines.jobs.kill(job_id)


@pytest.fixture(scope="module")
def server(site: RunningSite, ines: Client) -> Iterator[str]:
    """Ines' own server, running."""
    job = ines.servers.start()
    site.wait_state(job.id, "RUNNING", user=USER)
    yield job.id
    ines.jobs.kill(job.id)


def said(done: Done) -> str:
    assert done.code == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def refused(done: Done, code: int, *words: str) -> None:
    assert done.code == code, done
    assert all(word in done.stderr.decode() for word in words), done.stderr.decode()


# --- with the user's rights -------------------------------------------------------------------------------------------


def _everything_works(site: RunningSite, inside: JobCommands, mark: str) -> None:
    assert said(inside.run(["toolkit", "me", "--field", "fullName"])) == f"acme.{USER}"
    job = said(inside.run(["toolkit", "job", "submit", "--cpu", "0.1", "--mem", "0.2", "--field", "id", "--", "true"]))
    done = site.wait_state(job, "SUCCEEDED", user=USER)
    assert (done.creator, done.carries_rights) == (f"acme.{USER}", False)
    assert job in said(inside.run(["toolkit", "job", "ls", "--state", "all", "--field", "id"])).split()
    script = (
        f"mkdir -p /tmp/{mark}/there && echo content > /tmp/{mark}/there/file && toolkit data new {mark} /tmp/{mark} && "
        f"echo more >> /tmp/{mark}/there/file && toolkit data push {mark} /tmp/{mark} && "
        f"toolkit data pull {mark} . /tmp/{mark}-back && cat /tmp/{mark}-back/there/file"
    )
    assert said(inside.run(["sh", "-c", script])).endswith("content\nmore")


def test_a_users_own_server_has_their_rights_out_of_the_box(site: RunningSite, ines: Client, server: str) -> None:
    _everything_works(site, ines.jobs.commands(server), "from-server")


def test_an_interactive_job_has_them_in_any_image(
    site: RunningSite, ines: Client, start: Callable[..., JobCommands]
) -> None:
    inside = start(interactive=True, name="sitting")
    _everything_works(site, inside, "from-session")
    program = (
        "from toolkit_client import Client\nwith Client() as client:\n"
        "    job = client.jobs.submit({'command': ['true'], 'resources': {'cpu': 0.1, 'mem': 0.2}})\n"
        "    print(client.me().full_name, job.creator)\n"
        "    for event in client.events(job.id): last = event\n"
        "    print(last.type)"
    )
    out = said(inside.run(["/opt/toolkit/base/bin/python3", "-I", "-c", program])).split()
    assert out[:2] == [f"acme.{USER}"] * 2
    assert out[2] == "run.succeeded"
    record = next(iter(ines.audit.list(action="data:new", actor=f"acme.{USER}")))
    assert record.via in {ines.jobs.get("sitting").urn, *(job.urn for job in ines.jobs.list(state="alive"))}
    assert record.via, "the log says by which job"


def test_what_outlasts_the_run_is_left_to_the_person(site: RunningSite, ines: Client, server: str) -> None:
    inside = ines.jobs.commands(server)
    told = "with its user's rights"
    ines.roles.new(f"acme.{USER}.helpers")
    refused(inside.run(["toolkit", "role", "key", "new", f"acme.{USER}.helpers"]), 4, told, "do it yourself")
    refused(inside.run(["toolkit", "role", "new", f"acme.{USER}.more"]), 4, told)
    refused(inside.run(["toolkit", "account", "new", f"acme.{USER}.more"]), 4, told)
    refused(inside.run(["toolkit", "job", "submit", "--role", f"acme.{USER}.admin", "--", "true"]), 4, "nor hand on")
    refused(inside.run(["toolkit", "job", "submit", "-I", "--", "true"]), 4, "only the user starts one")
    why = inside.run(["toolkit", "rule", "why", f"role:key@acme:account:acme.{USER}:role:helpers"])
    assert told in why.stdout.decode(), why
    token = said(inside.run(["sh", "-c", "printf %s $TOOLKIT_TOKEN"]))
    assert token.startswith("tkj_")
    reply = httpx.post(
        f"{site.url}/hub/api/users/{USER}/tokens", headers={"Authorization": f"token {token}"}, json={"note": "more"}
    )
    assert reply.status_code == 403, "the hub does not know it"


# --- of batch jobs ----------------------------------------------------------------------------------------------------


def test_a_batch_job_acts_on_itself_alone_and_is_told_so(start: Callable[..., JobCommands]) -> None:
    inside = start()
    job_id = said(inside.run(["sh", "-c", "printf %s $TOOLKIT_JOB_ID"]))
    assert said(inside.run(["toolkit", "job", "ls", "--field", "id"])) == job_id
    for words in (["job", "submit", "--", "true"], ["data", "new", "mine"]):
        refused(inside.run(["toolkit", *words]), 4, f"job:{job_id}", "acts on that job only", "--role")
    refused(inside.run(["toolkit", "data", "push", "from-server", "/etc/hostname"]), 5, "no such data", "mount it")


def test_with_a_role_a_batch_job_has_the_roles_rights_and_no_others(
    ines: Client, start: Callable[..., JobCommands]
) -> None:
    account = ines.accounts.new(f"acme.{USER}.pipeline").full_name
    inside = start(account=account, role=f"{account}.user")
    step = said(inside.run(["toolkit", "job", "submit", "--cpu", "0.1", "--mem", "0.2", "--field", "id", "--", "true"]))
    assert ines.jobs.get(step).account == account
    script = f"toolkit data new {account}.results /etc/hostname && toolkit data content ls {account}.results"
    assert "hostname" in said(inside.run(["sh", "-c", script]))
    refused(inside.run(["toolkit", "data", "archive", f"{account}.results"]), 4, "data:archive")
    refused(inside.run(["toolkit", "job", "submit", "--account", f"acme.{USER}", "--", "true"]), 5, "no such account")
    refused(inside.run(["toolkit", "role", "key", "new", f"{account}.user"]), 4, "role:key")


# --- who comes in -----------------------------------------------------------------------------------------------------


def test_nobody_else_enters_and_all_doors_say_the_same(site: RunningSite, ines: Client, server: str) -> None:
    words = f"this job carries the rights of acme.{USER}; only acme.{USER} can enter it"
    urn = ines.jobs.get(server).urn
    with site.client() as admin:
        with pytest.raises(PermissionDenied, match=words):
            admin.jobs.commands(server).run(["true"])
        assert admin.rules.why(f"job:exec@{urn}").reason == words
        assert not admin.rules.allowed(f"job:exec@{urn}")
        assert [one.name for one in admin.rules.who_is_allowed(f"job:exec@{urn}")] == [f"acme.{USER}"]
        assert admin.jobs.get(server).carries_rights
        lab_url = httpx.URL(admin.jobs.get(server).lab_url)
        headers = {"Host": lab_url.netloc.decode(), "Authorization": f"Bearer {site.admin_token}"}
        lab = httpx.get(f"http://127.0.0.1:{lab_url.port}{lab_url.path}", headers=headers)
        assert lab.status_code == 403
        assert words in lab.text
        for user, enters in (("admin", False), (USER, True)):
            token = {"Authorization": f"Bearer {site.token(user)}"}
            page = httpx.get(f"{site.url}/services/toolkit/jobs/{server}", headers=token).text
            assert words in page
            assert ("Open JupyterLab" in page) == enters
    assert said(ines.jobs.commands(server).run(["true"])) == ""


# --- the token --------------------------------------------------------------------------------------------------------


def test_the_engine_and_the_process_list_do_not_know_the_token(site: RunningSite, server: str) -> None:
    store = site.store()
    try:
        with store.begin(write=False) as session:
            run = session.get_one(JobRow, server).runs[-1]
            token, name = job_token(run), run.server_name
    finally:
        store.close()
    ids = subprocess.run(
        ["docker", "ps", "-q", "--no-trunc"], check=True, capture_output=True, text=True, timeout=20
    ).stdout.split()
    known = json.loads(
        subprocess.run(["docker", "inspect", *ids], check=True, capture_output=True, text=True, timeout=20).stdout
    )
    assert any(name in json.dumps(one) for one in known), "the server's container is among them"
    assert token not in json.dumps(known)
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert token.encode() not in b"".join(lines)


def test_it_ends_with_the_run(site: RunningSite, ines: Client, start: Callable[..., JobCommands]) -> None:
    inside = start(interactive=True, name="short")
    token = said(inside.run(["sh", "-c", "printf %s $TOOLKIT_TOKEN"]))
    with Client(site.url, token) as carried:
        assert carried.me().full_name == f"acme.{USER}"
        job = ines.jobs.get("short")
        ines.jobs.kill(job.id)
        site.wait_state(job.id, "CANCELLED", user=USER)
        reply = httpx.get(f"{site.url}/services/toolkit/api/v1/me", headers={"Authorization": f"Bearer {token}"})
        assert (reply.status_code, "the run has ended" in reply.text) == (401, True)


def test_jobs_reach_content_of_data_by_a_door_that_has_nothing_else(start: Callable[..., JobCommands]) -> None:
    program = (
        "import json, os, urllib.error, urllib.request\n"
        "api = os.environ['TOOLKIT_URL'] + '/services/toolkit/api/v1/transfer'\n"
        "data = json.load(urllib.request.urlopen(api, timeout=10))['url']\n"
        "def status(path, host=None):\n"
        "    headers = {'Authorization': 'Bearer ' + os.environ['TOOLKIT_TOKEN'], **({'Host': host} if host else {})}\n"
        "    try: return urllib.request.urlopen(urllib.request.Request(data + path, headers=headers), timeout=10).status\n"
        "    except urllib.error.HTTPError as error: return error.code\n"
        "job = os.environ['TOOLKIT_JOB_ID']\n"
        "print([status('/'), status('/.toolkit/health'), status('/', f'{job}.localhost:8001'), status('/v1/data/none/listing')])"
    )
    inside = start()
    out = wait_until(lambda: said(inside.run(["/opt/toolkit/base/bin/python3", "-I", "-c", program])), "an answer", 10)
    assert out == "[404, 404, 404, 404]"


def test_the_door_for_data_is_there_when_one_gate_follows_another(site: RunningSite, ines: Client, server: str) -> None:
    ines.data.new("followed")
    for turn in range(2):
        site.unit("restart", "gate")
        inside = ines.jobs.commands(server)
        said(inside.run(["sh", "-c", f"echo {turn} > /tmp/turn && toolkit data push followed /tmp/turn"]))
