"""Chains, arrays and families of jobs on the whole site, with containers, through the command line and from within jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.running_site import RunningSite, wait_until
from toolkit_client.models import Job

pytestmark = pytest.mark.engine
API = "/services/toolkit/api/v1"
SMALL = {"cpu": 0.5, "mem": 0.1}
#: For jobs that run the toolkit itself.
ROOM = {"cpu": 1, "mem": 0.5}
#: A child that is submitted by a job: with the toolkit of the runtime folder and the job's own token.
TOOLKIT = "/opt/toolkit/bin/toolkit"
SUBMIT = f"{TOOLKIT} job submit --cpu 0.5 --mem 0.1 --field id"


@pytest.fixture
def api(site: RunningSite) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {site.admin_token}"}
    with httpx.Client(base_url=site.url + API, headers=headers, timeout=30) as client:
        yield client


def submit(site: RunningSite, *command: str, **spec: Any) -> Job:
    return site.submit(*command, **{"resources": SMALL, **spec})


def test_a_chain_and_what_a_failure_takes_with_it(site: RunningSite) -> None:
    mark = uuid4().hex[:8]
    first = submit(site, "sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.05; done", name=f"a-{mark}")
    options = ("--name", f"b-{mark}", "--after", f"a-{mark}", "--cpu", "0.5", "--field", "id")
    made = site.cli("job", "submit", *options, "--", "sh", "-c", "exit 3")
    assert made.returncode == 0, made.stderr
    second = made.stdout.strip()
    third = submit(site, "true", after=[f"b-{mark}"])
    fourth = submit(site, "echo", "all the same", after=[f"{second}:any"])
    why = site.cli("job", "get", second, "--field", "stateInfo").stdout
    assert why == f"waiting for job a-{mark} ({first.id}) to succeed\n"
    site.wait_state(first.id, "RUNNING")
    wait_until(
        lambda: site.cli("job", "exec", first.id, "touch", "/tmp/go").returncode == 0, "the first job to let itself end"
    )
    site.wait_state(first.id, "SUCCEEDED")
    ended = site.wait_state(second, "FAILED")
    assert ended.runs[0].started is not None
    before = site.wait_state(first.id, "SUCCEEDED").runs[0].ended
    assert before is not None
    assert ended.runs[0].queued is not None
    assert ended.runs[0].queued >= before
    cancelled = site.wait_state(third.id, "CANCELLED")
    assert cancelled.state_info == f"job b-{mark} ({second}) failed: exit code 3"
    assert site.wait_state(fourth.id, "SUCCEEDED").runs[0].exit_code == 0
    refused = site.cli("job", "submit", "--after", second, "--", "true")
    assert refused.returncode == 1
    assert "would never start" in refused.stderr


def test_an_array_runs_so_many_at_once_and_each_sees_its_index(site: RunningSite) -> None:
    name = f"sweep-{uuid4().hex[:8]}"
    script = "echo $TOOLKIT_ARRAY_INDEX $EAI_ARRAY_INDEX $TOOLKIT_ARRAY_SIZE $TOOLKIT_ARRAY_JOB_ID; sleep 0.5"
    options = ("--array", "0-5%2", "--name", name, "--cpu", "0.5", "--mem", "0.1")
    made = site.cli("job", "submit", *options, "--", "sh", "-c", script)
    assert made.returncode == 0, made.stderr
    header, row = made.stdout.splitlines()
    assert header.split() == ["id", "state", "name", "created", "command", "stateInfo"]
    assert row.endswith("6 jobs: 6 queuing")
    array = row.split()[0]
    after = submit(site, "true", after=[name])
    assert site.wait_state(array, "SUCCEEDED", timeout=90).array_states == {"SUCCEEDED": 6}
    with site.client() as client:
        jobs = client.jobs.list(array=array)
    assert [job.name for job in reversed(jobs)] == [f"{name}_{index}" for index in range(6)]
    for index in range(6):
        assert site.cli("job", "logs", f"{name}:{index}").stdout == f"{index} {index} 6 {array}\n"
    holds = [(job.runs[0].queued, job.runs[0].ended) for job in jobs]
    for moment, _ in holds:
        assert moment is not None
        held = sum(1 for begin, end in holds if begin is not None and end is not None and begin <= moment < end)
        assert held <= 2
    assert site.wait_state(after.id, "SUCCEEDED").alive is False
    assert "array: 0-5%2\n" in site.cli("job", "info", "--job-spec", name).stdout
    told = site.cli("job", "retry", name)
    assert f"`toolkit job retry {name}:0`" in told.stderr
    told = site.cli("job", "logs", name)
    assert told.returncode != 0
    assert f"{name}:0" in told.stderr


def test_an_array_is_killed_as_a_whole(site: RunningSite) -> None:
    made = site.cli(
        "job", "submit", "--array", "1-4%2", "--cpu", "0.5", "--mem", "0.1", "--field", "id", "--", "sleep", "300"
    )
    array = made.stdout.strip()
    site.wait_state(array, "RUNNING")
    killed = site.cli("job", "kill", "--last")
    assert killed.returncode == 0, killed.stderr
    assert f"{array}: 4 jobs of the array" in killed.stderr
    assert site.wait_state(array, "CANCELLED").array_states == {"CANCELLED": 4}


def test_children_end_with_their_parent_and_detached_ones_live(site: RunningSite, api: httpx.Client) -> None:
    script = f"{SUBMIT} -- sleep 300 2>&1; {SUBMIT} --detach -- sleep 300; echo done; sleep 300"
    parent = submit(site, "sh", "-c", script, role="acme.admin.user", resources=ROOM)
    with site.client() as client:
        stream = client.jobs.logs(parent.id, follow=True)
        text = b""
        while b"done\n" not in text:
            text += next(stream)
        family = [job for job in reversed(client.jobs.list(family=parent.id)) if job.id != parent.id]
    assert len(family) == 2, text
    child, free = family
    hint = f"it ends with job {parent.id}, which has submitted it; --detach lets it go on"
    assert sorted(text.decode().splitlines()) == sorted([child.id, hint, free.id, "done"])
    assert (child.parent_id, child.detach, free.detach) == (parent.id, False, True)
    for job in (child, free):
        site.wait_state(job.id, "RUNNING")
    tree = site.cli("job", "tree", parent.id).stdout.splitlines()
    assert [line.split()[0] for line in tree] == [parent.id, "├─", "└─"]
    assert child.id in tree[1]
    assert "RUNNING detached sleep 300" in tree[2]
    killed = site.cli("job", "kill", parent.id)
    assert f"{parent.id}: 2 jobs, with its family, end" in killed.stderr
    ended = site.wait_state(child.id, "CANCELLED")
    assert ended.state_info == f"killed: its parent job {parent.id} was killed by acme.admin"
    site.wait_state(parent.id, "CANCELLED")
    assert api.get(f"/jobs/{free.id}").json()["state"] == "RUNNING"
    api.delete(f"/jobs/{free.id}")


def test_a_parent_that_just_ends_takes_its_children_with_it(site: RunningSite) -> None:
    """At once, not at the next round of the reconciler; the container goes as well."""
    seen = f"$({TOOLKIT} job get $id --field state)"
    script = f'id=$({SUBMIT} -- sleep 300); until [ "{seen}" = RUNNING ]; do :; done'
    parent = submit(site, "sh", "-c", script, role="acme.admin.user", resources=ROOM)
    site.wait_state(parent.id, "SUCCEEDED")
    with site.client() as client:
        (child,) = (job for job in client.jobs.list(family=parent.id) if job.id != parent.id)
    assert site.wait_state(child.id, "CANCELLED").state_info == f"killed: its parent job {parent.id} has ended"
    server = child.runs[0].server_name
    wait_until(lambda: server not in {found.run for found in site.containers()}, "the child's container to be removed")
