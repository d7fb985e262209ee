"""How long a job takes, beside `docker run` of the same image and command."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from tests.bench.rows import Row, ratio_row
from tests.support.running_site import RunningSite
from toolkit_client import Client
from toolkit_client.models import JobSpec

IMAGE = "toolkit-lab"
HELLO = ["sh", "-c", "echo hello"]


def first_line(site: RunningSite, rounds: int = 25) -> Row:
    """Submit → first line of the command's output at the client. The two are taken in turn, so that noise meets both."""
    values, references = [], []
    with site.client() as client:
        for number in range(rounds + 2):
            ours, theirs = _submit_to_first_line(client), docker_run_to_first_line()
            if number >= 2:  # the first ones warm up caches and connections of both
                values.append(ours)
                references.append(theirs)
    return ratio_row("submit -> first line of output", values, references, 1.5)


def _submit_to_first_line(client: Client) -> float:
    begin = time.perf_counter()
    job = client.jobs.submit(JobSpec(command=HELLO))
    output = client.jobs.logs(job.id, follow=True)
    assert next(iter(output)).startswith(b"hello")
    elapsed = time.perf_counter() - begin
    client.jobs.wait(job.id)
    return elapsed


def docker_run_to_first_line() -> float:
    begin = time.perf_counter()
    with subprocess.Popen(["docker", "run", "--rm", IMAGE, *HELLO], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"hello\n"
        elapsed = time.perf_counter() - begin
        process.wait()
    return elapsed


def fifty_at_once(site: RunningSite, rounds: int = 3, jobs: int = 50) -> Row:
    """All jobs submitted at once -> all ended, beside as many `docker run` at once."""
    values, references = [], []
    for _ in range(rounds):
        values.append(_all_ended(site, jobs))
        references.append(_all_run(jobs))
    return ratio_row(f"{jobs} x true at once -> all ended", values, references, 2.0)


def _all_ended(site: RunningSite, jobs: int) -> float:
    with site.client() as client, ThreadPoolExecutor(16) as pool:
        begin = time.perf_counter()
        made = list(pool.map(lambda _: client.jobs.submit(JobSpec(command=["true"])), range(jobs)))
        waiting = {job.id for job in made}
        while waiting:
            alive = {job.id for job in client.jobs.list(state="alive", mine=True, limit=1000)}
            waiting &= alive
            time.sleep(0.05)
        return time.perf_counter() - begin


def _all_run(jobs: int) -> float:
    begin = time.perf_counter()
    processes = [
        subprocess.Popen(["docker", "run", "--rm", IMAGE, "true"], stdout=subprocess.DEVNULL) for _ in range(jobs)
    ]
    assert [process.wait() for process in processes] == [0] * jobs
    return time.perf_counter() - begin
