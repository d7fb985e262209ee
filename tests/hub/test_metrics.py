"""What jobs use, measured on real containers: at the API, on the command line, and as a real Prometheus reads it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.running_site import REPOSITORY, RunningSite, free_base_port, wait_until
from toolkit_client.errors import NotFound
from toolkit_client.metrics_models import TopJob, UsePoint
from toolkit_client.models import Job
from toolkit_hub.host.processes import die_with_parent

pytestmark = pytest.mark.engine

SCRAPE = "/services/toolkit/metrics"
GATE_SCRAPE = "/.toolkit/metrics"
GRAFANA = REPOSITORY / "docs" / "grafana"
MIB = 2**20
#: Takes 200 MiB, writes to its disk, and burns one core until it is killed.
BURN = """
import os
held = bytearray(200 * 2**20)
held[::4096] = b'1' * len(held[::4096])
file = open('/home/toolkit/file', 'wb')
while True:
    for _ in range(2 * 10**7): pass
    file.write(b'x' * 2**20)
    file.flush()
    os.fsync(file.fileno())
"""


@pytest.fixture(scope="module")
def burning(site: RunningSite) -> Iterator[Job]:
    """A job of mona's that is busy."""
    job = site.submit("/opt/lab/bin/python3", "-c", BURN, user="mona", name="burn", resources={"cpu": 1, "mem": 0.5})
    yield site.wait_state(job.id, "RUNNING", user="mona")
    with site.client("mona") as mona:
        mona.jobs.kill(job.id)


@pytest.fixture(scope="module")
def key(site: RunningSite) -> Iterator[str]:
    """A role's key, made as docs/monitoring.md says; other tests list the organization's roles."""
    yield monitoring_key(site)
    with site.client() as admin:
        admin.roles.archive("acme.prometheus")


def monitoring_key(site: RunningSite) -> str:
    made = site.cli("role", "new", "acme.prometheus", "--policy", "organization:metrics@acme")
    assert made.returncode == 0, made.stderr
    printed = site.cli("role", "key", "new", "acme.prometheus", "--name", "scrapes")
    assert printed.returncode == 0, printed.stderr
    return printed.stdout.strip()


def seen_busy(site: RunningSite, job: Job, user: str) -> UsePoint:
    """The job's newest reading, once its rates are known."""

    def newest() -> UsePoint | None:
        with site.client(user) as client:
            usage = client.jobs.get(job.id).usage
        known = usage is not None and usage.last is not None and usage.last.cpu and usage.last.disk_write
        return usage.last if usage is not None and known else None

    return wait_until(newest, "a reading of a busy job", 40, site.logs, 0.5)


