"""The queue beside `docker run`, and with many jobs in it. GPUs are SIMULATED."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from sqlalchemy import insert, select

from tests.bench.rows import Row, ratio_row
from tests.bench.runs import HELLO, IMAGE, docker_run_to_first_line
from tests.bench.slurm import sbatch_rate
from tests.support.running_site import RunningSite, wait_until
from toolkit_client import Client
from toolkit_client.models import Job as WireJob
from toolkit_client.models import JobSpec
from toolkit_hub import clock
from toolkit_hub.domain.runs import server_name_for
from toolkit_hub.store.tables import Job, Run, User, new_id

ONE_GPU = {"gpu": 1, "cpu": 0.1, "mem": 0.1}
#: What is timed gets a whole CPU, as a job does that asks for none in particular: the kernel stops one with a tenth of a CPU for
#: 90 of each 100 ms, and `docker run` beside it is not limited at all.
ONE_GPU_AND_CPU = {"gpu": 1}
#: Ends as soon as it is told to: it sleeps in the kernel until somebody writes.
HOLD = ["sh", "-c", "mkfifo ~/go && read line < ~/go"]
MIB = 2**20


def freed(site: RunningSite, rounds: int = 15) -> Row:
    """The last GPU's job is told to end -> first output of the one that waited for it. So the end of a process and its
    container, which `docker run` has not to wait for, counts on our side only."""
    values, references = [], []
    with site.client() as client:
        for number in range(rounds + 2):
            ours, theirs = _freed_to_first_line(site, client), docker_run_to_first_line()
            if number >= 2:  # the first ones warm up caches and connections of both
                values.append(ours)
                references.append(theirs)
    return ratio_row("GPU freed -> next command's first output", values, references, 2.0)


def _freed_to_first_line(site: RunningSite, client: Client) -> float:
    holder = _holder(site, client, ONE_GPU_AND_CPU)
    waits = client.jobs.submit({"command": HELLO, "resources": ONE_GPU_AND_CPU})
    site.wait_state(waits.id, "QUEUING")
    begin = time.perf_counter()
    _let_go(site, holder)
    assert next(iter(client.jobs.logs(waits.id, follow=True))).startswith(b"hello")
    elapsed = time.perf_counter() - begin
    client.jobs.wait(waits.id)
    return elapsed


def _holder(site: RunningSite, client: Client, resources: Mapping[str, float] = ONE_GPU) -> WireJob:
    """A job that runs and holds the GPU until `_let_go`."""
    holder = client.jobs.submit({"command": HOLD, "resources": resources})
    running = site.wait_state(holder.id, "RUNNING")
    wait_until(_pipe(site, running).is_fifo, "the holder to wait")
    return running


def _let_go(site: RunningSite, holder: WireJob) -> None:
    _pipe(site, holder).write_bytes(b"go\n")


def _pipe(site: RunningSite, holder: WireJob) -> Path:
    return site.settings.runs_dir / holder.runs[-1].id / "home" / "go"


def two_hundred(site: RunningSite, jobs: int = 200, at_once: int = 16) -> Row:
    """So many jobs `true` through the queue, beside as many `docker run`; the same number at once."""
    cpu = site.settings.cpus / at_once
    with site.client() as client, ThreadPoolExecutor(at_once) as pool:
        begin = time.perf_counter()
        spec = {"command": ["true"], "resources": {"cpu": cpu, "mem": 0.1}}
        waiting = {job.id for job in pool.map(lambda _: client.jobs.submit(spec), range(jobs))}
        while waiting:
            waiting &= {job.id for job in client.jobs.list(state="alive", mine=True, limit=1000)}
            time.sleep(0.1)
        ours = time.perf_counter() - begin
    command = ["docker", "run", "--rm", IMAGE, "true"]
    with ThreadPoolExecutor(at_once) as pool:
        begin = time.perf_counter()
        codes = pool.map(lambda _: subprocess.run(command, check=False).returncode, range(jobs))
        assert set(codes) == {0}
        theirs = time.perf_counter() - begin
    return ratio_row(f"{jobs} x true through the queue, {at_once} at once", [ours], [theirs], 2.0)


def submits(site: RunningSite, jobs: int = 400, clients: int = 20) -> Row:
    """Submits accepted per second, beside Slurm's `sbatch` where it is installed. Both answer when the job is kept for good."""
    with site.client() as client:
        holder = _holder(site, client)
        spec = {"command": ["true"], "resources": ONE_GPU}

        def some(_: int) -> list[str]:
            with site.client() as mine:
                return [mine.jobs.submit(spec).id for _ in range(jobs // clients)]

        with ThreadPoolExecutor(clients) as pool:
            begin = time.perf_counter()
            made = [job_id for ids in pool.map(some, range(clients)) for job_id in ids]
            elapsed = time.perf_counter() - begin
            list(pool.map(client.jobs.kill, made))
        _let_go(site, holder)
        client.jobs.wait(holder.id)
    rate, reference = len(made) / elapsed, sbatch_rate(clients=clients)
    ratio = None if reference is None else rate / reference
    ok = ratio is None or ratio >= 1
    return Row(f"submits accepted, {clients} clients", rate, "1/s", reference, ratio, ">= 1.0x", ok, len(made))


def many_queued(_site: RunningSite) -> Row:
    """p50 of a submit with 100,000 jobs in the queue, beside 1,000; and what the service has grown by, which counts as well."""
    with tempfile.TemporaryDirectory(prefix="toolkit-bench-") as folder:
        values = "c.Toolkit.cpus = 64\nc.Toolkit.memory = 256.0\nc.Toolkit.simulated_gpus = 1"
        site = RunningSite(Path(folder) / "state", values)
        try:
            site.start()
            with site.client() as client:
                _holder(site, client)
            few, before = _submit_p50(site, 1_000)
            many, after = _submit_p50(site, 99_000)
        finally:
            site.destroy()
    grown = (after - before) / MIB
    name = f"submit with 100,000 queued, p50; +{grown:.0f} MiB"
    ok = many <= 2 * few and grown <= 400
    return Row(name, many * 1000, "ms", few * 1000, many / few, "<= 2x; +400 MiB", ok, 40)


def _submit_p50(site: RunningSite, more: int, rounds: int = 40) -> tuple[float, int]:
    """With so many more waiting: the median in seconds, and the service's memory in bytes."""
    _fill(site, more)
    times = []
    with site.client() as client:
        client.jobs.submit({"command": ["true"], "resources": ONE_GPU})  # the queue is looked at with it
        for _ in range(rounds):
            begin = time.perf_counter()
            client.jobs.submit({"command": ["true"], "resources": ONE_GPU})
            times.append(time.perf_counter() - begin)
            time.sleep(0.05)  # as people and scripts come by, not as fast as can be
    status = Path(f"/proc/{site.unit_pid('service')}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return statistics.median(times), int(resident.split()[1]) * 1024


def _fill(site: RunningSite, count: int) -> None:
    """Waiting jobs of the administrator, as if submitted long ago."""
    store = site.store()
    spec = JobSpec.model_validate({"command": ["true"], "image": IMAGE, "resources": ONE_GPU})
    written = spec.model_dump(by_alias=True, mode="json")
    with store.begin() as session:
        admin = session.scalars(select(User).where(User.name == "admin")).one()
        first = (session.scalar(select(Job.seq).order_by(Job.seq).limit(1)) or 0) - count
        then = clock.now() - timedelta(days=1)
        jobs, runs = [], []
        for number in range(count):
            job_id, run_id = new_id(), new_id()
            common = {"state": "QUEUING", "state_info": "", "created": then}
            who = {"account_id": admin.home_account_id, "creator_id": admin.id}
            asks = {"cpu": 0.1, "mem": 0.1, "gpu": 1, "image": IMAGE, "spec": written}
            jobs.append({**common, **who, **asks, "id": job_id, "seq": first + number})
            named = {"server_name": server_name_for(run_id), "owner": admin.hub_name, "secret": run_id}
            runs.append({**common, **named, "id": run_id, "job_id": job_id, "index": 0})
        session.execute(insert(Job), jobs)
        session.execute(insert(Run), runs)
    store.close()
