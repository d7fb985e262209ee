"""`toolkit admin` on a whole site: the doctor with units that are away or misled, and clean-up with what users are told."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from datetime import timedelta

import httpx
import pytest

from tests.support.running_site import RunningSite
from toolkit_hub import clock
from toolkit_hub.store.tables import Run

pytestmark = pytest.mark.engine


def local_doctor(site: RunningSite, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "toolkit_hub.host.doctor", *options]
    return subprocess.run(command, env=site.environment, capture_output=True, text=True, timeout=60, check=False)


def states(answer: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {item["check"]: item["state"] for item in map(json.loads, answer.stdout.splitlines())}


def test_a_site_in_order(site: RunningSite) -> None:
    told = site.cli("admin", "doctor", "--format", "json")
    assert told.returncode == 0, told.stdout
    found = states(told)
    assert "problem" not in found.values()
    assert {"service", "hub", "gate", "proxy", "proxy: routes", "engine", "database", "ports", "secrets"} <= set(found)
    table = site.cli("admin", "doctor")
    assert table.stdout.startswith("state")
    same = local_doctor(site, "--format", "json")
    assert same.returncode == 0
    assert {item["check"] for item in json.loads(same.stdout)["items"]} == set(found)
    hub = sqlite3.connect(f"file:{site.state / 'hub.sqlite'}?mode=ro", uri=True)
    assert hub.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    hub.close()


def test_administrators_only(site: RunningSite) -> None:
    for command in ("doctor", "gc"):
        refused = site.cli("admin", command, user="alice")
        assert refused.returncode == 4
        assert "organization:maintain" in refused.stderr


def test_units_that_are_away(own_site: RunningSite) -> None:
    own_site.unit("stop", "gate")
    (own_site.state / "secrets" / "internal-token").chmod(0o640)
    told = own_site.cli("admin", "doctor", "--format", "json")
    assert told.returncode == 1
    assert {name for name, state in states(told).items() if state == "problem"} == {"gate", "secrets"}
    assert "restart gate" in told.stderr
    own_site.unit("start", "gate")
    (own_site.state / "secrets" / "internal-token").chmod(0o600)

    token = own_site.settings.secret("proxy-token")
    httpx.post(
        f"{own_site.settings.proxy_api_url}/api/routes/hub/login",
        headers={"Authorization": f"token {token}"},
        json={"target": "http://127.0.0.1:9"},
    ).raise_for_status()
    told = own_site.cli("admin", "doctor", "--format", "json")
    assert states(told)["proxy: routes"] == "problem"
    assert "/hub/login" in told.stdout

    own_site.unit("stop", "proxy")
    own_site.unit("stop", "service")
    away = own_site.cli("admin", "doctor")
    assert away.returncode == 1
    assert "python -m toolkit_hub.host.doctor" in away.stderr
    local = local_doctor(own_site)
    assert local.returncode == 1
    assert "problem  service" in local.stdout
    assert "problem  proxy" in local.stdout


def test_an_old_log_goes_and_its_readers_are_told(site: RunningSite) -> None:
    job = site.submit("echo", "hello")
    run = site.wait_state(job.id, "SUCCEEDED").runs[0]
    store = site.store()
    with store.begin() as session:
        session.get_one(Run, run.id).ended = clock.now() - timedelta(days=100)
    store.close()
    folder = site.settings.runs_dir / run.id
    looked = site.cli("admin", "gc", "--dry-run", "--format", "json")
    assert run.id in looked.stdout
    assert folder.exists()
    done = site.cli("admin", "gc", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert {"kind": "log", "name": run.id}.items() <= json.loads(done.stdout.splitlines()[0]).items()
    assert not folder.exists()
    told = site.cli("job", "logs", job.id)
    assert told.returncode == 5
    assert told.stdout == ""
    assert "by the site's retention, 100 days after its end" in told.stderr
    with site.client() as client:
        assert client.jobs.get(job.id).runs[0].log_removed is not None
    assert run.id not in site.cli("admin", "gc", "--dry-run").stdout
