"""The main job, on the whole site: a command, a container, a named server; through the command line and the API."""

from __future__ import annotations

import httpx
import pytest

from tests.support.running_site import RunningSite, wait_until
from toolkit_client.errors import Conflict, InvalidRequest, NotFound, NotSignedIn
from toolkit_client.models import JobSpec

pytestmark = pytest.mark.engine


def test_the_readmes_walk(site: RunningSite) -> None:
    submitted = site.cli("job", "submit", "--", "bash", "-c", "echo hello; sleep 2; exit 3")
    assert submitted.returncode == 0, submitted.stderr
    header, row = submitted.stdout.splitlines()
    assert header.split() == ["id", "state", "name", "created", "command", "runs.exitCode"]
    job_id = row.split()[0]
    followed = site.cli("job", "logs", "-f")
    assert followed.returncode == 0, followed.stderr
    assert followed.stdout == "hello\n"
    listed = site.cli("job", "ls")
    line = next(line for line in listed.stdout.splitlines() if line.startswith(job_id))
    assert "FAILED" in line
    assert " 3 " in line
    assert site.cli("job", "get", job_id, "--field", "stateInfo").stdout == "exit code 3\n"
    assert site.cli("job", "logs", job_id, "-f", "--exit-code").returncode == 3


def test_output_comes_while_the_job_runs(site: RunningSite) -> None:
    """Without a newline, and before the command ends."""
    job = site.submit("sh", "-c", "printf partial; while [ ! -e /tmp/go ]; do sleep 0.05; done")
    with site.client() as client:
        for chunk in client.jobs.logs(job.id, follow=True):
            assert chunk == b"partial"
            assert client.jobs.get(job.id).state == "RUNNING"
            client.jobs.kill(job.id)
            break
    assert site.wait_state(job.id, "CANCELLED").state_info == "killed by acme.admin"


def test_the_run_is_a_named_server_while_it_lives(site: RunningSite) -> None:
    job = site.submit("sleep", "300")
    run = site.wait_state(job.id, "RUNNING").runs[0]
    assert run.ip
    assert run.image_digest
    server = f"{site.url}/hub/api/users/admin/servers/{run.server_name}"
    headers = {"Authorization": f"token {site.admin_token}"}
    wait_until(lambda: httpx.get(server, headers=headers).json().get("ready"), "the hub to have the server ready")
    with site.client() as client:
        client.jobs.kill(job.id)
    site.wait_state(job.id, "CANCELLED")
    wait_until(lambda: httpx.get(server, headers=headers).status_code == 404, "the hub to forget the server")
    wait_until(lambda: run.server_name not in {found.run for found in site.containers()}, "its container to be removed")


def test_the_command_sees_its_job(site: RunningSite) -> None:
    script = (
        "id -u; echo $TOOLKIT_JOB_ID $EAI_JOB_ID $TOOLKIT_RUN_INDEX $HOME $GREETING;"
        "pwd; touch ~/f && echo ok; echo ${PATH##*:}"
    )
    job = site.submit("sh", "-c", script, workdir="/tmp", environmentVars=["GREETING=good morning"])
    assert site.wait_state(job.id, "SUCCEEDED", "FAILED").state == "SUCCEEDED"
    lines = site.log_of(job.id).decode().splitlines()
    assert lines == [
        "13011",
        f"{job.id} {job.id} 0 /home/toolkit good morning",
        "/tmp",
        "ok",
        "/opt/toolkit/bin",
    ]


def test_no_secret_of_ours_is_in_the_commands_environment(site: RunningSite) -> None:
    job = site.submit("env")
    site.wait_state(job.id, "SUCCEEDED")
    text = site.log_of(job.id).decode()
    assert "SECRET" not in text
    assert "JUPYTERHUB" not in text
    tokens = [line.partition("_TOKEN=") for line in text.splitlines() if "TOKEN" in line]
    assert [(name, value[:4]) for name, _, value in tokens] == [("TOOLKIT", "tkj_")], "the job's own, and no other"


def test_memory_limit(site: RunningSite) -> None:
    code = "x = bytearray(10**9); x[::4096] = b'1' * len(x[::4096])"
    job = site.submit("/opt/lab/bin/python3", "-c", code, resources={"mem": 0.2})
    ended = site.wait_state(job.id, "FAILED", "SUCCEEDED")
    assert ended.state_info == "killed: out of memory (limit 0.2 GiB, peak 0.2 GiB)"


