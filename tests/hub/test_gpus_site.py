"""GPUs of a whole site, SIMULATED: containers get their own devices, urgent jobs make others step aside, the queue says why."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.conftest import running
from tests.support.invariants import check_invariants
from tests.support.running_site import RunningSite, wait_until
from toolkit_client.errors import Conflict, InvalidRequest
from toolkit_client.models import Job
from toolkit_hub.domain import ledger
from toolkit_spawner.docker_api import INSTANCE_LABEL, RUN_LABEL

SLEEP = ("sh", "-c", "trap 'exit 143' TERM; echo up; while :; do sleep 0.1; done")
#: Saves its work when it is told to go, as the docs show.
SAVES = (
    "bash",
    "-c",
    'out=/home/toolkit/data/$EAI_JOB_ID.$EAI_RUN_INDEX.txt; echo "run $EAI_RUN_INDEX" > $out; '
    "trap 'read until _ < $TOOLKIT_PREEMPT_FILE; echo \"saved before $until\" >> $out; exit 0' TERM; "
    "touch $TOOLKIT_CHECKPOINT_FILE; while :; do sleep 0.1; done",
)


@pytest.fixture(scope="module")
def gpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    """A site with two simulated GPUs, 8 CPUs and 8 GiB."""
    values = "c.Toolkit.cpus = 8\nc.Toolkit.memory = 8.0\nc.Toolkit.overcommit = 1.0\nc.Toolkit.preempt_grace = 8"
    yield from running(tmp_path_factory.mktemp("gpus") / "state", values, {"SIM_GPUS": "2"})


def submit(site: RunningSite, *command: str, gpu: int = 1, **spec: object) -> Job:
    return site.submit(*command, resources={"gpu": gpu, "cpu": 0.5, "mem": 0.25}, **spec)


def devices_of(site: RunningSite, job: Job) -> set[str]:
    """What a command in the job finds."""
    done = site.client().jobs.commands(job.id).run(["sh", "-c", "ls /dev/nvidia* ; echo $NVIDIA_VISIBLE_DEVICES"])
    return set(done.stdout.decode().split())


def out(site: RunningSite, *words: str) -> str:
    """What a command prints."""
    done = site.cli(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def nothing_is_left(gpus: RunningSite) -> Iterator[None]:
    yield
    client = gpus.client()
    for job in client.jobs.list(state="alive"):
        client.jobs.kill(job.id)
    wait_until(lambda: not list(client.jobs.list(state="alive")), "all jobs to end", 60)
    check_invariants(gpus)


def test_each_job_has_a_device_of_its_own_and_the_list_says_whose(gpus: RunningSite) -> None:
    first, second = (submit(gpus, *SLEEP, name=name) for name in ("one", "two"))
    third = submit(gpus, *SLEEP)
    for job in (first, second):
        gpus.wait_state(job.id, "RUNNING")
    seen = [devices_of(gpus, job) for job in (first, second)]
    assert {"/dev/nvidia0", "GPU-SIMULATED-0"} in seen
    assert {"/dev/nvidia0", "GPU-SIMULATED-1"} in seen
    listed = out(gpus, "gpu", "ls", "--fields", "uuid,state,jobName,account").split("\n")
    assert sorted(line.split()[2] for line in listed[1:3]) == ["one", "two"]
    assert all("held" in line and "acme.admin" in line for line in listed[1:3])
    told = out(gpus, "job", "why", third.id)
    assert told.startswith("waiting for 1 GPU: 2 of 2 in use  (1 of 1 in the queue)")
    assert "GPUs of the kind: asks for 1, 0 of 2 free" in told
    gpus.client().jobs.kill(first.id)
    gpus.wait_state(third.id, "RUNNING")


def test_a_job_without_gpus_sees_none(gpus: RunningSite) -> None:
    job = submit(gpus, *SLEEP, gpu=0, environmentVars=[])
    gpus.wait_state(job.id, "RUNNING")
    assert devices_of(gpus, job) == {"void"}


def test_what_cannot_be_is_refused_with_the_nearest_that_can(gpus: RunningSite) -> None:
    with pytest.raises(InvalidRequest, match="3 GPUs on one machine") as told:
        submit(gpus, "true", gpu=3)
    assert "2 GPUs" in told.value.hint


def test_a_preempted_job_saves_its_work_and_comes_again_with_a_file_for_each_run(gpus: RunningSite) -> None:
    out(gpus, "data", "new", "logs")
    low = submit(gpus, *SAVES, gpu=2, preemptable=True, restartable=True, data=["logs:/home/toolkit/data"])
    gpus.wait_state(low.id, "RUNNING")
    wait_until(lambda: "0.txt" in out(gpus, "data", "content", "ls", "logs"), "its first file", 20)
    urgent = submit(gpus, "true", gpu=1)
    gpus.wait_state(urgent.id, "SUCCEEDED")
    seen = gpus.wait_state(low.id, "RUNNING")
    assert [run.state for run in seen.runs] == ["INTERRUPTED", "RUNNING"]
    assert seen.runs[0].state_info.startswith(f"stopped to make room for job {urgent.id}")
    first = out(gpus, "data", "content", "cat", "logs", f"{low.id}.0.txt")
    assert first.startswith("run 0\nsaved before 1"), first
    wait_until(lambda: out(gpus, "data", "content", "ls", "logs").count(".1.txt") == 1, "its second file", 20)


def test_a_victim_that_does_not_listen_is_gone_in_time(gpus: RunningSite) -> None:
    low = submit(gpus, "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done", gpu=2, preemptable=True)
    gpus.wait_state(low.id, "RUNNING")
    urgent = submit(gpus, "true", gpu=2)
    gpus.wait_state(urgent.id, "SUCCEEDED", timeout=60)
    assert gpus.wait_state(low.id, "INTERRUPTED").runs[0].exit_code == 137


def test_a_proposal_starts_the_job(gpus: RunningSite) -> None:
    holder = submit(gpus, *SLEEP)
    wide = submit(gpus, "true", gpu=2)
    gpus.wait_state(holder.id, "RUNNING")
    found = gpus.client().why(wide.id)
    number = next(place for place, one in enumerate(found.proposals, 1) if one.words == "with 1 GPU")
    out(gpus, "job", "why", wide.id, "--apply", str(number))
    gpus.wait_state(wide.id, "SUCCEEDED")


@pytest.mark.parametrize(
    ("words", "kind", "name"),
    [(("--user", "acme.admin"), "user", "acme.admin"), (("--organization",), "organization", "acme")],
)
def test_quotas_of_a_user_and_of_the_organization_hold_jobs_back(
    gpus: RunningSite, words: tuple[str, ...], kind: str, name: str
) -> None:
    """What `toolkit quota set` says holds at the next job; the reason names the command; taken away, the job starts at once."""
    out(gpus, "quota", "set", *words, "gpus=1", "bid=5")
    shown = f"type   name   room.gpus {kind} {name} 1".split()
    assert out(gpus, "quota", "ls", *words, "--fields", "type,name,room.gpus").split() == shown
    listed = out(gpus, "quota", "ls", "--fields", "type,name,room.gpus").splitlines()
    assert [kind, name, "1"] in [line.split() for line in listed]
    with pytest.raises(Conflict, match=f"beyond the quota of {kind} {name}: 1 GPU, and it asks for 2") as told:
        submit(gpus, "true", gpu=2)
    assert "the nearest that the quotas allow: 1 GPU" in told.value.hint
    first = submit(gpus, *SLEEP)
    gpus.wait_state(first.id, "RUNNING")
    second = submit(gpus, *SLEEP)
    reason = f"waiting for the quota of {kind} {name}: 1 GPU (`toolkit quota ls {' '.join(words)}`)"
    wait_until(lambda: gpus.client().jobs.get(second.id).state_info == reason, "its reason", 20)
    found = out(gpus, "job", "why", second.id)
    assert found.startswith(reason)
    assert f"`toolkit quota set {' '.join(words)} gpus=N` raises it" in found
    assert gpus.cli("job", "set", second.id, "--bid", "6").returncode == 1
    out(gpus, "quota", "set", *words, "gpus=none", "bid=none")
    gpus.wait_state(second.id, "RUNNING")


def test_a_device_that_a_container_has_and_no_run_holds_is_given_to_nobody(gpus: RunningSite) -> None:
    """A stranger's container has the free device, one with our labels that of another run; when both are gone all is well."""
    first, other = submit(gpus, *SLEEP), submit(gpus, *SLEEP, gpu=0)
    for job in (first, other):
        gpus.wait_state(job.id, "RUNNING")
    taken = next(name for name in devices_of(gpus, first) if name.startswith("GPU-"))
    free = next(f"GPU-SIMULATED-{n}" for n in range(2) if f"GPU-SIMULATED-{n}" != taken)
    labels = {INSTANCE_LABEL: gpus.settings.instance_id, RUN_LABEL: other.runs[-1].server_name}
    with contextlib.ExitStack() as made:
        stranger, by_hand = (made.enter_context(container(gpus, *one)) for one in ((free, {}), (taken, labels)))
        reasons = {
            free: f"given to the container {stranger}, which is no job of this site",
            taken: f"given to the container {by_hand}, which has the labels of a run and is not its container",
        }

        def listed() -> dict[str, str]:
            items = map(json.loads, out(gpus, "gpu", "ls", "--format", "json").splitlines())
            return {item["uuid"]: item["reason"] for item in items if item["reason"]}

        wait_until(lambda: listed() == reasons, "both to be seen", 40, lambda: str(listed()))
        told = gpus.cli("admin", "doctor", "--format", "json").stdout
        assert all(reason in told for reason in reasons.values()), told
        waits = submit(gpus, "true")
        wait_until(lambda: gpus.client().jobs.get(waits.id).state_info != "", "its reason", 20)
        gpus.unit("restart", "service")
        wait_until(lambda: listed() == reasons, "both to be seen by the new service", 40, lambda: str(listed()))
        assert gpus.client().jobs.get(waits.id).state == "QUEUING"
        assert gpus.client().jobs.get(first.id).state == "RUNNING", "nothing is taken from whom it belongs to"
    gpus.wait_state(waits.id, "SUCCEEDED", timeout=40)
    wait_until(lambda: listed() == {}, "all to be well", 20, lambda: str(listed()))