def scrape(site: RunningSite, token: str | None, url: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.get(url or site.url + SCRAPE, headers=headers, timeout=30)


def gate_url(site: RunningSite) -> str:
    return f"http://127.0.0.1:{site.port + 3}{GATE_SCRAPE}"


def value(text: str, name: str, **labels: str) -> float:
    """The value of the one series with these labels."""
    for line in text.splitlines():
        found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
        if found and labels.items() <= dict(re.findall(r'(\w+)="([^"]*)"', found[1] or "")).items():
            return float(found[2])
    raise AssertionError(f"no {name} with {labels} in\n{text}")


# --- the job's own readers --------------------------------------------------------------------------------------------------


def test_a_busy_job_is_seen_to_be_busy(site: RunningSite, burning: Job) -> None:
    """The bounds are wide, for the machine may be busy otherwise; a wrong unit is off by a thousand."""
    last = seen_busy(site, burning, "mona")
    assert last.cpu is not None
    assert 0.02 < last.cpu < 1.3, "cores"
    assert last.memory is not None
    assert 0.19 < last.memory < 0.35, "GiB"
    assert last.disk_write is not None
    assert last.disk_write > 50_000, "bytes a second"
    assert last.net_received is not None
    with site.client("mona") as mona:
        series = mona.jobs.metrics(burning.id)
        usage = mona.jobs.get(burning.id).usage
    assert series.step == 5
    assert series.points[-1].time >= last.time
    assert (series.cpu_limit, series.memory_limit) == (1, 0.5)
    assert usage is not None
    assert usage.peak.memory is not None
    assert 0.19 < usage.peak.memory <= 0.5
    assert usage.peak.cpu is not None
    assert usage.peak.cpu >= last.cpu


def test_the_command_line_shows_it(site: RunningSite, burning: Job) -> None:
    seen_busy(site, burning, "mona")
    table = site.cli("job", "top", user="mona")
    assert table.returncode == 0, table.stderr
    header, row = table.stdout.splitlines()
    assert header.split() == ["id", "name", "cpu", "memory", "read", "write", "received", "sent", "gpu", "gpuMemory"]
    assert re.match(rf"{burning.id} burn +\d+% of 1 +\d+ MiB of 512 MiB ", row), row
    assert row.split()[-2:] == ["-", "-"], "there is no GPU"
    shown = TopJob.model_validate_json(site.cli("job", "top", "burn", "--format", "json", user="mona").stdout)
    assert shown.last is not None
    assert shown.id == burning.id
    assert float(site.cli("job", "top", "burn", "--field", "last.memory", user="mona").stdout) > 0.19
    info = yaml.safe_load(site.cli("job", "info", "burn", user="mona").stdout)
    assert info["usage"]["last"]["memory"] > 0.19
    assert info["usage"]["peak"]["cpu"] > 0


def test_others_do_not_see_it(site: RunningSite, burning: Job) -> None:
    with site.client("nils") as nils:
        with pytest.raises(NotFound):
            nils.jobs.metrics(burning.id)
        assert nils.jobs.top() == []
    with site.client("mona") as mona:
        assert [one.id for one in mona.jobs.top(mine=True)] == [burning.id]


def test_an_ended_job_keeps_what_it_used(site: RunningSite) -> None:
    """A container that goes away while it is read is no trouble; what was read stays, its series at Prometheus end."""
    job = site.submit("/opt/lab/bin/python3", "-c", BURN, user="mona", resources={"cpu": 1, "mem": 0.5})
    site.wait_state(job.id, "RUNNING", user="mona")
    last = seen_busy(site, job, "mona")
    server = site.wait_state(job.id, "RUNNING", user="mona").runs[0].server_name
    [container] = [found for found in site.containers() if found.run == server]
    site.engine_call(lambda engine: engine.remove(container.id))
    ended = site.wait_state(job.id, "INTERRUPTED", user="mona")
    assert ended.usage is not None
    assert ended.usage.last is not None
    assert ended.usage.last.time >= last.time
    text = scrape(site, site.admin_token).text
    assert job.id not in text
    assert "reading what runs use failed" not in (site.state / "logs" / "service.log").read_text()


# --- Prometheus -------------------------------------------------------------------------------------------------------------


def test_who_may_read_the_sites_metrics(site: RunningSite, key: str) -> None:
    """They name jobs and users, so they are for nobody who may not see all of these."""
    for url in (site.url + SCRAPE, gate_url(site)):
        assert scrape(site, None, url).status_code == 401
        assert scrape(site, "tkr_" + "0" * 43, url).status_code == 401
        assert scrape(site, key, url).status_code == 200
    assert scrape(site, site.token("mona")).status_code == 403
    assert scrape(site, site.admin_token).status_code == 200
    with site.client() as admin:
        admin.roles.new("acme.idle")
        idle = admin.roles.new_key("acme.idle").token
    for url in (site.url + SCRAPE, gate_url(site)):
        assert scrape(site, idle, url).status_code == 404, "the organization itself is hidden from that role"
    with site.client() as admin:
        admin.roles.archive("acme.idle")
    assert "key" in scrape(site, site.admin_token, gate_url(site)).json()["error"]["message"]
    assert "toolkit_gate" not in scrape(site, key, site.url + GATE_SCRAPE).text, "not by the public port"


def test_promtool_likes_what_is_read(site: RunningSite, burning: Job, key: str) -> None:
    seen_busy(site, burning, "mona")
    for url in (site.url + SCRAPE, gate_url(site)):
        reply = scrape(site, key, url)
        assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        checked = subprocess.run(
            [programs().promtool, "check", "metrics"], input=reply.text, capture_output=True, text=True, check=False
        )
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_labels_are_few(site: RunningSite, burning: Job, key: str) -> None:
    """Addresses are counted by their declared route, and methods that nobody knows as one."""
    seen_busy(site, burning, "mona")
    httpx.get(f"{site.url}/services/toolkit/api/v1/jobs/{burning.id}", headers={"Authorization": f"Bearer {key}"})
    httpx.get(f"{site.url}/services/toolkit/nothing-here")
    httpx.request("BREW", f"{site.url}/services/toolkit/api/v1/jobs")
    text = scrape(site, key).text
    assert value(text, "toolkit_api_requests_total", route="/jobs/{job}", method="GET", status="404") >= 1
    assert value(text, "toolkit_api_requests_total", route="NotFoundHandler", method="GET", status="404") >= 1
    assert burning.id not in "\n".join(line for line in text.splitlines() if not line.startswith("toolkit_run_"))
    assert "nothing-here" not in text
    assert "BREW" not in text
    labels = {"job_id": burning.id, "run_index": "0", "account": "acme.mona", "user": "acme.mona"}
    assert 190 * MIB < value(text, "toolkit_run_memory_bytes", **labels) < 350 * MIB
    assert value(text, "toolkit_run_memory_limit_bytes", **labels) == 512 * MIB
    assert value(text, "toolkit_jobs", state="RUNNING", **{"class": "normal"}) >= 1
    assert value(text, "toolkit_cpus") == 16


@dataclass(frozen=True)
class Programs:
    prometheus: str
    promtool: str


def programs() -> Programs:
    found = {name: shutil.which(name) for name in ("prometheus", "promtool")}
    assert all(found.values()), "Prometheus is missing: `make test` installs it on Debian and Ubuntu"
    return Programs(str(found["prometheus"]), str(found["promtool"]))


class Prometheus:
    """A real one on loopback, with the configuration of docs/grafana/prometheus.yml brought to a test's site."""

    def __init__(self, site: RunningSite, key: str, folder: Path) -> None:
        (folder / "key").write_text(key)
        config = yaml.safe_load((GRAFANA / "prometheus.yml").read_text())
        config["global"]["scrape_interval"] = "1s"
        for job, offset in zip(config["scrape_configs"], (0, 3), strict=True):
            assert job["static_configs"] == [{"targets": [f"127.0.0.1:{8000 + offset}"]}]
            job["static_configs"] = [{"targets": [f"127.0.0.1:{site.port + offset}"]}]
            job["authorization"]["credentials_file"] = str(folder / "key")
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.url = f"http://127.0.0.1:{free_base_port()}"
        self._log = folder / "prometheus.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    programs().prometheus,
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,
            )

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector; empty as long as it does not answer."""
        try:
            reply = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=10)
        except httpx.TransportError:
            assert self._process.poll() is None, self.log()
            return []
        if reply.status_code == 503:
            return []
        answer = reply.json()
        assert answer["status"] == "success", f"{expression}: {answer}"
        return list(answer["data"]["result"])

    def log(self) -> str:
        return self._log.read_text()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)


@pytest.fixture
def prometheus(site: RunningSite, key: str, tmp_path: Path) -> Iterator[Prometheus]:
    started = Prometheus(site, key, tmp_path)
    yield started
    started.close()


def test_a_real_prometheus_knows_a_jobs_memory(site: RunningSite, burning: Job, prometheus: Prometheus) -> None:
    seen_busy(site, burning, "mona")
    expression = f'toolkit_run_memory_bytes{{job_id="{burning.id}"}}'
    [found] = wait_until(lambda: prometheus.query(expression), "Prometheus to know the job", 40, prometheus.log, 0.3)
    assert found["metric"]["job"] == "toolkit"
    assert 190 * MIB < float(found["value"][1]) < 350 * MIB
    wait_until(lambda: prometheus.query('up{job="toolkit-gate"} == 1'), "the gate to be read", 20, prometheus.log, 0.3)
    rate = f'rate(toolkit_run_cpu_seconds_total{{job_id="{burning.id}"}}[1m])'
    [used] = wait_until(lambda: prometheus.query(rate), "two readings of the CPU", 40, prometheus.log, 0.3)
    assert 0 <= float(used["value"][1]) < 2, "cores"
    for board in boards():
        for query in queries_of(board):
            prometheus.query(filled_in(query, burning.id))  # each is an expression that Prometheus understands


# --- the dashboards ---------------------------------------------------------------------------------------------------------


def boards() -> list[dict[str, Any]]:
    found = [json.loads(file.read_text()) for file in sorted(GRAFANA.glob("*.json"))]
    assert [board["uid"] for board in found] == ["toolkit-job", "toolkit-site"]
    return found


def queries_of(board: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def filled_in(query: str, job_id: str) -> str:
    return query.replace("$__rate_interval", "1m").replace("$job_id", job_id)


def test_every_metric_of_the_dashboards_is_there(site: RunningSite, burning: Job, key: str) -> None:
    """GPUs have their names declared, with or without a GPU in this machine."""
    seen_busy(site, burning, "mona")
    text = scrape(site, key).text + scrape(site, key, gate_url(site)).text
    declared = set(re.findall(r"^# TYPE (\S+) ", text, re.M))
    declared |= {f"{name}_{part}" for name in declared for part in ("bucket", "sum", "count")}
    used = {name for board in boards() for query in queries_of(board) for name in re.findall(r"toolkit_\w+", query)}
    only_with_devices = {"toolkit_gpus", "toolkit_gpus_held"}
    assert used - declared <= only_with_devices
    [variable] = [one for one in boards()[0]["templating"]["list"] if one["name"] == "job_id"]
    assert re.findall(r"toolkit_\w+", variable["definition"]) == ["toolkit_run_memory_limit_bytes"]


# --- restarts ---------------------------------------------------------------------------------------------------------------


def test_counters_and_readings_survive_a_restart_of_the_service(own_site: RunningSite) -> None:
    job = own_site.submit("/opt/lab/bin/python3", "-c", BURN, resources={"cpu": 1, "mem": 0.5})
    own_site.wait_state(job.id, "RUNNING")
    last = seen_busy(own_site, job, "admin")
    name, labels = "toolkit_run_cpu_seconds_total", {"job_id": job.id}
    used = value(scrape(own_site, own_site.admin_token).text, name, **labels)
    assert used > 0
    own_site.unit("restart", "service")

    def counted() -> str | None:
        text = scrape(own_site, own_site.admin_token).text
        return text if re.search(rf'{name}{{.*job_id="{job.id}"', text) else None

    text = wait_until(counted, "the job to be read again", 40, own_site.logs, 0.5)
    assert value(text, name, **labels) >= used, "the kernel counts, not the service"
    with own_site.client() as client:
        points = client.jobs.metrics(job.id).points
    assert last.time in {point.time for point in points}, "what was read before was stored"
