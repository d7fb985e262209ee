"""Ten thousand commands, with the gate restarted and killed under them: none hangs, and none has another's exit code."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.running_site import RunningSite

AT_ONCE = 20


@pytest.mark.engine
@pytest.mark.parametrize(
    "calls",
    [
        pytest.param(500, marks=pytest.mark.sample),
        pytest.param(10_000, marks=pytest.mark.exhaustive),
    ],
)
def test_no_command_hangs_or_has_a_wrong_exit_code(own_site: RunningSite, calls: int) -> None:
    job = own_site.submit("sleep", "infinity").id
    own_site.wait_state(job, "RUNNING")
    with own_site.client() as client:
        commands = client.jobs.commands(job)

    def one(number: int) -> tuple[bool, float]:
        began = time.monotonic()
        done = commands.run(["sh", "-c", f"cat; exit {number % 250}"], input=str(number).encode())
        return (done.code, done.stdout) == (number % 250, str(number).encode()), time.monotonic() - began

    over = threading.Event()

    def disturb() -> None:
        for number in range(10**6):
            if over.wait(random.uniform(0.2, 2.0)):
                return
            if number % 3:
                own_site.unit("restart", "gate")
            else:
                os.kill(own_site.unit_pid("gate"), signal.SIGKILL)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(one, range(calls)))
    finally:
        over.set()
        thread.join()
    assert all(right for right, _ in found)
    assert max(seconds for _, seconds in found) < 60