@contextlib.contextmanager
def container(site: RunningSite, device: str, labels: dict[str, str]) -> Iterator[str]:
    """One made by hand, with that device; what it is called in words."""
    name = f"toolkit-test-{uuid4()}"
    config = {
        "Image": "toolkit-base:bookworm",
        "Entrypoint": ["sleep", "600"],
        "Env": [f"NVIDIA_VISIBLE_DEVICES={device}"],
        "Labels": labels,
        "HostConfig": {"NetworkMode": "none"},
    }
    made = str(site.engine_call(lambda engine: engine.create(name, config)))
    try:
        site.engine_call(lambda engine: engine.start(made))
        yield f"{name} ({made[:12]})"
    finally:
        site.engine_call(lambda engine: engine.remove(made))


def test_fifty_jobs_at_once_take_turns(gpus: RunningSite) -> None:
    with gpus.client() as client, ThreadPoolExecutor(10) as pool:
        wanted = {"command": ["true"], "resources": {"gpu": 2, "cpu": 0.1, "mem": 0.1}}
        made = {job.id for job in pool.map(lambda _: client.jobs.submit(wanted), range(50))}
        assert len(made) == 50
        left, store = set(made), gpus.store()

        def all_ended() -> bool:
            with store.begin(write=False) as session:
                assert len(ledger.holders(session)) in (0, 2)
            left.intersection_update(job.id for job in client.jobs.list(state="alive", mine=True, limit=1000))
            return not left

        wait_until(all_ended, "all of them to end", 90)
        store.close()
        assert {client.jobs.get(job_id).state for job_id in made} == {"SUCCEEDED"}


def test_a_restart_of_the_service_keeps_the_devices_where_they_are(gpus: RunningSite) -> None:
    jobs = [submit(gpus, *SLEEP) for _ in range(3)]
    for job in jobs[:2]:
        gpus.wait_state(job.id, "RUNNING")
    before = [devices_of(gpus, job) for job in jobs[:2]]
    gpus.unit("restart", "service")
    assert [devices_of(gpus, job) for job in jobs[:2]] == before
    assert gpus.client().jobs.get(jobs[2].id).state == "QUEUING"
