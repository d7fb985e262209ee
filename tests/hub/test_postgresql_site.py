"""A whole site on PostgreSQL: jobs run, are killed, outlive the service and the loss of the database; no password shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import running
from tests.support.invariants import check_invariants
from tests.support.postgres import PASSWORD, Cluster
from tests.support.running_site import RunningSite, wait_until
from toolkit_client.errors import ToolkitError

pytestmark = pytest.mark.engine

SLEEPER = ("sh", "-c", "echo begun; sleep 600")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One of its own: it is stopped and started."""
    made = Cluster()
    yield made
    made.close()


@pytest.fixture(scope="module")
def pg_site(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    url = cluster.network_url(cluster.create())
    values = f"c.Toolkit.cpus = 16\nc.Toolkit.database_url = {url!r}"
    for site in running(tmp_path_factory.mktemp("pg-site") / "state", values):
        site.settings.database_url = url
        yield site


def test_jobs_end_and_are_killed(pg_site: RunningSite) -> None:
    ended = pg_site.submit("sh", "-c", "echo hello; exit 3")
    killed = pg_site.submit(*SLEEPER)
    assert pg_site.wait_state(ended.id, "FAILED").state_info == "exit code 3"
    assert pg_site.log_of(ended.id) == b"hello\n"
    pg_site.wait_state(killed.id, "RUNNING")
    with pg_site.client() as client:
        client.jobs.kill(killed.id)
        assert [job.id for job in client.jobs.list(limit=2)] == [killed.id, ended.id]
    assert pg_site.wait_state(killed.id, "CANCELLED").runs[0].ended
    succeeded = pg_site.submit("true", user="alice")
    pg_site.wait_state(succeeded.id, "SUCCEEDED", user="alice")
    with pg_site.client("bob") as bob, pytest.raises(ToolkitError, match="no such job"):
        bob.jobs.get(succeeded.id)
    check_invariants(pg_site)


def test_service_gate_and_hub_restart(pg_site: RunningSite) -> None:
    job = pg_site.submit(*SLEEPER)
    pg_site.wait_state(job.id, "RUNNING")
    for unit in ("service", "gate", "hub"):
        pg_site.unit("restart", unit)
    with pg_site.client() as client:
        assert client.jobs.get(job.id).state == "RUNNING"
        client.jobs.kill(job.id)
    pg_site.wait_state(job.id, "CANCELLED")
    check_invariants(pg_site)


def test_the_database_is_away_for_a_while(pg_site: RunningSite, cluster: Cluster) -> None:
    job = pg_site.submit("sh", "-c", "until [ -e ~/go ]; do sleep 0.1; done; exit 7")
    started = pg_site.wait_state(job.id, "RUNNING")
    cluster.stop()
    try:
        refused = pg_site.cli("job", "ls")
        assert refused.returncode == 1
        assert "the database does not answer" in refused.stderr
        assert "hint:" in refused.stderr
        assert pg_site.cli("admin", "doctor").returncode == 1
        (pg_site.settings.runs_dir / started.runs[0].id / "home" / "go").touch()
        wait_until(lambda: not any(found.running for found in pg_site.containers()), "the job to end meanwhile")
    finally:
        cluster.start()
    ended = pg_site.wait_state(job.id, "FAILED", timeout=60)
    assert ended.runs[0].exit_code == 7
    check_invariants(pg_site)


def test_the_doctor_knows_postgresql(pg_site: RunningSite) -> None:
    told = pg_site.cli("admin", "doctor", "--format", "json")
    found = [json.loads(line) for line in told.stdout.splitlines()]
    database = {item["check"]: item for item in found if item["check"].startswith("database")}
    assert database["database"]["state"] == database["database: version"]["state"] == "ok"
    assert "fsync" in database["database: durability"]["message"], "the tests' own server is fast, not safe"


def test_the_password_shows_nowhere(pg_site: RunningSite) -> None:
    """Neither in a log, nor in what the units were started with, nor in what the doctor says."""
    secrets = (PASSWORD, "pg%2Fsecret")
    files = [*(pg_site.state / "logs").glob("*.log"), *pg_site.state.glob("*.log")]
    for file in files:
        assert not any(secret in file.read_text(errors="replace") for secret in secrets), file
    for unit in ("proxy", "service", "gate", "hub"):
        process = Path(f"/proc/{pg_site.unit_pid(unit)}")
        for part in ("cmdline", "environ"):
            assert not any(secret in (process / part).read_text() for secret in secrets)
    assert not any(secret in pg_site.cli("admin", "doctor").stdout for secret in secrets)
