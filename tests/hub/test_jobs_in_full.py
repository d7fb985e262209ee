"""Jobs on the whole site: what they run, how they end and in which words, and what can be changed of them."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.running_site import RunningSite, wait_until
from toolkit_client.models import JobSpec

pytestmark = pytest.mark.engine
API = "/services/toolkit/api/v1"


@pytest.fixture
def api(site: RunningSite) -> Iterator[httpx.Client]:
    """The bare REST API, as the administrator."""
    headers = {"Authorization": f"Bearer {site.admin_token}"}
    with httpx.Client(base_url=site.url + API, headers=headers, timeout=30) as client:
        yield client


def submit(api: httpx.Client, *command: str, status: int = 201, **spec: Any) -> dict[str, Any]:
    reply = api.post("/jobs", json={"command": list(command), **spec})
    assert reply.status_code == status, reply.text
    return dict(reply.json())


def error_of(reply: httpx.Response) -> dict[str, Any]:
    error = reply.json()["error"]
    assert error["status"] == reply.status_code
    return dict(error)


# --- how runs end ---------------------------------------------------------------------------------------------------------


def test_out_of_memory_tells_limit_and_peak(site: RunningSite, api: httpx.Client) -> None:
    code = "x = bytearray(10**9); x[::4096] = b'1' * len(x[::4096])"
    job = submit(api, "/opt/lab/bin/python3", "-c", code, resources={"mem": 0.2})
    ended = site.wait_state(job["id"], "FAILED", "SUCCEEDED")
    assert ended.state_info == "killed: out of memory (limit 0.2 GiB, peak 0.2 GiB)"
    assert ended.runs[0].peak_memory == pytest.approx(0.2, abs=0.001)


def test_the_peak_of_a_short_job(site: RunningSite, api: httpx.Client) -> None:
    code = "import time; x = bytearray(300 * 2**20); x[::4096] = b'1' * len(x[::4096]); del x; time.sleep(0.5)"
    job = submit(api, "/opt/lab/bin/python3", "-c", code)
    ended = site.wait_state(job["id"], "SUCCEEDED")
    peak = ended.runs[0].peak_memory
    assert peak is not None
    assert 0.29 < peak < 0.6


def test_signals_have_names(site: RunningSite, api: httpx.Client) -> None:
    job = submit(api, "sh", "-c", "kill -SEGV $$")
    assert site.wait_state(job["id"], "FAILED").state_info == "exit code 139: ended by SIGSEGV (segmentation fault)"


def test_a_time_limit_warns_and_ends(site: RunningSite, api: httpx.Client) -> None:
    job = submit(api, "sleep", "300", maxRunTime=3)
    assert job["maxRunTime"] == 3
    ended = site.wait_state(job["id"], "FAILED", timeout=30)
    assert ended.state_info == "time limit 3 s"
    run = ended.runs[0]
    assert run.deadline is not None
    assert run.run_time is not None
    assert 3 <= run.run_time < 15
    with api.stream("GET", f"/jobs/{job['id']}/events", headers={"Last-Event-ID": "0"}) as stream:
        told = [line.removeprefix("event: ") for line in stream.iter_lines() if line.startswith("event: ")]
    kept = [word for word in told if word != "run.waits"]
    assert kept == ["job.submitted", "run.queued", "run.running", "run.deadline_near", "run.cancelling", "run.failed"]


def test_a_container_removed_by_hand(site: RunningSite, api: httpx.Client) -> None:
    """A restartable job goes back to the queue with a new run, any other ends as INTERRUPTED."""
    for restartable in (False, True):
        job = submit(api, "sleep", "300", restartable=restartable)
        run = site.wait_state(job["id"], "RUNNING").runs[0]
        container = next(found for found in site.containers() if found.run == run.server_name)
        site.engine_call(lambda engine, found=container: engine.remove(found.id))
        if not restartable:
            ended = site.wait_state(job["id"], "INTERRUPTED")
            assert len(ended.runs) == 1
            continue

        def second_run(job_id: str = job["id"]) -> bool:
            seen = api.get(f"/jobs/{job_id}").json()
            return len(seen["runs"]) == 2 and seen["state"] == "RUNNING"

        wait_until(second_run, "the second run", 40, site.logs)
        seen = api.get(f"/jobs/{job['id']}").json()
        assert [item["state"] for item in seen["runs"]] == ["INTERRUPTED", "RUNNING"]
        assert seen["runs"][0]["imageDigest"] == seen["runs"][1]["imageDigest"]
        assert api.delete(f"/jobs/{job['id']}").status_code == 200


# --- images ---------------------------------------------------------------------------------------------------------------


def test_a_run_uses_what_the_reference_meant_at_submit(site: RunningSite, api: httpx.Client) -> None:
    """The tag moves to another image while the job waits; the job runs the image that it was submitted with."""
    lab, other = "toolkit-lab:latest", "toolkit-base:bookworm"
    name = f"toolkit-test-moving:{uuid4().hex[:8]}"

    def image_id(reference: str) -> str:
        found = site.engine_call(lambda engine: engine.image(reference))
        assert isinstance(found, dict)
        return str(found["Id"])

    async def tag(engine: Any, source: str) -> None:
        engine.tag_image(source, name)

    site.engine_call(lambda engine: tag(engine, lab))
    try:
        blocker = submit(api, "sleep", "300", resources={"cpu": 16, "mem": 0.1})
        site.wait_state(blocker["id"], "RUNNING")
        job = submit(api, "true", image=name, resources={"mem": 0.1})
        site.engine_call(lambda engine: tag(engine, other))
        assert image_id(name) == image_id(other)
        api.delete(f"/jobs/{blocker['id']}")
        ended = site.wait_state(job["id"], "SUCCEEDED")
        assert ended.runs[0].image_digest == image_id(lab)
        assert ended.image == name
    finally:

        async def remove(engine: Any) -> None:
            engine.remove_image(name)

        site.engine_call(remove)


def test_an_unknown_image_is_told_at_once(site: RunningSite, api: httpx.Client) -> None:
    job = submit(api, "true", image="no-such-image:1")
    ended = site.wait_state(job["id"], "FAILED", timeout=15)
    assert ended.state_info == "image not found: no-such-image:1 is not on this machine, and this site does not pull it"


# --- changing -------------------------------------------------------------------------------------------------------------


def test_a_living_job_is_changed_and_an_ended_one_is_not(site: RunningSite, api: httpx.Client) -> None:
    name = f"n-{uuid4().hex[:8]}"
    job = submit(api, "sleep", "300", tags=["a=b"], maxRunTime=1000)
    place = f"/jobs/{job['id']}"
    changed = api.patch(
        place, json={"name": name, "tags": ["c", {"key": "d", "value": "e"}], "bid": 5, "maxRunTime": 0}
    )
    assert changed.status_code == 200, changed.text
    seen = api.get(f"/jobs/{name}").json()
    assert (seen["name"], seen["bid"], seen["maxRunTime"]) == (name, 5, 0)
    assert seen["tags"] == [{"key": "c", "value": None}, {"key": "d", "value": "e"}]
    assert [item["id"] for item in api.get("/jobs", params={"tag": "d=e", "name": name}).json()["items"]] == [job["id"]]
    assert api.get("/jobs", params={"tag": "d=x", "name": name}).json()["items"] == []
    assert api.patch(place, json={"name": None}).json()["name"] is None
    assert "did you mean `tags`" in error_of(api.patch(place, json={"tag": []}))["message"]
    api.delete(place)
    site.wait_state(job["id"], "CANCELLED")
    refused = api.patch(place, json={"bid": 1})
    assert refused.status_code == 409
    assert "has ended already (CANCELLED)" in error_of(refused)["message"]


def test_a_name_can_be_taken_from_a_living_job(site: RunningSite, api: httpx.Client) -> None:
    name = f"n-{uuid4().hex[:8]}"
    first = submit(api, "sleep", "300", name=name)
    assert first["id"] in submit(api, "true", name=name, status=409)["error"]["message"]
    second = submit(api, "sleep", "300", name=name, enforceName=True)
    assert api.get(f"/jobs/{first['id']}").json()["name"] is None
    assert api.get(f"/jobs/{name}").json()["id"] == second["id"]
    for job in (first, second):
        assert api.delete(f"/jobs/{job['id']}").status_code == 200


def test_a_retry_is_a_new_job_with_the_same_spec(site: RunningSite, api: httpx.Client) -> None:
    old = submit(api, "sh", "-c", "exit 3", environmentVars=["A=1"], tags=["x=y"], bid=2)
    site.wait_state(old["id"], "FAILED")
    key = {"Idempotency-Key": str(uuid4())}
    reply = api.post(f"/jobs/{old['id']}/retry", headers=key)
    assert reply.status_code == 201, reply.text
    new = reply.json()
    assert new["retryOf"] == old["id"]
    same = ("command", "environmentVars", "image", "resources", "tags", "bid", "maxRunTime", "account")
    assert {field: new[field] for field in same} == {field: old[field] for field in same}
    again = api.post(f"/jobs/{old['id']}/retry", headers=key)
    assert (again.status_code, again.json()["id"]) == (200, new["id"])
    site.wait_state(new["id"], "FAILED")
    living = submit(api, "sleep", "300")
    assert api.post(f"/jobs/{living['id']}/retry").status_code == 409
    api.delete(f"/jobs/{living['id']}")


# --- bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"resources": {"mem": 0}}, "resources.mem: must be a number of GiB from 0.05 to 65536; given: '0'"),
        ({"resources": {"cpu": "many"}}, "resources.cpu: must be a number of CPU cores"),
        ({"resources": {"gpu": 1}}, "it asks for 1 GPU, and this site has none"),
        ({"resources": {"gpuMem": 8}}, "gpuMem say which GPUs, and no GPU is asked for"),
        ({"resources": {"replicas": 2}}, "2 machines at once"),
        ({"resources": {"cpuModel": "EPYC"}}, "cannot choose a CPU model"),
        ({"data": ["acme.joe.x:/proc"]}, "the container needs /proc: choose another folder"),
        ({"data": ["x"]}, "a mount is written NAME"),
        ({"data": ["a:/d", "b:/d/e"]}, "mounts cannot be nested"),
        ({"options": {"internal-dns": {"name": "x"}}}, "the option 'internal-dns' is not known"),
        ({"environmentVars": ["A"]}, "written NAME=value; this is not: 'A'"),
        ({"environmentVars": ["EAI_JOB_ID=1"]}, "set by the toolkit"),
        ({"environmentVars": ["A=b\0c"]}, "the value of A contains a NUL byte"),
        ({"comand": ["x"]}, "comand: unknown key; did you mean `command`?"),
        ({"resources": {"cpus": 1}}, "resources.cpus: unknown key; did you mean `cpu`?"),
        ({"name": "Bad Name"}, "a name is 1 to 64 of a-z"),
        ({"command": ["a\0b"]}, "word 1 of the command contains a NUL byte"),
        ({"command": ["true", "x" * 200_000]}, "word 2 of the command has 200000 bytes, and Linux takes 131071"),
        ({"command": ["x" * 100_000] * 6}, "the command has 600006 bytes in all"),
        ({"image": "Not An Image"}, "no image reference"),
        ({"image": "../../containers/json"}, "no image reference"),
        ({"ports": ["x"]}, "a port is written N or N:public"),
        ({"tags": ["a=1", "a=2"]}, "the tag 'a' is given twice"),
        ({"maxRunTime": -1}, "must be a whole number of seconds"),
    ],
)
def test_specs_that_are_refused(api: httpx.Client, spec: dict[str, Any], words: str) -> None:
    reply = api.post("/jobs", json={"command": ["true"], **spec})
    assert reply.status_code == 400, reply.text
    assert words in error_of(reply)["message"]


def test_a_role_that_is_not_there(api: httpx.Client) -> None:
    reply = api.post("/jobs", json={"command": ["true"], "role": "acme.admin.nobodys"})
    assert reply.status_code == 404
    assert error_of(reply)["message"] == "no such role"


def test_a_quarter_of_a_mebibyte_of_arguments(site: RunningSite, api: httpx.Client) -> None:
    words = ["x" * 64_000] * 4
    job = submit(api, "sh", "-c", 'echo "$# ${#1}"', "sh", *words)
    assert site.wait_state(job["id"], "SUCCEEDED", "FAILED").state == "SUCCEEDED"
    assert site.log_of(job["id"]) == b"4 64000\n"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_spec_of_ten_megabytes(api: httpx.Client, chunked: bool) -> None:
    body = json.dumps({"command": ["x" * 10_000_000]}).encode()
    content: Any = iter([body[:5_000_000], body[5_000_000:]]) if chunked else body
    reply = api.post("/jobs", content=content)
    assert reply.status_code == 413
    assert error_of(reply)["code"] == "too_large"
    assert api.get("/me").status_code == 200


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff\xfe", b"null", b'{"command": ["\\ud800"]}', b"[" * 100_000])
def test_bodies_that_are_no_specs(api: httpx.Client, body: bytes) -> None:
    reply = api.post("/jobs", content=body)
    assert reply.status_code == 400
    assert error_of(reply)["code"] == "invalid_request"


@pytest.mark.parametrize(
    "query",
    ["cursor=99999999999999999999", "since=0001-01-01T00:00:00%2B14:00", "limit=0", "state=x", "mine=2", "name=%00"],
)
def test_odd_queries(api: httpx.Client, query: str) -> None:
    assert api.get(f"/jobs?{query}").status_code in (200, 400)
    assert api.get("/jobs/%00").status_code == 404


# --- keys -----------------------------------------------------------------------------------------------------------------


def test_fifty_submits_with_one_key_are_one_job(site: RunningSite, api: httpx.Client) -> None:
    key, body = str(uuid4()), {"command": ["true"], "resources": {"mem": 0.1}}

    def post(_: int) -> tuple[int, str]:
        reply = api.post("/jobs", json=body, headers={"Idempotency-Key": key})
        return reply.status_code, reply.json()["id"]

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(post, range(50)))
    assert len({job_id for _, job_id in answers}) == 1
    assert sorted(status for status, _ in answers) == [200] * 49 + [201]
    other = api.post("/jobs", json={"command": ["false"]}, headers={"Idempotency-Key": key})
    assert other.status_code == 409
    site.wait_state(answers[0][1], "SUCCEEDED")


def test_a_user_is_made_once_by_one_key(api: httpx.Client) -> None:
    name, key = f"u{uuid4().hex[:8]}", {"Idempotency-Key": str(uuid4())}
    first = api.post("/users", json={"name": name, "password": "a good password"}, headers=key)
    again = api.post("/users", json={"name": name, "password": "a good password"}, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    other = api.post("/users", json={"name": name, "password": "another password"}, headers=key)
    assert other.status_code == 409


def test_two_kills_at_once(site: RunningSite, api: httpx.Client) -> None:
    job = submit(api, "sleep", "300")
    site.wait_state(job["id"], "RUNNING")
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: api.delete(f"/jobs/{job['id']}").status_code, range(2)))
    assert answers == [200, 200]
    site.wait_state(job["id"], "CANCELLED")


# --- events ---------------------------------------------------------------------------------------------------------------


class Listener:
    """Reads `/events` in a thread."""

    def __init__(self, site: RunningSite, user: str, query: str = "", last: str | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self._ready = threading.Event()
        headers = {"Authorization": f"Bearer {site.token(user)}"}
        if last is not None:
            headers["Last-Event-ID"] = last
        self._address, self._headers = f"{site.url}{API}/events{query}", headers
        self._stream: httpx.Response | None = None
        threading.Thread(target=self._read, daemon=True).start()
        assert self._ready.wait(20)

    def _read(self) -> None:
        with httpx.stream("GET", self._address, headers=self._headers, timeout=60) as stream:
            assert stream.status_code == 200
            self._stream = stream
            for line in stream.iter_lines():
                self._ready.set()  # the first line comes before any event
                if line.startswith("data: "):
                    self.events.append(json.loads(line.removeprefix("data: ")))

    def of(self, job: dict[str, Any]) -> list[str]:
        return [event["type"] for event in self.events if event["urn"] == job["urn"]]


def test_events_come_to_those_who_may_see_them(site: RunningSite, api: httpx.Client) -> None:
    listeners = {user: Listener(site, user) for user in ("admin", "alice", "bob")}
    with site.client("alice") as alice:
        job = alice.jobs.submit(JobSpec(command=["true"])).model_dump()
    site.wait_state(job["id"], "SUCCEEDED", user="alice")
    for user in ("admin", "alice"):
        wait_until(lambda user=user: "run.succeeded" in listeners[user].of(job), f"{user} to hear of it", 20)
    assert listeners["bob"].of(job) == []
    heard = listeners["admin"].events
    assert [event["seq"] for event in heard] == sorted(event["seq"] for event in heard)
    first = next(event["seq"] for event in heard if event["urn"] == job["urn"])
    resumed = Listener(site, "alice", f"?job={job['id']}", last=str(first))
    wait_until(lambda: "run.succeeded" in resumed.of(job), "the rest of the events", 20)
    assert first not in {event["seq"] for event in resumed.events}
    assert {event["urn"] for event in resumed.events} == {job["urn"]}
    refused = httpx.get(
        f"{site.url}{API}/events?job={job['id']}", headers={"Authorization": f"Bearer {site.token('bob')}"}
    )
    assert refused.status_code == 404


# --- nothing is lost over restarts ----------------------------------------------------------------------------------------


def test_a_time_limit_holds_over_a_restart_of_the_service(own_site: RunningSite) -> None:
    job = own_site.submit("sleep", "300", maxRunTime=6)
    own_site.wait_state(job.id, "RUNNING")
    own_site.unit("stop", "service")
    with closing(sqlite3.connect(own_site.state / "toolkit.sqlite")) as database:
        assert database.execute("select deadline from runs").fetchone()[0]
    own_site.unit("start", "service")
    assert own_site.wait_state(job.id, "FAILED", timeout=60).state_info == "time limit 6 s"
