"""Every part is stopped, killed or taken away while a job runs; the job does not notice, and nothing is lost."""

from __future__ import annotations

import os
import signal

import httpx
import pytest

from tests.support.engine_relay import EngineRelay
from tests.support.running_site import RunningSite, wait_until

pytestmark = pytest.mark.engine

#: Ends when its user says so, then tells with its exit code that it was never disturbed.
PATIENT = ("sh", "-c", "echo begun; until [ -e ~/go ]; do sleep 0.1; done; echo done; exit 7")


def patient_job(site: RunningSite) -> str:
    job = site.submit(*PATIENT)
    site.wait_state(job.id, "RUNNING")
    return job.id


def finish(site: RunningSite, job_id: str) -> None:
    """Let the job's command end, and see that its end was recorded as it was."""
    with site.client() as client:
        run = client.jobs.get(job_id).runs
    assert len(run) == 1
    (site.settings.runs_dir / run[0].id / "home" / "go").touch()
    ended = site.wait_state(job_id, "FAILED", timeout=45)
    assert (ended.state_info, ended.runs[0].exit_code) == ("exit code 7", 7)
    assert site.log_of(job_id) == b"begun\ndone\n"


@pytest.mark.parametrize("unit", ["hub", "service", "gate", "proxy"])
def test_a_unit_is_restarted(shaky: RunningSite, unit: str) -> None:
    job_id = patient_job(shaky)
    before = {found.id for found in shaky.containers()}
    shaky.unit("restart", unit)
    assert {found.id for found in shaky.containers()} == before
    with shaky.client() as client:
        assert client.jobs.get(job_id).state == "RUNNING"
    another = shaky.submit("true")
    shaky.wait_state(another.id, "SUCCEEDED")
    finish(shaky, job_id)


@pytest.mark.parametrize("unit", ["hub", "service"])
def test_a_unit_is_killed_between_submit_and_start(shaky: RunningSite, unit: str) -> None:
    job = shaky.submit(*PATIENT)
    os.kill(shaky.unit_pid(unit), signal.SIGKILL)
    shaky.wait_state(job.id, "RUNNING", timeout=60)
    finish(shaky, job.id)


def test_the_job_ends_while_the_service_is_away(shaky: RunningSite) -> None:
    job_id = patient_job(shaky)
    with shaky.client() as client:
        run_id = client.jobs.get(job_id).runs[0].id
    shaky.unit("stop", "service")
    try:
        (shaky.settings.runs_dir / run_id / "home" / "go").touch()
        wait_until(lambda: not any(found.running for found in shaky.containers()), "the container to end")
        listed = shaky.cli("job", "ls")
        assert listed.returncode == 1
        assert "error:" in listed.stderr
        assert "hint:" in listed.stderr
    finally:
        shaky.unit("start", "service")
    ended = shaky.wait_state(job_id, "FAILED")
    assert ended.runs[0].exit_code == 7


def test_the_proxy_comes_back_with_its_routes(shaky: RunningSite) -> None:
    shaky.unit("restart", "proxy")
    assert httpx.get(f"{shaky.url}/services/toolkit/api/v1/openapi.json").status_code == 200


def test_a_container_is_removed_by_hand(shaky: RunningSite) -> None:
    job_id = patient_job(shaky)
    [container] = [found for found in shaky.containers() if found.running]
    shaky.engine_call(lambda engine: engine.remove(container.id))
    ended = shaky.wait_state(job_id, "INTERRUPTED", "FAILED", timeout=45)
    assert not ended.alive
    assert ended.state_info


def test_the_engine_is_away_while_a_job_is_submitted(shaky: RunningSite, relay: EngineRelay) -> None:
    relay.down()
    try:
        job = shaky.submit(*PATIENT)
        waiting = wait_until(
            lambda: (
                shaky.client().jobs.get(job.id)
                if "Docker Engine" in shaky.client().jobs.get(job.id).state_info
                else None
            ),
            "the job to say that the engine is away",
        )
        assert waiting.state == "QUEUED"
    finally:
        relay.up()
    shaky.wait_state(job.id, "RUNNING", timeout=45)
    finish(shaky, job.id)


def test_the_engine_goes_away_while_a_job_runs_and_the_hub_restarts(shaky: RunningSite, relay: EngineRelay) -> None:
    job_id = patient_job(shaky)
    relay.down()
    try:
        shaky.unit("restart", "hub")
        with shaky.client() as client:
            assert client.jobs.get(job_id).state == "RUNNING"
    finally:
        relay.up()
    finish(shaky, job_id)


def test_ctrl_c_leaves_jobs_running_and_the_next_start_adopts_them(own_site: RunningSite) -> None:
    job_id = patient_job(own_site)
    own_site.stop()
    said = (own_site.state / "make-run.log").read_text()
    assert "Jobs that run on, and that the next `make run` adopts: 1" in said
    assert [found.running for found in own_site.containers()] == [True]
    own_site.start()
    with own_site.client() as client:
        assert client.jobs.get(job_id).state == "RUNNING"
    finish(own_site, job_id)


def test_what_does_not_fit_waits_in_the_queue(own_site: RunningSite) -> None:
    first = own_site.submit(*PATIENT, resources={"cpu": 2})
    own_site.wait_state(first.id, "RUNNING")
    second = own_site.submit("true", resources={"cpu": 1})
    waiting = own_site.wait_state(second.id, "QUEUING")
    wait_until(lambda: own_site.client().jobs.get(second.id).state_info.startswith("waiting for 1 CPU"), "the reason")
    assert waiting.runs[0].queued is None
    finish(own_site, first.id)
    own_site.wait_state(second.id, "SUCCEEDED")
