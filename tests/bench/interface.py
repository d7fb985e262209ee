"""The API with many rows, one key many times, and the command line as a process."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
from sqlalchemy import insert, select

from tests.bench.rows import Row, percentile, ratio_row
from tests.support.running_site import RunningSite
from toolkit_client.models import JobSpec
from toolkit_hub import clock
from toolkit_hub.domain.runs import server_name_for
from toolkit_hub.store.tables import Job, Run, User, new_id


def list_of_ten_thousand(site: RunningSite, rounds: int = 500, rows: int = 10_000) -> Row:
    """p99 of `GET /jobs?limit=50` beside p99 of the bare SELECT of the same 50 rows with their runs."""
    _fill(site, rows)
    headers = {"Authorization": f"Bearer {site.admin_token}"}
    values, references = [], []
    store = site.store()
    with httpx.Client(base_url=f"{site.settings.service_url}/services/toolkit/api/v1", headers=headers) as http:
        for number in range(rounds + 5):
            if number == 5:  # the first ones warm up caches and connections of both
                values, references = [], []
            begin = time.perf_counter()
            reply = http.get("/jobs?limit=50")
            values.append(time.perf_counter() - begin)
            assert len(reply.json()["items"]) == 50
            begin = time.perf_counter()
            with store.engine.connect() as connection:
                newest = select(Job.__table__).order_by(Job.seq.desc()).limit(50)
                ids = [row.id for row in connection.execute(newest)]
                connection.execute(select(Run.__table__).where(Run.job_id.in_(ids))).all()
            references.append(time.perf_counter() - begin)
    store.close()
    value, reference = percentile(values, 99), percentile(references, 99)
    added = value - reference
    name = f"GET /jobs?limit=50 of {rows}, p99"
    return Row(name, value * 1000, "ms", reference * 1000, value / reference, "<= +10 ms", added <= 0.010, rounds)


def _fill(site: RunningSite, rows: int) -> None:
    """Ended jobs of the administrator, older than all others."""
    store = site.store()
    with store.begin() as session:
        admin = session.scalars(select(User).where(User.name == "admin")).one()
        then = clock.now() - timedelta(days=2)
        spec = JobSpec(command=["true"], image="toolkit-lab").model_dump(by_alias=True, mode="json")
        jobs, runs = [], []
        for number in range(rows):
            job_id, run_id = new_id(), new_id()
            common = {"state": "SUCCEEDED", "state_info": "", "created": then}
            jobs.append(
                {
                    **common,
                    "id": job_id,
                    "seq": number - rows,
                    "account_id": admin.home_account_id,
                    "creator_id": admin.id,
                    "target": "run",
                    "kind": "job",
                    "interactive": False,
                    "cpu": 1.0,
                    "mem": 1.0,
                    "image": "toolkit-lab",
                    "spec": spec,
                }
            )
            runs.append(
                {
                    **common,
                    "id": run_id,
                    "job_id": job_id,
                    "index": 0,
                    "server_name": server_name_for(run_id),
                    "owner": "admin",
                    "secret": "",
                    "exit_code": 0,
                    "server_removed": True,
                }
            )
        session.execute(insert(Job), jobs)
        session.execute(insert(Run), runs)
    store.close()


def one_key(site: RunningSite, submits: int = 50) -> Row:
    """Concurrent submits with one Idempotency-Key: how many jobs come of it."""
    key = str(uuid.uuid4())
    with site.client() as client, ThreadPoolExecutor(submits) as pool:
        spec = JobSpec(command=["true"])
        made = {job.id for job in pool.map(lambda _: client.jobs.submit(spec, key), range(submits))}
    return Row(
        f"{submits} concurrent submits with one key", len(made), "jobs", None, None, "= 1", len(made) == 1, submits
    )


def job_ls(site: RunningSite, rounds: int = 25) -> Row:
    """`toolkit job ls` as a whole process beside an interpreter that imports httpx."""
    values, references = [], []
    for number in range(rounds + 2):
        begin = time.perf_counter()
        assert site.cli("job", "ls", "--limit", "10").returncode == 0
        ours = time.perf_counter() - begin
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import httpx"], check=True)
        theirs = time.perf_counter() - begin
        if number >= 2:
            values.append(ours)
            references.append(theirs)
    return ratio_row("toolkit job ls, whole process", values, references, 1.5)