def test_two_users_do_not_see_each_other(site: RunningSite) -> None:
    job = site.submit("true", user="alice")
    with site.client("bob") as bob:
        for act in (bob.jobs.get, bob.jobs.kill, lambda ref: list(bob.jobs.logs(ref))):
            with pytest.raises(NotFound):
                act(job.id)
        assert job.id not in {seen.id for seen in bob.jobs.list(limit=100)}
    site.wait_state(job.id, "SUCCEEDED", user="alice")
    site.wait_state(job.id, "SUCCEEDED", user="admin")


# --- bad input ------------------------------------------------------------------------------------------------------------


def test_an_unknown_image(site: RunningSite) -> None:
    job = site.submit("true", image="no-such-image-anywhere")
    ended = site.wait_state(job.id, "FAILED", timeout=30)
    assert ended.state_info.startswith("image not found: no-such-image-anywhere is not on this machine, and this site")
    assert ended.runs[0].exit_code is None


def test_a_missing_command(site: RunningSite) -> None:
    job = site.submit("no-such-command")
    ended = site.wait_state(job.id, "FAILED")
    assert ended.runs[0].exit_code == 127
    assert ended.state_info == "exit code 127: command not found"
    assert b"no-such-command" in site.log_of(job.id)


def test_kill_during_start_and_after_the_end(site: RunningSite) -> None:
    job = site.submit("sleep", "300")
    with site.client() as client:
        client.jobs.kill(job.id)
        ended = site.wait_state(job.id, "CANCELLED")
        with pytest.raises(Conflict, match="ended already"):
            client.jobs.kill(job.id)
    server = ended.runs[0].server_name
    wait_until(lambda: server not in {found.run for found in site.containers()}, "nothing to be left behind")


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"mem": 0}, "resources.mem: must be a number of GiB from 0.05"),
        ({"mem": -1}, "resources.mem: must be a number of GiB from 0.05"),
        ({"mem": 60000}, "it asks for 60000 GiB of memory, and no machine has more than"),
        ({"cpu": 99}, "it asks for 99 CPUs, and no machine has more than 16"),
    ],
)
def test_impossible_resources(site: RunningSite, resources: dict[str, float], words: str) -> None:
    headers = {"Authorization": f"Bearer {site.admin_token}"}
    body = {"command": ["true"], "resources": resources}
    reply = httpx.post(f"{site.url}/services/toolkit/api/v1/jobs", json=body, headers=headers)
    assert reply.status_code == 400
    assert words in reply.json()["error"]["message"]


def test_without_a_valid_token(site: RunningSite) -> None:
    from toolkit_client import Client

    with Client(url=site.url, token="0" * 32) as client, pytest.raises(NotSignedIn):
        client.me()
    assert httpx.get(f"{site.url}/services/toolkit/api/v1/jobs").status_code == 401


def test_servers_that_are_no_runs_are_refused(site: RunningSite) -> None:
    """Whoever calls the hub directly gets nothing started: not by name, not by options, not the unnamed server."""
    token, before = site.token("alice"), len(site.containers())
    headers = {"Authorization": f"token {token}"}
    options = {"user_options": {"image": "toolkit-lab", "command": ["sleep", "99"]}}
    for path in ("servers/mine", "server"):
        reply = httpx.post(f"{site.url}/hub/api/users/alice/{path}", headers=headers, json=options, timeout=30)
        assert reply.status_code >= 400
        assert "/services/toolkit/" in reply.text
    assert len(site.containers()) == before


def test_another_users_run_cannot_be_started(site: RunningSite) -> None:
    job = site.submit("sleep", "300", user="bob")
    run = site.wait_state(job.id, "RUNNING", user="bob").runs[0]
    reply = httpx.post(
        f"{site.url}/hub/api/users/alice/servers/{run.server_name}",
        headers={"Authorization": f"token {site.token('alice')}"},
        timeout=30,
    )
    assert reply.status_code >= 400
    with site.client("bob") as client:
        assert client.jobs.get(job.id).state == "RUNNING"
        client.jobs.kill(job.id)


def test_the_internal_interface_is_not_public(site: RunningSite) -> None:
    for address in (f"{site.url}/internal/launch", f"{site.settings.service_url}/internal/launch"):
        assert httpx.post(address, json={"owner": "a", "server": "b"}).status_code in (401, 403, 404)


def test_one_key_one_job(site: RunningSite) -> None:
    with site.client() as client:
        spec = JobSpec(command=["true"])
        first = client.jobs.submit(spec, "the-key")
        assert client.jobs.submit(spec, "the-key").id == first.id
        with pytest.raises(Conflict):
            client.jobs.submit(JobSpec(command=["false"]), "the-key")


def test_a_list_of_the_states(site: RunningSite) -> None:
    with site.client() as client, pytest.raises(InvalidRequest, match="no state"):
        client.jobs.list(state="sleeping")
