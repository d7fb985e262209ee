"""What it takes to run a command in a container that runs, beside the engine's own way."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import docker

from tests.bench.rows import Row, percentile
from tests.support.running_site import RunningSite

CALLS, AT_ONCE, A_ROUND = 2000, 20, 200


def exec_true(site: RunningSite) -> Row:
    """`true` in a job by a warm client, 20 at a time, beside `docker exec … true` through docker-py in the same container.

    Rounds of both in turn, so that noise meets both. Fewer of docker's, which take long, count as well for a median. A call that
    takes a minute counts as one that hangs, and the row as missed.
    """
    job = site.submit("sleep", "infinity").id
    site.wait_state(job, "RUNNING")
    container = next(found.id for found in site.containers())
    with site.client() as client:
        commands = client.jobs.commands(job)
        engines: queue.Queue[docker.APIClient] = queue.Queue()
        for _ in range(AT_ONCE):
            engines.put(docker.APIClient(version="1.41", timeout=60))

        def theirs() -> int:
            engine = engines.get()
            try:
                made = engine.exec_create(container, ["true"])["Id"]
                engine.exec_start(made)
                return int(engine.exec_inspect(made)["ExitCode"])
            finally:
                engines.put(engine)

        def ours() -> int:
            return commands.run(["true"]).code

        values: list[float] = []
        references: list[float] = []
        wrong = 0
        for call in (ours, theirs):
            _round(call, AT_ONCE)
        for _ in range(CALLS // A_ROUND):
            for call, times, calls in ((ours, values, A_ROUND), (theirs, references, A_ROUND // 4)):
                taken, codes = _round(call, calls)
                times += taken
                wrong += sum(code != 0 for code in codes) if call is ours else 0
        client.jobs.kill(job)
    value, reference = percentile(values, 50), percentile(references, 50)
    ok = value <= reference and wrong == 0 and max(values) < 60
    name = f"exec true, p50 of {len(values)}, {AT_ONCE} at a time"
    return Row(name, value, "s", reference, value / reference, "<= 1.0x", ok, len(values))


def _round(call: Callable[[], int], calls: int) -> tuple[list[float], list[int]]:
    """Seconds and exit codes of so many calls."""

    def timed(_: int) -> tuple[float, int]:
        begin = time.perf_counter()
        code = call()
        return time.perf_counter() - begin, code

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(timed, range(calls)))
    return [seconds for seconds, _ in found], [code for _, code in found]
